"""Files changed for the length of a test's block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.artifacts import read_json, write_json


@contextmanager
def edited_json(path: Path, **changes: object) -> Iterator[None]:
    """Give a JSON object other values, and put it back."""
    before = path.read_bytes()
    write_json(read_json(path) | changes, path)
    try:
        yield
    finally:
        path.write_bytes(before)
