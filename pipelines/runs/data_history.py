"""Every data version that a branch or a run still holds, and which partitions each of them changed.

git gives all commits and pointers in two processes. What a version changed follows from its listing and its parent's;
that never changes, so it is kept under ``<home>/lineage/changes`` by the version's commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.artifacts import atomic_file
from pipelines.errors import RunError, ShoploomError
from pipelines.runs.data_versions import BRANCH, RAW
from pipelines.runs.git import Git
from pipelines.runs.objects import read_object
from pipelines.settings import Settings
from pipelines.tables import TABLES

_POINTED = re.compile(rb"^- md5: ([0-9a-f]{32}(?:\.dir)?)$", re.MULTILINE)
_ENTRY = re.compile(rb'"md5": "([0-9a-f]{32})", "relpath": "([^"]+)"')

Changes = dict[str, str | None]
"""``<table>/<file>`` -> md5 of its new content, None where it was taken away."""


@dataclass(frozen=True)
class Landed:
    """A data version.

    Args:
        commit: its hash.
        parent: the version before it, or empty.
        time: of its commit, in seconds since the epoch: the newest event's.
        subject: the first line of its message, which names source and interval.
        message: all of it, with the trailers.
        listings: table -> md5 of its listing.
        changed: what it changed; None where a listing that would tell is lost.
    """

    commit: str
    parent: str
    time: int
    subject: str
    message: str
    listings: dict[str, str]
    changed: Changes | None


def data_history(settings: Settings, commits: Iterable[str] = ()) -> dict[str, Landed]:
    """Every data version by its commit, each after its parent.

    Args:
        settings: the repository and the object store.
        commits: data versions that are wanted whether or not ``data/main`` holds them; unknown ones are left out.

    Raises:
        RunError: git failed.
    """
    git = Git(settings.repository)
    wanted = [*dict.fromkeys([*filter(None, [git.find(BRANCH)]), *commits])]
    known = [name for name, found in zip(wanted, _exist(git, wanted), strict=True) if found]
    if not known:
        return {}
    form = "--format=%H%x00%P%x00%ct%x00%B%x00%x01"
    log = git.run("log", "--reverse", "--topo-order", "--no-show-signature", form, "--stdin", stdin=_lines(known))
    records = [
        record.strip("\n").split("\0") for record in log.decode(errors="replace").split("\0\x01") if record.strip()
    ]
    tables = list(TABLES)
    names = [f"{record[0]}:{RAW}/{table}.dvc" for record in records for table in tables]
    pointers = git.contents(names)
    listed: dict[str, dict[str, str]] = {}
    for place, record in enumerate(records):
        own = zip(tables, pointers[place * len(tables) : (place + 1) * len(tables)], strict=True)
        matches = {table: _POINTED.search(content) for table, content in own if content}
        listed[record[0]] = {table: match[1].decode() for table, match in matches.items() if match}
    changes = _all_changes(settings, [(record[0], _first(record[1])) for record in records], listed)
    return {
        commit: Landed(
            commit, _first(parents), int(stamp), message.split("\n", 1)[0], message, listed[commit], changes[commit]
        )
        for commit, parents, stamp, message in records
    }


def holdings(history: Mapping[str, Landed], commit: str) -> dict[str, tuple[str, str]]:
    """``<table>/<file>`` -> md5 and the data version that brought this content, for all that a version holds."""
    chain = []
    at = history.get(commit)
    while at is not None:
        chain.append(at)
        at = history.get(at.parent)
    held: dict[str, tuple[str, str]] = {}
    for landed in reversed(chain):
        for name, md5 in (landed.changed or {}).items():
            if md5 is None:
                held.pop(name, None)
            else:
                held[name] = (md5, landed.commit)
    return held


def content_of(history: Mapping[str, Landed], name: str) -> dict[str, str]:
    """Data version -> md5 that it has of ``<table>/<file>``, for those that have it."""
    held: dict[str, str] = {}
    for commit, landed in history.items():
        md5 = (landed.changed or {}).get(name, held.get(landed.parent))
        if md5 is not None:
            held[commit] = md5
    return held


def _exist(git: Git, commits: list[str]) -> list[bool]:
    said = git.run("cat-file", "--batch-check", stdin=_lines(commits)).decode().splitlines()
    return [line.split(" ")[1:2] == ["commit"] for line in said]


def _lines(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _first(parents: str) -> str:
    return parents.split(" ", 1)[0]


def _all_changes(
    settings: Settings, commits: list[tuple[str, str]], listed: Mapping[str, Mapping[str, str]]
) -> dict[str, Changes | None]:
    """What each version changed: from the index, else from the listings."""
    path = settings.home / "lineage" / "changes.json"
    index = _kept(path)
    found: dict[str, Changes | None] = {}
    latest: dict[str, tuple[str, set[bytes]]] = {}
    for commit, parent in commits:
        if commit in index:
            found[commit] = index[commit]
            continue
        try:
            found[commit] = _changes(settings, listed[commit], listed.get(parent, {}), latest)
        except RunError:
            found[commit] = None
    fresh = {commit: changes for commit, changes in found.items() if changes is not None}
    if fresh.keys() - index.keys():
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(index | fresh, separators=(",", ":")), encoding="utf-8")
    return found


def _kept(path: Path) -> dict[str, Changes]:
    try:
        kept: dict[str, Changes] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _changes(
    settings: Settings,
    own: Mapping[str, str],
    before: Mapping[str, str],
    latest: dict[str, tuple[str, set[bytes]]],
) -> Changes:
    """Compare a version's listings with its parent's; ``latest`` holds each table's listing that was read last."""
    changes: Changes = {}
    for table in {**before, **own}:
        new, old = own.get(table, ""), before.get(table, "")
        if new == old:
            continue
        held = latest.get(table)
        was = held[1] if held and held[0] == old else _entries(settings, old)
        now = _entries(settings, new)
        latest[table] = (new, now)
        changes |= {f"{table}/{name}": None for name in _named(was - now)}
        changes |= {f"{table}/{name}": md5 for name, md5 in _named(now - was).items()}
    return changes


def _entries(settings: Settings, listing: str) -> set[bytes]:
    return set(read_object(settings, listing).strip(b"[{}]\n").split(b"}, {")) if listing else set()


def _named(entries: Iterable[bytes]) -> dict[str, str]:
    """File name -> md5 of lines of a listing, as DVC writes them."""
    named = {}
    for entry in entries:
        match = _ENTRY.search(entry)
        if match is None:
            raise ShoploomError(f"a directory listing holds {entry[:80]!r}", mend="shoploom doctor")
        named[match[2].decode()] = match[1].decode()
    return named
