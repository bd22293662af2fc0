"""Anchors of the audit log: copies of its entries, and of its newest hash, where an editor of the file does not reach.

* ``refs/shoploom/audit/<log>``: a chain of git commits, one an entry, its message the entry itself;
* the line ``Shoploom-Audit`` in the message of every run commit: the log's newest entry when the run ended;
* the tag ``audit.head`` of MLflow's experiment and runs.

The log's name follows from its state folder, so that several folders on one repository do not meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.errors import RunError
from pipelines.lineage.audit import RESTORE, Entry, log_path, parse, read
from pipelines.runs.git import NOTHING, Git, trailers
from pipelines.settings import Settings

AUDIT = "refs/shoploom/audit"
TAG = "audit.head"
_RUNS = "refs/shoploom/runs"
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass(frozen=True)
class Anchor:
    """The newest entry that was known somewhere at some time.

    Args:
        sequence: of the entry.
        hash: of the entry.
        where: a git ref or an MLflow run.
    """

    sequence: int
    hash: str
    where: str


def log_name(settings: Settings) -> str:
    """What the log of this state folder is called in anchors: 12 hexadecimal digits."""
    return hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]


def audit_ref(settings: Settings) -> str:
    """The ref of git's copies."""
    return f"{AUDIT}/{log_name(settings)}"


def head_of(settings: Settings) -> str:
    """The log's newest entry, as an anchor names it: ``<log> <sequence> <hash>``; empty before the first."""
    copy = _newest(settings)[1]
    return f"{log_name(settings)} {copy.sequence} {copy.hash}" if copy else ""


def anchor(settings: Settings, entries: Sequence[Entry]) -> None:
    """Add copies of entries to git's; whoever calls holds the log's lock.

    Raises:
        RunError: git failed, or somebody moved the ref meanwhile.
    """
    git, ref = Git(settings.repository), audit_ref(settings)
    before = git.find(ref)
    tip = before
    for entry in entries:
        date = int(datetime.fromisoformat(entry.time).timestamp())
        tip = git.commit(_EMPTY_TREE, [tip] if tip else [], entry.line().decode(), date)
    if tip is not None and tip != before:
        git.update_ref(ref, tip, before or NOTHING)


def anchor_in_registry(settings: Settings, mlflow_run: str = "") -> None:
    """Put the log's newest entry into the tags of MLflow's experiment, and of a run.

    Raises:
        RegistryError: MLflow does not answer.
    """
    from pipelines.registry.store import connect, experiment_id, translated

    head = head_of(settings)
    if not head:
        return
    client, experiment = connect(settings), experiment_id(settings)
    with translated(settings):
        client.set_experiment_tag(experiment, TAG, head)
        if mlflow_run:
            client.set_tag(mlflow_run, TAG, head)


def copies(settings: Settings) -> list[Entry | None]:
    """git's copies, oldest first; None in place of a commit that holds no entry."""
    git, ref = Git(settings.repository), audit_ref(settings)
    if git.find(ref) is None:
        return []
    listing = git.run("log", "--reverse", "--no-show-signature", "--format=%B%x00", ref, "--").decode(errors="replace")
    return [parse(message.strip("\n").encode()) for message in listing.split("\0")[:-1]]


def entries(settings: Settings) -> list[Entry]:
    """The log's entries, oldest first; git's copies where the log is lost."""
    return read(settings) or [copy for copy in copies(settings) if copy is not None]


def run_anchors(settings: Settings) -> list[Anchor]:
    """The anchors of this log in the messages of run commits."""
    git = Git(settings.repository)
    listing = git.run("for-each-ref", "--format=%(refname)%00%(contents)%00%00", "--", _RUNS).decode(errors="replace")
    found = []
    for record in listing.split("\0\0\n"):
        ref, _, message = record.strip("\0\n").partition("\0")
        found += _anchors(settings, trailers(message).get("audit", ""), ref)
    return found


def registry_anchors(settings: Settings) -> list[Anchor]:
    """The anchors of this log in MLflow's tags.

    Raises:
        RegistryError: MLflow does not answer.
    """
    from pipelines.registry.store import EXPERIMENT, connect, translated

    client = connect(settings)
    with translated(settings):
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return []
        found = _anchors(settings, experiment.tags.get(TAG, ""), "MLflow's experiment")
        runs = client.search_runs([experiment.experiment_id], "tags.kind = 'run'", max_results=1000)
    for run in runs:
        found += _anchors(settings, run.data.tags.get(TAG, ""), f"MLflow's run {run.info.run_id}")
    return found


def require_agreement(settings: Settings, last: Entry | None) -> None:
    """Hold the log's last entry to git's newest copy before anything is added; copies that git lacks are made.

    Raises:
        RunError: the log was lost, cut off or rewritten.
    """
    newest = _newest(settings)[1]
    if newest is None or (last is not None and (last.sequence, last.hash) == (newest.sequence, newest.hash)):
        if newest is None and last is not None:
            anchor(settings, read(settings))
        return
    path = log_path(settings)
    if last is None:
        raise RunError(
            f"the audit log {path} is lost; git's copy in {audit_ref(settings)} has {newest.sequence} entries",
            mend="shoploom audit shows them; shoploom audit restore writes the log again",
        )
    if last.sequence <= newest.sequence:
        what = "was rewritten" if last.sequence == newest.sequence else f"ends at entry {last.sequence}"
        raise RunError(
            f"the audit log {path} {what}; git's copy in {audit_ref(settings)} has {newest.sequence} entries",
            mend=RESTORE,
        )
    entries = read(settings)
    known = {entry.sequence: entry.hash for entry in entries}
    if known.get(newest.sequence) != newest.hash:
        raise RunError(f"the audit log {path} was rewritten at entry {newest.sequence}", mend=RESTORE)
    anchor(settings, [entry for entry in entries if entry.sequence > newest.sequence])


def _newest(settings: Settings) -> tuple[str, Entry | None]:
    """The tip of git's copies and the entry it holds."""
    form = "--format=%(objectname)%00%(contents)"
    listing = Git(settings.repository).run("for-each-ref", form, "--", audit_ref(settings)).decode(errors="replace")
    commit, _, message = listing.partition("\0")
    if not commit:
        return "", None
    entry = parse(message.strip("\n").encode())
    if entry is None:
        raise RunError(
            f"{audit_ref(settings)} holds no audit entry: somebody moved it",
            mend="shoploom audit verify says what is whole",
        )
    return commit, entry


def _anchors(settings: Settings, text: str, where: str) -> list[Anchor]:
    name, _, rest = text.partition(" ")
    sequence, _, digest = rest.partition(" ")
    return [Anchor(int(sequence), digest, where)] if name == log_name(settings) and sequence.isdecimal() else []
