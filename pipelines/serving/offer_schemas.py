"""Requests and answers of the offers' routes, as the OpenAPI document shows them."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field

from pipelines.errors import DataError
from pipelines.serving.schemas import Body, Id, ModelFacts, Whom
from pipelines.serving.state import Offer, OfferState, State

MOST_OFFERS = 20
MOST_TERMS = 1000
Money = Annotated[float, Field(ge=0, le=1e9)]


class OffersRequest(Whom):
    """Offers for whom; `user`, `device` or `session` is needed, because an offer is held for somebody."""

    placement: Literal["home", "product", "cart", "search-empty"] = Field(
        default="home", description="Where they are shown; `product` needs `items`."
    )
    items: Annotated[list[Id], Field(max_length=50)] = Field(
        default=[], description="What the page is about: offers for these, or for everything."
    )
    cart: Annotated[list[Id], Field(max_length=200)] = Field(
        default=[], description="In the cart now: bought anyway, so no new offer is given for it."
    )
    k: int = Field(default=1, ge=1, le=MOST_OFFERS, description="Offers wanted.")


class OfferFacts(BaseModel):
    """An offer that is held for the shopper."""

    position: int = Field(description="From 1.")
    offer_id: str
    kind: str = Field(description="The shop's word for it.")
    item_ids: tuple[str, ...] = Field(description="What it is for; empty: everything.")
    title: str = Field(description="What it is for, in words.")
    cost: float = Field(description="The discount of one redemption.")
    ends: AwareDatetime = Field(description="Until before when the offer runs.")
    reservation_id: str = Field(description="Redeem or release it by this, at /reservations.")
    expires: AwareDatetime = Field(description="When the reservation goes back by itself.")
    again: bool = Field(description="The shopper held it already.")
    chance: float = Field(description="That it is redeemed, within 0..1.")
    bought_anyway: float = Field(description="Chance that one of its items is bought without it, within 0..1.")
    expected_value: float = Field(description="chance * ((1 - bought_anyway) * value - cost), over 0.")
    reasons: tuple[str, ...] = Field(description="Why this one, in words.")


class OffersAnswer(BaseModel):
    """What the shopper holds already, then the offers of most expected value; none where none is worth its cost."""

    request_id: str
    model: ModelFacts
    known_user: bool = Field(description="Whether the model knows this user's purchases.")
    chances_from: Literal["model", "redemptions"] = Field(
        description="`model`: fitted on sent offers by `shoploom offers fit`; `redemptions`: there is none, and every "
        "offer has the chance that reservations here were redeemed with."
    )
    offers: list[OfferFacts]


class OfferTerms(Body):
    """A coupon or a campaign's offer."""

    offer_id: Id
    kind: Id = Field(default="coupon", description="The shop's word for it.")
    item_ids: Annotated[list[Id], Field(max_length=10_000)] = Field(
        default=[], description="What it is for; empty: everything."
    )
    starts: AwareDatetime
    ends: AwareDatetime = Field(description="Until before when it runs. To end it, send the time it is.")
    budget: float | None = Field(default=None, ge=0, le=1e12, description="Of all redemptions; none: no limit.")
    cap: int | None = Field(default=None, ge=0, le=1_000_000, description="How often one shopper may have it.")
    cap_days: float | None = Field(default=None, gt=0, le=36_500, description="Within how many days; none: ever.")
    users: Annotated[list[Id], Field(max_length=10_000)] = Field(default=[], description="Only these accounts.")
    devices: Annotated[list[Id], Field(max_length=10_000)] = Field(default=[], description="And only these devices.")
    cost: Money = Field(description="The discount of one redemption.")
    value: Money = Field(description="What the shop earns by a purchase that it would not have had without the offer.")

    def offer(self, state: State) -> Offer:
        """As the state keeps it: by pseudonyms.

        Raises:
            DataError: it ends before it starts, or an id is none.
        """
        if self.ends <= self.starts:
            raise DataError("it ends before it starts", mend="send an end after the start")
        people = {*map(state.account, self.users), *map(state.device, self.devices)}
        try:
            starts, ends = self.starts.astimezone(UTC), self.ends.astimezone(UTC)
        except OverflowError:
            raise DataError("its time is out of range", mend="send years 1 to 9999, UTC") from None
        same = self.model_dump(exclude={"item_ids", "starts", "ends", "users", "devices"})
        audience = frozenset(people) if people else None
        return Offer(item_ids=tuple(self.item_ids), starts=starts, ends=ends, audience=audience, **same)


class TermsRequest(Body):
    """Offers, all of which are stored or none."""

    offers: Annotated[list[OfferTerms], Field(min_length=1, max_length=MOST_TERMS)]


class TermsFacts(BaseModel):
    """An offer's terms, and how much of its budget is gone."""

    offer_id: str
    kind: str
    item_ids: tuple[str, ...]
    starts: AwareDatetime
    ends: AwareDatetime
    budget: float | None
    cap: int | None
    cap_days: float | None
    audience: int | None = Field(description="How many accounts and devices may have it; none: all.")
    cost: float
    value: float
    reserved: float = Field(description="Held by reservations now, and by those over since the offer was last given.")
    spent: float = Field(description="Redeemed.")
    left: float | None = Field(description="Of the budget; none without one.")

    @classmethod
    def of(cls, state: OfferState) -> TermsFacts:
        offer = state.offer
        audience = None if offer.audience is None else len(offer.audience)
        told = {**vars(offer), "audience": audience, "reserved": state.reserved, "spent": state.spent}
        return cls.model_validate({**told, "left": None if offer.budget is None else state.left})


class TermsAnswer(BaseModel):
    """Offers by id."""

    request_id: str
    total: int = Field(description="Offers that there are.")
    ignored: list[str] = Field(default=[], description="Item ids that the model's catalogue lacks; they are kept.")
    offers: list[TermsFacts]


class ReservationRequest(Body):
    """What becomes of a reservation."""

    reservation_id: Id
    action: Literal["redeem", "release"]
    amount: Money | None = Field(
        default=None, description="What the redemption did cost, at most what is held; all of that by default."
    )


class ReservationAnswer(BaseModel):
    """It is so, durably; asked again, the answer is the same."""

    request_id: str
    reservation_id: str
    offer_id: str
    status: Literal["reserved", "redeemed", "released", "expired"]
    amount: float = Field(description="Held, or once redeemed spent.")
    expires: AwareDatetime
