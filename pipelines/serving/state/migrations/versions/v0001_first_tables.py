"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.String(256)
_IDENTITY = sa.String(32)
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "events",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("event_id", _ID, nullable=False, unique=True),
        sa.Column("identity", _IDENTITY, nullable=False),
        sa.Column("item_id", _ID),
        sa.Column("event_type", sa.String(16), nullable=False),
        sa.Column("happened", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.Float(53)),
        sa.Column("price", sa.Float(53)),
        sa.Column("session_id", _ID),
        sa.Column("device", _IDENTITY),
        sa.Column("channel", _ID),
        sa.Column("query", sa.Text),
        sa.Column("request_id", _ID),
        sa.Column("placement", _ID),
        sa.Column("position", sa.Integer),
        sa.Column("received", sa.BigInteger, nullable=False),
    )
    op.create_index("events_of_identity", "events", ["identity", "happened"])
    op.create_index("events_received", "events", ["received"])
    op.create_table(
        "exposures",
        sa.Column("request_id", _ID, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("identity", _IDENTITY, nullable=False),
        sa.Column("item_id", _ID, nullable=False),
        sa.Column("placement", _ID, nullable=False),
        sa.Column("session_id", _ID),
        sa.Column("model_version", _ID, nullable=False),
        sa.Column("features", sa.Text, nullable=False),
        sa.Column("shown", sa.BigInteger, nullable=False),
    )
    op.create_index("exposures_shown", "exposures", ["shown"])
    op.create_table(
        "sessions",
        sa.Column("session_id", _ID, primary_key=True),
        sa.Column("identity", _IDENTITY),
        sa.Column("form", sa.String(64), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "links",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("device", _IDENTITY, nullable=False),
        sa.Column("account", _IDENTITY, nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("links_of_device", "links", ["device", "sequence"])
    op.create_index("links_of_account", "links", ["account"])
    op.create_index("links_changed", "links", ["changed"])
    op.create_table(
        "offers",
        sa.Column("offer_id", _ID, primary_key=True),
        sa.Column("kind", _ID, nullable=False),
        sa.Column("item_ids", sa.Text, nullable=False),
        sa.Column("starts", sa.BigInteger, nullable=False),
        sa.Column("ends", sa.BigInteger, nullable=False),
        sa.Column("budget", sa.BigInteger),
        sa.Column("reserved", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("spent", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cap", sa.Integer),
        sa.Column("cap_days", sa.Float(53)),
        sa.Column("audience", sa.Text),
    )
    op.create_table(
        "reservations",
        sa.Column("reservation_id", _ID, primary_key=True),
        sa.Column("offer_id", _ID, nullable=False),
        sa.Column("identity", _IDENTITY, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("made", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("reservations_to_expire", "reservations", ["status", "expires"])
    op.create_index("reservations_of_identity", "reservations", ["offer_id", "identity", "made"])
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("label", _ID, nullable=False),
        sa.Column("scopes", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("requests_per_minute", sa.Integer, nullable=False),
        sa.Column("made", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
