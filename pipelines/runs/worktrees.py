"""One git worktree a run, under ``<home>/worktrees``: its start commit checked out, its own DVC configuration.

The worktree's name follows from the start commit and the Airflow run id, so every task of a run, on whatever host,
finds or makes the same one, and the next run gets a fresh one.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.artifacts import atomic_file
from pipelines.errors import RunError
from pipelines.runs.git import Git, refuse_links
from pipelines.settings import Settings

_READY = ".dvc/config.local"


def worktree_path(settings: Settings, start: str, run_id: str) -> Path:
    """Where the worktree of a run is, whether it exists yet or not."""
    return settings.home / "worktrees" / f"{start[:12]}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def run_folder(settings: Settings, run_id: str) -> Path:
    """Where one DAG run's logs, requests and landing lie.

    Args:
        settings: places.
        run_id: Airflow's id of the run; characters that file names should not hold become ``-``.
    """
    return settings.home / "runs" / re.sub(r"[^A-Za-z0-9._+-]", "-", run_id)


def prepare_worktree(settings: Settings, start: str, run_id: str) -> Path:
    """Make the worktree of a run, or find the one that an earlier task made.

    Args:
        settings: the repository and the state folder.
        start: the start commit.
        run_id: Airflow's run id.

    Returns:
        Its absolute path.

    Raises:
        RunError: the commit is unknown here or its tree holds a symlink.
    """
    git = Git(settings.repository)
    start = git.resolve(start)
    path = worktree_path(settings, start, run_id)
    with locked(path.with_name(f".{path.name}.lock")):
        if (path / _READY).is_file():
            return path
        refuse_links(git.entries(start))
        _discard(git, path)
        git.run("worktree", "add", "--detach", "--force", "--quiet", str(path), start)
        _configure(settings, path)
    return path


def changed_files(worktree: Path) -> list[str]:
    """The files of the start commit that are not in the worktree as it has them."""
    listing = Git(worktree).run("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", "HEAD", "--").decode()
    return [name for name in listing.split("\0") if name]


def _configure(settings: Settings, path: Path) -> None:
    import configparser

    from pipelines.runs.store import configuration

    parser = configparser.ConfigParser(interpolation=None)
    for section, values in configuration(settings).items():
        if section == "remote":
            for name, options in values.items():
                parser[f"'remote \"{name}\"'"] = options
        else:
            parser[section] = {
                key: str(value).lower() if isinstance(value, bool) else value for key, value in values.items()
            }
    with atomic_file(path / _READY) as temporary, temporary.open("w", encoding="utf-8") as stream:
        parser.write(stream)


def _discard(git: Git, path: Path) -> None:
    if path.exists():
        try:
            git.run("worktree", "remove", "--force", "--force", str(path))
        except RunError:
            shutil.rmtree(path, ignore_errors=True)
    git.run("worktree", "prune")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file of this host, once whoever holds it lets go. The system frees it when a holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
