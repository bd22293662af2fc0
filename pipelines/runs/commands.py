"""A stage's command as a child of the runner, in the runner's process group, its standard error kept."""

from __future__ import annotations

import contextlib
import ctypes
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Any

from pipelines.errors import StageError
from pipelines.progress import STAGE_VARIABLE
from pipelines.settings import Settings, child_environment

_TAIL_LINES = 60
_PR_SET_PDEATHSIG = 1
_PLAIN = re.compile(r"[\w./-]+( +[\w./=,:@+-]+)*")
"""A command that means the same without a shell; started without one, it is the runner's own child."""


def run_commands(settings: Settings, stage: Any, worktree: Path) -> float:
    """Run what ``cmd`` says, in the worktree.

    Args:
        settings: for the environment: this Python first on the path, the state folder as here.
        stage: DVC's stage: its name, commands and outputs.
        worktree: the current folder of the commands.

    Returns:
        Seconds they took.

    Raises:
        StageError: a command failed, with its own text; or it ended well without one of its outputs.
    """
    began = time.monotonic()
    environment = child_environment(settings, **{STAGE_VARIABLE: stage.name, "PYTHONHASHSEED": "0"})
    for command in stage.cmd if isinstance(stage.cmd, list) else stage.cmd.splitlines():
        status, log = _run(command, worktree, environment)
        if status:
            raise StageError(_own_words(stage.name, status, log))
    absent = [out.def_path for out in stage.outs if not Path(out.fs_path).exists()]
    if absent:
        raise StageError(f"stage {stage.name} ended without its output {', '.join(absent)}")
    return time.monotonic() - began


def _run(command: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    plain = _PLAIN.fullmatch(command.strip())
    try:
        child = subprocess.Popen(
            command.split() if plain else ["/bin/sh", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        return 127, f"{command.split()[0]}: {error.strerror}"
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    assert child.stderr is not None
    reader = threading.Thread(target=_follow, args=(child.stderr, tail), daemon=True)
    reader.start()
    status = child.wait()
    reader.join(timeout=5)
    return status, "".join(tail)


def _follow(stream: IO[bytes], tail: deque[str]) -> None:
    with stream:
        for line in stream:
            text = line.decode(errors="replace")
            tail.append(text)
            sys.stderr.write(text)
            sys.stderr.flush()


def die_with_parent() -> None:
    """In a child, before its program starts: have Linux kill it when its parent dies alone; no orphan writes on."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _own_words(stage: str, status: int, log: str) -> str:
    """The stage's own last words: a deliberate error with its mend, or a traceback's last line."""
    number = -status if status < 0 else status - 128
    if status < 0 or (128 < status < 160):
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
            why = " (is memory short?)" if name == "SIGKILL" else ""
            return f"stage {stage} was killed by {name}{why}"
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    if not lines:
        return f"stage {stage} failed with exit status {status} and said nothing"
    if lines[-1].lstrip().startswith("->") and len(lines) > 1:
        return "\n".join(lines[-2:])
    return lines[-1] if "Traceback (most recent call last):" not in lines else f"stage {stage}: {lines[-1]}"
