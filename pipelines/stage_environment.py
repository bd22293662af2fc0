"""What a stage may know of where it runs. None of it changes what the stage puts out."""

from __future__ import annotations

import os
from pathlib import Path

SIDE_VARIABLE = "SHOPLOOM_SIDE"
NO_CACHE_VARIABLE = "SHOPLOOM_NO_CACHE"


def cache_folder(name: str) -> Path | None:
    """Where a stage keeps what it may meet again: ``name`` in the state folder; None where nothing may be reused."""
    if caches_are_off():
        return None
    return state_folder() / name


def caches_are_off() -> bool:
    """Whether everything is to be made again (``SHOPLOOM_NO_CACHE=1``)."""
    return os.environ.get(NO_CACHE_VARIABLE) == "1"


def side_folder(stage: str) -> Path:
    """Where a stage leaves what is no output of it, Data Docs for instance."""
    return Path(os.environ.get(SIDE_VARIABLE) or state_folder() / "side" / stage)


def state_folder() -> Path:
    """Where all state lies that is not source."""
    return Path(os.environ.get("SHOPLOOM_HOME") or ".shoploom")
