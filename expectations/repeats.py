"""Event ids that are there more than once, over all partitions, found out of core."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

import ibis
import numpy as np
import pyarrow as pa

from expectations import frames
from expectations.shape import Raw
from expectations.sorting import Reasons, mask_of
from pipelines.out_of_core import out_of_core

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IDS = "ids"


class Repeats:
    """A hash of every event id, on disk; a context manager.

    Only the ids of rows whose hash is there more than once are compared themselves.
    """

    def __init__(self) -> None:
        self._partitions: list[str] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._connection = self._stack.enter_context(out_of_core("validate"))
        columns = {"part": "int32", "place": "int64", "hash": "int64"}
        self._connection.create_table(_IDS, schema=ibis.schema(columns), temp=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def add(self, partition: str, raw: Raw) -> None:
        """Note the ids of a partition."""
        num_rows = raw.rows.num_rows
        ids = pa.table(
            {
                "part": pa.array(np.full(num_rows, len(self._partitions), np.int32)),
                "place": pa.array(np.arange(num_rows)),
                "event_id": raw.rows["event_id"],
            }
        )
        self._partitions.append(partition)
        rows = ibis.memtable(ids).filter(ibis._.event_id.notnull())
        self._connection.insert(_IDS, rows.select("part", "place", hash=ibis._.event_id.hash()))

    def found(self, raw: Mapping[str, Raw], by_row: Mapping[str, Reasons]) -> dict[str, NDArray[np.int64]]:
        """Positions of the rows whose id another row keeps, ascending, by partition; see ``frames.first_of_id``.

        Args:
            raw: the partitions.
            by_row: rows that are refused already.
        """
        ids = self._connection.table(_IDS)
        counted = ids.group_by("hash").agg(times=ids.count())
        twice = counted.filter(counted.times > 1).select("hash")
        rows = self._connection.to_pyarrow(ids.semi_join(twice, "hash").select("part", "place"))
        parts, places = (rows[name].to_numpy() for name in ("part", "place"))
        order = np.lexsort((places, parts))
        parts, places = parts[order], places[order]
        names, refused, landed = [], [], []
        for part in np.unique(parts):
            name, own = self._partitions[part], places[parts == part]
            names.append(raw[name].rows["event_id"].take(pa.array(own)))
            refused.append(mask_of(by_row[name].values(), raw[name].rows.num_rows)[own])
            landed.append(frames.landed_order(name, raw[name])[own])
        if not names:
            return {}
        texts = pa.chunked_array([chunk for name in names for chunk in name.chunks], pa.string())
        later = ~frames.first_of_id(texts, np.concatenate(refused), np.concatenate(landed))
        return {self._partitions[part]: places[later & (parts == part)] for part in np.unique(parts[later])}
