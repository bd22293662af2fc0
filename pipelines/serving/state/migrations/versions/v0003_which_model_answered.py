"""Which model answered which request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, empty: of answers that are past nothing was noted."""
    op.create_table(
        "answers",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("request_id", sa.String(256), nullable=False),
        sa.Column("route", sa.String(64), nullable=False),
        sa.Column("model_version", sa.String(256), nullable=False),
        sa.Column("run_commit", sa.String(64), nullable=False),
        sa.Column("answered", sa.BigInteger, nullable=False),
    )
    op.create_index("answers_of_request", "answers", ["request_id"])
