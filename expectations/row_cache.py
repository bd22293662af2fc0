"""The memory of row checks: a partition that came before under the same suite and code is not checked again."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from expectations.sorting import Reasons
from pipelines import tables
from pipelines.artifacts import file_sha256, write_json
from pipelines.sources import calendars

LIBRARIES = ("great-expectations", "numpy", "pandas", "pyarrow")


class RowCache:
    """What the row checks of a partition found, by the digests of the file, the suite and the code that checks.

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
        key = hashlib.sha256(f"{partition}\n{digest}\n{suite}\n{_code()}".encode()).hexdigest()
        return self._folder / key[:2] / f"{key}.json"


@cache
def _code() -> str:
    """What decides, beside file and suite, which rows fail: this package, calendars, tables and the libraries."""
    modules = (*sorted(Path(__file__).parent.glob("*.py")), Path(calendars.__file__), Path(tables.__file__))
    return "\n".join((*map(file_sha256, modules), *map(version, LIBRARIES)))
