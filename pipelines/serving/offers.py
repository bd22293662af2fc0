"""Which offers a user gets: those that bring the shop most beyond what it would have sold anyway, while they last.

The expected value of giving an offer is ``p * ((1 - a) * value - cost)``: ``p`` is the chance that it is redeemed, from
a model of really sent offers; ``a`` the chance that the user buys one of its items anyway while the offer runs, from
their own rate of buying; ``value`` and ``cost`` are the offer's. An offer that is expected to cost more than it brings
is not given, nor is one whose budget, cap, audience or window does not allow it: that is decided by the reservation,
within one transaction, so that requests at the same time cannot overspend. What a user holds comes first and is held
once, however often the page is shown. What is in the cart is bought anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pipelines.models.propensity import Known
from pipelines.serving.chances import Redeeming
from pipelines.serving.state import Offer, OfferRefusedError, Reservation, State

HOLDS = timedelta(minutes=15)
SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True)
class Shopping:
    """What a user bought so far.

    Args:
        history_days: over which it is known; > 0.
        lines: purchase lines of each item.
        last_days: days since the last of them, by item.
    """

    history_days: float
    lines: Mapping[str, int] = field(default_factory=dict)
    last_days: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Args:
        now: aware.
        most: offers at most; >= 0.
        about: items that the page is about; offers for others are left out, those for everything are not.
        cart: items in the cart.
        holds: how long reservations stand.
    """

    now: datetime
    most: int = 1
    about: Collection[str] = ()
    cart: Collection[str] = ()
    holds: timedelta = HOLDS


@dataclass(frozen=True)
class Chosen:
    """An offer that a user gets.

    Args:
        offer: its terms.
        reservation: what is held of its budget.
        chance: that it is redeemed, within 0..1.
        anyway: chance that one of its items is bought without it.
        expected: value of giving it, in the shop's currency; over 0.
        again: whether it was held already.
    """

    offer: Offer
    reservation: Reservation
    chance: float
    anyway: float
    expected: float
    again: bool = False

    @property
    def reason(self) -> str:
        """Why this one, in words."""
        return (
            f"redeemed with a chance of {self.chance:.1%}, its items bought without it with {self.anyway:.0%}: "
            f"{self.expected:.2g} expected"
        )


def choose(state: State, redeeming: Redeeming, profile: str, shopping: Shopping, wanted: Wanted) -> list[Chosen]:
    """Give a user the best offers that can be had, each reserved. Returns when the reservations are durable.

    Args:
        state: holds the offers.
        redeeming: how likely offers are redeemed.
        profile: who, as ``identities.profile_of`` gives it.
        shopping: what they bought.
        wanted: how many, and for which page.

    Returns:
        What is held already, then the best first; empty where none is worth its cost, or none can be had.

    Raises:
        StateError: the state cannot be read or written.
    """
    found = [each for each in state.offers.open_for(profile) if _is_about(each.offer, wanted.about)]
    if not found or wanted.most < 1:
        return []
    candidates, held = [each.offer for each in found], np.array([each.held for each in found])
    given, redeemed = state.offers.record_of(profile)
    chances = redeeming.score(_known(candidates, shopping, given, redeemed))
    anyway = bought_anyway(candidates, shopping, wanted.now)
    if wanted.cart:
        anyway[[_is_about(offer, wanted.cart) for offer in candidates]] = 1.0
    expected = np.array(
        [
            chance * ((1.0 - without) * offer.value - offer.cost)
            for offer, chance, without in zip(candidates, chances, anyway, strict=True)
        ]
    )
    worth = np.flatnonzero(expected > 0)
    chosen: list[Chosen] = []
    for row in worth[np.lexsort((-expected[worth], ~held[worth]))]:
        if len(chosen) == wanted.most:
            break
        offer = candidates[row]
        try:
            reservation = state.offers.reserve(offer.offer_id, profile, offer.cost, holds=wanted.holds, once=True)
        except OfferRefusedError:
            # Somebody else was faster, or it was given to the same user meanwhile; the next best is as good as it gets.
            continue
        numbers = float(chances[row]), float(anyway[row]), float(expected[row])
        chosen.append(Chosen(offer, reservation, *numbers, again=bool(held[row])))
    return chosen


def bought_anyway(offers: Sequence[Offer], shopping: Shopping, now: datetime) -> NDArray[np.float64]:
    """float64 [num_offers]: the chance that a user buys an item of an offer while it runs, by their own rate so far.

    Purchases are taken as a Poisson process: ``1 - exp(-rate * days)``. An offer for everything counts all purchases.
    """
    lines = np.array([_lines(items, shopping) for items in _bought(offers, shopping)], np.float64)
    left = np.array([(offer.ends - now).total_seconds() / SECONDS_A_DAY for offer in offers], np.float64)
    chances: NDArray[np.float64] = -np.expm1(-lines / max(shopping.history_days, 1.0) * np.maximum(left, 0.0))
    return chances


def _known(offers: Sequence[Offer], shopping: Shopping, given: int, redeemed: int) -> Known:
    count, bought = len(offers), _bought(offers, shopping)
    last = [min(map(shopping.last_days.__getitem__, items), default=np.inf) for items in bought]
    return Known(
        lines=np.array([_lines(items, shopping) for items in bought], np.float64),
        last_days=np.array(last, np.float64),
        all_lines=np.full(count, float(sum(shopping.lines.values()))),
        history_days=np.full(count, shopping.history_days),
        given=np.full(count, float(given)),
        redeemed=np.full(count, float(redeemed)),
        items=np.array([len(offer.item_ids) or max(len(shopping.lines), 1) for offer in offers], np.float64),
    )


def _is_about(offer: Offer, items: Collection[str]) -> bool:
    """Whether an offer is for one of some items; without items, and for everything, it is."""
    return not items or not offer.item_ids or not offer.items.isdisjoint(items)


def _bought(offers: Sequence[Offer], shopping: Shopping) -> list[frozenset[str]]:
    """Of each offer, what of it the user bought before."""
    everything = frozenset(shopping.lines)
    return [offer.items & everything if offer.item_ids else everything for offer in offers]


def _lines(items: Collection[str], shopping: Shopping) -> int:
    return sum(map(shopping.lines.__getitem__, items))
