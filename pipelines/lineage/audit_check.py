"""``shoploom audit verify``: hold the log to itself and to its anchors, and name every entry that is not as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pipelines.errors import RegistryError, RunError
from pipelines.lineage import anchors
from pipelines.lineage.anchors import Anchor
from pipelines.lineage.audit import FIRST, Entry, append, held, log_path, parse, read_lines, record
from pipelines.settings import Settings

Kind = Literal["edited", "reordered", "repeated", "missing", "truncated", "lost", "anchor"]


@dataclass(frozen=True)
class Finding:
    """What is not as it was.

    Args:
        kind: of the damage.
        sequence: of the entry, None where none can be named.
        message: one sentence.
    """

    kind: Kind
    sequence: int | None
    message: str


@dataclass(frozen=True)
class Report:
    """What a look at the log came to.

    Args:
        entries: how many the log holds.
        head: the hash of the last.
        anchored: how many anchors were looked at, by place: git, runs, mlflow.
        findings: empty when all is whole.
        unasked: why a place could not be asked, by place.
    """

    entries: int
    head: str
    anchored: dict[str, int]
    findings: tuple[Finding, ...]
    unasked: dict[str, str]


def check(settings: Settings) -> Report:
    """Check every line of the log against itself, git's copies and the anchors in run commits and MLflow.

    Nothing is changed.

    Raises:
        RunError: git does not answer.
    """
    lines = read_lines(settings)
    copies = anchors.copies(settings)
    known: dict[str, list[Anchor]] = {"runs": anchors.run_anchors(settings)}
    unasked = {}
    try:
        known["mlflow"] = anchors.registry_anchors(settings)
    except RegistryError as error:
        unasked["mlflow"] = error.message
    entries = [parse(line) for line in lines]
    whole = [entry for entry in entries if entry is not None]
    findings = [
        *_of_file(entries),
        *_of_copies(settings, whole, copies),
        *_of_anchors(settings, whole, copies, [anchor for found in known.values() for anchor in found]),
    ]
    if not lines and findings:
        place = log_path(settings)
        findings.insert(0, Finding("lost", None, f"{place} is lost; git's copy has {len(copies)} entries"))
    counted = {"git": len(copies), **{place: len(found) for place, found in known.items()}}
    return Report(len(lines), whole[-1].hash if whole else FIRST, counted, tuple(dict.fromkeys(findings)), unasked)


def restore(settings: Settings) -> int:
    """Write the log again from git's copies, with what the log has beyond them; the damaged file is kept beside it.

    Returns:
        How many entries it then has; the last says that it was restored.

    Raises:
        RunError: git's copies are lost or damaged too.
    """
    path = log_path(settings)
    copies = anchors.copies(settings)
    entries = [copy for copy in copies if copy is not None]
    if not entries or len(entries) < len(copies) or list(_of_file(entries)):
        raise RunError(
            f"git's copy of the audit log, {anchors.audit_ref(settings)}, is {'damaged' if copies else 'lost'} too",
            mend="bring back the state folder's audit/ or the ref from a copy; shoploom audit shows what is left",
        )
    with held(settings):
        for entry in filter(None, map(parse, read_lines(settings))):
            if entry.sequence == entries[-1].sequence + 1 and entry.previous == entries[-1].hash:
                entries.append(entry)
        if path.exists():
            os.replace(path, path.with_name(f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl"))
        for entry in entries:
            append(settings, entry)
    return record(settings, "restore", "audit log", entries=len(entries)).sequence


def _of_file(entries: Sequence[Entry | None]) -> Iterator[Finding]:
    """What the file alone tells."""
    edited: set[int] = set()
    for place, entry in enumerate(entries, start=1):
        if entry is None:
            yield Finding("edited", None, f"line {place} was edited: it is no entry of an audit log")
        elif entry.own_hash() != entry.hash:
            edited.add(entry.sequence)
            yield Finding("edited", entry.sequence, f"entry {entry.sequence} was edited: its content has another hash")
    whole = [entry for entry in entries if entry is not None]
    yield from _order(whole)
    by_sequence = {entry.sequence: entry for entry in whole}
    last = max(by_sequence, default=0)
    for sequence in range(1, last + 1):
        if sequence not in by_sequence and None not in entries:
            yield Finding("missing", sequence, f"entry {sequence} is missing")
    for sequence, entry in sorted(by_sequence.items()):
        before = by_sequence.get(sequence - 1)
        expected = before.hash if before else FIRST if sequence == 1 else entry.previous
        if entry.previous != expected and not {sequence, sequence - 1} & edited:
            message = f"entry {sequence} does not follow from entry {sequence - 1}: one of them was rewritten"
            yield Finding("edited", sequence, message)


def _order(entries: Sequence[Entry]) -> Iterator[Finding]:
    seen: set[int] = set()
    highest = 0
    for entry in entries:
        if entry.sequence in seen:
            yield Finding("repeated", entry.sequence, f"entry {entry.sequence} stands there twice")
        elif entry.sequence < highest:
            message = f"the entries are in another order: {entry.sequence} stands after {highest}"
            yield Finding("reordered", entry.sequence, message)
        seen.add(entry.sequence)
        highest = max(highest, entry.sequence)


def _of_copies(settings: Settings, entries: Sequence[Entry], copies: Sequence[Entry | None]) -> Iterator[Finding]:
    """What git's copies tell of the file."""
    ref = anchors.audit_ref(settings)
    by_sequence = {entry.sequence: entry for entry in entries}
    last = max(by_sequence, default=0)
    for place, copy in enumerate(copies, start=1):
        if copy is None or copy.own_hash() != copy.hash or copy.sequence != place:
            yield Finding("anchor", place, f"{ref}: the copy of entry {place} was changed")
        elif place in by_sequence and by_sequence[place].hash != copy.hash:
            yield Finding("edited", place, f"entry {place} was rewritten: git's copy in {ref} is another")
    if entries and not copies:
        yield Finding(
            "anchor", None, f"{ref} is gone; the log's own {len(entries)} entries are all there is to hold it to"
        )
    if last < len(copies):
        yield _cut(last, len(copies), f"git's copy in {ref} has {len(copies)}")


def _of_anchors(
    settings: Settings, entries: Sequence[Entry], copies: Sequence[Entry | None], known: Sequence[Anchor]
) -> Iterator[Finding]:
    """What run commits and MLflow tell of the file and of git's copies."""
    places: Mapping[str, dict[int, str]] = {
        "the log": {entry.sequence: entry.hash for entry in entries},
        anchors.audit_ref(settings): {copy.sequence: copy.hash for copy in copies if copy is not None},
    }
    for name, hashes in places.items():
        last = max(hashes, default=0)
        for one in known:
            if one.sequence in hashes and hashes[one.sequence] != one.hash:
                yield Finding("edited", one.sequence, f"{name}: entry {one.sequence} is not the one in {one.where}")
            elif one.sequence > max(last, len(copies)) and name == "the log":
                yield _cut(last, one.sequence, f"{one.where} knows of entry {one.sequence}")
            elif one.sequence > last and hashes:
                yield Finding(
                    "anchor", one.sequence, f"{name} ends at entry {last}; {one.where} knows of {one.sequence}"
                )


def _cut(last: int, known: int, why: str) -> Finding:
    gone = f"entry {known} is" if known == last + 1 else f"entries {last + 1} to {known} are"
    return Finding("truncated", last + 1, f"{gone} cut off the log's end: {why}")
