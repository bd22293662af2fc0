"""What a server of the candidate reaches beside one of the champion: real processes on loopback, the golden requests.

Both run at once and are asked the same questions in turn, so that what else the machine does falls on both alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from pipelines.errors import RegistryError, ShoploomError
from pipelines.settings import Settings, child_environment

SECONDS_TO_START = 120.0
SECONDS_TO_ANSWER = 30.0
SECONDS_TO_END = 10.0
FIRST = 8
"""Requests that are asked twice and count once: what a server reads at first use is not the model's latency."""
Ask = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Reached:
    """What one server reached.

    Args:
        latencies_ms: of the golden requests, in their order.
        memory_mb: resident, after the last answer.
    """

    latencies_ms: tuple[float, ...]
    memory_mb: float


@dataclass(frozen=True)
class ServingTrial:
    """What the servers reached.

    Args:
        candidate: None where it could not be served.
        champion: None where there is none, or it could not be served.
        refused: why the candidate could not be served; empty otherwise.
        champion_refused: why the champion could not be served; empty otherwise.
        seconds: that the trial took, from the start of the servers to their end.
    """

    candidate: Reached | None
    champion: Reached | None = None
    refused: str = ""
    champion_refused: str = ""
    seconds: float = 0.0


def try_serving(settings: Settings, candidate: Path, champion: Path | None) -> ServingTrial:
    """Serve the candidate's package, the champion's beside it, and measure both.

    Args:
        settings: for the environment of the servers; their own state lies in a temporary folder.
        candidate: its package.
        champion: its package; None where there is none.
    """
    began = time.perf_counter()
    tried = _try(settings, candidate, champion)
    return replace(tried, seconds=time.perf_counter() - began)


def _try(settings: Settings, candidate: Path, champion: Path | None) -> ServingTrial:
    with tempfile.TemporaryDirectory(prefix="shoploom-trial-") as name, ExitStack() as stack:
        folder = Path(name)
        ours = stack.enter_context(_served(settings, candidate, folder / "candidate"))
        theirs = stack.enter_context(_served(settings, champion, folder / "champion")) if champion else None
        try:
            asks = ours.await_ready()
        except ShoploomError as error:
            return ServingTrial(None, refused=error.message)
        refused = ""
        if theirs is not None:
            try:
                theirs.await_ready()
            except ShoploomError as error:
                theirs, refused = None, f"the champion cannot be served: {error.message}"
        try:
            times, others = _ask_in_turn(ours, theirs, asks)
        except ShoploomError as error:
            return ServingTrial(None, refused=error.message)
        reached = Reached(times, ours.memory_mb())
        return ServingTrial(
            reached, Reached(others, theirs.memory_mb()) if theirs and others else None, champion_refused=refused
        )


@dataclass
class _Server:
    """A server process.

    Args:
        process: its process.
        folder: its state, its log, and what it tells.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    connection: HTTPConnection | None = None

    def await_ready(self) -> list[Ask]:
        """Wait for the server; returns the golden requests.

        Raises:
            RegistryError: it ended, or did not get ready in time; the message is its own.
        """
        told, deadline = self.folder / "told.json", time.monotonic() + SECONDS_TO_START
        while not told.is_file():
            if self.process.poll() is not None and not told.is_file():
                raise RegistryError(f"its server ended: {self._last_words()}")
            if time.monotonic() > deadline:
                raise RegistryError(f"its server was not ready within {SECONDS_TO_START:.0f} s: {self._last_words()}")
            time.sleep(0.05)
        said = json.loads(told.read_text(encoding="utf-8"))
        if "refused" in said:
            raise RegistryError(str(said["refused"]))
        host, port = said["address"]
        self.connection = HTTPConnection(host, port, timeout=SECONDS_TO_ANSWER)
        return [(path, body) for path, body in said["requests"]]

    def ask(self, path: str, body: dict[str, Any]) -> tuple[int, float]:
        """Status, and milliseconds until the whole answer was read.

        Raises:
            RegistryError: it does not answer.
        """
        assert self.connection is not None
        content, started = json.dumps(body).encode(), time.perf_counter()
        try:
            self.connection.request("POST", path, content, {"Content-Type": "application/json"})
            reply = self.connection.getresponse()
            reply.read()
        except (OSError, HTTPException) as error:
            raise RegistryError(f"its server does not answer {path}: {error or type(error).__name__}") from error
        return reply.status, 1000 * (time.perf_counter() - started)

    def memory_mb(self) -> float:
        """Resident memory of the process."""
        import psutil

        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)

    def _last_words(self) -> str:
        lines = (self.folder / "server.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _ask_in_turn(
    ours: _Server, theirs: _Server | None, asks: Sequence[Ask]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Milliseconds of every request to both; those that the champion cannot answer (an item it lacks) are left out.

    Raises:
        RegistryError: the candidate does not answer well, or a server does not answer at all.
    """
    times, others = [], []
    for path, body in (*asks[:FIRST], *asks):
        status, took = ours.ask(path, body)
        if status != 200:
            raise RegistryError(f"golden request failed: {path} was answered {status}")
        there, beside = theirs.ask(path, body) if theirs is not None else (200, 0.0)
        if there == 200:
            times.append(took)
            others.append(beside)
    return tuple(times[FIRST:]), tuple(others[FIRST:]) if theirs is not None else ()


@contextmanager
def _served(settings: Settings, package: Path, folder: Path) -> Iterator[_Server]:
    """A server of a package in a process of its own; it ends with the block, and with this process."""
    from pipelines.runs.commands import die_with_parent

    folder.mkdir(parents=True)
    environment = child_environment(settings, SHOPLOOM_HOME=str(folder))
    environment.pop("SHOPLOOM_STATE_URL", None)
    command = [sys.executable, "-m", "pipelines.serving.on_trial", str(package.resolve()), str(folder / "told.json")]
    with (folder / "server.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    server = _Server(process, folder)
    try:
        yield server
    finally:
        if server.connection is not None:
            server.connection.close()
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        process.kill()
        process.wait()
