"""Scratch folders of loads. They hold rows as the shop has them, users by name, so none may outlast its load.

A load that was killed cannot remove its own: the next one does. A folder's owner holds a lock in it for as long as it
lives, and the system gives that back however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "shoploom-source-"
_LOCK = "lock"
_FRESH_SECONDS = 60.0
"""A folder changed less than that ago may be about to be locked."""


def new_scratch() -> tuple[Path, int]:
    """Make a scratch folder, readable by this user alone, after those of dead loads were removed.

    Returns:
        The folder, and the descriptor of its lock, which says that it is in use.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_left(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


def remove_scratch(folder: Path, lock: int) -> None:
    """Remove a folder that :func:`new_scratch` made, then give its lock back."""
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _remove_left(folder: Path) -> None:
    """Remove a folder that is this user's own and that no living load holds."""
    try:
        told = folder.lstat()
        if told.st_uid != os.getuid() or time.time() - told.st_mtime < _FRESH_SECONDS:
            return
        with (folder / _LOCK).open("a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # held, or gone meanwhile
        return
