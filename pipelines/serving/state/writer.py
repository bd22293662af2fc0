"""Group commit: one thread writes what many ask for, as one transaction and one wait for the disk.

While a transaction is on its way to the disk, requests queue up; the next transaction takes them all. So a lone
request waits for one sync, and a thousand at once wait for few.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from pipelines.errors import ShoploomError
from pipelines.serving.state.database import Database
from pipelines.serving.state.errors import StateError, explained

Handler = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Writes what several requests ask for: their payloads in, for each a result or the error that refuses it out."""

MOST_WAITING = 50_000
"""Rows that may wait; more are refused."""
MOST_AT_ONCE = 2_000
"""Rows of one transaction, unless one request has more."""
_TRIES = 4


@dataclass(frozen=True)
class _Job:
    handler: Handler
    payload: Any
    rows: int
    future: Future[Any] = field(default_factory=Future)


class Writer:
    """The one that writes.

    Args:
        database: where to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: deque[_Job] = deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="state-writer", daemon=True)
        self._thread.start()

    def submit(self, handler: Handler, payload: Any, rows: int = 1) -> Future[Any]:
        """Ask for a write.

        Args:
            handler: called with this payload and those of its neighbours in the queue.
            payload: what to write.
            rows: how many rows that is, about.

        Returns:
            The handler's result, done when it is durable; or the error why nothing of it is.

        Raises:
            StateError: too much waits already, or the state is closed.
        """
        job = _Job(handler, payload, rows)
        with self._changed:
            if self._closed:
                raise StateError(f"{self._database.place} is closed", "closed")
            if self._jobs and self._rows + rows > MOST_WAITING:
                raise StateError(
                    f"{self._database.place}: {self._rows} rows wait to be written", "busy", mend="try again later"
                )
            self._jobs.append(job)
            self._rows += rows
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while jobs := self._next():
            self._write([job for job in jobs if job.future.set_running_or_notify_cancel()])

    def _next(self) -> list[_Job]:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            taken: list[_Job] = []
            rows = 0
            while self._jobs and (not taken or rows + self._jobs[0].rows <= MOST_AT_ONCE):
                taken.append(self._jobs.popleft())
                rows += taken[-1].rows
            self._rows -= rows
            return taken

    def _write(self, jobs: Sequence[_Job], tries: int = _TRIES) -> None:
        try:
            with self._database.transaction() as connection:
                outcomes = _outcomes(connection, jobs)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _CROSSED and tries > 1:
                self._write(jobs, tries - 1)
            elif (ours := explained(error, self._database.place)) or len(jobs) == 1:
                _refuse(jobs, ours or error)
            else:
                for job in jobs:
                    self._write([job])
        except Exception as error:
            _refuse(jobs, error)
        else:
            for job, outcome in zip(jobs, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    job.future.set_exception(outcome)
                else:
                    job.future.set_result(outcome)


_CROSSED = {"40001", "40P01", "23505"}
"""PostgreSQL's states for what two servers did at once: serialization, deadlock, the same new key."""


def one_by_one(write: Callable[[Connection, Any], Any]) -> Handler:
    """A handler of requests that have nothing to do with each other: each within a savepoint of its own."""

    def handler(connection: Connection, payloads: Sequence[Any]) -> Sequence[Any]:
        outcomes: list[Any] = []
        for payload in payloads:
            try:
                with connection.begin_nested():
                    outcomes.append(write(connection, payload))
            except ShoploomError as error:
                outcomes.append(error)
        return outcomes

    return handler


def _outcomes(connection: Connection, jobs: Sequence[_Job]) -> list[Any]:
    """Results in the order of the jobs; neighbours with the same handler are written by one call."""
    outcomes: list[Any] = []
    while len(outcomes) < len(jobs):
        start = len(outcomes)
        handler = jobs[start].handler
        end = next((i for i in range(start, len(jobs)) if jobs[i].handler != handler), len(jobs))
        outcomes.extend(handler(connection, [job.payload for job in jobs[start:end]]))
    return outcomes


def _refuse(jobs: Sequence[_Job], error: BaseException) -> None:
    for job in jobs:
        job.future.set_exception(error)
