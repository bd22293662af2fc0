"""The way back: what the server took in, as rows of the platform's tables."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from pipelines.pseudonyms import key_metadata
from pipelines.serving.state.identities import profiles_at
from pipelines.serving.state.rekey import user_key
from pipelines.serving.state.schema import EVENTS, microseconds, moment
from pipelines.tables import EVENTS as LANDED

if TYPE_CHECKING:
    import pyarrow as pa

_SAME = ("event_id", "item_id", "event_type", "quantity", "price", "session_id", "channel", "query")


def landed(connection: Connection, since: datetime, until: datetime) -> pa.Table:
    """Events that were received in ``since <= received < until``, in the events schema, ordered by time and id.

    An interval that is over gives the same rows for ever: who a device belonged to is read as of its end, and no event
    is received before another that was. ``user_id`` and ``device_id`` are pseudonyms, and the schema's metadata names
    the key. A time after the receipt, by a sender's clock that ran ahead, becomes that of the receipt.
    """
    import pyarrow as pa

    low, high = microseconds(since), microseconds(until)
    query = select(EVENTS).where(EVENTS.c.received >= low, EVENTS.c.received < high)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    profiles = profiles_at(connection, {row["identity"] for row in rows}, high)
    given = [
        {
            **{name: row[name] for name in _SAME},
            "user_id": profiles[row["identity"]],
            "device_id": row["device"],
            "timestamp": moment(min(row["happened"], row["received"])),
        }
        for row in rows
    ]
    table = pa.Table.from_pylist(given, schema=LANDED.schema)
    ordered = table.sort_by([("timestamp", "ascending"), ("event_id", "ascending")])
    return ordered.replace_schema_metadata(key_metadata(user_key(connection)))


def received_span(connection: Connection) -> tuple[datetime, datetime] | None:
    """When the first and the last event were received; None where there is none."""
    first, last = connection.execute(select(func.min(EVENTS.c.received), func.max(EVENTS.c.received))).one()
    return None if first is None else (moment(first), moment(last))


def received_any(connection: Connection, since: datetime, until: datetime) -> bool:
    """Whether an event was received in ``since <= received < until``."""
    low, high = microseconds(since), microseconds(until)
    query = select(EVENTS.c.sequence).where(EVENTS.c.received >= low, EVENTS.c.received < high).limit(1)
    return connection.execute(query).first() is not None
