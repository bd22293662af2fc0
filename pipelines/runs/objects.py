"""Small objects of the object store by their hash, without opening DVC where this machine's cache has them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pipelines.errors import RunError
from pipelines.runs.store import MD5, Store, corrupted
from pipelines.settings import Settings


def read_object(settings: Settings, md5: str) -> bytes:
    """The bytes of a file, or of a directory's listing, checked against their hash.

    Raises:
        ObjectLostError: neither the cache nor the remote has it.
        RunError: the text is not an md5, or the cached bytes are not what it says.
    """
    path = object_path(settings, md5)
    content = path.read_bytes()
    if not _is(content, md5):
        raise corrupted(path)
    return content


def object_path(settings: Settings, md5: str) -> Path:
    """Where this machine's cache holds an object, pulled if it lacks it; the bytes are not checked.

    Raises:
        ObjectLostError: neither the cache nor the remote has it.
        RunError: the text is not an md5.
    """
    if not MD5.fullmatch(md5):
        raise RunError(f"{md5!r} is not an md5", mend="the lock entry or .dvc file that holds it is damaged")
    path = _place(settings, md5)
    if not path.is_file():
        store = Store(settings)
        try:
            store.pull([md5])
            path = store.cache_path(md5)
        finally:
            store.close()
    return path


def read_listing(settings: Settings, md5: str) -> dict[str, str]:
    """Relative path -> md5 of the files of a directory object; of a file's own, its hash under the empty path.

    Raises:
        ObjectLostError: the listing is lost.
    """
    if not md5.endswith(".dir"):
        return {"": md5}
    return {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(read_object(settings, md5))}


def read_objects(settings: Settings, hashes: Iterable[str]) -> dict[str, bytes]:
    """Many small objects, what the cache lacks pulled at once; those that are lost or damaged are left out."""
    wanted = [md5 for md5 in dict.fromkeys(hashes) if MD5.fullmatch(md5)]
    absent = [md5 for md5 in wanted if not _place(settings, md5).is_file()]
    if absent:
        store = Store(settings)
        try:
            store.available(absent)
        finally:
            store.close()
    found = {}
    for md5 in wanted:
        path = _place(settings, md5)
        if path.is_file() and _is(content := path.read_bytes(), md5):
            found[md5] = content
    return found


def _place(settings: Settings, md5: str) -> Path:
    return settings.home / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _is(content: bytes, md5: str) -> bool:
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == md5.removesuffix(".dir")
