"""The state as one object."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import Column, Connection, Exists, bindparam, delete, exists, insert, or_, select, text

from pipelines.pseudonyms import KeyRing, open_ring
from pipelines.serving.state.answered import Answers
from pipelines.serving.state.api_keys import ApiKeys
from pipelines.serving.state.core import Core, utc_now
from pipelines.serving.state.database import Database
from pipelines.serving.state.errors import in_our_words
from pipelines.serving.state.events import Events
from pipelines.serving.state.exposures import Exposures
from pipelines.serving.state.identities import Identities
from pipelines.serving.state.migrate import migrate
from pipelines.serving.state.offers import Offers
from pipelines.serving.state.records import check_id
from pipelines.serving.state.rekey import bring_to, user_key
from pipelines.serving.state.schema import EVENTS, FACTS, LINKS, RESERVATIONS
from pipelines.serving.state.sessions import Sessions
from pipelines.serving.state.stock import Stock
from pipelines.serving.state.writer import Writer, one_by_one
from pipelines.stage_environment import state_folder


def default_url(home: Path) -> str:
    """The address of the state in a state folder."""
    return f"sqlite:///{home / 'serving' / 'state.db'}"


PROBE = "x" * 65_536
"""What is written to see whether there is room."""


class State:
    """Everything the server must remember. Safe to use from many threads.

    Get one by :meth:`open`.
    """

    def __init__(self, database: Database, keys: KeyRing, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._ring = keys
        self._writer = Writer(database)
        core = Core(database, self._writer, clock)
        self.events = Events(core)
        self.exposures = Exposures(core)
        self.answers = Answers(core)
        self.sessions = Sessions(core)
        self.identities = Identities(core)
        self.offers = Offers(core)
        self.stock = Stock(core)
        self.keys = ApiKeys(core, keys)

    @classmethod
    def open(
        cls,
        url: str,
        ring: KeyRing | None = None,
        *,
        synchronous: str = "FULL",
        clock: Callable[[], datetime] = utc_now,
    ) -> State:
        """Open a database, made and migrated where it must be.

        Args:
            url: ``sqlite:///<file>`` or ``postgresql://user:password@host:port/database``.
            ring: users are known by their pseudonyms under it; by default the state folder's, made at first use.
            synchronous: SQLite's level; only a test of power cuts wants another than FULL.
            clock: gives the time, aware.

        Raises:
            ConfigError: the address is no such one, or the database knows users by a key that the ring lacks.
            StateError: the database cannot be reached or read, or a newer shoploom wrote it.
        """
        keys = ring or open_ring(state_folder())
        database = Database(url, synchronous=synchronous)
        try:
            migrate(database)
            with in_our_words(database.place), database.snapshot() as connection:
                known = user_key(connection) == keys.ids[-1]
            if not known:
                with in_our_words(database.place), database.transaction() as connection:
                    bring_to(connection, keys)
        except BaseException:
            database.close()
            raise
        return cls(database, keys, clock)

    def account(self, user_id: str) -> str:
        """What an account is known by: its pseudonym, the same as in the tables.

        Raises:
            DataError: the id is none.
        """
        check_id("user_id", user_id)
        return self._ring.pseudonym(user_id)

    def device(self, device_id: str) -> str:
        """What a device is known by: a pseudonym too, and no account's.

        Raises:
            DataError: the id is none.
        """
        check_id("device_id", device_id)
        return self._ring.pseudonym(f"device\0{device_id}")

    def knows(self, identity: str) -> bool:
        """Whether an identity did something, was linked or was given an offer: one look at indexes.

        Raises:
            StateError: the database cannot be read.
        """
        with in_our_words(self._database.place), self._database.snapshot() as connection:
            return bool(connection.execute(_KNOWN, {"identity": identity}).scalar_one())

    def check(self) -> None:
        """See that the database is there and answers.

        Raises:
            StateError: it is not, or does not.
        """
        self._database.check_present()
        with in_our_words(self._database.place), self._database.snapshot() as connection:
            connection.execute(text("SELECT 1"))

    def check_writable(self) -> None:
        """See that the database takes something as large as a request with events, and take it out again.

        Raises:
            StateError: it does not.
        """
        self.check()
        for value in (PROBE, None):
            self._writer.submit(_PROBE, value).result()

    def close(self) -> None:
        """Write what waits and let the database go."""
        self._writer.close()
        self._database.close()


def _probe(connection: Connection, value: str | None) -> None:
    connection.execute(delete(FACTS).where(FACTS.c.name == "probe"))
    if value is not None:
        connection.execute(insert(FACTS).values(name="probe", value=value))


_PROBE = one_by_one(_probe)


def _named_in(column: Column[str]) -> Exists:
    return exists().where(column == bindparam("identity"))


_KNOWN = select(or_(*map(_named_in, (EVENTS.c.identity, LINKS.c.device, LINKS.c.account, RESERVATIONS.c.identity))))
