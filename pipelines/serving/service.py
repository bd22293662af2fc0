"""What the routes share: the engine that answers now, and why the server is or is not ready."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TypeVar

from pipelines.errors import ServiceError
from pipelines.pseudonyms import KeyRing, open_ring
from pipelines.serving.access import Access
from pipelines.serving.answers import Provenance
from pipelines.serving.chances import Chances
from pipelines.serving.engine import Engine
from pipelines.serving.figures import Figures
from pipelines.serving.ledger import Ledger
from pipelines.serving.logs import log
from pipelines.serving.memory import Memory
from pipelines.serving.problems import RefusedError
from pipelines.serving.shown import Shown
from pipelines.serving.state import State, StateError
from pipelines.serving.state.answered import Answered
from pipelines.settings import Settings, sqlite_file

Value = TypeVar("Value")
THREADS = 4
"""For what takes longer than the event loop may be held."""
WRITERS = 32
"""Requests that may wait for the disk at once."""


@dataclass
class Service:
    """The one thing that changes while the server runs is which engine it holds.

    Args:
        settings: places.
        access: who may ask for what.
        figures: what is measured.
    """

    settings: Settings
    access: Access = field(default_factory=lambda: Access(required=False))
    figures: Figures = field(default_factory=Figures)
    engine: Engine | None = None
    """Swapped as a whole; a request uses the one that it took at its start."""
    memory: Memory | None = None
    """What shoppers did; None until the state is open."""
    shown: Shown = field(default_factory=Shown)
    """The newest answers, for the exposures that come back."""
    trouble: dict[str, str] = field(default_factory=dict)
    """Why something does not work, by part: ``champion``, ``state``, ``offers``."""
    draining: bool = False
    _claim: int = -1
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "answer"))

    writers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WRITERS, "store"))

    def current(self) -> Engine:
        """The engine that answers a request from here on.

        Raises:
            RefusedError: there is none yet.
        """
        if self.engine is None:
            why = self.trouble.get("champion", "the model is being loaded")
            raise RefusedError(503, "not_ready", why, mend="ask again; /readyz says when", headers={"Retry-After": "2"})
        return self.engine

    def remembering(self) -> Memory:
        """What shoppers did.

        Raises:
            RefusedError: the state is not open.
        """
        if self.memory is None:
            why = self.trouble.get("state", "the state is being opened")
            raise RefusedError(503, "state_unavailable", why, mend="send it again", headers={"Retry-After": "2"})
        return self.memory

    def lost(self, error: StateError) -> RefusedError:
        """What to answer when the state fails; nothing of the request is stored."""
        if "state" not in self.trouble:
            log().error("state", reason=error.reason, exc_info=error)
        self.trouble["state"] = f"the state does not answer: {error.reason}"
        headers = {"Retry-After": "2"}
        return RefusedError(503, "state_unavailable", self.trouble["state"], mend="send it again", headers=headers)

    def tell(self, part: str, reason: str | None, error: Exception | None = None) -> None:
        """Let ``/readyz`` say what is wrong with a part, or that nothing is any more; logged when it changes."""
        if reason is None:
            self.trouble.pop(part, None)
        elif self.trouble.get(part) != reason:
            self.trouble[part] = reason
            log().error(part, reason=reason, exc_info=error)

    @property
    def ready(self) -> bool:
        """Whether requests should come."""
        return self.engine is not None and self.memory is not None and not self.draining and "state" not in self.trouble

    def identity(self, user: str | None, device: str | None, session: str | None) -> str | None:
        """Who acts, by pseudonym; without a state, an account alone can be told.

        Raises:
            DataError: an id is none.
        """
        if self.memory is not None:
            return self.memory.identity(user, device, session)
        return None if user is None else self.ring.pseudonym(user)

    def claim(self) -> None:
        """Be the only server on a state file: what it read it keeps until it writes itself. PostgreSQL has many.

        Raises:
            ServiceError: another server has it.
        """
        file = sqlite_file(self.settings.serving_state)
        if file is None:
            return
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._claim = os.open(f"{file}.server", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(
                "another shoploom serve runs on this state",
                mend="end it, name another by SHOPLOOM_HOME, or use PostgreSQL by SHOPLOOM_STATE_URL for several",
            ) from None

    def open_state(self) -> None:
        """Open the state, or see that the open one still answers; what is wrong is then told by :attr:`trouble`."""
        try:
            if self.memory is None:
                address = self.settings.serving_state
                self.memory = Memory(State.open(address, self.ring), alone=address.startswith("sqlite"))
            self.memory.look()
            if "state" in self.trouble:
                # A full disk can be read well enough.
                self.memory.state.check_writable()
        except StateError as error:
            self.lost(error)
        else:
            if self.trouble.pop("state", None):
                log().info("state", reason="answers again")
            self.stocked()

    def stocked(self) -> None:
        """Let the engine leave out what is sold out."""
        engine, memory = self.engine, self.memory
        if engine is not None and memory is not None:
            engine.sold_out(memory.sold_out)

    def answered_by(self, provenance: Provenance, request_id: str, route: str) -> None:
        """Note which model gave an answer; a package that is not registered leaves no note."""
        if provenance.version:
            noted = Answered(request_id, route, provenance.version, provenance.run, datetime.now(UTC))
            if not self.ledger.note(noted):
                self.figures.unrecorded.inc()

    @cached_property
    def ledger(self) -> Ledger:
        """Which model gave which answer."""
        return Ledger(self.settings.answers_days, self.settings.conversations_days)

    @cached_property
    def chances(self) -> Chances:
        """How likely offers are redeemed."""
        return Chances(self.settings)

    @cached_property
    def ring(self) -> KeyRing:
        """What users are known by."""
        return open_ring(self.settings.home)

    def close(self) -> None:
        """Let the state go."""
        if self.memory is not None:
            self.memory.state.close()
        if self._claim >= 0:
            os.close(self._claim)

    async def run(self, work: Callable[[], Value], instant: bool) -> Value:
        """Do what takes a moment at once, and what takes longer in a thread."""
        if instant:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    async def store(self, work: Callable[[], Value]) -> Value:
        """Do what waits for the disk; many wait together, because they share its flush."""
        return await asyncio.get_running_loop().run_in_executor(self.writers, work)
