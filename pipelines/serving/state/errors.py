"""What can go wrong with the state: the database (try again later), or what was asked of it (do not)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from pipelines.errors import DataError, ServiceError

Reason = Literal["full", "locked", "lost", "damaged", "newer", "busy", "closed", "unreachable"]


class StateError(ServiceError):
    """The database cannot do it now; nothing of the request is acknowledged.

    Args:
        message: what is wrong, and where.
        reason: a word to branch on.
        mend: what to do about it.
    """

    def __init__(self, message: str, reason: Reason, *, mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.message, self.reason, self.mend)


def _rebuild(message: str, reason: Reason, mend: str) -> StateError:
    return StateError(message, reason, mend=mend)


class ConflictError(DataError):
    """What was sent contradicts what is stored; the message names both."""


_SAID: tuple[tuple[str, Reason, str], ...] = (
    ("disk is full", "full", "free space on its disk; what was acknowledged is kept"),
    ("disk full", "full", "free space on its disk; what was acknowledged is kept"),
    ("no space left", "full", "free space on its disk; what was acknowledged is kept"),
    ("disk i/o error", "full", "look at the disk's free space, quota and health; what was acknowledged is kept"),
    ("database is locked", "locked", "end the program that holds a transaction open on it"),
    ("lock timeout", "locked", "end the session that holds the lock"),
    ("file is not a database", "damaged", "restore the file from a backup, or move it away to start empty"),
    ("malformed", "damaged", "restore the file from a backup, or move it away to start empty"),
    ("no such table", "lost", "restore the file from a backup, and start again"),
    ("readonly database", "lost", "make the file and its folder writable for this user"),
    ("unable to open", "lost", "make its folder, writable for this user"),
)
"""Words of SQLite and PostgreSQL, what they mean, and what mends it."""


def explained(error: SQLAlchemyError, place: str) -> StateError | None:
    """The error in our words; None where it is about the request and not about the database.

    Args:
        error: what SQLAlchemy raised.
        place: the database, without a password.
    """
    said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    for words, reason, mend in _SAID:
        if words in said.lower():
            return StateError(f"{place}: {said}", reason, mend=mend)
    if isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return StateError(f"{place}: {said}", "unreachable", mend="start the database, or name another by its address")
    return None


@contextmanager
def in_our_words(place: str) -> Iterator[Any]:
    """Raise SQLAlchemy's errors within as :class:`StateError` where they are about the database."""
    try:
        yield
    except SQLAlchemyError as error:
        found = explained(error, place)
        if found is None:
            raise
        raise found from error
