"""Progress of long loops, seen by whoever is watching.

A stage says how far it is; it does not know who listens. With ``SHOPLOOM_PROGRESS`` set to a file, each step is
appended there as a JSON line, for ``shoploom run`` to draw; otherwise, on a terminal, a bar is drawn here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

PROGRESS_VARIABLE = "SHOPLOOM_PROGRESS"
STAGE_VARIABLE = "SHOPLOOM_STAGE"
DAG_VARIABLE = "SHOPLOOM_DAG"

_Step = TypeVar("_Step")


def report(event: str, **fields: object) -> None:
    """Append one progress event; without a listener this does nothing."""
    path = os.environ.get(PROGRESS_VARIABLE)
    if not path:
        return
    source = {"dag": os.environ.get(DAG_VARIABLE), "stage": os.environ.get(STAGE_VARIABLE)}
    line = json.dumps({"event": event, **source, "time": time.time(), **fields})
    with open(path, "a", encoding="utf-8") as listener:
        listener.write(line + "\n")


def track(steps: Iterable[_Step], description: str, total: int | None = None) -> Iterator[_Step]:
    """Yield every step, telling the listener how many are done.

    Args:
        steps: what to loop over.
        description: a few words: ``"encode product texts"``.
        total: number of steps, where ``steps`` has no length.
    """
    if total is None and isinstance(steps, Sized):
        total = len(steps)
    if not os.environ.get(PROGRESS_VARIABLE) and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as draw

        yield from draw(steps, description=description, total=total, console=Console(stderr=True))
        return
    last = 0.0
    for done, step in enumerate(steps, start=1):
        yield step
        now = time.monotonic()
        if now - last > 0.25 or done == total:
            last = now
            report("progress", description=description, done=done, total=total)
