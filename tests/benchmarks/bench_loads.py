"""Loads: how fast a year is landed, validated and versioned, that it does not cost more beside ten times the history,
and that ``prepare`` takes a hundred million events in bounded memory.

    python tests/benchmarks/bench_loads.py [load] [history] [prepare]    all three by default; about half an hour
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts import read_table, write_table
from pipelines.pseudonyms import USER_KEY
from pipelines.sources.calendars import Partition, parse_partition, zone_metadata
from pipelines.tables import EVENTS, TIMESTAMP

ROOT = Path(__file__).parents[2]
EVENTS_ASKED = 100_000_000
WEEKS = 53


@dataclass(frozen=True)
class Cost:
    """What some work took: wall seconds, and the largest resident set of any of its processes, bytes."""

    seconds: float
    peak: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, max(self.peak, other.peak))


def cost_of(module: str, *arguments: str, folder: Path, environment: dict[str, str]) -> Cost:
    """Run ``python -m module arguments...``, which must succeed."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL
    )
    peaks, ended = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks, ended))
    watcher.start()
    code = process.wait()
    seconds = time.monotonic() - began
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"{module} {' '.join(arguments)} ended with status {code}")
    return Cost(seconds, peaks[0])


def _watch(pid: int, peaks: list[int], ended: threading.Event) -> None:
    """Sample the resident set ten times a second."""
    while not ended.wait(0.1):
        try:
            peaks[0] = max(peaks[0], psutil.Process(pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return


def environment(home: Path, **extra: str) -> dict[str, str]:
    own = {"PYTHONPATH": str(ROOT), "SHOPLOOM_HOME": str(home), "SHOPLOOM_SIDE": str(home / "side")}
    return {**os.environ, **own, "OMP_WAIT_POLICY": "PASSIVE", **extra}


@contextmanager
def workplace() -> Iterator[Path]:
    """A scratch folder with the parameters in it; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="shoploom-bench-") as scratch:
        folder = Path(scratch)
        shutil.copy(ROOT / "params.yaml", folder)
        yield folder


def accept_a_year(folder: Path) -> None:
    """Land the default data and validate it: ``data/accepted`` of ``folder``."""
    home = folder / "home"
    raw = folder / "data" / "raw"
    cost_of("pipelines.sources.landing", "--directory", str(raw), folder=folder, environment=environment(home))
    cost_of("pipelines.stages.validate", folder=folder, environment=environment(home))
    shutil.rmtree(raw)


def repeat(year: Path, target: Path, copies: int) -> int:
    """Write ``copies`` of a year's accepted partitions one after another, with ids and dates shifted.

    Returns:
        Rows written.
    """
    rows = 0
    for path in sorted((year / "events").glob("*.parquet")):
        table = read_table(path)
        for copy in range(copies):
            span = parse_partition(path.stem)
            later = Partition(
                type(span.first_day).fromordinal(span.first_day.toordinal() + 7 * WEEKS * copy), span.days
            )
            write_table(shifted(table, span, later, copy), target / "events" / f"{later.name}.parquet")
            rows += table.num_rows
    shutil.copy(year / "items.parquet", target / "items.parquet")
    return rows


def shifted(table: pa.Table, span: Partition, later: Partition, copy: int) -> pa.Table:
    """The events of a partition as those of a later one, of other users; in UTC, whose days are all of one length."""
    zone = table.schema.metadata
    micros = table["timestamp"].cast(pa.int64())
    moved = (later.first_day - span.first_day).days * 86_400_000_000
    columns = {name: table[name] for name in EVENTS.schema.names}
    for name in ("event_id", "user_id", "session_id"):
        columns[name] = pc.binary_join_element_wise(table[name], f"{copy}", "-")
    columns["timestamp"] = pc.add(micros, moved).cast(TIMESTAMP)
    metadata = {**zone_metadata("UTC"), USER_KEY: zone[USER_KEY]}
    return pa.table(list(columns.values()), schema=EVENTS.schema).replace_schema_metadata(metadata)


def prepare_scale(events: int = EVENTS_ASKED) -> None:
    """Prepare one year, and as many copies of it as give ``events``."""
    costs: dict[str, tuple[int, Cost]] = {}
    with workplace() as folder:
        accept_a_year(folder)
        year = shutil.move(folder / "data" / "accepted", folder / "year")
        (rows,) = {sum(read_table(path, ["event_id"]).num_rows for path in (Path(year) / "events").iterdir())}
        for name, copies in (("one year", 1), ("repeated", -(-events // rows))):
            written = repeat(Path(year), folder / "data" / "accepted", copies)
            took = cost_of("pipelines.stages.prepare", folder=folder, environment=environment(folder / "home"))
            costs[name] = (written, took)
            each = 1e6 * took.seconds / written
            print(f"prepare, {name:<10} {written:>12,} events {took.seconds:8.1f} s {each:6.2f} us/event", flush=True)
            shutil.rmtree(folder / "data")
    (few, small), (many, large) = costs.values()
    ratio = (large.seconds / many) / (small.seconds / few)
    print(f"  events             {many:>12,}      (asked: {events:,})")
    print(f"  peak memory        {large.peak / 1e9:12.2f} GB   (asked: under 8 GB)")
    print(f"  time per event     {ratio:12.2f} x    (asked: within 1.5 times that of one year)")


def main() -> None:
    parts = {"prepare": prepare_scale}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; ", end="")
    print(
        ", ".join(f"{name} {version(name)}" for name in ("duckdb", "ibis-framework", "pyarrow", "great-expectations"))
    )
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
