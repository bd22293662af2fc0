"""``shoploom doctor``: which versions, databases, weights and places are in use, and whether each is sound."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import ShoploomError
from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

Finding = dict[str, str]

_WAL_BUG = ((3, 7, 0), (3, 51, 2))
_LIBRARIES = (
    "apache-airflow",
    "mlflow",
    "dvc",
    "tensorflow",
    "keras",
    "keras-hub",
    "transformers",
    "great-expectations",
    "scikit-learn",
    "openvino",
    "implicit",
    "lightgbm",
)


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that a run needs.

    Returns:
        Findings with ``name``, ``state`` (fine, note or broken), ``detail`` and ``mend``.
    """
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _python,
        _libraries,
        _git,
        _places,
        _databases,
        _weights,
        _champion,
    )
    return [finding for check in checks for finding in check(settings)]


def _finding(name: str, state: str, detail: str, mend: str = "") -> Finding:
    return {"name": name, "state": state, "detail": detail, "mend": mend}


def _python(_: Settings) -> Iterator[Finding]:
    fine = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield _finding(
        "python", "fine" if fine else "broken", sys.version.split()[0], "" if fine else "use Python 3.11 to 3.13"
    )


def _libraries(settings: Settings) -> Iterator[Finding]:
    path = settings.repository / "requirements.lock"
    if not path.is_file():
        yield _finding("requirements.lock", "broken", f"{path} does not exist", "git checkout -- requirements.lock")
        return
    lock = path.read_text(encoding="utf-8")
    for library in _LIBRARIES:
        locked = re.findall(rf"^{re.escape(library)}==([^ ]+)", lock, re.MULTILINE)
        try:
            installed = version(library)
        except PackageNotFoundError:
            yield _finding(library, "broken", "not installed", "make install")
            continue
        same = installed in locked
        yield _finding(
            library, "fine" if same else "broken", installed, "" if same else f"the lock has {locked}: make install"
        )
    try:
        yield _finding("torch", "note", f"{version('torch')} is installed; nothing here uses it", "make clean install")
    except PackageNotFoundError:
        yield _finding("torch", "fine", "absent, as it should be")


def _git(settings: Settings) -> Iterator[Finding]:
    if shutil.which("git") is None:
        yield _finding("git", "broken", "not found", "install git")
        return
    inside = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=settings.repository, capture_output=True, text=True
    )
    if inside.returncode:
        yield _finding("git", "broken", f"{settings.repository} has no commit", "run inside a clone of the repository")
    else:
        yield _finding("git", "fine", f"{settings.repository} at {inside.stdout.strip()}")


def _places(settings: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(settings.repository).free / 2**30
    enough = free > 5
    nearest = next(place for place in (settings.home, *settings.home.parents) if place.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        yield _finding("state", "fine", str(settings.home))
    else:
        yield _finding("state", "broken", f"{settings.home} cannot be written", "export SHOPLOOM_HOME=<another folder>")
    yield _finding(
        "disk",
        "fine" if enough else "note",
        f"{free:.0f} GiB free",
        "" if enough else "a run needs about 5 GiB: shoploom gc",
    )
    yield _finding("DVC remote", "fine", settings.remote)
    yield _finding("MLflow artifacts", "fine", settings.artifacts)


def _databases(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is not None:
        yield from _postgresql(settings)
        return
    for name in ("airflow/airflow.db", "mlflow/mlflow.db"):
        path = settings.home / name
        trouble = _damage(path) if path.is_file() else ""
        if trouble:
            yield _finding("database", "broken", f"{path}: {trouble}", f"bring a copy back, or begin anew: rm {path}")
    found = sqlite3.sqlite_version_info
    wal = _WAL_BUG[0] <= found <= _WAL_BUG[1]
    detail = f"SQLite {sqlite3.sqlite_version} in {settings.home}"
    if wal:
        detail += "; up to 3.51.2 its WAL mode can corrupt under several writers"
    yield _finding(
        "database", "note" if wal else "fine", detail, "for `shoploom up`, set SHOPLOOM_DATABASE_URL" if wal else ""
    )


def _damage(path: Path) -> str:
    """What SQLite finds wrong with a database; empty when it is sound."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return "" if said == "ok" else said


def _champion(settings: Settings) -> Iterator[Finding]:
    """Whether what is to be served can be fetched."""
    from pipelines.registry.promotion import champion

    books = settings.tracking.removeprefix("sqlite:///")
    if books != settings.tracking and not Path(books).is_file():
        yield _finding("champion", "fine", "none yet")
        return
    try:
        holder = champion(settings)
        if holder is not None:
            holder.kept_package()
    except ShoploomError as error:
        mend = "bring the books and artifacts back, or return to the version before: shoploom rollback"
        yield _finding("champion", "broken", error.message, mend)
        return
    yield _finding("champion", "fine", f"version {holder.version}" if holder else "none yet")


def _postgresql(settings: Settings) -> Iterator[Finding]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    assert settings.database_url is not None
    url = make_url(settings.database_url.get_secret_value()).set(database="postgres")
    try:
        with create_engine(url).connect() as connection:
            server = connection.execute(text("show server_version")).scalar_one()
    except SQLAlchemyError as error:
        first = str(error).splitlines()[0]
        yield _finding("database", "broken", f"{url!r}: {first}", "start PostgreSQL or mend SHOPLOOM_DATABASE_URL")
        return
    yield _finding("database", "fine", f"PostgreSQL {server} at {url!r}")


def _weights(settings: Settings) -> Iterator[Finding]:
    from pipelines.models.bert import find_weights
    from pipelines.params import EmbedParams, load_params

    try:
        params = load_params(EmbedParams, "embed", settings.repository / "params.yaml")
        yield _finding("encoder weights", "fine", str(find_weights(params.weights, params.weights_sha256)))
    except ShoploomError as error:
        yield _finding("encoder weights", "broken", error.message, error.mend)


def draw_findings(findings: list[Finding], console: Console) -> None:
    """One line a finding; how to mend it below where there is something to mend."""
    from rich.markup import escape

    marks = {"fine": "[green]+[/]", "note": "[yellow]![/]", "broken": "[red]x[/]"}
    for finding in findings:
        console.print(f"{marks[finding['state']]} {finding['name']:<20} {escape(finding['detail'])}", soft_wrap=True)
        if finding["mend"]:
            console.print(f"  {'':<20} [dim]-> {escape(finding['mend'])}[/]", soft_wrap=True)
