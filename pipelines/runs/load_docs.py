"""Data Docs of every load: ``<home>/data_docs/<data version>``; of a refused one, ``load-<run>`` beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipelines.settings import Settings

REPORT = "report.json"
PAGE = "index.html"


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
    if kept.exists():
        shutil.rmtree(built, ignore_errors=True)
    elif built.is_dir():
        built.rename(kept)
    return kept


def docs_of(settings: Settings, commit: str) -> Path | None:
    """The first page of the Data Docs of the load that made a data version; None where this machine has none."""
    page = settings.home / "data_docs" / commit / PAGE
    return page if commit and page.is_file() else None
