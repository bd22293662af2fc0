"""Processes that a task starts: each leads a process group of its own, so that all of it can be stopped.

Killing only the process that was started would orphan what that process started, which could overwrite a retried
task's output.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.runs.commands import die_with_parent

GRACE_SECONDS = 8.0
"""Between SIGTERM and SIGKILL. Airflow gives a cancelled task 60 seconds (``core.killed_task_cleanup_time``)."""

_running: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        returncode: 0 is success; negative is the signal that ended it.
        output: what it wrote to standard output, where that was asked for.
        errors: the last lines of its standard error.
    """

    returncode: int
    output: str
    errors: str


def run_in_group(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path, capture: bool = False
) -> Ended:
    """Run ``command`` to its end in a new session, its words appended to ``log``.

    If this thread is interrupted while it waits, the whole group is stopped before the interruption goes on.

    Args:
        command: program and arguments; no shell reads them.
        environment: the complete environment.
        folder: working directory.
        log: file that standard error (and standard output, unless captured) is appended to; made where missing.
        capture: return standard output in place of logging it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        sink.write(f"$ {' '.join(command)}\n".encode())
        sink.flush()
        start = sink.tell()
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    _running.add(process)
    try:
        output, _ = process.communicate()
    except BaseException:
        stop_group(process)
        raise
    finally:
        _running.discard(process)
    return Ended(process.returncode, (output or b"").decode(errors="replace"), tail(log, start))


def stop_running() -> None:
    """Stop the group of every process that :func:`run_in_group` waits for (called from signal handlers)."""
    for process in list(_running):
        stop_group(process)


def stop_group(process: subprocess.Popen[bytes], grace_seconds: float = GRACE_SECONDS) -> None:
    """SIGTERM to the whole group, then SIGKILL to what is left of it."""
    _signal(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline and _alive(process.pid):
        if process.returncode is None:
            _reap(process)
        time.sleep(0.05)
    _signal(process.pid, signal.SIGKILL)


def last_lines(text: str, lines: int = 6) -> str:
    """The end of what a process said."""
    return "\n".join(text.strip().splitlines()[-lines:])


def _reap(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def tail(log: Path, start: int, limit: int = 4000) -> str:
    """The end of what was said in a log since it was ``start`` bytes long; at most ``limit`` bytes of it."""
    with log.open("rb") as source:
        source.seek(max(start, log.stat().st_size - limit))
        return source.read().decode(errors="replace").strip()
