"""Run commits: a finished run, the same two parents as its start, its tree plus the finished ``dvc.lock``.

Each is kept under ``refs/shoploom/runs/<UTC time>-<short hash>``; ``git log --graph`` of that ref is its lineage.
Airflow run ids hold ``:``, which git refuses in refs, so the id is a trailer of the message, and
``refs/shoploom/ids/<hash of the id>`` names the run, also when a run found everything as an earlier one left it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import RunError, near_names
from pipelines.runs.git import NOTHING, Entry, Git, RefMovedError, trailers
from pipelines.runs.locks import LOCK, LockEntry, dump_lock, load_lock
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.runs.start import Start

RUNS = "refs/shoploom/runs"
IDS = "refs/shoploom/ids"


@dataclass(frozen=True)
class RunCommit:
    """A finished run.

    Args:
        commit: its hash.
        ref: the full name it is kept under.
        start: the start commit it came from.
        code_commit: first parent.
        data_commit: second parent.
        dirty: whether the code is a snapshot of a tree with uncommitted changes.
        champion_version: the champion it was measured against, or None.
        champion_digest: the digest of that champion's package; None without a champion, or where it was not recorded.
        run_id: the Airflow run that made it.
        time: when it finished, in seconds since the epoch.
        training_root: the Merkle root over the ids of the events it trained on; empty where it recorded none.
    """

    commit: str
    ref: str
    start: str
    code_commit: str
    data_commit: str
    dirty: bool
    champion_version: str | None
    champion_digest: str | None
    run_id: str
    time: int
    training_root: str = ""


def finish_run(
    settings: Settings,
    start: Start,
    lock_entries: Mapping[str, LockEntry],
    run_id: str,
    audit: str = "",
    training_root: str = "",
) -> RunCommit:
    """Commit the finished ``dvc.lock`` of a run.

    Args:
        settings: the repository.
        start: where the run started.
        lock_entries: stage -> what the stage runner returned, for every stage.
        run_id: Airflow's run id.
        audit: the audit log's newest entry, which the commit is to bear witness of.
        training_root: the Merkle root over the ids of the training events.

    Returns:
        The run commit; an earlier run's, when it has the same start and the same lock entries.

    Raises:
        RunError: a stage of the start commit's ``dvc.yaml`` has no lock entry, or git failed.
    """
    git = Git(settings.repository)
    _refuse_gaps(git, start.commit, lock_entries)
    lock = dump_lock(lock_entries)
    for run in list_runs(settings):
        if run.start == start.commit and git.read(run.commit, LOCK) == lock:
            _map(git, run_id, run.commit)
            return run
    entries = [entry for entry in git.entries(start.commit) if entry.path != LOCK]
    tree = git.write_tree([*entries, Entry("100644", git.write_blob(lock), LOCK)])
    now = int(time.time())
    pinned = champion_trailers(start.champion_version, start.champion_digest)
    message = (
        f"Run {_one_line(run_id)}\n\nShoploom-Start: {start.commit}\nShoploom-Run-Id: {_one_line(run_id)}\n"
        f"Shoploom-Dirty: {str(start.dirty).lower()}\n{pinned}"
        + (f"Shoploom-Training-Root: {training_root}\n" if training_root else "")
        + (f"Shoploom-Audit: {audit}\n" if audit else "")
    )
    commit = git.commit(tree, [start.code_commit, start.data_commit], message, now)
    ref = f"{RUNS}/{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{commit[:10]}"
    git.update_ref(ref, commit, NOTHING)
    _map(git, run_id, commit)
    return _parse(ref, commit, [start.code_commit, start.data_commit], now, message)


def champion_trailers(version: str | None, digest: str | None) -> str:
    """The lines of a start's or run's message that name the champion it is measured against."""
    return f"Shoploom-Champion: {version or 'none'}\n" + (f"Shoploom-Champion-Digest: {digest}\n" if digest else "")


def list_runs(settings: Settings) -> list[RunCommit]:
    """Every finished run, newest first."""
    git = Git(settings.repository)
    form = "%(refname)%00%(objectname)%00%(parent)%00%(committerdate:unix)%00%(contents)%00%00"
    listing = git.run("for-each-ref", f"--format={form}", "--", RUNS).decode(errors="replace")
    runs = []
    for record in listing.split("\0\0\n"):
        if record.strip("\0\n"):
            ref, commit, parents, stamp, message = record.split("\0", 4)
            runs.append(_parse(ref, commit, parents.split(), int(stamp), message))
    return sorted(runs, key=lambda run: (run.time, run.ref), reverse=True)


def find_run(settings: Settings, name: str) -> RunCommit:
    """A finished run by its ref (whole, or the last part), its commit (or the start of it) or an Airflow run id.

    Raises:
        RunError: there is none; near names are suggested.
    """
    runs = list_runs(settings)
    mapped = Git(settings.repository).find(_id_ref(name))
    for run in runs:
        known = (run.ref, run.ref.rsplit("/", 1)[-1], run.commit, run.run_id)
        if name in known or run.commit == mapped or (len(name) >= 7 and run.commit.startswith(name)):
            return run
    names = [run.ref.rsplit("/", 1)[-1] for run in runs] + [run.run_id for run in runs]
    raise RunError(f"there is no run {name!r}", mend=near_names(name, names) or f"git for-each-ref {RUNS}")


def parse_run(settings: Settings, commit: str) -> RunCommit | None:
    """A run commit by its hash, whether or not a ref still keeps it; None where git no longer has it, or it is none."""
    git = Git(settings.repository)
    content = git.contents([commit])[0]
    if content is None:
        return None
    header, _, message = content.decode(errors="replace").partition("\n\n")
    parents = [line.removeprefix("parent ") for line in header.splitlines() if line.startswith("parent ")]
    stamps = [line.split()[-2] for line in header.splitlines() if line.startswith("committer ")]
    if len(parents) != 2 or "start" not in trailers(message) or not stamps:
        return None
    return _parse("", commit, parents, int(stamps[0]), message)


def read_lock(settings: Settings, run: RunCommit) -> dict[str, LockEntry]:
    """Stage -> lock entry of a finished run."""
    content = Git(settings.repository).read(run.commit, LOCK)
    if content is None:
        raise RunError(f"{run.ref} holds no {LOCK}: it is not a run commit", mend=f"git for-each-ref {RUNS}")
    return load_lock(content)


def fetch_output(settings: Settings, run: RunCommit, path: str, destination: Path) -> Path:
    """Copy an output of a finished run out of the object store, every byte checked against its hash.

    Args:
        settings: the repository and the object store.
        run: a finished run.
        path: an output as ``dvc.yaml`` names it (``data/package``), a file below one, or a folder above some.
        destination: the file or directory to write; what is there is replaced, once all is checked.

    Returns:
        ``destination``.

    Raises:
        RunError: the run has no such output, or the object store has lost or changed it.
    """
    import shutil

    from pipelines.runs.store import Store, corrupted, file_md5, remove

    outs = {
        str(out["path"]): (stage, str(out["md5"]))
        for stage, entry in read_lock(settings, run).items()
        for out in entry.get("outs", [])
    }
    owners = {out: at for out, at in outs.items() if path == out or _inside(path, out) or _inside(out, path)}
    if not owners:
        raise RunError(f"no stage put out {path}", mend=near_names(path, outs) or f"outputs: {', '.join(sorted(outs))}")
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    store = Store(settings)
    try:
        held = [
            (f"{owner}/{file.path}".rstrip("/"), stage, file)
            for owner, (stage, md5) in owners.items()
            for file in store.files(md5)
        ]
        chosen = [entry for entry in held if entry[0] == path or _inside(entry[0], path)]
        if not chosen:
            raise RunError(f"{', '.join(owners)} holds no {path}", mend="list it: shoploom status --json")
        store.pull(file.md5 for _, _, file in chosen)
        destination.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)
        for name, stage, file in chosen:
            relative = name.removeprefix(path).lstrip("/")
            target = temporary / relative if relative else temporary
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store.cache_path(file.md5), target)
            if file_md5(target) != file.md5:
                raise corrupted(store.cache_path(file.md5), f"stage {stage}", name)
        remove(destination)
        os.replace(temporary, destination)
        return destination
    finally:
        remove(temporary)
        store.close()


def _inside(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _refuse_gaps(git: Git, start: str, entries: Mapping[str, LockEntry]) -> None:
    import yaml

    declared = (yaml.safe_load(git.read(start, "dvc.yaml") or b"") or {}).get("stages") or {}
    gaps = [stage for stage in declared if stage not in entries]
    if gaps:
        raise RunError(f"the run is not finished: no lock entry of {', '.join(gaps)}", mend="shoploom run")


def _map(git: Git, run_id: str, commit: str) -> None:
    ref = _id_ref(run_id)
    try:
        git.update_ref(ref, commit, git.find(ref) or NOTHING)
    except RefMovedError:
        return


def _id_ref(run_id: str) -> str:
    return f"{IDS}/{hashlib.sha256(run_id.encode()).hexdigest()[:24]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _parse(ref: str, commit: str, parents: list[str], stamp: int, message: str) -> RunCommit:
    notes = trailers(message)
    if len(parents) != 2 or "start" not in notes:
        raise RunError(f"{ref} is not a run commit", mend=f"git update-ref -d {ref}")
    version = notes.get("champion", "none")
    return RunCommit(
        commit=commit,
        ref=ref,
        start=notes["start"],
        code_commit=parents[0],
        data_commit=parents[1],
        dirty=notes.get("dirty") == "true",
        champion_version=None if version == "none" else version,
        champion_digest=notes.get("champion-digest"),
        run_id=notes.get("run-id", ""),
        time=stamp,
        training_root=notes.get("training-root", ""),
    )
