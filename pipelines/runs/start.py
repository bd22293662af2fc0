"""Start commits: the merge of a code commit and a data commit, with the champion's package pinned beside the data.

    code (or a snapshot of the dirty tree) ──┐
                                             ├── start commit: code + data/raw/*.dvc + data/{champion,previous}.dvc
    data/main ───────────────────────────────┘

Identity and date follow from the parents, so equal code, data and champion give the same commit. It is kept under
``refs/shoploom/starts/`` until ``gc`` takes it. The user's index and files are read and never written.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import ConfigError, RunError
from pipelines.runs import data_versions
from pipelines.runs.git import NOTHING, Entry, Git, RefMovedError, refuse_links, temporary_index
from pipelines.runs.run_commits import RunCommit, champion_trailers, list_runs
from pipelines.runs.store import File, Store
from pipelines.settings import Settings

STARTS = "refs/shoploom/starts"
CHAMPION = "data/champion"
PREVIOUS = "data/previous"
"""What a warm start begins with: the champion where a section of ``params.yaml`` has ``warm: true``, else nothing.

It is apart from the champion that ``evaluate`` reads, so that otherwise a new champion makes no model train again."""
PARAMS = "params.yaml"


@dataclass(frozen=True)
class ChampionPin:
    """The champion that ``evaluate`` scores afresh.

    Args:
        version: its version in the registry.
        digest: the digest of its package, as the registry gives it.
        run: the run that made it, as ref or commit.
        package: a folder holding its package; its files are stored as ``data/champion/*``, with ``champion.json``.
    """

    version: str
    digest: str
    run: str
    package: Path


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Args:
        commit: the start commit.
        code_commit: its first parent; a snapshot when ``dirty``.
        data_commit: its second parent.
        dirty: whether the code is a snapshot of a tree with uncommitted changes.
        champion_version: the champion pinned in it, or None.
        champion_digest: the digest of that champion's package, or None.
        reused_run: the ref of a finished run with the same code and data whose start this is, or None.
    """

    commit: str
    code_commit: str
    data_commit: str
    dirty: bool
    champion_version: str | None = None
    champion_digest: str | None = None
    reused_run: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON (XCom)."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Start:
        """Back from JSON."""
        return cls(**value)


def start_run(
    settings: Settings, champion: ChampionPin | None, code: str | None = None, models: str | None = None
) -> Start:
    """Make, or find again, the start commit for what there is now.

    Args:
        settings: the repository and the object store.
        champion: the current champion, or None before the first promotion.
        code: a revision to run; by default the user's tree as it is, uncommitted changes included.
        models: ``all``, or names with commas, that ``params.yaml`` is to choose in this run alone; by default what it
            chooses.

    Returns:
        The start. A finished run with the same code tree and data gives its own start back, if its pinned champion is
        still the champion, or if the champion is what it produced: there is then nothing new to run.

    Raises:
        RunError: no data version or no commit yet, or the tree holds a symlink.
        ConfigError: ``models`` names what is no model, or leaves out what one builds on.
    """
    git = Git(settings.repository)
    data = data_versions.latest_data_version(settings)
    if data is None:
        raise RunError("there is no data version yet", mend="shoploom ingest")
    commit, dirty = (git.resolve(code), False) if code else snapshot(settings, git)
    if models is not None:
        commit, dirty = choosing(git, commit, dirty, models)
    tree = git.tree_of(commit)
    for run in list_runs(settings):
        if _is_again(git, run, tree, data.commit, champion) and _pin_is_there(settings, git, run.start):
            _keep(git, run.start)
            pinned = (run.champion_version, run.champion_digest)
            return Start(run.start, run.code_commit, run.data_commit, run.dirty, *pinned, reused_run=run.ref)
    entries = _merged(settings, git, commit, data.commit, champion)
    refuse_links(entries)
    pinned = (champion.version, champion.digest) if champion else (None, None)
    message = (
        f"Start from code {commit[:12]} and data {data.commit[:12]}\n\n"
        f"Shoploom-Dirty: {str(dirty).lower()}\n{champion_trailers(*pinned)}"
    )
    date = max(git.date(commit), git.date(data.commit))
    start = git.commit(git.write_tree(entries), [commit, data.commit], message, date)
    _keep(git, start)
    return Start(start, commit, data.commit, dirty, *pinned)


def snapshot(settings: Settings, git: Git) -> tuple[str, bool]:
    """The user's tree as a commit: ``HEAD`` itself when nothing is changed, else a child of it.

    Untracked files are part of it, ignored ones and the state folder are not.

    Returns:
        The commit, and whether the tree was dirty.
    """
    try:
        head = git.text("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except RunError as error:
        if error.mend:
            raise
        raise RunError(f"{git.root} has no commit yet", mend="git add -A && git commit") from None
    with temporary_index() as index:
        own = Path(git.text("rev-parse", "--path-format=absolute", "--git-path", "index"))
        if own.is_file():
            shutil.copy2(own, index)  # git trusts what it noted of files older than the index, so its age counts
        else:
            git.run("read-tree", head, index=index)
        outside = ["data", "dvc.lock"]
        if settings.home.is_relative_to(git.root.resolve()):
            outside.append(settings.home.relative_to(git.root.resolve()).as_posix())
        exclude = [f":(exclude){path}" for path in outside if not git.ignores(path)]
        git.run("add", "--all", "--", ".", *exclude, index=index)
        tree = git.text("write-tree", index=index)
    if tree == git.tree_of(head):
        return head, False
    message = f"Snapshot of a tree with changes over {head[:12]}\n\nShoploom-Dirty: true\n"
    return git.commit(tree, [head], message, git.date(head)), True


def choosing(git: Git, commit: str, dirty: bool, models: str) -> tuple[str, bool]:
    """A snapshot of a commit whose ``params.yaml`` chooses other models; the commit itself where it chooses these.

    The user's file is left alone; the snapshot is marked as dirty, as one of an unclean tree is.

    Returns:
        The commit, and whether it is a snapshot.

    Raises:
        ConfigError: a name is no model's, or ``params.yaml`` is not there or cannot be changed.
    """
    from pipelines.chosen import with_models

    content = git.read(commit, PARAMS)
    if content is None:
        raise ConfigError(f"commit {commit[:12]} holds no {PARAMS}", mend=f"git add {PARAMS} && git commit")
    written = with_models(content, models)
    if written == content:
        return commit, dirty
    entries = {entry.path: entry for entry in git.entries(commit)}
    entries[PARAMS] = Entry(entries[PARAMS].mode, git.write_blob(written), PARAMS)
    tree = git.write_tree([entries[path] for path in sorted(entries)])
    message = f"Snapshot with models {models} over {commit[:12]}\n\nShoploom-Dirty: true\n"
    return git.commit(tree, [commit], message, git.date(commit)), True


def _merged(settings: Settings, git: Git, code: str, data: str, champion: ChampionPin | None) -> list[Entry]:
    entries = {entry.path: entry for entry in git.entries(code) if not _is_run_data(entry.path)}
    entries |= {entry.path: entry for entry in git.entries(data)}
    for path, pinned in ((CHAMPION, champion), (PREVIOUS, champion if _starts_warm(git, code) else None)):
        pointer = git.write_blob(_pin(settings, pinned, path))
        entries[f"{path}.dvc"] = Entry("100644", pointer, f"{path}.dvc")
    return [entries[path] for path in sorted(entries)]


def _is_run_data(path: str) -> bool:
    """Whether a path of the code's tree would stand in the way of what a run puts there."""
    return path == "dvc.lock" or (path.startswith("data/") and path.endswith((".dvc", ".gitignore")))


def _starts_warm(git: Git, code: str) -> bool:
    document = yaml.safe_load(git.read(code, PARAMS) or b"")
    sections = document.values() if isinstance(document, dict) else ()
    return any(isinstance(section, dict) and section.get("warm") is True for section in sections)


def _pin(settings: Settings, champion: ChampionPin | None, place: str) -> bytes:
    about: dict[str, str | None] = {"version": None, "digest": None, "run": None}
    store = Store(settings)
    try:
        files = []
        if champion:
            about = {"version": champion.version, "digest": champion.digest, "run": champion.run}
            for path in sorted(champion.package.rglob("*")):
                if path.is_symlink():
                    raise RunError(f"{path} in the champion's package is a symlink", mend="shoploom doctor")
                if path.is_file():
                    files.append(File(path.relative_to(champion.package).as_posix(), store.add_file(path)))
        document = json.dumps(about, indent=2, sort_keys=True) + "\n"
        files.append(File("champion.json", store.add_bytes(document.encode())))
        listing = store.add_directory(files)
        store.push([*(file.md5 for file in files), listing])
    finally:
        store.close()
    return data_versions.pointer(Path(place).name, listing, len(files))


def _is_again(git: Git, run: RunCommit, tree: str, data: str, champion: ChampionPin | None) -> bool:
    if run.data_commit != data or git.tree_of(run.code_commit) != tree:
        return False
    if champion is None:
        return run.champion_version is None
    if champion.run in (run.ref, run.commit):
        return True
    # New books count versions from 1 again, so a version alone may be another package; old runs recorded no digest.
    return run.champion_version == champion.version and run.champion_digest in (None, champion.digest)


def _pin_is_there(settings: Settings, git: Git, start: str) -> bool:
    """Whether the object store still has the champion that a start pins: a state folder may have been removed."""
    listing = data_versions.read_pointers(git, start).get(CHAMPION)
    if listing is None:
        return False
    store = Store(settings)
    try:
        return store.available([listing]) and store.available(file.md5 for file in store.files(listing))
    finally:
        store.close()


def _keep(git: Git, start: str) -> None:
    ref = f"{STARTS}/{start}"
    if git.find(ref) is None:
        try:
            git.update_ref(ref, start, NOTHING)
        except RefMovedError:
            return
