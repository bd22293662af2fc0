"""``seal``: the ids of the events that models are trained on, as sorted hashes under one Merkle root.

Trained on are the events of history and validation that ``prepare`` keeps: of a type that counts, of an item of the
catalogue. Whoever has the root, which the run commit names, can be shown that an event is among them, or is not,
by a proof of a few kilobytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.artifacts import atomic_directory, read_json, write_json
from pipelines.errors import DataError
from pipelines.merkle import WIDTH, write_levels
from pipelines.out_of_core import out_of_core
from pipelines.params import PrepareParams, SealParams, load_params

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

ACCEPTED = Path("data/accepted/events")
PREPARED = Path("data/prepared")
SEAL = Path("data/seal")
LEAVES, LEVELS, SUMMARY = "leaves.bin", "levels.bin", "seal.json"
_QUERY = """
SELECT unhex(sha256('\\x00'::BLOB || encode(event_id))) AS leaf
FROM read_parquet($events)
WHERE list_contains($types, event_type) AND item_id IN (SELECT item_id FROM read_parquet($items))
ORDER BY leaf
"""
_BATCH = 200_000


def training_partitions(events: Path, first_test: str) -> list[Path]:
    """The accepted partitions before the test window, oldest first."""
    return [path for path in sorted(events.glob("*.parquet")) if path.stem < first_test]


def seal(
    partitions: Sequence[Path], items: Path, directory: Path, event_types: Sequence[str], params: SealParams
) -> dict[str, Any]:
    """Write the tree over the events of some partitions.

    Args:
        partitions: accepted events.
        items: the prepared catalogue; an event of an item that is not there is left out.
        directory: gets ``leaves.bin`` and ``levels.bin``, of :mod:`pipelines.merkle`.
        event_types: the others are left out.
        params: which levels are kept.

    Returns:
        What ``seal.json`` says: ``count``, ``root``, ``skipped_levels``, first and last partition.

    Raises:
        DataError: no event is left.
    """
    with out_of_core("seal") as connection, atomic_directory(directory) as folder:
        given = {"events": [str(path) for path in partitions], "types": list(event_types), "items": str(items)}
        _write_leaves(connection, given, folder / LEAVES)
        count, root = write_levels(folder / LEAVES, folder / LEVELS, params.skipped_levels)
    return {
        "count": count,
        "root": root,
        "skipped_levels": params.skipped_levels,
        "first_partition": partitions[0].stem,
        "last_partition": partitions[-1].stem,
    }


def _write_leaves(connection: Backend, given: dict[str, Any], path: Path) -> None:
    """Hash and sort the events' ids, out of core."""
    import numpy as np

    with path.open("wb") as stream:
        for batch in connection.con.sql(_QUERY, params=given).to_arrow_reader(_BATCH):
            column = batch.column(0)
            lengths, content = np.frombuffer(column.buffers()[1], np.int32), column.buffers()[2]
            start, end = int(lengths[column.offset]), int(lengths[column.offset + len(column)])
            if end - start != len(column) * WIDTH:
                raise DataError("an event without an id was accepted", mend="shoploom quarantine list")
            stream.write(memoryview(content)[start:end])


def main() -> None:
    """Read ``data/accepted`` and ``data/prepared``, write ``data/seal``."""
    split = read_json(PREPARED / "split.json")
    partitions = training_partitions(ACCEPTED, split["first_test_partition"])
    params, types = load_params(SealParams, "seal"), load_params(PrepareParams, "prepare").event_types
    sealed = seal(partitions, PREPARED / "items.parquet", SEAL / "tree", types, params)
    prepared = split["rows"]["history"] + split["rows"]["validation"]
    if sealed["count"] != prepared:
        raise DataError(
            f"{prepared} events are trained on, but {sealed['count']} were sealed",
            mend="stages/seal.py and numbering.py must keep the same events",
        )
    write_json(sealed, SEAL / SUMMARY)
    print(f"sealed {sealed['count']} events under {sealed['root']}")


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)
