"""What the server was told, beside another source: ``SHOPLOOM_SOURCE=serving_events:complete_journey``.

Items, users, offers, judgements, the calendar and the older events are the other source's. The server's events come
from its state (``SHOPLOOM_STATE_URL``), which is read and never written, by the time at which they were received: an
interval that is over brings the same rows whenever it is landed. A late one lands in the partition of its own time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING

from pipelines.errors import ConfigError
from pipelines.pseudonyms import key_of, open_ring
from pipelines.serving.state.database import Database
from pipelines.serving.state.errors import in_our_words
from pipelines.serving.state.events import LATE_DAYS
from pipelines.serving.state.export import landed, received_any, received_span
from pipelines.serving.state.migrate import check_readable
from pipelines.settings import Settings
from pipelines.sources import Source, load_source
from pipelines.sources.calendars import Partition, zone

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection

    from expectations.contract import Check
    from pipelines.sources.raw_files import RawFile

SETTING = "name the source of the catalogue too: export SHOPLOOM_SOURCE=serving_events:complete_journey"


class ServingEvents(Source):
    """The server's events and another source's rows.

    Args:
        base: the other source.
        settings: where the state and the key ring are.
    """

    def __init__(self, base: Source, settings: Settings) -> None:
        self._base = base
        self._settings = settings
        self.name = f"serving_events:{base.name}"
        self.time_zone = base.time_zone
        self.partition = base.partition
        self.late_days = max(base.late_days, LATE_DAYS)

    def expect(self, start: date | None, end: date | None) -> None:
        """The other source hears of it."""
        self._base.expect(start, end)

    def span(self) -> tuple[date, date]:
        """From the first day of either to the last."""
        first, last = self._base.span()
        with self._state() as connection:
            received = received_span(connection)
        if received is None:
            return first, last
        local = [moment.astimezone(zone(self.time_zone)).date() for moment in received]
        return min(first, local[0]), max(last, local[1])

    def events(self, start: datetime, end: datetime) -> pa.Table:
        """What either brought of an interval; users of both are pseudonyms under the state's key."""
        import pyarrow as pa

        with self._state() as connection:
            ours = landed(connection, start, end)
        base = self._base.events(start, end)
        if not (key := key_of(ours.schema)):
            return base
        theirs = open_ring(self._settings.home).through(key).table(base)
        ours = ours.replace_schema_metadata(theirs.schema.metadata)
        rows = pa.concat_tables([theirs, ours], promote_options="permissive")
        return rows.sort_by([("timestamp", "ascending"), ("event_id", "ascending")])

    def has_events(self, partition: Partition) -> bool:
        """Whether either has events of it."""
        first, last = self._base.span()
        if first <= partition.last_day and partition.first_day <= last and self._base.has_events(partition):
            return True
        with self._state() as connection:
            return received_any(connection, partition.starts(self.time_zone), partition.ends(self.time_zone))

    def items(self) -> pa.Table:
        """The other source's."""
        return self._base.items()

    def offers(self) -> pa.Table:
        """The other source's."""
        return self._base.offers()

    def users(self) -> pa.Table:
        """The other source's."""
        return self._base.users()

    def judgements(self) -> pa.Table:
        """The other source's."""
        return self._base.judgements()

    def unplaced(self) -> pa.Table:
        """The other source's."""
        return self._base.unplaced()

    def files(self, table: str, partition: Partition | None = None) -> Sequence[RawFile]:
        """The other source's: what the server was told lies in no file."""
        return self._base.files(table, partition)

    def checks(self) -> Mapping[str, tuple[Check, ...]]:
        """The other source's."""
        return self._base.checks()

    @contextmanager
    def _state(self) -> Iterator[Connection]:
        database = Database(self._settings.serving_state, read_only=True)
        try:
            check_readable(database)
            with in_our_words(database.place), database.snapshot() as connection:
                yield connection
        finally:
            database.close()


def source(base: str) -> ServingEvents:
    """The server's events beside the source of that name.

    Raises:
        ConfigError: there is no such source, or it is this one.
    """
    if base.partition(":")[0] == "serving_events":
        raise ConfigError("serving_events cannot stand beside itself", mend=SETTING)
    return ServingEvents(load_source(base), Settings())
