"""What shoppers did: appended, never changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, insert, select

from pipelines.errors import DataError
from pipelines.serving.state.core import Core
from pipelines.serving.state.errors import ConflictError, in_our_words
from pipelines.serving.state.export import landed
from pipelines.serving.state.identities import identities_of
from pipelines.serving.state.records import Event, Receipt, Row
from pipelines.serving.state.redeeming import redeem_bought, redeemed_by
from pipelines.serving.state.schema import EVENTS, microseconds, moment

if TYPE_CHECKING:
    import pyarrow as pa

SKEW = timedelta(minutes=5)
"""How far a sender's clock may run ahead of ours."""
LATE_DAYS = 7
"""How long after its time an event may come."""

_CONTENT = [column.name for column in EVENTS.columns if column.name not in ("sequence", "received")]
_CHUNK = 500


class Events:
    """The table of events.

    Args:
        core: what the state stands on.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def append(self, events: Sequence[Event]) -> list[Receipt]:
        """Store events, all or none, and redeem what is held for what was bought; returns when that is durable.

        Args:
            events: in the order they came; the same one again is no error and gives the same receipt.

        Returns:
            A receipt for each, in that order.

        Raises:
            ConflictError: an id is stored with other content; the message names both.
            DataError: an event lies in the future, or over ``LATE_DAYS`` back.
            StateError: the database cannot take them; none is stored.
        """
        return self.submit(events).result()

    def submit(self, events: Sequence[Event]) -> Future[list[Receipt]]:
        """What :meth:`append` does, without waiting: the result comes when the events are durable."""
        now = self._core.clock()
        for event in events:
            if event.timestamp > now + SKEW:
                raise DataError(
                    f"event {event.event_id!r} happens at {event.timestamp}, and it is {now:%Y-%m-%dT%H:%M:%SZ} here",
                    mend="set the sender's clock",
                )
            if event.timestamp < now - timedelta(days=LATE_DAYS):
                raise DataError(
                    f"event {event.event_id!r} happened at {event.timestamp}",
                    mend=f"send events within {LATE_DAYS} days; older ones belong into the shop's own source",
                )
        rows = [_row(event) for event in events]
        return self._core.writer.submit(_append, (microseconds(now), rows), len(events))

    def of(self, profile: str, limit: int = 1_000) -> list[Event]:
        """The newest events of everything that is linked with a profile, oldest of them first.

        Args:
            profile: as ``identities.profile_of`` gives it.
            limit: how many at most.

        Raises:
            StateError: the database cannot be read.
        """
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            who = identities_of(connection, profile)
            newest = (
                select(*(EVENTS.c[name] for name in _CONTENT))
                .where(EVENTS.c.identity.in_(who))
                .order_by(EVENTS.c.happened.desc(), EVENTS.c.sequence.desc())
                .limit(limit)
            )
            rows = connection.execute(newest).mappings().all()
        return [_event(dict(row)) for row in reversed(rows)]

    def landed(self, since: datetime, until: datetime) -> pa.Table:
        """What was received of an interval, as rows of the platform's events; see :func:`export.landed`."""
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            return landed(connection, since, until)

    def get(self, event_ids: Iterable[str]) -> dict[str, Event]:
        """Events by their ids; unknown ones are left out."""
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            return {name: _event(row) for name, row in _stored(connection, list(event_ids)).items()}


def _append(connection: Connection, batches: Sequence[tuple[int, Sequence[Row]]]) -> list[list[Receipt] | Exception]:
    """Write several requests' events with one statement; a request with a conflict is refused whole."""
    known = _stored(connection, [row["event_id"] for _, rows in batches for row in rows])
    before = [name for name, row in known.items() if row["event_type"] == "purchase"]
    received = _received(connection, max(now for now, _ in batches))
    fresh: list[Row] = []
    outcomes: list[list[Receipt] | Exception] = []
    for _, rows in batches:
        mine: dict[str, Row] = {}
        receipts: list[Receipt] = []
        try:
            for row in rows:
                there = mine.get(row["event_id"]) or known.get(row["event_id"])
                if there is None:
                    mine[row["event_id"]] = {name: row[name] for name in _CONTENT} | {"received": received}
                    receipts.append(Receipt(row["event_id"], moment(received)))
                else:
                    _check_same(there, row)
                    receipts.append(Receipt(row["event_id"], moment(there["received"]), repeated=True))
        except ConflictError as error:
            outcomes.append(error)
            continue
        known |= mine
        fresh.extend(mine.values())
        outcomes.append(receipts)
    if fresh:
        connection.execute(insert(EVENTS), fresh)
    offers = redeemed_by(connection, before)
    offers |= redeem_bought(connection, [row for row in fresh if row["event_type"] == "purchase"], received)
    if not offers:
        return outcomes
    return [
        each if isinstance(each, Exception) else [replace(one, offer=offers.get(one.event_id)) for one in each]
        for each in outcomes
    ]


def _received(connection: Connection, now: int) -> int:
    """Now, but never before what was received last: the clock may be set back."""
    last = connection.execute(select(func.max(EVENTS.c.received))).scalar()
    return max(now, last or 0)


def _stored(connection: Connection, ids: Sequence[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for start in range(0, len(ids), _CHUNK):
        query = select(EVENTS).where(EVENTS.c.event_id.in_(ids[start : start + _CHUNK]))
        found.update((row["event_id"], dict(row)) for row in connection.execute(query).mappings())
    return found


def _check_same(stored: Row, sent: Row) -> None:
    told = [name for name in _CONTENT if name != "happened" or not sent["undated"]]
    differ = [name for name in told if stored[name] != sent[name]]
    if differ:
        there, here = ({name: _plain(name, row[name]) for name in differ} for row in (stored, sent))
        raise ConflictError(
            f"event {sent['event_id']!r} is stored with {there} and was sent with {here}",
            mend="give another event an id of its own",
        )


def _plain(name: str, value: object) -> object:
    return str(moment(value)) if name == "happened" and isinstance(value, int) else value


def _row(event: Event) -> Row:
    row = asdict(event)
    return {**row, "happened": microseconds(row.pop("timestamp"))}


def _event(row: Row) -> Event:
    row = {name: row[name] for name in _CONTENT}
    return Event(timestamp=moment(row.pop("happened")), **row)
