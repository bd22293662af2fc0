"""Data Docs of every load: ``<home>/data_docs/<data version>``; of a refused one, ``load-<run>`` beside it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.artifacts import read_json, write_json
from pipelines.errors import DataError
from pipelines.settings import Settings

REPORT = "report.json"
PAGE = "index.html"
REFUSED_FILE = "refused.json"
"""Of a load that was stopped: when, of what, and why."""


def load_docs(settings: Settings, run: str) -> Path:
    """Where a load's Data Docs are built, under the name of its run's folder, and stay if it is refused."""
    return settings.home / "data_docs" / f"load-{run}"


def keep_docs(settings: Settings, run: str, commit: str) -> Path:
    """Give a load's Data Docs the name of the data version that it made; those of a version stay as they were.

    Returns:
        The folder that they lie in now.
    """
    built = load_docs(settings, run)
    kept = built.with_name(commit)
    (built / REFUSED_FILE).unlink(missing_ok=True)
    if kept.exists():
        shutil.rmtree(built, ignore_errors=True)
    elif built.is_dir():
        built.rename(kept)
    return kept


def docs_of(settings: Settings, commit: str) -> Path | None:
    """The first page of the Data Docs of the load that made a data version; None where this machine has none."""
    page = settings.home / "data_docs" / commit / PAGE
    return page if commit and page.is_file() else None


def note_refused(settings: Settings, run: str, source: str, partitions: Sequence[str], why: str) -> None:
    """Remember that a load was stopped."""
    said = {
        "run": run,
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "source": source,
        "partitions": list(partitions),
        "why": why.strip().splitlines()[0] if why.strip() else "",
    }
    write_json(said, load_docs(settings, run) / REFUSED_FILE)


def refused_loads(settings: Settings) -> list[dict[str, Any]]:
    """The loads that were stopped and not landed since by the same run: what :func:`note_refused` noted, and ``docs``.

    Newest first; ``docs`` is the folder with their Data Docs.
    """
    found = []
    for path in (settings.home / "data_docs").glob(f"load-*/{REFUSED_FILE}"):
        try:
            found.append({**read_json(path), "docs": str(path.parent)})
        except DataError:
            continue
    return sorted(found, key=lambda load: str(load["when"]), reverse=True)


def old_refused(settings: Settings, before: float) -> tuple[Path, ...]:
    """The Data Docs of loads that were refused before a moment, in seconds since the epoch."""
    folders = (settings.home / "data_docs").glob("load-*")
    return tuple(sorted(path for path in folders if path.is_dir() and path.stat().st_mtime < before))
