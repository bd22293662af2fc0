"""The terms of all offers, side by side: the same for every shopper, and read again when they may have changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.state.offer_records import Offer
from pipelines.serving.state.schema import microseconds


@dataclass(frozen=True)
class Terms:
    """Offers in the order of their ids; arrays have an entry for each.

    Args:
        offers: all there are.
    """

    offers: tuple[Offer, ...]

    @classmethod
    def of(cls, offers: Sequence[Offer]) -> Terms:
        """Put offers in order."""
        return cls(tuple(sorted(offers, key=lambda offer: offer.offer_id)))

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of every offer."""
        return {offer.offer_id: row for row, offer in enumerate(self.offers)}

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Microseconds, as the tables hold them."""
        return np.array([microseconds(offer.starts) for offer in self.offers], np.int64)

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """The same of when they end."""
        return np.array([microseconds(offer.ends) for offer in self.offers], np.int64)

    @cached_property
    def money(self) -> NDArray[np.float64]:
        """float64 [2, num_offers]: costs and values."""
        return np.array([[offer.cost, offer.value] for offer in self.offers], np.float64).reshape(-1, 2).T

    @cached_property
    def everything(self) -> NDArray[np.bool_]:
        """Which are for everything."""
        return np.array([not offer.item_ids for offer in self.offers], bool)

    @cached_property
    def item_counts(self) -> NDArray[np.float64]:
        """How many items they name; 0 of those that are for everything."""
        return np.array([len(offer.item_ids) for offer in self.offers], np.float64)

    @cached_property
    def limited(self) -> tuple[int, ...]:
        """Rows of those that not everybody may have."""
        return tuple(row for row, offer in enumerate(self.offers) if offer.audience is not None or offer.cap == 0)

    @cached_property
    def rows_of(self) -> dict[str, NDArray[np.intp]]:
        """The rows of the offers that name an item, by item."""
        found: dict[str, list[int]] = {}
        for row, offer in enumerate(self.offers):
            for item in offer.items:
                found.setdefault(item, []).append(row)
        return {item: np.array(rows, np.intp) for item, rows in found.items()}

    def about(self, items: Collection[str]) -> NDArray[np.bool_]:
        """Which are for one of some items; without items all are, and those for everything always."""
        if not items:
            return np.ones(len(self.offers), bool)
        found = self.everything.copy()
        for item in items:
            found[self.rows_of.get(item, [])] = True
        return found


@dataclass(frozen=True)
class Open:
    """Offers that a profile can have now.

    Args:
        terms: of all offers.
        rows: int [num_open], ascending.
        held: bool [num_open], whether the profile holds a part of it.
    """

    terms: Terms
    rows: NDArray[np.intp]
    held: NDArray[np.bool_]

    @property
    def offers(self) -> list[Offer]:
        """Those that are open, by id."""
        return [self.terms.offers[row] for row in self.rows.tolist()]
