"""``GET /households``: a few households that the model knows, for whoever tries the server out."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from pipelines.serving.access import needs
from pipelines.serving.problems import responses
from pipelines.serving.schemas import ModelFacts
from pipelines.serving.service import Service

router = APIRouter(dependencies=[Depends(needs("admin"))])


class HouseholdFacts(BaseModel):
    """A household."""

    model_config = ConfigDict(from_attributes=True)

    household: str = Field(validation_alias="account", description="Its pseudonym, for `/identities`.")
    purchases: int = Field(description="That the model knows of.")
    categories: tuple[str, ...] = Field(description="What it buys more often than others do.")


class HouseholdsAnswer(BaseModel):
    """Households that each stand for another taste."""

    request_id: str
    model: ModelFacts
    households: list[HouseholdFacts]


@router.get(
    "/households",
    response_model=HouseholdsAnswer,
    responses=responses(401, 403, 429, 503),
    summary="Some households that the model knows",
)
async def households(request: Request) -> HouseholdsAnswer:
    """By pseudonym only: the shop's own ids are not known here. A device that `/identities` links with one is
    answered as that household, and what is done on it counts as theirs."""
    service: Service = request.app.state.service
    engine = service.current()
    found = await service.run(lambda: engine.households, instant=False)
    return HouseholdsAnswer(
        request_id=request.scope["request_id"],
        model=ModelFacts.of(engine.provenance),
        households=[HouseholdFacts.model_validate(each) for each in found],
    )
