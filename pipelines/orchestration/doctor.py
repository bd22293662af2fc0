"""``shoploom doctor``: which versions, databases, weights, keys and places are in use, and whether each is sound."""

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
from urllib.parse import unquote, urlsplit

from pipelines.errors import ConfigError, RunError, ShoploomError
from pipelines.orchestration import doctor_trust
from pipelines.orchestration.airflow import metadata_database
from pipelines.settings import Settings, sqlite_file

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.runs.data_versions import DataVersion

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
        _keys,
        _trust,
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
    yield _place("state", str(settings.home), "SHOPLOOM_HOME")
    free = shutil.disk_usage(_nearest(settings.home)).free / 2**30
    enough = free > 5
    yield _finding(
        "disk",
        "fine" if enough else "note",
        f"{free:.0f} GiB free",
        "" if enough else "a run needs about 5 GiB: shoploom gc",
    )
    yield _place("DVC remote", settings.remote, "SHOPLOOM_REMOTE_URL")
    yield _place("MLflow artifacts", settings.artifacts, "SHOPLOOM_ARTIFACTS_URL")


def _keys(settings: Settings) -> Iterator[Finding]:
    """Whether the users of the newest data version can be asked for by name here."""
    from pipelines.pseudonyms import read_ring, ring_path
    from pipelines.runs.data_versions import latest_data_version

    place = str(ring_path(settings.home))
    try:
        ring, tip = read_ring(settings.home), _or_none(latest_data_version, settings)
        if ring is not None and tip is not None and tip.user_key:
            ring.through(tip.user_key)
    except ShoploomError as error:
        yield _finding("user keys", "broken", error.message, error.mend)
        return
    if ring is None:
        lost = tip is not None and bool(tip.user_key)
        yield _finding(
            "user keys",
            "broken" if lost else "note",
            f"{place} {'is lost: its users cannot be asked for' if lost else 'is made by the first load'}",
            "copy it from the machine that landed the data" if lost else "",
        )
    else:
        yield _finding("user keys", "fine", f"{place}: {len(ring.ids)}, keep a copy of it")


def _trust(settings: Settings) -> Iterator[Finding]:
    """Who signs, whose word counts, and where the history stands."""
    for look in (doctor_trust.signing_keys, doctor_trust.policy, doctor_trust.audit_log):
        yield from (_finding(*found) for found in look(settings))


def _or_none(ask: Callable[[Settings], DataVersion | None], settings: Settings) -> DataVersion | None:
    """What git says, or None where there is no repository: that is found by itself."""
    try:
        return ask(settings)
    except RunError:
        return None


def _place(name: str, address: str, variable: str) -> Finding:
    """Whether a folder is, or can be made, writable; an address elsewhere is not asked."""
    parts = urlsplit(address)
    if parts.scheme not in ("", "file"):
        return _finding(name, "note", f"{address}: not looked at")
    folder = Path(unquote(parts.path) if parts.scheme else address).absolute()
    nearest = _nearest(folder)
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return _finding(name, "fine", address)
    return _finding(name, "broken", f"{address} cannot be written", f"export {variable}=<another folder>")


def _nearest(place: Path) -> Path:
    """``place``, or the nearest of its parents that exists."""
    return next(folder for folder in (place, *place.parents) if folder.exists())


def _databases(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is not None:
        yield from _postgresql(settings)
        return
    # MLflow's own database is looked at also while its server is up, or another one is set.
    books = settings.model_copy(update={"tracking_url": None}).tracking
    for path in map(sqlite_file, (metadata_database(settings), books)):
        trouble = _damage(path) if path is not None and path.is_file() else ""
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
    from pipelines.orchestration.champions import champion_package
    from pipelines.registry.promotion import champion

    try:
        books = sqlite_file(settings.tracking)
        holder = champion(settings) if books is None or books.is_file() else None
        if holder is not None:
            champion_package(settings, holder)
    except ShoploomError as error:
        lost = "bring the books and artifacts back, or return to the version before: shoploom rollback"
        mend = error.mend if isinstance(error, ConfigError) else lost
        yield _finding("champion", "broken", error.message, mend)
        return
    yield _finding("champion", "fine", f"version {holder.version}" if holder else "none yet")


def _postgresql(settings: Settings) -> Iterator[Finding]:
    import psycopg2
    from sqlalchemy.engine import make_url

    from pipelines.postgresql import dial

    try:
        address = settings.database("airflow")
        with closing(dial(address, "postgres")) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            server = cursor.fetchone()[0]
    except ShoploomError as error:
        yield _finding("database", "broken", error.message, error.mend)
    except psycopg2.Error as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        mend = "start PostgreSQL or mend SHOPLOOM_DATABASE_URL"
        yield _finding("database", "broken", f"{make_url(address)!r}: {first}", mend)
    else:
        yield _finding("database", "fine", f"PostgreSQL {server} at {make_url(address)!r}")


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
