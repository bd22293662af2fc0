"""Which model answered which request: from one answer that a shopper got back to the run that made the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from pipelines.serving.state.core import Core
from pipelines.serving.state.errors import in_our_words
from pipelines.serving.state.records import Row, check_id, check_time
from pipelines.serving.state.schema import ANSWERS, microseconds, moment

FORGOTTEN_AT_ONCE = 10_000
"""Rows that one transaction removes, so that no event waits long behind it."""


@dataclass(frozen=True)
class Answered:
    """One answer. Nothing in it says to whom.

    Args:
        request_id: of the answer; a client that chooses its own may use one twice.
        route: that was asked, ``/search``.
        model_version: the registered version that answered.
        run_commit: of the run that made it, so that git can tell where the registry cannot.
        answered: when, aware.

    Raises:
        DataError: an id is none.
    """

    request_id: str
    route: str
    model_version: str
    run_commit: str
    answered: datetime

    def __post_init__(self) -> None:
        for name in ("request_id", "model_version"):
            check_id(name, getattr(self, name))
        check_time("answered", self.answered)


class Answers:
    """The table of answers.

    Args:
        core: what the state stands on.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def append(self, answers: Sequence[Answered]) -> None:
        """Store answers; returns when they are durable.

        Raises:
            StateError: the database cannot take them.
        """
        rows = [{**vars(answer), "answered": microseconds(answer.answered)} for answer in answers]
        self._core.writer.submit(_append, rows, len(rows)).result()

    def forget(self, before: datetime) -> int:
        """Remove answers that are older, the oldest first, at most :data:`FORGOTTEN_AT_ONCE`; returns how many.

        Raises:
            StateError: the database cannot do it.
        """
        removed: int = self._core.writer.submit(_forget, microseconds(before)).result()
        return removed

    def of(self, request_id: str) -> list[Answered]:
        """The answers to requests of this id, oldest first."""
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            return answers_of(connection, request_id)


def answers_of(connection: Connection, request_id: str) -> list[Answered]:
    """The answers to requests of this id, oldest first."""
    query = select(ANSWERS).where(ANSWERS.c.request_id == request_id).order_by(ANSWERS.c.sequence)
    return [_answered(dict(row)) for row in connection.execute(query).mappings()]


def _append(connection: Connection, batches: Sequence[Sequence[Row]]) -> list[None]:
    if rows := [row for batch in batches for row in batch]:
        connection.execute(insert(ANSWERS), rows)
    return [None] * len(batches)


def _forget(connection: Connection, cutoffs: Sequence[int]) -> list[int]:
    """Only the oldest rows are looked at: what is written in order of time needs no index by time."""
    oldest = select(ANSWERS.c.sequence, ANSWERS.c.answered).order_by(ANSWERS.c.sequence).limit(FORGOTTEN_AT_ONCE)
    rows = oldest.subquery()
    counts = []
    for cutoff in cutoffs:
        old = select(rows.c.sequence).where(rows.c.answered < cutoff)
        counts.append(connection.execute(delete(ANSWERS).where(ANSWERS.c.sequence.in_(old))).rowcount)
    return counts


def _answered(row: Row) -> Answered:
    del row["sequence"]
    return Answered(**{**row, "answered": moment(row["answered"])})
