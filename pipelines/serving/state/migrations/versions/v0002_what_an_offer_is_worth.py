"""What an offer costs when it is redeemed, and what a purchase that it brings is worth."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add both, 0 for the offers that are there."""
    for name in ("cost", "value"):
        op.add_column("offers", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
