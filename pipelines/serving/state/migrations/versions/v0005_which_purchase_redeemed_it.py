"""Which purchase redeemed a reservation, so that the purchase sent again is answered the same."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the event's id; of what was redeemed before there is none."""
    op.add_column("reservations", sa.Column("event_id", sa.String(256)))
    op.create_index("reservations_of_event", "reservations", ["event_id"])
