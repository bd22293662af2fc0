"""Vectors that were computed before, kept by what they are computed from."""

from __future__ import annotations

import hashlib
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.stage_environment import cache_folder

WAIT_SECONDS = 60.0
"""How long another process may hold the file."""


class VectorCache:
    """One SQLite file an encoder, one row a text: SHA-256 of the text, float32 bytes of its vector.

    Everything in it can be computed again, so a damaged file is thrown away, a busy one is not read, and vectors for
    which there is no room are not kept.

    Args:
        path: the file; ``None`` is a cache that holds and keeps nothing.
        embedding_size: floats of a vector.
    """

    def __init__(self, path: Path | None, embedding_size: int) -> None:
        self.path = path
        self.embedding_size = embedding_size

    @classmethod
    def of(cls, identity: str, embedding_size: int) -> Self:
        """The cache of one encoder, in the state folder; an empty one where nothing may be reused.

        Args:
            identity: ``TextEncoder.identity``.
            embedding_size: floats of a vector.
        """
        folder = cache_folder("embedding_cache")
        return cls(folder / f"{identity}.sqlite" if folder else None, embedding_size)

    def read(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors that are known, by text; float32 [embedding_size] each."""
        if self.path is None or not self.path.is_file():
            return {}
        keys = {_key(text): text for text in texts}
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS)) as database:
                rows = database.execute("SELECT key, vector FROM vectors").fetchall()
        except sqlite3.OperationalError:
            return {}
        except sqlite3.DatabaseError:
            self.path.unlink(missing_ok=True)
            return {}
        size = 4 * self.embedding_size
        known = {keys[key]: np.frombuffer(vector, "<f4") for key, vector in rows if key in keys and len(vector) == size}
        return {text: vector for text, vector in known.items() if abs(float(vector @ vector) - 1) < 1e-3}

    def write(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep the vectors of ``texts``, float32 [num_texts, embedding_size], where the file can be written."""
        if self.path is None or not len(texts):
            return
        rows = [(_key(text), vector.astype("<f4").tobytes()) for text, vector in zip(texts, vectors, strict=True)]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS)) as database, database:
                database.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
                database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            print(f"{self.path}: the vectors are not kept: {error}", file=sys.stderr)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
