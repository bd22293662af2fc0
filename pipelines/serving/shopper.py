"""Whom an answer is for: who they are to the model, and what they did since it was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipelines.models.base import Histories

Kind = Literal["view", "cart", "purchase", "like", "dislike"]
INTEREST = {"view": 0.4, "cart": 0.9, "like": 1.0, "purchase": 0.3}
"""How much an event says of what the shopper wants now."""
HALF_LIFE_DAYS = 1.0
"""Age at which an event says half of it."""
FADING = 0.8
"""An event counts this share of the next one of the same session."""
LEAST_INTEREST = 0.02
"""Less says nothing."""
LONGEST_MEMORY = 30
"""Newest events that shape a session."""


@dataclass(frozen=True)
class Deed:
    """What a shopper did with an item.

    Args:
        item: dense id.
        kind: what it was.
        age_days: between then and now; >= 0.
        quantity: of a purchase.
    """

    item: int
    kind: Kind
    age_days: float = 0.0
    quantity: float = 1.0


@dataclass(frozen=True)
class Shopper:
    """Whom to answer.

    Args:
        user: row among the model's known users; None for a user it does not know.
        purchases: since the model was trained, oldest first.
        interests: what the session says, dense id to weight within 0..1.
        disliked: dense ids.
        cart: dense ids, as put in.
        offers: what the shopper holds an offer for: dense id to offer id.
    """

    user: int | None = None
    purchases: tuple[Deed, ...] = ()
    interests: dict[int, float] = field(default_factory=dict)
    disliked: frozenset[int] = frozenset()
    cart: tuple[int, ...] = ()
    offers: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        user: int | None,
        deeds: Iterable[Deed],
        cart: tuple[int, ...] = (),
        offers: Mapping[int, str] | None = None,
    ) -> Shopper:
        """Sum up deeds, oldest first: of one item the last opinion counts, a like takes a dislike back."""
        done = list(deeds)
        disliked: set[int] = set()
        for deed in done:
            if deed.kind == "dislike":
                disliked.add(deed.item)
            elif deed.kind == "like":
                disliked.discard(deed.item)
        interests: dict[int, float] = {}
        for place, deed in enumerate(reversed(done[-LONGEST_MEMORY:])):
            weight = INTEREST.get(deed.kind, 0.0) * FADING**place * 0.5 ** (deed.age_days / HALF_LIFE_DAYS)
            if deed.item not in disliked and weight > max(LEAST_INTEREST, interests.get(deed.item, 0.0)):
                interests[deed.item] = weight
        for item in cart:
            interests[item] = max(interests.get(item, 0.0), INTEREST["cart"])
        bought = tuple(deed for deed in done if deed.kind == "purchase")
        return cls(user, bought, interests, frozenset(disliked), cart, offers or {})

    @property
    def known(self) -> bool:
        """Whether there is a purchase to go by."""
        return self.user is not None or bool(self.purchases)

    def history(self, before: Histories) -> Histories:
        """The purchases that the model knew, and those since; the model's moment counts as now for the former.

        Args:
            before: of the one user; without events for a user whom the model does not know.
        """
        if not self.purchases:
            return before
        ages = np.array([deed.age_days for deed in self.purchases], np.float32)
        order = np.argsort(-ages, kind="stable")
        new = [self.purchases[row] for row in order]
        return Histories(
            indptr=np.array([0, len(before.items) + len(new)], np.int64),
            items=np.concatenate([before.items, np.array([deed.item for deed in new], np.int32)]),
            ages=np.concatenate([before.ages, np.minimum(ages[order], before.ages.min(initial=np.float32(1e6)))]),
            quantities=np.concatenate([before.quantities, np.array([deed.quantity for deed in new], np.float32)]),
            num_items=before.num_items,
        )
