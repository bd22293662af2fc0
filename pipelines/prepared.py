"""What ``prepare`` wrote, as the arrays that models read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import read_json, read_table
from pipelines.errors import DataError
from pipelines.models.base import Histories

PREPARED = Path("data/prepared")


@dataclass(frozen=True)
class Space:
    """The dense ids, and where the windows start.

    Args:
        num_users: users have ids 0..num_users - 1.
        num_items: items have ids 0..num_items - 1.
        validation_starts: days since the epoch, UTC.
        test_starts: days since the epoch, UTC.
        test_ends: days since the epoch, UTC.
    """

    num_users: int
    num_items: int
    validation_starts: float
    test_starts: float
    test_ends: float


@dataclass(frozen=True)
class Events:
    """Purchases, a row each.

    Args:
        users: int32 [num_events].
        items: int32 [num_events].
        days: float64 [num_events], days since the epoch, UTC.
        quantities: float32 [num_events].
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    days: NDArray[np.float64]
    quantities: NDArray[np.float32]

    def histories(self, space: Space, as_of: float) -> Histories:
        """Group by user, with ages at ``as_of``."""
        return Histories.from_events(
            self.users,
            self.items,
            self.days,
            self.quantities,
            num_users=space.num_users,
            num_items=space.num_items,
            as_of=as_of,
        )

    def between(self, start: float, stop: float) -> Events:
        """The events of ``start <= days < stop``."""
        rows = (self.days >= start) & (self.days < stop)
        return Events(self.users[rows], self.items[rows], self.days[rows], self.quantities[rows])

    def keys(self, space: Space) -> NDArray[np.int64]:
        """int64, ascending and distinct: ``user * num_items + item``."""
        return np.unique(self.users.astype(np.int64) * space.num_items + self.items)


def read_space(prepared: Path = PREPARED) -> Space:
    """Read the sizes of the id spaces and the windows' bounds.

    Raises:
        DataError: a file is missing, or ``split.json`` lacks a bound.
    """
    split = read_json(prepared / "split.json")
    try:
        bounds = [float(split[name]) for name in ("validation_starts", "test_starts", "test_ends")]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{prepared / 'split.json'} lacks {error}", mend="SHOPLOOM_NO_CACHE=1 shoploom run") from error
    users = read_table(prepared / "users.parquet", ["user"]).num_rows
    items = read_table(prepared / "items.parquet", ["item"]).num_rows
    return Space(users, items, *bounds)


def read_histories(before: Literal["validation", "test"], space: Space, prepared: Path = PREPARED) -> Histories:
    """Every user's purchases before a window, read at the moment that it starts."""
    if before == "validation":
        return read_events(["history"], prepared).histories(space, space.validation_starts)
    return read_events(["history", "validation"], prepared).histories(space, space.test_starts)


def read_events(parts: Sequence[str], prepared: Path = PREPARED) -> Events:
    """Read the rows of one or more parts: ``history``, ``validation``, ``test``."""
    import pyarrow as pa

    columns = ["user", "item", "days", "quantity"]
    table = pa.concat_tables([read_table(prepared / f"{part}.parquet", columns) for part in parts])
    kinds = (np.int32, np.int32, np.float64, np.float32)
    arrays = [table[name].to_numpy().astype(kind) for name, kind in zip(columns, kinds, strict=True)]
    return Events(*arrays)
