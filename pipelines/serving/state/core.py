"""What every part of the state stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.serving.state.database import Database
from pipelines.serving.state.schema import microseconds
from pipelines.serving.state.writer import Writer


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Core:
    """The database, who writes to it, and what time it is.

    Args:
        database: read from directly.
        writer: the only one that writes.
        clock: gives the time, aware.
    """

    database: Database
    writer: Writer
    clock: Callable[[], datetime] = utc_now

    def now(self) -> int:
        """Microseconds, as the tables hold them."""
        return microseconds(self.clock())
