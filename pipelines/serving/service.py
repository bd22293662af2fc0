"""What the routes share: the engine that answers now, and why the server is or is not ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from pipelines.pseudonyms import stored_id
from pipelines.serving.engine import Engine
from pipelines.serving.figures import Figures
from pipelines.serving.problems import RefusedError
from pipelines.settings import Settings

Value = TypeVar("Value")
THREADS = 2
"""For what takes longer than the event loop may be held."""


@dataclass
class Service:
    """The one thing that changes while the server runs is which engine it holds.

    Args:
        settings: places.
        figures: what is measured.
    """

    settings: Settings
    figures: Figures = field(default_factory=Figures)
    engine: Engine | None = None
    """Swapped as a whole; a request uses the one that it took at its start."""
    trouble: dict[str, str] = field(default_factory=dict)
    """Why something does not work, by part: ``champion``, ``state``."""
    draining: bool = False
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "answer"))

    def current(self) -> Engine:
        """The engine that answers a request from here on.

        Raises:
            RefusedError: there is none yet.
        """
        if self.engine is None:
            why = self.trouble.get("champion", "the model is being loaded")
            raise RefusedError(503, "not_ready", why, mend="ask again; /readyz says when", headers={"Retry-After": "2"})
        return self.engine

    @property
    def ready(self) -> bool:
        """Whether requests should come."""
        return self.engine is not None and not self.draining and "state" not in self.trouble

    def user_row(self, engine: Engine, user: str | None) -> int | None:
        """The row of a user by the shop's own id; None where the model does not know it."""
        if user is None:
            return None
        return engine.user_row(stored_id(user, engine.catalogue.user_key, self.settings.home))

    async def run(self, work: Callable[[], Value], instant: bool) -> Value:
        """Do what takes a moment at once, and what takes longer in a thread."""
        if instant:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)
