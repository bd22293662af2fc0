"""The tables of the state. Times are microseconds since 1970 in UTC, money is millionths, both whole numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Column, Connection, Float, Index, Insert, Integer, MetaData, String, Table, Text

HEAD = "0005"
"""The newest migration; a database that names one unknown here was written by a newer shoploom."""

METADATA = MetaData()

ID = String(256)
IDENTITY = String(32)
SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up only a primary key of its own integer type."""

EVENTS = Table(
    "events",
    METADATA,
    Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    Column("event_id", ID, nullable=False, unique=True),
    Column("identity", IDENTITY, nullable=False),
    Column("item_id", ID),
    Column("event_type", String(16), nullable=False),
    Column("happened", BigInteger, nullable=False),
    Column("quantity", Float(53)),
    Column("price", Float(53)),
    Column("session_id", ID),
    Column("device", IDENTITY),
    Column("channel", ID),
    Column("query", Text),
    Column("request_id", ID),
    Column("placement", ID),
    Column("position", Integer),
    Column("received", BigInteger, nullable=False),
    Index("events_of_identity", "identity", "happened"),
    Index("events_received", "received"),
)

EXPOSURES = Table(
    "exposures",
    METADATA,
    Column("request_id", ID, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("identity", IDENTITY, nullable=False),
    Column("item_id", ID, nullable=False),
    Column("placement", ID, nullable=False),
    Column("session_id", ID),
    Column("model_version", ID, nullable=False),
    Column("features", Text, nullable=False),
    Column("shown", BigInteger, nullable=False),
    Index("exposures_shown", "shown"),
)

ANSWERS = Table(
    "answers",
    METADATA,
    Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    Column("request_id", ID, nullable=False),
    Column("route", String(64), nullable=False),
    Column("model_version", ID, nullable=False),
    Column("run_commit", String(64), nullable=False),
    Column("answered", BigInteger, nullable=False),
    Index("answers_of_request", "request_id"),
)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("session_id", ID, primary_key=True),
    Column("identity", IDENTITY),
    Column("form", String(64), nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("changed", BigInteger, nullable=False),
)

LINKS = Table(
    "links",
    METADATA,
    Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    Column("device", IDENTITY, nullable=False),
    Column("account", IDENTITY, nullable=False),
    Column("action", String(8), nullable=False),
    Column("changed", BigInteger, nullable=False),
    Index("links_of_device", "device", "sequence"),
    Index("links_of_account", "account"),
    Index("links_changed", "changed"),
)

OFFERS = Table(
    "offers",
    METADATA,
    Column("offer_id", ID, primary_key=True),
    Column("kind", ID, nullable=False),
    Column("item_ids", Text, nullable=False),
    Column("starts", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),
    Column("budget", BigInteger),
    Column("reserved", BigInteger, nullable=False, server_default="0"),
    Column("spent", BigInteger, nullable=False, server_default="0"),
    Column("cap", Integer),
    Column("cap_days", Float(53)),
    Column("audience", Text),
    Column("cost", BigInteger, nullable=False, server_default="0"),
    Column("value", BigInteger, nullable=False, server_default="0"),
)

RESERVATIONS = Table(
    "reservations",
    METADATA,
    Column("reservation_id", ID, primary_key=True),
    Column("offer_id", ID, nullable=False),
    Column("identity", IDENTITY, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("event_id", ID),
    Index("reservations_to_expire", "status", "expires"),
    Index("reservations_of_identity", "offer_id", "identity", "made"),
    Index("reservations_of_shopper", "identity", "status"),
    Index("reservations_of_event", "event_id"),
)

STOCK = Table("stock", METADATA, Column("item_id", ID, primary_key=True))
"""Items that cannot be bought."""

KEYS = Table(
    "api_keys",
    METADATA,
    Column("key_id", String(32), primary_key=True),
    Column("label", ID, nullable=False),
    Column("scopes", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("requests_per_minute", Integer, nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("revoked", BigInteger),
)

FACTS = Table(
    "facts",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""What holds for the whole database: the key that its identities were hashed with."""


def inserted_once(connection: Connection, table: Table) -> Insert:
    """An insert that leaves a row alone whose key is there already."""
    from sqlalchemy.dialects import postgresql, sqlite

    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """An aware time as the tables hold it, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(stored: int) -> datetime:
    """The time that the tables hold as ``stored``, in UTC."""
    return _EPOCH + timedelta(microseconds=stored)
