"""The quarantine of the newest data version: what lies in it, why, and landing it again after something was mended.

Nothing is kept beside the data versions: a raw partition holds every row that came, and what the contracts of today
refuse of it is the quarantine. So a mended suite needs no replay of rows, and a replay maps kept rows again by the
mapping of today: all of them, good ones too, so that what comes out is what landing would have given by that mapping.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pipelines.errors import ConfigError, DataError, RunError
from pipelines.orchestration.quarantine_edits import apply_edits, read_edits
from pipelines.runs.data_versions import DataVersion, Onto, commit_landing, latest_data_version, partition_hashes
from pipelines.runs.load_docs import refused_loads
from pipelines.runs.store import Store
from pipelines.settings import Settings, child_environment
from pipelines.tables import EVENTS, SOURCE_ROW, TABLES, UNPLACED

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from pipelines.sources.tabular import Tabular


@dataclass(frozen=True)
class Replayed:
    """What :func:`replay` did.

    Args:
        commit: the data version.
        changed: ``<table>/<file>`` of what it changed.
        quarantined: rows in quarantine before and after.
        edited: rows that an edited list gave other values.
    """

    commit: str
    changed: tuple[str, ...]
    quarantined: tuple[int, int]
    edited: int = 0


def list_quarantine(settings: Settings) -> list[dict[str, Any]]:
    """Table, partition, rows, checks with their counts, and suites, of each part that has quarantined rows."""
    with _raw(settings) as (_, folder):
        return [
            {
                "table": table,
                "partition": partition,
                "rows": rows.num_rows,
                "checks": dict(Counter(check for row in rows["reasons"].to_pylist() for check in row).most_common()),
                "suites": sorted(set(rows["suite"].to_pylist())),
            }
            for table, partition, rows in _refused(settings, folder)
        ]


def show_quarantine(settings: Settings, table: str, partition: str, check: str, most: int) -> list[dict[str, Any]]:
    """Quarantined rows, each with its table, partition, failing checks, suite and what the source kept of it.

    Args:
        settings: the repository and the state folder.
        table: only this one; empty for all.
        partition: only this one; empty for all.
        check: only rows that fail this one; empty for all.
        most: rows at most.
    """
    found: list[dict[str, Any]] = []
    with _raw(settings) as (_, folder):
        for name, part, rows in _refused(settings, folder):
            if (table and name != table) or (partition and part != partition):
                continue
            for row in rows.to_pylist():
                if (not check or check in row["reasons"]) and len(found) < most:
                    given = {column: value for column, value in row.items() if value not in (None, [])}
                    found.append({"table": name, "partition": part, **given})
    return found


def replay(settings: Settings, edited: Path | None = None) -> Replayed:
    """Map every kept row of the newest data version again, hold the result to the contract, and version it.

    Args:
        settings: the repository, the state folder and the source.
        edited: a list of quarantined rows with other values (:mod:`pipelines.orchestration.quarantine_edits`).

    Raises:
        ConfigError: the source keeps no rows.
        DataError: the contract stops the result, a row was not kept whole enough, or the list does not fit; the data
            version stays.
        PartitionMovedError: a load landed meanwhile.
    """
    from pipelines.sources import load_source
    from pipelines.sources.tabular import Tabular

    source = load_source(settings.source)
    if not isinstance(source, Tabular):
        raise ConfigError(
            f"the source {settings.source} keeps no rows of its own to map again",
            mend="mend its module and land again: shoploom ingest",
        )
    edits = read_edits(edited) if edited else []
    with _raw(settings) as (tip, folder):
        before = sum(rows.num_rows for _, _, rows in _refused(settings, folder))
        stored = partition_hashes(settings, tip)
        hashes = {f"{table}/{name}": md5 for table, files in stored.items() for name, md5 in files.items()}
        count = apply_edits(edited, edits, folder) if edited else 0
        _map_again(source, tip, folder)
        after = sum(rows.num_rows for _, _, rows in _refused(settings, folder, strict=True))
        new = {f"{path.parent.name}/{path.name}": None for path in folder.glob("*/*.parquet")}
        by_hand = f", {count} rows corrected by hand" if count else ""
        message = f"Replay {source.name} by its mapping {source.mapping.digest()}{by_hand}"
        made = commit_landing(settings, folder, message, Onto({**new, **hashes}))
    return Replayed(made.commit, made.changed, (before, after), count)


def _map_again(source: Tabular, tip: DataVersion, folder: Path) -> None:
    """Rewrite the tables below ``folder`` as landing would write them by the mapping of today."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.artifacts import read_table, write_table
    from pipelines.pseudonyms import key_metadata
    from pipelines.sources.calendars import partition_of, zone_metadata

    def write(rows: pa.Table, path: Path) -> None:
        key = key_metadata(tip.user_key) if "user_id" in rows.column_names else {}
        path.unlink(missing_ok=True)
        write_table(rows.replace_schema_metadata({**zone_metadata(source.time_zone), **key}), path)

    for table in ("items", "users", "offers", "judgements"):
        path = folder / table / f"{table}.parquet"
        rows = read_table(path) if path.exists() else None
        if rows is not None and SOURCE_ROW.name in rows.column_names:
            write(source.engine.remap(table, rows), path)
    paths = sorted((folder / EVENTS.name).glob("*.parquet"))
    kept = [SOURCE_ROW.name, "user_id"]
    parts = [read_table(path) for path in paths]
    if any(SOURCE_ROW.name not in part.column_names for part in parts):
        raise DataError("events: not every partition keeps its source's rows", mend="land them again: shoploom ingest")
    lost = folder / UNPLACED.name / "unplaced.parquet"
    unplaced = read_table(lost) if lost.exists() else UNPLACED.schema.empty_table()
    again = source.engine.remap(
        EVENTS.name, pa.concat_tables([part.select(kept).replace_schema_metadata(None) for part in (*parts, unplaced)])
    )
    zone = ZoneInfo(source.time_zone)
    placed = again.filter(pc.is_valid(again["timestamp"]))
    days = [moment.astimezone(zone).date() for moment in placed["timestamp"].to_pylist()]
    names = pa.array([partition_of(day, source.partition).name for day in days], pa.string())
    present = set(names.to_pylist())
    gone = [path.stem for path in paths if path.stem not in present]
    if gone:
        raise DataError(f"events: nothing of {', '.join(gone)} is left", mend="correct where: in the mapping")
    for name in sorted(present):
        write(placed.filter(pc.equal(names, name)).combine_chunks(), folder / EVENTS.name / f"{name}.parquet")
    rest = again.filter(pc.is_null(again["timestamp"])).select(UNPLACED.schema.names).cast(UNPLACED.schema)
    is_line = [bool(names) and names[0] == "line" for names in unplaced["unmapped"].to_pylist()]
    lines = unplaced.filter(pa.array(is_line, pa.bool_())).replace_schema_metadata(None).cast(UNPLACED.schema)
    write(pa.concat_tables([rest, lines]).combine_chunks(), lost)


@contextmanager
def _raw(settings: Settings) -> Iterator[tuple[DataVersion, Path]]:
    """The newest data version's raw tables, copied into a folder that goes afterwards."""
    import shutil

    tip = latest_data_version(settings)
    if tip is None:
        raise RunError("there is no data version yet", mend="shoploom ingest")
    settings.home.mkdir(parents=True, exist_ok=True)
    store = Store(settings)
    with tempfile.TemporaryDirectory(prefix="quarantine-", dir=settings.home) as name:
        folder = Path(name) / "raw"
        try:
            for table, listing in tip.listings.items():
                files = store.files(listing)
                store.pull(file.md5 for file in files)
                (folder / table).mkdir(parents=True)
                for file in files:
                    shutil.copyfile(store.cache_path(file.md5), folder / table / file.path)
        finally:
            store.close()
        yield tip, folder


def _refused(settings: Settings, folder: Path, *, strict: bool = False) -> list[tuple[str, str, pa.Table]]:
    """Table, partition and rows of what the contracts of today refuse of raw tables.

    Args:
        settings: the repository and the state folder.
        folder: the raw tables.
        strict: whether tables that the contracts stop as a whole are an error.

    Raises:
        DataError: the tables cannot be checked, or, where it is ``strict``, are stopped.
    """
    from pipelines.artifacts import read_table

    with tempfile.TemporaryDirectory(prefix="refused-", dir=settings.home) as name:
        out = Path(name) / "quarantine"
        arguments = ["--landing", str(folder), "--quarantine", str(out), "--docs", str(Path(name) / "docs")]
        command = [sys.executable, "-m", "pipelines.stages.validate", *arguments]
        environment = child_environment(settings, PYTHONPATH=os.pathsep.join(sys.path), SHOPLOOM_SIDE=name)
        ended = subprocess.run(
            command, env=environment, cwd=settings.repository, capture_output=True, text=True, check=False
        )
        if ended.returncode and (strict or not out.exists()):
            said, _, mend = ended.stderr.strip().rpartition("\n  -> ")
            raise DataError(said.splitlines()[-1] if said else ended.stderr[-2000:], mend=mend)
        found = []
        for path in sorted(out.rglob("*.parquet")):
            rows = read_table(path)
            events = path.parent.name == EVENTS.name
            if rows.num_rows:
                found.append((EVENTS.name if events else path.stem, path.stem if events else "", rows))
    return sorted(found, key=lambda part: ([*TABLES].index(part[0]), part[1]))


def list_all(settings: Settings) -> dict[str, Any]:
    """``rows``: what :func:`list_quarantine` gives; ``stopped``: the loads that were refused whole, newest first."""
    stopped = refused_loads(settings)
    tip = latest_data_version(settings)
    return {"rows": list_quarantine(settings) if tip or not stopped else [], "stopped": stopped}


def draw_list(listed: dict[str, Any], console: Console) -> None:
    """Print what :func:`list_all` gives."""
    for part in listed["rows"]:
        checks = ", ".join(f"{check} {count:,}" for check, count in part["checks"].items())
        console.print(
            f"{part['table']:<10} {part['partition'] or '-':<10} {part['rows']:>8,} rows: {checks}", markup=False
        )
    if not listed["rows"]:
        console.print("no row is in quarantine")
    for load in listed["stopped"]:
        console.print(
            f"stopped    {load['when']}  {load['source']} {', '.join(load['partitions'])}: {load['why']}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        console.print(f"  -> {load['docs']}", markup=False, soft_wrap=True)


def draw_rows(rows: list[dict[str, Any]], console: Console) -> None:
    """Print what :func:`show_quarantine` gives: plain text, never markup or control characters."""
    import json

    from rich.text import Text

    for row in rows:
        line = json.dumps(row, ensure_ascii=False, default=str)
        console.print(Text("".join(letter if letter.isprintable() else "?" for letter in line)), soft_wrap=True)
