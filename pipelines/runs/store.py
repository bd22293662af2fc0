"""DVC's object store: content by md5 in the cache (``<home>/cache``) and in the remote, moved by explicit hash.

Objects are looked for, pulled and pushed one by one, never by "everything this repository uses", so the cost follows
what is new. A directory is an object too: the JSON list of its files' hashes, whose md5 ends in ``.dir``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import RunError, ShoploomError
from pipelines.settings import NO_TELEMETRY, Settings

if TYPE_CHECKING:
    from dvc.repo import Repo

_CHUNK = 1 << 20
_AGAIN = "run the same command again"
MD5 = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
"""Names an object; a directory's listing ends in ``.dir``."""


class ObjectLostError(RunError):
    """An object is neither in the cache nor in the remote."""


@dataclass(frozen=True)
class File:
    """One file of an object: ``path`` is relative to it (empty where the object is a single file)."""

    path: str
    md5: str


def configuration(settings: Settings) -> dict[str, Any]:
    """DVC's configuration for every repository that shoploom opens: all places absolute, none in the user's home."""
    return {
        "core": {
            "analytics": False,
            "check_update": False,
            "no_scm": True,
            "autostage": False,
            "remote": "shoploom",
            "site_cache_dir": str(settings.home / "dvc"),
        },
        "cache": {"dir": str(settings.home / "cache"), "type": "reflink,hardlink,copy"},
        "remote": {"shoploom": {"url": settings.remote}},
    }


class Store:
    """The object store, open until :meth:`close`.

    Args:
        settings: where the cache and the remote are.
        root: the worktree whose stages are to be loaded; without one, only objects can be read and written.
    """

    def __init__(self, settings: Settings, root: Path | None = None) -> None:
        os.environ.update(NO_TELEMETRY)
        self.settings = settings
        self.root = root or settings.home / "store"
        (self.root / ".dvc").mkdir(parents=True, exist_ok=True)
        (settings.home / "cache").mkdir(parents=True, exist_ok=True)
        with translated(f"open the object store in {settings.home}"):
            from dvc.repo import Repo

            self.repo: Repo = Repo(str(self.root), config=configuration(settings), _wait_for_lock=True)

    def cache_path(self, md5: str) -> Path:
        """Where the cache keeps an object.

        Raises:
            RunError: the text is not an md5 (it may come from another machine).
        """
        if not MD5.fullmatch(md5):
            raise RunError(f"{md5!r} is not an md5", mend="the lock entry or .dvc file that holds it is damaged")
        return Path(self.repo.cache.local.oid_to_path(md5))

    def files(self, md5: str) -> list[File]:
        """The files of an object, the directory listing pulled if the cache lacks it.

        Raises:
            RunError: the listing is neither in the cache nor in the remote, or is not what its hash says.
        """
        if not md5.endswith(".dir"):
            return [File("", md5)]
        self.pull([md5])
        path = self.cache_path(md5)
        if file_md5(path) != md5.removesuffix(".dir"):
            raise corrupted(path)
        with translated(f"read the directory listing {path}"):
            from dvc_data.hashfile.hash_info import HashInfo
            from dvc_data.hashfile.tree import Tree

            tree = Tree.load(self.repo.cache.local, HashInfo("md5", md5))
            found = sorted((File("/".join(key), info.value) for key, _, info in tree), key=lambda file: file.path)
        for file in found:
            if file.path.startswith("/") or {"", ".", ".."} & set(file.path.split("/")):
                raise RunError(
                    f"the directory listing {path} leads outside itself: {file.path!r}", mend=f"rm -f {path}"
                )
        return found

    def add_directory(self, files: Iterable[File]) -> str:
        """Store a directory listing of objects that are stored already.

        Returns:
            Its md5, ending in ``.dir``.
        """
        with translated("store a directory listing"):
            from dvc_data.hashfile.hash_info import HashInfo
            from dvc_data.hashfile.meta import Meta
            from dvc_data.hashfile.tree import Tree

            tree = Tree()
            for file in files:
                tree.add(tuple(file.path.split("/")), Meta(), HashInfo("md5", file.md5))
            tree.digest()
            self.repo.cache.local.add(tree.path, tree.fs, tree.oid)
            return str(tree.oid)

    def add_file(self, path: Path) -> str:
        """Store a file's content (copied, or cloned where the file system can).

        Returns:
            Its md5.
        """
        with translated(f"store {path}"):
            from dvc_data.hashfile.build import build
            from dvc_data.hashfile.transfer import transfer

            staging, _, found = build(self.repo.cache.local, str(path), self.repo.fs, "md5")
            transfer(staging, self.repo.cache.local, {found.hash_info}, shallow=False)
            return str(found.hash_info.value)

    def add_bytes(self, content: bytes) -> str:
        """Store a small content given as bytes."""
        scratch = self.settings.home / "store" / f"{os.getpid()}.tmp"
        scratch.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_bytes(content)
            return self.add_file(scratch)
        finally:
            scratch.unlink(missing_ok=True)

    def missing(self, hashes: Iterable[str]) -> list[str]:
        """Those that the cache lacks."""
        return [md5 for md5 in dict.fromkeys(hashes) if not self.cache_path(md5).is_file()]

    def pull(self, hashes: Iterable[str]) -> None:
        """Fetch from the remote what the cache lacks.

        Raises:
            ObjectLostError: the remote lacks it too.
            RunError: the remote is out of reach, or holds something else than a hash says; that is not kept.
        """
        absent = self.missing(hashes)
        if not absent:
            return
        with translated(f"pull {len(absent)} objects from {self.settings.remote}"):
            remote = self.repo.cloud.get_remote_odb(command="pull")
            self._transfer(remote, self.repo.cache.local, absent)
            for md5 in absent:
                path = self.cache_path(md5)
                if path.is_file() and file_md5(path) != md5.removesuffix(".dir"):
                    path.unlink()
                    raise _corrupted_in(remote, remote.oid_to_path(md5))
        lost = self.missing(absent)
        if lost:
            raise ObjectLostError(
                f"{len(lost)} objects are neither in {self.settings.home / 'cache'} nor in {self.settings.remote},"
                f" {lost[0]} among them",
                mend="bring the remote back, or run `shoploom run` on data that can be landed again",
            )

    def available(self, hashes: Iterable[str]) -> bool:
        """Whether all are in the cache once what the remote holds has been pulled."""
        try:
            self.pull(hashes)
        except ObjectLostError:
            return False
        return True

    def push(self, hashes: Iterable[str]) -> None:
        """Send to the remote what it lacks; directory listings last, so that one never names what is not there."""
        wanted = list(dict.fromkeys(hashes))
        with translated(f"push to {self.settings.remote}"):
            remote = self.repo.cloud.get_remote_odb(command="push")
            for part in ([h for h in wanted if not h.endswith(".dir")], [h for h in wanted if h.endswith(".dir")]):
                self._transfer(self.repo.cache.local, remote, part)

    def _transfer(self, source: Any, target: Any, hashes: list[str]) -> None:
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.transfer import transfer

        if not hashes:
            return
        done = transfer(source, target, {HashInfo("md5", md5) for md5 in hashes}, cache_odb=self.repo.cache.local)
        if done.failed:
            raise RunError(
                f"{len(done.failed)} objects could not be copied to {target.path}",
                mend="check free disk space and that the remote answers, then run the same command again",
            )

    def link_file(self, md5: str, destination: Path, producer: str, shown: str) -> None:
        """Bring one file out of the cache to ``destination``, replacing a file that is there.

        It becomes a hard link of the cache's read-only one, or a copy where links cannot be made.

        Args:
            md5: of a file that the cache has.
            destination: where it goes.
            producer: who made it, for messages.
            shown: its name in messages.

        Raises:
            RunError: the content is not what its hash says; ``destination`` is then as it was.
        """
        cached = self.cache_path(md5)
        temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
        with translated(f"link {destination}"):
            destination.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            try:
                try:
                    os.link(cached, temporary)
                except OSError:
                    shutil.copyfile(cached, temporary)
                if file_md5(temporary) != md5:
                    raise corrupted(cached, producer, shown)
                os.replace(temporary, destination)
            finally:
                temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of DVC's databases."""
        self.repo.close()


def corrupted(path: Path | str, produced_by: str = "", shown: str = "") -> RunError:
    """The error for a cache file whose content is not what its name says."""
    told = f"{shown}: its cached content {path}" if shown else str(path)
    made = f" (made by {produced_by})" if produced_by else ""
    return RunError(f"{told}{made} is not what its hash says", mend=f"rm -f {path} && shoploom run")


def _corrupted_in(remote: Any, path: str) -> RunError:
    """The error for an object of a remote whose content is not what its name says."""
    if remote.fs.protocol == "local":
        return corrupted(path)
    address = remote.fs.unstrip_protocol(path)
    return RunError(f"{address} is not what its hash says", mend=f"delete the object {address}, then shoploom run")


def file_md5(path: Path) -> str:
    """A file's md5 as DVC 3 computes it: over its bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def remove(path: Path) -> None:
    """Remove a file or directory, if there is one; a symlink itself, never what it names."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def translated(doing: str, mend: str = _AGAIN) -> Iterator[None]:
    """Turn DVC's and the system's errors into :class:`RunError`: ``could not <doing>: <what they said>``.

    Args:
        doing: what was tried.
        mend: what helps when DVC refuses; what the system refuses is tried again.
    """
    from dvc.exceptions import DvcException

    try:
        yield
    except ShoploomError:
        raise
    except OSError as error:
        full = error.errno in (28, 122)
        again = f"free disk space, then {_AGAIN}" if full else _AGAIN
        raise RunError(f"could not {doing}: {error}", mend=again) from error
    except (DvcException, ValueError) as error:
        raise RunError(f"could not {doing}: {error}", mend=mend) from error
