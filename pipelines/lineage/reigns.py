"""When which version was champion, from the audit log: a move of the alias starts one reign and ends another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.lineage.audit import Entry

MOVES = ("promote", "rollback")


@dataclass(frozen=True)
class Reign:
    """A time as champion.

    Args:
        version: whose.
        action: how it began: promote or rollback.
        actor: who moved the alias.
        start: when, seconds since the epoch.
        end: when the next one began; None for the present champion.
        days: UTC days on which it was champion, the first and the last counted.
    """

    version: str
    action: str
    actor: str
    start: float
    end: float | None
    days: int


def reigns(entries: Iterable[Entry]) -> list[Reign]:
    """Every reign that the log tells of, oldest first."""
    moves = [entry for entry in entries if entry.action in MOVES and entry.subject.startswith("version ")]
    ends: list[float | None] = [*(_seconds(entry) for entry in moves[1:]), None]
    found = []
    for entry, end in zip(moves, ends, strict=False):
        start = _seconds(entry)
        last = end if end is not None else datetime.now(UTC).timestamp()
        days = _day(last) - _day(start) + 1
        version = entry.subject.removeprefix("version ")
        found.append(Reign(version, entry.action, entry.actor, start, end, max(days, 1)))
    return found


def _seconds(entry: Entry) -> float:
    return datetime.fromisoformat(entry.time).timestamp()


def _day(seconds: float) -> int:
    return int(seconds // 86_400)
