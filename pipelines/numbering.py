"""Accepted events, cleaned and numbered out of core: memory follows a batch of partitions, never the history.

Users and sessions are numbered by their first event (time, then event id). The text of a user's id says nothing about
the order: it is a pseudonym under a key of this machine, and a model must not depend on that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import pyarrow as pa
from ibis import _

from pipelines import out_of_core
from pipelines.artifacts import parquet_file

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend
    from ibis.expr.types import Table


class Events:
    """The accepted events that count, with dense users, items and sessions.

    Users and sessions are numbered at once, in one pass over a few columns. An event id is there once: ``validate`` saw
    to it, over all partitions.

    Args:
        connection: where the numbers of users and sessions are kept.
        paths: a partition each, oldest first; the place in the list is the week. A row's time lies in its partition.
        items: ``item`` and ``item_id`` of the catalogue; an event of another item is left out.
        event_types: the others are left out.
    """

    def __init__(self, connection: Backend, paths: Sequence[Path], items: pa.Table, event_types: Sequence[str]) -> None:
        self._connection = connection
        self._paths = tuple(path.absolute() for path in paths)
        self._items = connection.create_table("items", ibis.memtable(items), temp=True)
        self._types = tuple(event_types)
        rows = self._clean(range(len(paths)))
        by_user = rows.group_by("user_id").agg(first=_first_event(rows))
        by_session = rows.group_by("session_key").agg(
            first=_first_event(rows), first_week=rows.week.min(), last_week=rows.week.max()
        )
        self._users = connection.create_table("users", _numbered(by_user, "user"), temp=True)
        self._sessions = connection.create_table("sessions", _numbered(by_session, "session"), temp=True)

    def users(self) -> pa.Table:
        """``user`` and ``user_id``, ordered by ``user``."""
        return self._connection.to_pyarrow(self._users.order_by("user").select("user", "user_id"))

    def batches(self) -> Iterator[pa.Table]:
        """``user, item, event_type, timestamp, week, quantity, price, session``, ordered by time, user, item, session,
        event id; in batches of whole partitions."""
        for weeks in self._batches_of_weeks():
            sessions = self._sessions.filter(_.first_week <= weeks[-1], _.last_week >= weeks[0])
            joined = self._clean(weeks).join(self._users, "user_id").join(sessions, "session_key")
            ordered = joined.order_by(["week", "timestamp", "user", "item", "session", "event_id"])
            columns = ["user", "item", "event_type", "timestamp", "week", "quantity", "price", "session"]
            yield self._connection.to_pyarrow(ordered.select(columns))

    def _batches_of_weeks(self) -> Iterator[range]:
        start, rows = 0, 0
        for week, path in enumerate(self._paths):
            more = parquet_file(path).metadata.num_rows
            if week > start and rows + more > out_of_core.ROWS_AT_ONCE:
                yield range(start, week)
                start, rows = week, 0
            rows += more
        yield range(start, len(self._paths))

    def _clean(self, weeks: range) -> Table:
        """Events of a type that counts that name an item of the catalogue."""
        names = [str(self._paths[week]) for week in weeks]
        week_of = ibis.memtable(pa.table({"filename": names, "week": pa.array(weeks, pa.int16())}))
        raw = self._connection.read_parquet(names, filename=True).join(week_of, "filename")
        known = raw.filter(_.event_type.isin(self._types)).join(self._items, "item_id")
        columns = ["event_id", "user_id", "item", "event_type", "timestamp", "week", "price", "quantity", "session_id"]
        rows = known.select(columns).mutate(quantity=_.quantity.fill_null(1.0))
        visit = ibis.literal("week/").concat(rows.week.cast("string"), "/", rows.user_id)
        key = ibis.coalesce(ibis.literal("session/").concat(rows.session_id), visit)
        return rows.mutate(session_key=key).drop("session_id")


def _first_event(rows: Table) -> ibis.Value:
    return ibis.struct({"timestamp": rows.timestamp, "event_id": rows.event_id}).min()


def _numbered(groups: Table, number: str) -> Table:
    """Number groups by their first event, from 0."""
    place = ibis.row_number().over(ibis.window(order_by="first"))
    return groups.mutate(**{number: place.cast("int32")}).drop("first")
