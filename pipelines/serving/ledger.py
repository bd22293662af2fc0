"""The ledger of answers: which model gave which, noted without waiting and written behind, many at once.

An answer is noted in memory while it is given, and on the disk a second later. So no request waits for it, the events'
own flush to the disk is hardly shared, and a cut of power loses the notes of a second; the log has a line of each too.
The thread that writes them also forgets what is too old: answers, and conversations that nobody goes on with.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

from pipelines.serving.logs import log
from pipelines.serving.state import State, StateError
from pipelines.serving.state.answered import FORGOTTEN_AT_ONCE, Answered

EVERY_SECONDS = 1.0
"""Between two writes."""
MOST_AT_ONCE = 2_000
"""Answers of one transaction."""
MOST_WAITING = 100_000
"""Answers that wait while the state does not answer; what comes beyond is not recorded."""
FORGET_SECONDS = 3600.0
"""Between two looks for what is too old."""


class Ledger:
    """One thread that writes what was noted, and forgets what is too old.

    Args:
        days: that an answer is kept; 0: none is noted.
        conversation_days: that a conversation is kept after its last turn.
    """

    def __init__(self, days: int, conversation_days: int) -> None:
        self._days = days
        self._conversation_days = conversation_days
        self._waiting: deque[Answered] = deque()
        self._ending = Event()
        self._thread: Thread | None = None
        self._forget_after = 0.0

    def note(self, answered: Answered) -> bool:
        """Note an answer; False where it is lost, because too many wait already."""
        if not self._days:
            return True
        if len(self._waiting) >= MOST_WAITING:
            return False
        self._waiting.append(answered)
        return True

    def start(self, state: Callable[[], State | None]) -> None:
        """Write from now on to the state that is open then."""
        self._thread = Thread(target=self._keep_up, args=(state,), name="ledger", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then no more."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _keep_up(self, state: Callable[[], State | None]) -> None:
        ended = False
        while not ended:
            ended = self._ending.wait(EVERY_SECONDS)
            found = state()
            if found is None:
                continue
            try:
                self.write(found)
                self._forget(found)
            except StateError as error:
                log().warning("answers", reason=f"not recorded yet: {error.reason}", waiting=len(self._waiting))

    def write(self, state: State) -> None:
        """Make what was noted durable.

        Raises:
            StateError: the state cannot take it; what waits goes on waiting.
        """
        while self._waiting:
            batch = [self._waiting[place] for place in range(min(len(self._waiting), MOST_AT_ONCE))]
            state.answers.append(batch)
            for _ in batch:
                self._waiting.popleft()

    def _forget(self, state: State) -> None:
        if time.monotonic() < self._forget_after:
            return
        now = datetime.now(UTC)
        state.sessions.forget(now - timedelta(days=self._conversation_days))
        removed = state.answers.forget(now - timedelta(days=self._days)) if self._days else 0
        if removed < FORGOTTEN_AT_ONCE:
            self._forget_after = time.monotonic() + FORGET_SECONDS
