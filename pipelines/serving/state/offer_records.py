"""Offers and reservations as they go in and come out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Literal

from pipelines.errors import DataError
from pipelines.serving.state.records import check_id, check_identity, check_time
from pipelines.serving.state.schema import moment

Refusal = Literal["unknown", "window", "audience", "cap", "budget", "ended"]

MILLIONTHS = 1_000_000
MOST_MONEY = 1e12
KEPT_OFFERS = 4096


class OfferRefusedError(DataError):
    """An offer cannot be had: not now, not by this user, or no more.

    Args:
        message: which, and why.
        reason: a word to branch on.
    """

    def __init__(self, message: str, reason: Refusal) -> None:
        super().__init__(message, mend="choose another offer")
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message, self.reason)


@dataclass(frozen=True)
class Offer:
    """A coupon or a campaign's offer.

    Args:
        offer_id: the shop's.
        kind: the shop's word.
        item_ids: what it is for; empty: everything.
        starts: from when, aware.
        ends: until before when.
        budget: what all its redemptions together may cost; None: no limit.
        cap: how often one user may have it within ``cap_days``; None: no limit.
        cap_days: None: ever.
        audience: the accounts and devices that may have it, as ``State`` names them; None: all.
        cost: of one redemption: the discount.
        value: what the shop earns by one purchase that would not have been made without it.
    """

    offer_id: str
    kind: str
    item_ids: tuple[str, ...]
    starts: datetime
    ends: datetime
    budget: float | None = None
    cap: int | None = None
    cap_days: float | None = None
    audience: frozenset[str] | None = None
    cost: float = 0.0
    value: float = 0.0

    @cached_property
    def items(self) -> frozenset[str]:
        """What it is for, to look up."""
        return frozenset(self.item_ids)

    def __post_init__(self) -> None:
        for name in ("offer_id", "kind"):
            check_id(name, getattr(self, name))
        for name in ("starts", "ends"):
            check_time(name, getattr(self, name))
        for member in self.audience or ():
            check_identity("a member of audience", member)
        if self.budget is not None and not 0 <= self.budget <= MOST_MONEY:
            raise DataError(f"the budget of offer {self.offer_id!r} is {self.budget}", mend="give 0 or more, or none")
        for name, money in (("cost", self.cost), ("value", self.value)):
            if not 0 <= money <= MOST_MONEY:
                raise DataError(f"the {name} of offer {self.offer_id!r} is {money}", mend="give 0 or more")
        if self.cap is not None and not 0 <= self.cap <= 1_000_000:
            raise DataError(f"the cap of offer {self.offer_id!r} is {self.cap}", mend="give 0 or more, or none")


@dataclass(frozen=True)
class OfferState:
    """An offer and how much of it is gone.

    Args:
        offer: as it was put.
        reserved: held by reservations that are neither redeemed nor over.
        spent: redeemed.
    """

    offer: Offer
    reserved: float
    spent: float

    @property
    def left(self) -> float:
        """What is left of the budget; infinity without one."""
        budget = self.offer.budget
        return float("inf") if budget is None else budget - self.reserved - self.spent


@dataclass(frozen=True)
class Reservation:
    """A part of a budget that is held for somebody.

    Args:
        reservation_id: made here, or the sender's.
        offer_id: of which.
        identity: for whom.
        amount: how much.
        status: ``reserved``, ``redeemed``, ``released`` or ``expired``.
        expires: when it goes back by itself.
    """

    reservation_id: str
    offer_id: str
    identity: str
    amount: float
    status: str
    expires: datetime


@dataclass(frozen=True)
class Held:
    """An offer that somebody holds.

    Args:
        offer_id: which.
        item_ids: what it is for; empty: everything.
        expires: when what is held goes back by itself.
    """

    offer_id: str
    item_ids: tuple[str, ...]
    expires: datetime


def offer_state(row: Mapping[Any, Any]) -> OfferState:
    terms = _offer(*(row[name] for name in _TERMS))
    return OfferState(terms, row["reserved"] / MILLIONTHS, row["spent"] / MILLIONTHS)


_TERMS = ("offer_id", "kind", "item_ids", "starts", "ends", "budget", "cap", "cap_days", "audience", "cost", "value")
"""Columns that stay as they were put."""


@lru_cache(maxsize=KEPT_OFFERS)
def _offer(
    offer_id: str,
    kind: str,
    item_ids: str,
    starts: int,
    ends: int,
    budget: int | None,
    cap: int | None,
    cap_days: float | None,
    audience: str | None,
    cost: int,
    value: int,
) -> Offer:
    """An offer from its columns; requests ask for the same ones again and again."""
    return Offer(
        offer_id,
        kind,
        tuple(json.loads(item_ids)),
        moment(starts),
        moment(ends),
        None if budget is None else budget / MILLIONTHS,
        cap,
        cap_days,
        None if audience is None else frozenset(json.loads(audience)),
        cost / MILLIONTHS,
        value / MILLIONTHS,
    )


def reservation(row: Mapping[str, Any]) -> Reservation:
    return Reservation(
        row["reservation_id"],
        row["offer_id"],
        row["identity"],
        row["amount"] / MILLIONTHS,
        row["status"],
        moment(row["expires"]),
    )
