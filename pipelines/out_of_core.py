"""DuckDB for work that may be larger than memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.stage_environment import side_folder

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

ROWS_AT_ONCE = 2_000_000
"""Events that are looked at together; one partition may have more."""

DUCKDB_MEMORY = "3GB"
"""What DuckDB may keep in memory; the rest goes to a scratch folder beside what the stage leaves."""


@contextmanager
def out_of_core(stage: str) -> Iterator[Backend]:
    """A DuckDB of a stage's own that spills to disk; gone at the end."""
    import ibis

    parent = side_folder(stage)
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=parent) as scratch:
        connection = ibis.duckdb.connect(
            str(Path(scratch) / "events.duckdb"),
            memory_limit=DUCKDB_MEMORY,
            temp_directory=scratch,
            preserve_insertion_order=False,
        )
        try:
            yield connection
        finally:
            connection.disconnect()
