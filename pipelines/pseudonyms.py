"""Pseudonyms: what shoploom knows a user by, a keyed hash in place of the shop's own id.

``<home>/keys/users.json`` holds the key ring, the first key first, readable by this user alone and never in git. A
pseudonym under the first key is ``HMAC-SHA256(key, raw id)``; under each later one it is the HMAC of the pseudonym
before it. So a new key needs no raw id, and a raw id finds its user under any key of the ring. Landing hashes what a
source gives before it is written; commands and the served model hash what they are asked.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

USER_KEY = b"shoploom.user_key"
"""Parquet schema metadata of a table with user ids: the id of the key they were hashed with; raw ids where absent."""

LONGEST_ID = 256
"""Characters of an id that the contracts let pass."""

_DIGITS = 32
_BRING = "copy {} from the machine that landed the data"


@dataclass(frozen=True)
class KeyRing:
    """The keys, oldest first; the last is the current one.

    Args:
        secrets: 32 random bytes each; a state folder's ring has at least one.
    """

    secrets: tuple[bytes, ...] = field(repr=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """Of every key: 12 hexadecimal digits that say nothing about it."""
        return tuple(hashlib.sha256(b"shoploom user key\0" + secret).hexdigest()[:12] for secret in self.secrets)

    def through(self, key: str) -> KeyRing:
        """The ring up to a key.

        Raises:
            ConfigError: it is not on the ring.
        """
        if key not in self.ids:
            raise ConfigError(
                f"user ids were made with key {key}, and the key ring here has only {', '.join(self.ids)}",
                mend=_BRING.format("the folder keys of the state folder"),
            )
        return KeyRing(self.secrets[: self.ids.index(key) + 1])

    def after(self, key: str) -> KeyRing:
        """The keys that came after one: they turn its pseudonyms into today's. After "" (raw ids) come all."""
        return self if not key else KeyRing(self.secrets[len(self.through(key).secrets) :])

    def rotated(self) -> KeyRing:
        """This ring with one more key, a random one."""
        return KeyRing((*self.secrets, secrets.token_bytes(32)))

    def pseudonym(self, raw: str | bytes) -> str:
        """What a user is known by under the current key: 32 hexadecimal digits."""
        text = raw.encode() if isinstance(raw, str) else raw
        for secret in self.secrets:
            text = hmac.digest(secret, text, "sha256").hex()[:_DIGITS].encode()
        return text.decode()

    def column(self, ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Hash a column of ids, each distinct one once.

        What the contracts refuse of an id they refuse of its pseudonym too: null and empty stay, one that is too long
        or not UTF-8 gives one that is.
        """
        import pyarrow as pa

        coded = ids.cast(pa.binary()).combine_chunks().dictionary_encode()
        hashed = [self._of_bytes(raw) for raw in coded.dictionary.to_pylist()]
        named = pa.array(hashed, pa.binary()).take(coded.indices)
        return pa.chunked_array([pa.Array.from_buffers(pa.string(), len(named), named.buffers())])

    def table(self, rows: pa.Table) -> pa.Table:
        """Hash the column ``user_id`` of a table, if it has one, and note the key in its metadata.

        A table of users is put in the order of the pseudonyms: the order of the raw ids would tell something of them.
        """
        if "user_id" not in rows.column_names:
            return rows
        place = rows.schema.get_field_index("user_id")
        hashed = rows.set_column(place, rows.schema.field(place), self.column(rows["user_id"]))
        if "event_id" not in rows.column_names:
            hashed = hashed.sort_by("user_id") if rows.num_rows else rows.schema.empty_table()
        return hashed.replace_schema_metadata({**(rows.schema.metadata or {}), **key_metadata(self.ids[-1])})

    def _of_bytes(self, raw: bytes) -> bytes:
        if not raw:
            return raw
        hashed = self.pseudonym(raw).encode()
        try:
            too_long = len(raw.decode()) > LONGEST_ID
        except UnicodeDecodeError:
            return b"\xff" + hashed
        return hashed * (LONGEST_ID // _DIGITS + 1) if too_long else hashed


def ring_path(home: Path) -> Path:
    """Where the key ring of a state folder lies."""
    return home / "keys" / "users.json"


def read_ring(home: Path) -> KeyRing | None:
    """The key ring of a state folder; None where there is none yet.

    Raises:
        ConfigError: others may read it, or it is damaged.
    """
    path = ring_path(home)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigError(f"{path} can be read by other users of this machine", mend=f"chmod 600 {path}")
    return _read(path, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, _: int) -> KeyRing:
    try:
        keys = tuple(bytes.fromhex(key) for key in json.loads(path.read_text(encoding="utf-8"))["keys"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(f"{path} is no key ring: {error}", mend=_BRING.format(path)) from None
    if not keys or any(len(key) != 32 for key in keys):
        raise ConfigError(f"{path} is no key ring: it lacks a key", mend=_BRING.format(path))
    return KeyRing(keys)


def open_ring(home: Path) -> KeyRing:
    """The key ring of a state folder, made at first use."""
    found = read_ring(home)
    if found is not None:
        return found
    write_ring(KeyRing((secrets.token_bytes(32),)), home, replace=False)
    made = read_ring(home)
    assert made is not None
    return made


def write_ring(ring: KeyRing, home: Path, *, replace: bool = True) -> None:
    """Write a key ring, readable by this user alone; without ``replace``, one that somebody else just made stays."""
    path = ring_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump({"keys": [secret.hex() for secret in ring.secrets]}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return
    finally:
        Path(temporary).unlink(missing_ok=True)


def stored_id(raw: str, key: str, home: Path) -> str:
    """What a table or model knows a user by, given the id that the shop spells.

    Args:
        raw: as the shop spells it.
        key: id of the key that the table or model was made with; empty where it holds raw ids.
        home: the state folder, whose key ring is read.

    Raises:
        ConfigError: there is no key ring, or it lacks that key.
    """
    if not key:
        return raw
    ring = read_ring(home)
    if ring is None:
        raise _no_ring(key, home)
    return ring.through(key).pseudonym(raw)


def renewed_ids(ids: Sequence[str], old: str, new: str, home: Path) -> tuple[str, ...]:
    """What users are known by under a later key, given their pseudonyms under an earlier one.

    Args:
        ids: pseudonyms under ``old``, or raw ids where that is empty.
        old: id of a key.
        new: id of the same or a later key.
        home: the state folder, whose key ring is read.

    Raises:
        ConfigError: there is no key ring, or it lacks one of the keys.
    """
    if old == new:
        return tuple(ids)
    ring = read_ring(home)
    if ring is None:
        raise _no_ring(new, home)
    later = ring.through(new).after(old)
    return tuple(later.pseudonym(name) for name in ids)


def _no_ring(key: str, home: Path) -> ConfigError:
    return ConfigError(
        f"user ids were made with key {key}, and there is no key ring {ring_path(home)}",
        mend=_BRING.format("it") + ", or name its state folder by SHOPLOOM_HOME",
    )


def key_metadata(key: str) -> dict[bytes, bytes]:
    """The schema metadata from which :func:`key_of` reads ``key``; none for raw ids."""
    return {USER_KEY: key.encode()} if key else {}


def key_of(schema: pa.Schema) -> str:
    """The id of the key that a table's user ids were hashed with; empty for raw ids."""
    return str((schema.metadata or {}).get(USER_KEY, b"").decode())
