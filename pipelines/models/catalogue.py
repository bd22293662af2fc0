"""The shop as a packaged model knows it: its items and known users, by name and by dense id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.artifacts import parquet_file, read_table, write_arrays, write_table
from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN, ByUser, Histories
from pipelines.models.files import model_errors, read_required
from pipelines.pseudonyms import key_metadata, key_of

NAMED_COLUMNS = ("item_id", "title", "department", "product_type", "brand", "size")
DETAIL_COLUMNS = ("category", "price", "attributes")
"""Packages made before there were such columns load all the same, and know none of this of any item."""
ITEM_COLUMNS = (*NAMED_COLUMNS, *DETAIL_COLUMNS)
ITEMS_FILE = "items.parquet"
USERS_FILE = "users.parquet"
PURCHASES_FILE = "histories.safetensors"
AT_ONCE = 1000
"""Nested values that are turned into Python's at once."""
PURCHASE_ARRAYS = ("indptr", "items", "ages", "quantities")


@dataclass(frozen=True)
class NamedHistories(ByUser):
    """Purchases of many users by item id, as one package hands them to another with an item space of its own.

    Args:
        indptr: int64 [num_users + 1], see :class:`ByUser`.
        item_ids: str [num_events], ids as the shop spells them (NumPy unicode or object).
        days: float64 [num_events], days since the epoch, UTC.
        quantities: float32 [num_events], > 0.
        as_of: days since the epoch, UTC, at which the histories are read; no event is later.
    """

    item_ids: NDArray[np.str_]
    days: NDArray[np.float64]
    quantities: NDArray[np.float32]
    as_of: float


@dataclass(frozen=True)
class Catalogue:
    """Items and known users.

    Args:
        items: the columns ``ITEM_COLUMNS``, as ``prepare`` writes them; the row number is the dense id.
        user_ids: known users; the position is the dense id.
        histories: what they bought before the test window.
        user_key: id of the key that ``user_ids`` are pseudonyms under; empty where they are the shop's own ids.
    """

    items: pa.Table
    user_ids: tuple[str, ...]
    histories: Histories
    user_key: str = ""

    @property
    def num_items(self) -> int:
        return int(self.items.num_rows)

    @cached_property
    def item_ids(self) -> NDArray[np.str_]:
        """str [num_items]."""
        ids: NDArray[np.str_] = np.array(self.items["item_id"].to_pylist(), dtype=np.str_)
        return ids

    @cached_property
    def titles(self) -> list[str]:
        titles: list[str] = self.items["title"].to_pylist()
        return titles

    @cached_property
    def prices(self) -> NDArray[np.float64]:
        """float64 [num_items]: in the shop's currency; NaN where the price is not known."""
        if "price" not in self.items.column_names:
            return np.full(self.num_items, np.nan)
        prices: NDArray[np.float64] = self.items["price"].to_numpy().astype(np.float64)
        return prices

    @cached_property
    def categories(self) -> list[tuple[str, ...]]:
        """The category path of every item, the widest level first; empty where it has none."""
        if "category" in self.items.column_names:
            return [tuple(path or ()) for path in _values(self.items["category"])]
        ends = zip(self.items["department"].to_pylist(), self.items["product_type"].to_pylist(), strict=True)
        return [tuple(dict.fromkeys(level for level in pair if level)) for pair in ends]

    @cached_property
    def attributes(self) -> list[dict[str, str]]:
        """What the shop says of every item besides, by name."""
        if "attributes" not in self.items.column_names:
            return [{}] * self.num_items
        return [dict(pairs or ()) for pairs in _values(self.items["attributes"])]

    @cached_property
    def item_rows(self) -> dict[str, int]:
        """Dense id of every item id."""
        return {str(item_id): row for row, item_id in enumerate(self.item_ids)}

    @cached_property
    def user_rows(self) -> dict[str, int]:
        """Dense id of every user id."""
        return {user_id: row for row, user_id in enumerate(self.user_ids)}

    def history(self, user_id: str) -> Histories:
        """The history of one known user.

        Raises:
            ModelError: the user is not known.
        """
        row = self.user_rows.get(user_id)
        if row is None:
            # Neither this id nor one near to it: an answer may be logged, and other users' ids are nobody's business.
            raise ModelError(
                "this user is not known to the model",
                mend="it knows the users with an event before its test window: check the id",
            )
        return self.histories.take(row, row + 1)

    def rows_of(self, item_ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int32]:
        """int32 [len(item_ids)]: dense ids, -1 for an item that is not known."""
        rows = self.item_rows
        return np.fromiter((rows.get(str(name), -1) for name in item_ids), np.int32, len(item_ids))

    def dense(self, named: NamedHistories) -> Histories:
        """Histories in this item space; events of unknown items are left out.

        Raises:
            DataError: an event lies after ``named.as_of``.
        """
        users = named.users_of_events()
        names, inverse = np.unique(named.item_ids, return_inverse=True)
        items = self.rows_of(names)[inverse] if len(names) else np.zeros(0, np.int32)
        known = items >= 0
        return Histories.from_events(
            users[known],
            items[known],
            named.days[known],
            named.quantities[known],
            num_users=named.num_users,
            num_items=self.num_items,
            as_of=named.as_of,
        )

    def named(self, histories: Histories, as_of: float) -> NamedHistories:
        """The inverse of :meth:`dense`, for histories of this item space read at ``as_of``."""
        return NamedHistories(
            indptr=histories.indptr,
            item_ids=self.item_ids[histories.items],
            days=as_of - histories.ages.astype(np.float64),
            quantities=histories.quantities,
            as_of=as_of,
        )

    def save(self, directory: Path) -> None:
        """Write items, users and histories into ``directory``."""
        write_table(self.items.select(_kept(self.items.column_names)), directory / ITEMS_FILE)
        users = pa.table({"user_id": pa.array(self.user_ids, pa.string())}).replace_schema_metadata(
            key_metadata(self.user_key)
        )
        write_table(users, directory / USERS_FILE)
        arrays = {name: getattr(self.histories, name) for name in PURCHASE_ARRAYS}
        write_arrays(arrays, directory / PURCHASES_FILE)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: a file is missing or unreadable, or the parts do not fit together.
        """
        with model_errors():
            items = read_table(directory / ITEMS_FILE, _kept(parquet_file(directory / ITEMS_FILE).schema_arrow.names))
            named = read_table(directory / USERS_FILE, ["user_id"])
        users = tuple(named["user_id"].to_pylist())
        arrays = read_required(directory / PURCHASES_FILE, PURCHASE_ARRAYS)
        histories = Histories(num_items=items.num_rows, **{name: arrays[name] for name in PURCHASE_ARRAYS})
        if histories.num_users != len(users) or int(histories.items.max(initial=-1)) >= items.num_rows:
            raise ModelError(f"{directory}: histories, users and items do not fit together", mend=MADE_AGAIN)
        return cls(items, users, histories, key_of(named.schema))


def _values(column: pa.ChunkedArray) -> Iterator[Any]:
    """A column's values, a piece at a time: one call for all would hold up every other thread for as long."""
    for start in range(0, len(column), AT_ONCE):
        yield from column.slice(start, AT_ONCE).to_pylist()


def _kept(names: Sequence[str]) -> list[str]:
    """The columns that a package keeps, of those that there are."""
    return [*NAMED_COLUMNS, *(name for name in DETAIL_COLUMNS if name in names)]
