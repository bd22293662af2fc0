"""The memory of row checks: a partition that came before under the same suite is not checked again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from expectations.sorting import Reasons
from pipelines.artifacts import write_json


class RowCache:
    """What the row checks of a partition found, by the file's and the suite's digests.

    Args:
        folder: where it lies; None = nothing is remembered.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, partition: str, digest: str, suite: str, num_rows: int) -> Reasons | None:
        """The remembered result; None where there is none or it cannot be trusted."""
        path = self._path(partition, digest, suite)
        if path is None:
            return None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            rows = {str(check): np.asarray(found, np.int64) for check, found in kept["rows"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        fits = all(
            found.ndim == 1 and (not len(found) or 0 <= found.min() <= found.max() < num_rows)
            for found in rows.values()
        )
        return rows if fits and kept.get("num_rows") == num_rows else None

    def put(self, partition: str, digest: str, suite: str, num_rows: int, rows: Reasons) -> None:
        """Remember a result."""
        path = self._path(partition, digest, suite)
        if path is not None:
            kept = {"num_rows": num_rows, "rows": {check: found.tolist() for check, found in rows.items()}}
            write_json(kept, path)

    def _path(self, partition: str, digest: str, suite: str) -> Path | None:
        if self._folder is None:
            return None
        key = hashlib.sha256(f"{partition}\n{digest}\n{suite}".encode()).hexdigest()
        return self._folder / key[:2] / f"{key}.json"
