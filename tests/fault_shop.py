"""A shop of some 2,500 events a week with habits: weekdays, hours, departments, prices. Faults are tried on it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from pipelines.artifacts import write_table
from pipelines.sources.calendars import partition_of, zone_metadata
from pipelines.tables import EVENTS, ITEMS

ZONE = "Europe/Berlin"
FIRST_DAY = date(2024, 1, 1)
USERS, ITEMS_SOLD, DEPARTMENTS = 300, 240, 8
DAYS = np.array([0.8, 0.9, 0.9, 1.0, 1.3, 1.6, 0.6])
HOURS = np.array([1, 0, 0, 0, 0, 1, 3, 8, 14, 20, 22, 24, 25, 22, 20, 22, 28, 36, 38, 30, 20, 12, 6, 3], np.float64)


def land_fault_shop(directory: Path, weeks: int = 14, seed: int = 5) -> None:
    """Write weeks of the shop below ``directory``, as landing does."""
    random = np.random.default_rng(seed)
    metadata = zone_metadata(ZONE)
    taste = random.dirichlet(np.full(DEPARTMENTS, 0.5), USERS)
    popularity = 1.0 / (1 + random.permutation(ITEMS_SOLD))
    prices = np.round(np.exp(random.normal(1.2, 0.8, ITEMS_SOLD)), 2)
    department = np.arange(ITEMS_SOLD) % DEPARTMENTS
    chances = [popularity * (department == one) for one in range(DEPARTMENTS)]
    for week in range(weeks):
        monday = FIRST_DAY + timedelta(days=7 * week)
        rows = []
        for day in range(7):
            for _ in range(random.poisson(350 * DAYS[day])):
                user = int(random.integers(USERS))
                kind = int(random.choice(DEPARTMENTS, p=taste[user]))
                item = int(random.choice(ITEMS_SOLD, p=chances[kind] / chances[kind].sum()))
                hour = int(random.choice(24, p=HOURS / HOURS.sum()))
                local = datetime.combine(monday + timedelta(days=day), datetime.min.time(), ZoneInfo(ZONE))
                moment = (local + timedelta(hours=hour, seconds=float(random.uniform(0, 3600)))).astimezone(UTC)
                offer = 0.9 if random.random() < 0.1 else 1.0
                rows.append(_event(week, len(rows), user, item, moment, float(prices[item] * offer), random))
        table = pa.Table.from_pylist(rows, schema=EVENTS.schema).sort_by("timestamp")
        write_table(
            table.replace_schema_metadata(metadata), directory / f"events/{partition_of(monday, 'week').name}.parquet"
        )
    items = [
        {
            "item_id": f"item-{item}",
            "title": f"Product {item} of the shelf {item % 17}",
            "category": [f"Department {item % DEPARTMENTS}", f"Shelf {item % 17}"],
            "brand": f"Brand {item % 11}",
        }
        for item in range(ITEMS_SOLD + 60)
    ]
    write_table(
        pa.Table.from_pylist(items, schema=ITEMS.schema).replace_schema_metadata(metadata),
        directory / "items/items.parquet",
    )


def _event(
    week: int, number: int, user: int, item: int, moment: datetime, price: float, random: np.random.Generator
) -> dict[str, object]:
    return {
        "event_id": f"{week}-{number}",
        "user_id": f"user-{user}",
        "item_id": f"item-{item}",
        "event_type": "purchase",
        "timestamp": moment,
        "quantity": float(1 + random.poisson(0.3)),
        "price": price,
        "session_id": f"{week}-{user}",
        "channel": "web" if random.random() < 0.7 else "app",
    }
