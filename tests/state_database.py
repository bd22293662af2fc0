"""Databases for tests of the server's state: the same tests run on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipelines.pseudonyms import KeyRing
from pipelines.serving.state import Event, State

RING = KeyRing((b"k" * 32,))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    return new_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def state(url: str) -> Iterator[State]:
    """An open state, empty."""
    opened = State.open(url, RING)
    yield opened
    opened.close()


def new_database(server: str) -> str:
    """Make a database on a PostgreSQL server."""
    import psycopg

    name = f"state_{uuid4().hex}"
    with psycopg.connect(server.rpartition("/")[0] + "/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.rpartition("/")[0] + f"/{name}"


def an_event(event_id: str, **fields: Any) -> Event:
    """A purchase a moment ago, but for what is said."""
    given = {
        "identity": RING.pseudonym("ann"),
        "event_type": "purchase",
        "timestamp": datetime.now(UTC),
        "item_id": "milk",
        "quantity": 1.0,
        "price": 2.5,
    }
    return Event(event_id, **{**given, **fields})
