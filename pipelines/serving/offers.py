"""Which offers a user gets: those that bring the shop most beyond what it would have sold anyway, while they last.

The expected value of giving an offer is ``p * ((1 - a) * value - cost)``: ``p`` is the chance that it is redeemed, from
a model of really sent offers; ``a`` the chance that the user buys one of its items anyway while the offer runs, from
their own rate of buying; ``value`` and ``cost`` are the offer's. An offer that is expected to cost more than it brings
is not given, nor is one whose budget, cap, audience or window does not allow it: that is decided by the reservation,
within one transaction, so that requests at the same time cannot overspend. What a user holds comes first and is held
once, however often the page is shown. What is in the cart is bought anyway, unless an offer for it is held already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pipelines.models.propensity import Known
from pipelines.serving.chances import Redeeming
from pipelines.serving.state import Offer, Reservation, State
from pipelines.serving.state.schema import microseconds
from pipelines.serving.state.terms import Terms

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
            f"{self.chance:.1%} likely to be used, its items {self.anyway:.0%} likely to be bought without it: "
            f"expected to bring {'less than 0.01' if self.expected < 0.01 else f'{self.expected:.2f}'}"
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
    found = state.offers.open_for(profile)
    terms, rows = found.terms, found.rows[found.terms.about(wanted.about)[found.rows]]
    if not len(rows) or wanted.most < 1:
        return []
    held = np.isin(rows, found.rows[found.held])
    given, redeemed = state.offers.record_of(profile)
    bought = Bought.of(terms, shopping)
    chances = redeeming.score(_known(bought, terms, shopping, given, redeemed).pick(rows))
    anyway = bought_anyway(bought, terms, shopping, wanted.now)[rows]
    if wanted.cart:
        anyway[terms.about(wanted.cart)[rows] & ~held] = 1.0
    costs, values = terms.money[:, rows]
    expected = chances * ((1.0 - anyway) * values - costs)
    worth = np.flatnonzero(expected > 0)
    order = worth[np.lexsort((-expected[worth], ~held[worth]))].tolist()
    chosen: list[Chosen] = []
    while order and len(chosen) < wanted.most:
        # Where somebody else was faster, or it was given to the same user meanwhile, the next best is taken.
        now, order = order[: wanted.most - len(chosen)], order[wanted.most - len(chosen) :]
        offers = [terms.offers[rows[place]] for place in now]
        taken = state.offers.reserve_each([(offer.offer_id, offer.cost) for offer in offers], profile, wanted.holds)
        for place, offer, reservation in zip(now, offers, taken, strict=True):
            if reservation is not None:
                numbers = float(chances[place]), float(anyway[place]), float(expected[place])
                chosen.append(Chosen(offer, reservation, *numbers, again=bool(held[place])))
    return chosen


@dataclass(frozen=True)
class Bought:
    """What a user bought of each offer's items.

    Args:
        lines: float64 [num_offers], purchase lines; of an offer for everything all of them.
        last_days: float64 [num_offers], days since the last; infinity where there is none.
    """

    lines: NDArray[np.float64]
    last_days: NDArray[np.float64]

    @classmethod
    def of(cls, terms: Terms, shopping: Shopping) -> Bought:
        """Look up the offers that name what was bought."""
        size = len(terms.offers)
        lines, last = np.zeros(size), np.full(size, np.inf)
        named = [(terms.rows_of[item], item) for item in shopping.lines if item in terms.rows_of]
        if named:
            rows, times = np.concatenate([each for each, _ in named]), [len(each) for each, _ in named]
            counts = np.repeat([float(shopping.lines[item]) for _, item in named], times)
            lines += np.bincount(rows, counts, minlength=size)
            np.minimum.at(last, rows, np.repeat([shopping.last_days[item] for _, item in named], times))
        lines[terms.everything] = float(sum(shopping.lines.values()))
        last[terms.everything] = min(shopping.last_days.values(), default=np.inf)
        return cls(lines, last)


def bought_anyway(bought: Bought, terms: Terms, shopping: Shopping, now: datetime) -> NDArray[np.float64]:
    """float64 [num_offers]: the chance that a user buys an item of an offer while it runs, by their own rate so far.

    Purchases are taken as a Poisson process: ``1 - exp(-rate * days)``. An offer for everything counts all purchases.
    """
    left = (terms.ends - microseconds(now)) / (1e6 * SECONDS_A_DAY)
    chances: NDArray[np.float64] = -np.expm1(-bought.lines / max(shopping.history_days, 1.0) * np.maximum(left, 0.0))
    return chances


def _known(bought: Bought, terms: Terms, shopping: Shopping, given: int, redeemed: int) -> Known:
    count = len(terms.offers)
    return Known(
        lines=bought.lines,
        last_days=bought.last_days,
        all_lines=np.full(count, float(sum(shopping.lines.values()))),
        history_days=np.full(count, shopping.history_days),
        given=np.full(count, float(given)),
        redeemed=np.full(count, float(redeemed)),
        items=np.where(terms.everything, float(max(len(shopping.lines), 1)), terms.item_counts),
    )
