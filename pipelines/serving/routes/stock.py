"""``/stock``: which items cannot be bought now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from pipelines.errors import DataError
from pipelines.serving.access import needs
from pipelines.serving.front import note
from pipelines.serving.problems import RefusedError, responses
from pipelines.serving.schemas import Body, Id
from pipelines.serving.service import Service
from pipelines.serving.state import StateError

router = APIRouter()
MOST_ITEMS = 10_000
Items = Annotated[list[Id], Field(max_length=MOST_ITEMS)]


class StockRequest(Body):
    """What changed; items that are not named stay as they are."""

    out_of_stock: Items = Field(default=[], description="Item ids that cannot be bought from now on.")
    in_stock: Items = Field(default=[], description="Item ids that can be bought again.")


class StockAnswer(BaseModel):
    """It holds from the next request on."""

    request_id: str
    total: int = Field(description="Items that cannot be bought.")
    ignored: list[str] = Field(description="Item ids of the request that the model's catalogue lacks; they are kept.")


class StockList(BaseModel):
    """Items that cannot be bought, by id."""

    request_id: str
    total: int
    out_of_stock: list[str]


@router.put(
    "/stock",
    response_model=StockAnswer,
    responses=responses(401, 403, 408, 413, 422, 429, 503),
    summary="Tell what is sold out, and what is back",
    dependencies=[Depends(needs("events"))],
)
async def change(body: StockRequest, request: Request) -> StockAnswer:
    """Acknowledged once durable; what is sold out is in no answer from the next request on, unless its rules say
    `in_stock: false`. Sending it again is safe."""
    service: Service = request.app.state.service
    memory = service.remembering()
    try:
        await service.store(lambda: memory.change_stock(body.out_of_stock, body.in_stock))
    except DataError as error:
        raise RefusedError(422, "invalid_request", error.message, where="body", mend=error.mend) from None
    except StateError as error:
        raise service.lost(error) from None
    service.stocked()
    note(request, out_of_stock=len(body.out_of_stock), in_stock=len(body.in_stock))
    engine, named = service.engine, dict.fromkeys((*body.out_of_stock, *body.in_stock))
    return StockAnswer(
        request_id=request.scope["request_id"],
        total=len(memory.sold_out),
        ignored=[name for name in named if engine is not None and engine.item_row(name) is None],
    )


@router.get(
    "/stock",
    response_model=StockList,
    responses=responses(401, 403, 422, 429, 503),
    summary="Read what is sold out",
    dependencies=[Depends(needs("events"))],
)
async def read(
    request: Request, offset: Annotated[int, Query(ge=0, le=10**9)] = 0, k: Annotated[int, Query(ge=1, le=10_000)] = 100
) -> StockList:
    """By id."""
    service: Service = request.app.state.service
    out = sorted(service.remembering().sold_out)
    return StockList(request_id=request.scope["request_id"], total=len(out), out_of_stock=out[offset : offset + k])
