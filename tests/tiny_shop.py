"""A tiny shop: a source of half a year in which users of three tastes buy from thirty products.

``SHOPLOOM_SOURCE=tests.tiny_shop`` makes it the source of a whole run.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.pseudonyms import KeyRing
from pipelines.sources import Source
from pipelines.sources.landing import Landing, land
from pipelines.tables import EVENTS, ITEMS, OFFERS, TIMESTAMP

DEPARTMENTS = {
    "Grocery": ("Pasta sauce", "Spaghetti", "Breakfast cereal", "Ground coffee", "Black tea"),
    "Produce": ("Bananas", "Carrots", "Lettuce", "Apples", "Potatoes"),
    "Household": ("Dish soap", "Paper towels", "Laundry powder", "Sponges", "Trash bags"),
}
BRANDS = ("National", "Private")
WEEKS, VISITS_A_WEEK, USERS = 26, 2, 24
FIRST_DAY = date(2024, 1, 1)


class TinyShop(Source):
    """Every user visits twice a week and buys mostly from one department."""

    name = "tiny_shop"
    time_zone = "Europe/Berlin"
    partition = "week"

    def span(self) -> tuple[date, date]:
        return FIRST_DAY, FIRST_DAY + timedelta(days=7 * WEEKS - 1)

    def events(self, start: datetime, end: datetime) -> pa.Table:
        low, high = (pa.scalar(moment.astimezone(UTC), TIMESTAMP) for moment in (start, end))
        times = self._events["timestamp"]
        return self._events.filter(pc.and_(pc.greater_equal(times, low), pc.less(times, high)))

    def items(self) -> pa.Table:
        kinds = [(department, kind) for department, kinds in DEPARTMENTS.items() for kind in kinds]
        rows = [
            {
                "item_id": f"item-{2 * number + half:02d}",
                "title": f"{kind}, {12 + 12 * half} oz",
                "category": [department, kind],
                "brand": BRANDS[half],
                "attributes": [("package_size", f"{12 + 12 * half} oz")],
            }
            for number, (department, kind) in enumerate(kinds)
            for half in (0, 1)
        ]
        return pa.Table.from_pylist(rows, schema=ITEMS.schema)

    def offers(self) -> pa.Table:
        starts = datetime(2024, 3, 1, tzinfo=UTC)
        offer = {
            "offer_id": "spring",
            "item_ids": ["item-00", "item-07"],
            "starts": starts,
            "ends": starts + timedelta(days=14),
            "kind": "coupon",
        }
        return pa.Table.from_pylist([offer], schema=OFFERS.schema)

    @cached_property
    def _events(self) -> pa.Table:
        random = np.random.default_rng(3)
        rows = []
        for visit in range(WEEKS * VISITS_A_WEEK):
            day = FIRST_DAY + timedelta(days=7 * (visit // VISITS_A_WEEK) + 2 + 3 * (visit % VISITS_A_WEEK))
            for user in range(USERS):
                moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(minutes=user)
                liked = 10 * (user % 3) + random.choice(10, size=3, replace=False, p=_habit(user))
                basket = np.unique(np.append(liked, random.integers(30)))
                rows += [_purchase(visit, user, int(item), moment, int(random.integers(1, 4))) for item in basket]
        return pa.Table.from_pylist(rows, schema=EVENTS.schema).sort_by([("timestamp", "ascending")])


def _habit(user: int) -> np.ndarray:
    weights = 1.0 / (1 + np.roll(np.arange(10), user))
    return weights / weights.sum()


def _purchase(visit: int, user: int, item: int, moment: datetime, quantity: int) -> dict[str, object]:
    return {
        "event_id": f"{visit}-{user}-{item}",
        "user_id": f"user-{user:02d}",
        "item_id": f"item-{item:02d}",
        "event_type": "purchase",
        "timestamp": moment,
        "quantity": float(quantity),
        "price": 1.0 + item / 10,
        "session_id": f"{visit}-{user}",
        "channel": "web",
    }


def source() -> TinyShop:
    return TinyShop()


KEYS = KeyRing((b"a key of exactly thirty-two bytes"[:32],))
"""What :func:`land_tiny_shop` hashes users with."""


def land_tiny_shop(directory: Path, until: date | None = None, keys: KeyRing = KEYS) -> Landing:
    """Land the tiny shop below ``directory``."""
    return land(TinyShop(), None, until, directory, keys)
