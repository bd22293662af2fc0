"""Sessions: the state of a conversation, as JSON in a named form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from pipelines.errors import DataError
from pipelines.serving.state.core import Core
from pipelines.serving.state.errors import ConflictError, in_our_words
from pipelines.serving.state.records import check_id, check_identity
from pipelines.serving.state.schema import SESSIONS, microseconds
from pipelines.serving.state.writer import one_by_one

LONGEST_STATE = 262_144
"""Characters of a session's JSON."""


@dataclass(frozen=True)
class Session:
    """A visit, and what was said in it.

    Args:
        session_id: the sender's.
        form: what the state is written in, with a version: ``conversation/1``.
        state: what JSON can hold.
        identity: whose it is.
        revision: how often it was stored; 0 for a new one.
    """

    session_id: str
    form: str
    state: Mapping[str, Any]
    identity: str | None = None
    revision: int = 0


class Sessions:
    """The table of sessions.

    Args:
        core: what the state stands on.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def get(self, session_id: str) -> Session | None:
        """A session as it was last stored; None where there is none."""
        query = select(SESSIONS).where(SESSIONS.c.session_id == session_id)
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        return Session(row["session_id"], row["form"], json.loads(row["state"]), row["identity"], row["revision"])

    def put(self, session: Session) -> Session:
        """Store a session over the revision that it was made from. Returns when it is durable.

        Returns:
            It, with the revision that the next ``put`` must name.

        Raises:
            ConflictError: another request stored the session meanwhile, or it is there and a new one was sent.
            DataError: its state is no JSON, or longer than ``LONGEST_STATE``.
        """
        for name in ("session_id", "form"):
            check_id(name, getattr(session, name))
        check_identity("identity", session.identity)
        try:
            text = json.dumps(session.state, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DataError(f"the session's state is no JSON: {error}", mend="keep what JSON can hold") from None
        if len(text) > LONGEST_STATE:
            raise DataError(f"the session's state has {len(text)} characters", mend=f"keep at most {LONGEST_STATE}")
        self._core.writer.submit(_PUT, (session, text, self._core.now())).result()
        return replace(session, revision=session.revision + 1)

    def forget(self, before: datetime) -> int:
        """Delete the sessions that were last stored before a time; returns how many."""
        return int(self._core.writer.submit(_FORGET, microseconds(before)).result())


def _put(connection: Connection, sent: tuple[Session, str, int]) -> None:
    session, text, now = sent
    fields = {
        "identity": session.identity,
        "form": session.form,
        "state": text,
        "revision": session.revision + 1,
        "changed": now,
    }
    mine = SESSIONS.c.session_id == session.session_id
    stored = connection.execute(select(SESSIONS.c.revision).where(mine).with_for_update()).scalar_one_or_none() or 0
    if stored != session.revision:
        raise ConflictError(
            f"session {session.session_id!r} is stored in revision {stored}, and revision {session.revision} was sent",
            mend="get it again, and apply the turn to that",
        )
    if stored:
        connection.execute(update(SESSIONS).where(mine).values(fields))
    else:
        connection.execute(insert(SESSIONS).values(session_id=session.session_id, **fields))


def _forget(connection: Connection, before: int) -> int:
    return connection.execute(delete(SESSIONS).where(SESSIONS.c.changed < before)).rowcount


_PUT = one_by_one(_put)
_FORGET = one_by_one(_forget)
