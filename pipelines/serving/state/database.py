"""Connections: SQLite so that acknowledged means on the disk, PostgreSQL by its address.

SQLite up to 3.51.2 can damage a database in WAL mode when one connection resets the log while another writes. So all
that writes or checkpoints here holds a lock on ``<file>.lock`` while it does, in whatever process it runs; readers
never checkpoint.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipelines.errors import ConfigError
from pipelines.serving.state.errors import StateError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

PATIENCE_SECONDS = 5.0
"""How long a lock that somebody else holds is waited for."""

_WANTED = "name a file (sqlite:////var/lib/shoploom/state.db) or postgresql://user:password@host:port/database"


class Database:
    """One engine that writes, over a single connection, and one that only reads.

    Args:
        url: ``sqlite:///<file>`` or ``postgresql://...``.
        synchronous: SQLite's level; only a test of power cuts wants another than FULL.
        read_only: open no file for writing, and make none.

    Raises:
        ConfigError: the address is neither.
        StateError: the folder cannot be made, or there is no file to read.
    """

    def __init__(self, url: str, *, synchronous: str = "FULL", read_only: bool = False) -> None:
        address = _address(url)
        self.place = address.render_as_string(hide_password=True)
        self.file = Path(address.database or "") if address.get_backend_name() == "sqlite" else None
        self._synchronous = synchronous
        if self.file is None:
            waiting = {"options": f"-c synchronous_commit=on -c lock_timeout={int(PATIENCE_SECONDS * 1000)}"}
            given = {"connect_timeout": int(PATIENCE_SECONDS), **waiting}
            self.writing = create_engine(address, pool_size=1, max_overflow=0, pool_pre_ping=True, connect_args=given)
            self.reading = create_engine(address, pool_size=8, pool_pre_ping=True, connect_args=given)
            return
        if read_only:
            self._open_read_only(address, self.file)
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(f"{self.file}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            os.close(os.open(self.file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StateError(f"{self.place}: {error}", "lost", mend="make its folder writable for this user") from None
        self._inode = self.file.stat().st_ino
        self.writing = _sqlite_engine(address, "BEGIN IMMEDIATE", self._writer_pragmas(), connections=1)
        self.reading = _sqlite_engine(address, "BEGIN", ("query_only=ON", "wal_autocheckpoint=0"), connections=8)

    def _open_read_only(self, address: URL, file: Path) -> None:
        if not file.is_file():
            raise StateError(
                f"{self.place}: there is no such file", "lost", mend="start shoploom serve once, which makes it"
            )
        self._lock, self._inode = -1, file.stat().st_ino
        query = {"mode": "ro", "uri": "true"}
        only = address.set(database=f"file:{quote(str(file))}", query=query)
        self.writing = self.reading = _sqlite_engine(only, "BEGIN", ("query_only=ON",), connections=1)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write; what was written is durable when the block has ended without an error."""
        with self._exclusively():
            self.check_present()
            with self.writing.begin() as connection:
                yield connection
            self.check_present()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Read one state of the database, whatever is written meanwhile."""
        with self.reading.connect() as connection:
            yield connection

    def check_present(self) -> None:
        """See that the file is still the one that was opened.

        Raises:
            StateError: it was removed or replaced: what is written would be in no file.
        """
        if self.file is None:
            return
        try:
            present = self.file.stat().st_ino == self._inode
        except OSError:
            present = False
        if not present:
            raise StateError(
                f"{self.place}: the file was removed or replaced while in use",
                "lost",
                mend="put it back (or a backup of it), and start again",
            )

    def close(self) -> None:
        """Let go of all connections, readers first: the last one writes the log back into the file."""
        self.reading.dispose()
        if self.reading is self.writing:
            return
        with self._exclusively():
            self.writing.dispose()
        if self.file is not None:
            os.close(self._lock)

    def _writer_pragmas(self) -> tuple[str, ...]:
        return ("journal_mode=WAL", f"synchronous={self._synchronous}", "wal_autocheckpoint=1000")

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        if self.file is None:
            yield
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StateError(
                        f"{self.place}: another process has been writing for {PATIENCE_SECONDS:g} s",
                        "locked",
                        mend="end it, or use PostgreSQL for several servers",
                    ) from None
                time.sleep(0.002)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError("the state's address is none", mend=_WANTED) from None
    backend = address.get_backend_name()
    if backend == "postgresql":
        return address.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or address.database in (None, "", ":memory:"):
        raise ConfigError(f"the state cannot be kept in {backend}: it would not outlive the server", mend=_WANTED)
    return address


def _sqlite_engine(address: URL, begin: str, pragmas: tuple[str, ...], connections: int) -> Engine:
    engine = create_engine(
        address,
        pool_size=connections,
        max_overflow=0 if connections == 1 else 8,
        connect_args={"timeout": PATIENCE_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: object) -> None:
        # Its own BEGIN comes too late and not for every statement; ours is the one below.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
