"""``POST /items``: what the catalogue says of items."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from pipelines.serving.access import needs
from pipelines.serving.engine import Engine
from pipelines.serving.problems import responses
from pipelines.serving.schemas import MOST_RESULTS, Body, Id, ModelFacts
from pipelines.serving.service import Service
from pipelines.serving.whom import rows_of

router = APIRouter(dependencies=[Depends(needs("read"))])


class ItemsRequest(Body):
    """Which items."""

    items: Annotated[list[Id], Field(min_length=1, max_length=MOST_RESULTS)]


class ItemFacts(BaseModel):
    """What the catalogue says of an item."""

    item_id: str
    title: str
    brand: str | None
    category: tuple[str, ...] = Field(description="The whole path, the widest level first.")
    size: str | None
    price: float | None
    in_stock: bool = Field(description="Whether it can be bought now.")
    attributes: dict[str, str] = Field(description="What the shop says besides, by name.")

    @classmethod
    def of(cls, engine: Engine, row: int, sold_out: Collection[str]) -> ItemFacts:
        """Of an item by its dense id.

        Args:
            engine: whose catalogue.
            row: the dense id.
            sold_out: ids of items that cannot be bought, beside what the shop's rules name.
        """
        catalogue, shelf = engine.catalogue, engine.shelf
        name = str(catalogue.item_ids[row])
        return cls(
            item_id=name,
            title=catalogue.titles[row],
            brand=shelf.value("brand", row),
            category=catalogue.categories[row],
            size=shelf.value("size", row),
            price=shelf.price(row),
            in_stock=name not in sold_out and name not in engine.rules.out_of_stock,
            attributes=catalogue.attributes[row],
        )


class ItemsAnswer(BaseModel):
    """Items in the order they were asked for."""

    request_id: str
    model: ModelFacts
    ignored: list[str] = Field(description="Item ids that the catalogue lacks.")
    items: list[ItemFacts]


@router.post(
    "/items",
    response_model=ItemsAnswer,
    responses=responses(401, 403, 408, 413, 422, 429, 503),
    summary="Tell what the catalogue says of items",
)
async def items(body: ItemsRequest, request: Request) -> ItemsAnswer:
    """An id that the catalogue lacks is told, and left out."""
    service: Service = request.app.state.service
    engine = service.current()
    rows, ignored = rows_of(engine, body.items)
    sold_out = service.memory.sold_out if service.memory is not None else frozenset[str]()
    return ItemsAnswer(
        request_id=request.scope["request_id"],
        model=ModelFacts.of(engine.provenance),
        ignored=ignored,
        items=[ItemFacts.of(engine, row, sold_out) for row in rows.values()],
    )
