"""The audit log: who did what, when, and to what; each entry holds the hash of the one before.

``<home>/audit/log.jsonl`` is only ever appended to: one entry a line, as canonical JSON (RFC 8785), flushed to the disk
under a lock. git keeps a copy of every entry (:mod:`pipelines.lineage.anchors`), so that what is edited, reordered or
cut off here is known there.

    entry 1 {..., previous: 000..., hash: a} <─ entry 2 {..., previous: a, hash: b} <─ entry 3 {..., previous: b, ...}
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.errors import RunError
from pipelines.settings import Settings

ACTIONS = (
    "land", "validate", "train", "gate", "approve", "promote", "rollback", "load", "refusal", "override", "key",
    "policy", "sign", "restore",
)  # fmt: skip
"""What an entry may be about."""
FIRST = "0" * 64
"""The hash before the first entry."""
RESTORE = "shoploom audit verify says what; shoploom audit restore brings back git's copy"
_LONGEST = 2000


@dataclass(frozen=True)
class Entry:
    """One line of the log.

    Args:
        sequence: 1, 2, 3, ...
        time: when, UTC, as RFC 3339 writes it.
        actor: ``user@host``.
        action: one of :data:`ACTIONS`.
        run: the Airflow run, or empty.
        subject: what it was done to: a data version, a run commit, ``version 7``.
        details: further facts, plain JSON.
        previous: the hash of the entry before.
        hash: SHA-256 of the canonical JSON of all the rest, hexadecimal.
    """

    sequence: int
    time: str
    actor: str
    action: str
    run: str
    subject: str
    details: dict[str, Any] = field(hash=False)
    previous: str
    hash: str

    def line(self) -> bytes:
        """As the log holds it, without the line's end."""
        return canonical(asdict(self))

    def own_hash(self) -> str:
        """What :attr:`hash` has to be."""
        content = asdict(self)
        del content["hash"]
        return hashlib.sha256(canonical(content)).hexdigest()


def canonical(value: Any) -> bytes:
    """Canonical JSON (RFC 8785): equal values, equal bytes."""
    import rfc8785

    return rfc8785.dumps(value)


def parse(line: bytes) -> Entry | None:
    """The entry that a line holds; None where it is no entry, or not spelled as :meth:`Entry.line` does."""
    try:
        entry = Entry(**json.loads(line))
        return entry if entry.line() == line else None
    except (ValueError, TypeError):
        return None


def log_path(settings: Settings) -> Path:
    """Where the log of a state folder lies."""
    return settings.home / "audit" / "log.jsonl"


def read_lines(settings: Settings) -> list[bytes]:
    """The log's lines; none where there is no log. A last line that was cut off stands without its end."""
    try:
        return [line for line in log_path(settings).read_bytes().split(b"\n") if line]
    except (FileNotFoundError, NotADirectoryError):
        return []


def read(settings: Settings) -> list[Entry]:
    """The entries that can be read, in the order of the file."""
    return [entry for entry in map(parse, read_lines(settings)) if entry is not None]


def record(settings: Settings, action: str, subject: str, *, run: str = "", **details: Any) -> Entry:
    """Append an entry and anchor it in git; it is on the disk when this returns.

    Args:
        settings: the state folder and the repository.
        action: one of :data:`ACTIONS`.
        subject: what it was done to.
        run: the Airflow run that it belongs to.
        details: further facts: text, numbers, lists and mappings of these.

    Raises:
        RunError: the log is not what git's anchors say, so nothing may be added; or git failed.
    """
    from pipelines.lineage import anchors

    assert action in ACTIONS, action
    with held(settings):
        last = _last(settings)
        anchors.require_agreement(settings, last)
        entry = _next(last, action, subject, run, details)
        append(settings, entry)
        anchors.anchor(settings, [entry])
    return entry


def record_once(settings: Settings, action: str, subject: str, **details: Any) -> None:
    """Record what would be said again and again, unless the log has it already since the champion last moved.

    Raises:
        RunError: as :func:`record`.
    """
    said = _plain({name: value for name, value in details.items() if value is not None})
    for line in reversed(read_lines(settings)):
        entry = parse(line)
        if entry is None:
            continue
        if entry.action in ("promote", "rollback"):
            break
        if (entry.action, entry.subject, entry.details) == (action, subject, said):
            return
    record(settings, action, subject, **details)


def append(settings: Settings, entry: Entry) -> None:
    """Write one line to the log's end and flush it; whoever calls holds the lock."""
    path = log_path(settings)
    made = not path.exists()
    with path.open("ab") as stream:
        stream.write(entry.line() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    if made:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def held(settings: Settings) -> Iterator[None]:
    """Hold the log alone, once whoever holds it lets go."""
    path = log_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def actor() -> str:
    """Who this process works for: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _next(last: Entry | None, action: str, subject: str, run: str, details: Mapping[str, Any]) -> Entry:
    sequence, previous = (last.sequence + 1, last.hash) if last else (1, FIRST)
    time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    facts = {name: value for name, value in details.items() if value is not None}
    entry = Entry(sequence, time, actor(), action, _text(run), _text(subject), _plain(facts), previous, "")
    return Entry(**{**asdict(entry), "hash": entry.own_hash()})


def _plain(value: Any) -> Any:
    """``value`` as JSON holds it, its texts cut to a length."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float) else _text(value)


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()[:_LONGEST]


def _last(settings: Settings) -> Entry | None:
    """The last entry.

    A line that a killed process left half written was never acknowledged: it is kept aside, in ``torn-<place>``.

    Raises:
        RunError: the last line is whole and no entry.
    """
    path = log_path(settings)
    content = path.read_bytes() if path.exists() else b""
    whole, _, torn = content.rpartition(b"\n")
    if torn:
        path.with_name(f"torn-{len(content) - len(torn)}").write_bytes(torn)
        os.truncate(path, len(content) - len(torn))
    if not whole:
        return None
    entry = parse(whole.rpartition(b"\n")[2])
    if entry is None:
        raise RunError(f"{path}: the last line is no entry of an audit log", mend=RESTORE)
    return entry
