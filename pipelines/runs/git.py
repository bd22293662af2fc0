"""git by its plumbing: trees are built in a temporary index, refs move by compare-and-swap.

Nothing here reads or writes the user's index, branch or files. Commits carry their own identity, so a machine
without one works, and their dates are given by the caller, so equal content gives equal commits.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import RunError

NAME, EMAIL = "shoploom", "shoploom@localhost"
NOTHING = "0" * 40
"""The old value of a ref that must not exist yet."""

_REVISION = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)))[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}(?:[~^][0-9]{0,4}){0,4}")
_LOCAL_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES",
)  # fmt: skip
_OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")


@dataclass(frozen=True)
class Entry:
    """One file of a tree: ``mode`` is ``100644``, ``100755``, ``120000`` (symlink) or ``160000`` (submodule)."""

    mode: str
    blob: str
    path: str


class RefMovedError(RunError):
    """Somebody else moved the ref first: read it again and build on the new value."""


class Git:
    """The git repository whose top is ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        index: Path | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run one git command and give its standard output.

        Raises:
            RunError: git is missing or failed; the message is git's own. A ``mend`` marks a known fault: git could not
                work at all, which is no answer to what was asked.
        """
        environment = {k: v for k, v in os.environ.items() if k not in _LOCAL_VARIABLES}
        environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", **(extra or {})}
        if index is not None:
            environment["GIT_INDEX_FILE"] = str(index)
        command = ["git", *_OPTIONS, "-C", str(self.root), *arguments]
        try:
            done = subprocess.run(command, input=stdin or b"", capture_output=True, env=environment, check=False)
        except FileNotFoundError:
            raise RunError("git is not installed", mend="apt-get install git") from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
            raise RunError(f"git {arguments[0]} failed in {self.root}: {said}", mend=_mend(said, self.root))
        return done.stdout

    def text(self, *arguments: str, stdin: bytes | None = None, index: Path | None = None) -> str:
        """Run one git command and give its standard output, stripped."""
        return self.run(*arguments, stdin=stdin, index=index).decode().strip()

    def resolve(self, revision: str, kind: str = "commit") -> str:
        """The full hash of a revision that came from outside.

        Raises:
            RunError: the text is not a plain revision, or names nothing.
        """
        if not _REVISION.fullmatch(revision):
            raise RunError(
                f"{revision!r} is not a revision that may be used here", mend="give a branch, tag or commit hash"
            )
        try:
            return self.text("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{{kind}}}")
        except RunError as error:
            if error.mend:
                raise
            raise RunError(f"git knows no {kind} {revision!r} in {self.root}", mend="git log --all --oneline") from None

    def find(self, ref: str) -> str | None:
        """The hash a full ref name holds, or None."""
        found = self.text("for-each-ref", "--format=%(objectname)", "--", ref)
        return found.splitlines()[0] if found else None

    def refs(self, prefix: str) -> dict[str, str]:
        """Every ref under ``prefix`` with its hash."""
        lines = self.text("for-each-ref", "--format=%(refname) %(objectname)", "--", prefix).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def update_ref(self, ref: str, new: str, old: str) -> None:
        """Move ``ref`` from ``old`` (``NOTHING``: it must not exist) to ``new``.

        Raises:
            RefMovedError: it no longer holds ``old``.
        """
        try:
            self.run("update-ref", "--create-reflog", "-m", "shoploom", ref, new, old)
        except RunError as error:
            if (self.find(ref) or NOTHING) != old:
                raise RefMovedError(f"{ref} was moved by somebody else", mend="run the same command again") from error
            raise

    def delete_ref(self, ref: str, old: str) -> None:
        """Delete ``ref`` if it still holds ``old``."""
        self.run("update-ref", "-d", ref, old)

    def entries(self, tree: str) -> list[Entry]:
        """Every file of a tree, by path."""
        listing = self.run("ls-tree", "-r", "-z", "--full-tree", tree).decode()
        found = []
        for line in filter(None, listing.split("\0")):
            mode, _, rest = line.split(" ", 2)
            blob, path = rest.split("\t", 1)
            found.append(Entry(mode, blob, path))
        return found

    def write_tree(self, entries: Sequence[Entry]) -> str:
        """Store a tree of exactly these files."""
        lines = "".join(f"{e.mode} {e.blob}\t{e.path}\0" for e in entries).encode()
        with temporary_index() as index:
            self.run("update-index", "-z", "--index-info", stdin=lines, index=index)
            return self.text("write-tree", index=index)

    def write_blob(self, content: bytes) -> str:
        """Store a file's content."""
        return self.text("hash-object", "-w", "--stdin", "--no-filters", stdin=content)

    def read(self, tree: str, path: str) -> bytes | None:
        """A file's content in a tree or commit, or None."""
        listing = self.run("ls-tree", "-z", "--full-tree", tree, "--", path).decode()
        if not listing:
            return None
        return self.run("cat-file", "blob", listing.split("\t")[0].split(" ")[2])

    def contents(self, names: Sequence[str]) -> list[bytes | None]:
        """Many objects by one git process, in the order asked for: None where there is no such object.

        Args:
            names: ``<commit>:<path>``, or an object's hash; none holds a line break.
        """
        given = self.run("cat-file", "--batch", stdin="".join(f"{name}\n" for name in names).encode())
        found: list[bytes | None] = []
        at = 0
        for _ in names:
            end = given.index(b"\n", at)
            header = given[at:end].rsplit(b" ", 2)
            at = end + 1
            if len(header) < 3 or not header[2].isdigit():
                found.append(None)
                continue
            size = int(header[2])
            found.append(given[at : at + size])
            at += size + 1
        return found

    def commit(self, tree: str, parents: Sequence[str], message: str, date: int) -> str:
        """Store a commit dated ``date`` (seconds since the epoch, UTC) by shoploom itself."""
        when = f"@{max(date, 0)} +0000"
        identity = {
            "GIT_AUTHOR_NAME": NAME, "GIT_AUTHOR_EMAIL": EMAIL, "GIT_AUTHOR_DATE": when,
            "GIT_COMMITTER_NAME": NAME, "GIT_COMMITTER_EMAIL": EMAIL, "GIT_COMMITTER_DATE": when,
        }  # fmt: skip
        arguments = [part for parent in parents for part in ("-p", parent)]
        given = self.run("commit-tree", tree, *arguments, stdin=message.encode(), extra=identity)
        return given.decode().strip()

    def tree_of(self, commit: str) -> str:
        """The tree of a commit."""
        return self.resolve(commit, "tree")

    def parents(self, commit: str) -> list[str]:
        """The parents of a commit, first one first."""
        return self.text("rev-list", "--parents", "-n", "1", commit, "--").split()[1:]

    def date(self, commit: str) -> int:
        """When a commit says it was made, in seconds since the epoch."""
        return int(self.text("log", "-1", "--no-show-signature", "--format=%ct", commit, "--"))

    def message(self, commit: str) -> str:
        """A commit's message."""
        return self.text("log", "-1", "--no-show-signature", "--format=%B", commit, "--")

    def ignores(self, path: str) -> bool:
        """Whether ``.gitignore`` keeps an untracked path out.

        Raises:
            RunError: there is no repository to ask.
        """
        try:
            self.run("check-ignore", "--quiet", "--", path)
        except RunError as error:
            if error.mend:
                raise
            return False
        return True

    def checked_out(self) -> set[str]:
        """The branches that some worktree of the user has checked out, as full ref names."""
        lines = self.text("worktree", "list", "--porcelain").splitlines()
        return {line.removeprefix("branch ") for line in lines if line.startswith("branch ")}


def trailers(message: str) -> dict[str, str]:
    """The ``Shoploom-<Name>: value`` lines of a commit message, names in lower case."""
    found = re.findall(r"^Shoploom-([A-Za-z-]+): (.*)$", message, flags=re.MULTILINE)
    return {name.lower(): value for name, value in found}


def refuse_links(entries: Sequence[Entry]) -> None:
    """Refuse a tree in which a path may lead out of the worktree.

    Raises:
        RunError: the tree holds a symlink; the message names it.
    """
    for entry in entries:
        if entry.mode == "120000":
            raise RunError(
                f"{entry.path} is a symlink: a run could read or write outside its worktree",
                mend=f"replace {entry.path} by a file, or name it in .gitignore if it is no part of the code",
            )


@contextmanager
def temporary_index() -> Iterator[Path]:
    """The path of an index file that is thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="shoploom-index-") as folder:
        yield Path(folder) / "index"


def _mend(said: str, root: Path) -> str:
    if "not a git repository" in said:
        return f"git init {root}"
    if "cannot change to" in said:
        return "cd into the repository, or name it by SHOPLOOM_REPOSITORY"
    if "dubious ownership" in said:
        return f"git config --global --add safe.directory {root}"
    lock = re.search(r"Unable to create '([^']+\.lock)': File exists", said)
    if lock:
        return f"a killed git left its lock; when no git runs: rm -f {lock.group(1)}"
    if "No space left" in said:
        return "free disk space, then run the same command again"
    return ""
