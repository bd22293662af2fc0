"""What was shown, where, and what the ranking knew of it then: the raw material of unbiased training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from pipelines.errors import DataError
from pipelines.serving.state.core import Core
from pipelines.serving.state.errors import in_our_words
from pipelines.serving.state.records import Row, check_id, check_identity, check_time
from pipelines.serving.state.schema import EXPOSURES, inserted_once, microseconds, moment


@dataclass(frozen=True)
class Exposure:
    """One item of one answer.

    Args:
        request_id: of the answer.
        position: its place in it, from 0.
        identity: to whom.
        item_id: what.
        placement: ``search``, ``home``, ``cart``.
        model_version: the registered version that ranked it.
        shown: when, aware.
        features: what the ranking looked at, by name; finite numbers.
        session_id: the visit.

    Raises:
        DataError: an id, the position or a feature is none.
    """

    request_id: str
    position: int
    identity: str
    item_id: str
    placement: str
    model_version: str
    shown: datetime
    features: Mapping[str, float]
    session_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("request_id", "item_id", "placement", "model_version", "session_id"):
            check_id(name, getattr(self, name))
        check_identity("identity", self.identity)
        check_time("shown", self.shown)
        if not 0 <= self.position < 1_000_000:
            raise DataError(f"position is {self.position}", mend="count places from 0")


class Exposures:
    """The table of exposures.

    Args:
        core: what the state stands on.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def append(self, exposures: Sequence[Exposure]) -> None:
        """Store exposures; one that is there already stays as it is. Returns when they are durable.

        Raises:
            DataError: a feature is no finite number.
            StateError: the database cannot take them.
        """
        self._core.writer.submit(_append, [_row(exposure) for exposure in exposures], len(exposures)).result()

    def between(self, since: datetime, until: datetime) -> list[Exposure]:
        """Exposures of ``since <= shown < until``, ordered by time, request and position."""
        query = (
            select(EXPOSURES)
            .where(EXPOSURES.c.shown >= microseconds(since), EXPOSURES.c.shown < microseconds(until))
            .order_by(EXPOSURES.c.shown, EXPOSURES.c.request_id, EXPOSURES.c.position)
        )
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            return [_exposure(dict(row)) for row in connection.execute(query).mappings()]


def exposures_of(connection: Connection, request_id: str) -> list[Exposure]:
    """What was seen of an answer, by position."""
    query = select(EXPOSURES).where(EXPOSURES.c.request_id == request_id).order_by(EXPOSURES.c.position)
    return [_exposure(dict(row)) for row in connection.execute(query).mappings()]


def _append(connection: Connection, batches: Sequence[Sequence[Row]]) -> list[None]:
    if rows := [row for batch in batches for row in batch]:
        connection.execute(inserted_once(connection, EXPOSURES), rows)
    return [None] * len(batches)


def _row(exposure: Exposure) -> Row:
    try:
        features = json.dumps(dict(exposure.features), allow_nan=False)
    except (TypeError, ValueError):
        raise DataError(f"a feature of {exposure.item_id!r} is no finite number", mend="leave it out") from None
    row: dict[str, Any] = {**vars(exposure), "shown": microseconds(exposure.shown), "features": features}
    return row


def _exposure(row: Row) -> Exposure:
    return Exposure(**{**row, "shown": moment(row["shown"]), "features": json.loads(row["features"])})
