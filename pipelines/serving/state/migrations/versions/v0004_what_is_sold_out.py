"""Which items cannot be bought, and an index by which a shopper's reservations are found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table, empty: everything can be bought until the shop says otherwise."""
    op.create_table("stock", sa.Column("item_id", sa.String(256), primary_key=True))
    op.create_index("reservations_of_shopper", "reservations", ["identity", "status"])
