"""Loads: how fast a year is landed, validated and versioned, that it does not cost more beside ten times the history,
and that ``prepare`` takes a hundred million events in bounded memory.

    python tests/benchmarks/bench_loads.py [load] [prepare]    both by default; about half an hour
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc
from processor import processor

from pipelines.artifacts import parquet_file, read_table, write_table
from pipelines.sources.calendars import Partition, parse_partition
from pipelines.tables import EVENTS, TIMESTAMP

ROOT = Path(__file__).parents[2]
EVENTS_ASKED = 100_000_000
EVENTS_A_SECOND = 40_000
TIMES_THE_HISTORY = 10
WEEKS = 53

MERGE = """
import sys
from dataclasses import asdict
from pathlib import Path
from pipelines.artifacts import write_json
from pipelines.runs.accepted import accepted_history, partitions_before
from pipelines.runs.data_versions import changes_of
from pipelines.runs.loads import Load, merge_load
from pipelines.settings import Settings

folder, settings = Path(sys.argv[1]), Settings()
intervals = tuple(path.stem for path in (folder / "landing/events").iterdir())
write_json(asdict(merge_load(settings, Load(folder / "landing", intervals), folder / "merged")), folder / "onto.json")
assert changes_of(settings, folder / "merged")
history = accepted_history(settings)
write_json(partitions_before(history), folder / "before.json")
write_json(history, folder / "history.json")
"""
"""What the ingest DAG does between landing and validating."""


@dataclass(frozen=True)
class Cost:
    """What some work took: wall seconds, and the largest resident set of any of its processes, bytes."""

    seconds: float
    peak: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, max(self.peak, other.peak))


def cost_of(module: str, *arguments: str, folder: Path, environment: dict[str, str]) -> Cost:
    """Run ``python -m module arguments...`` (or a program, after ``-c``), which must succeed."""
    began = time.monotonic()
    command = [sys.executable, *(["-c"] if module == "-c" else ["-m", module]), *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    peaks, ended = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks, ended))
    watcher.start()
    code = process.wait()
    seconds = time.monotonic() - began
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"{module} {' '.join(arguments)[-200:]} ended with status {code}")
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
            moved = shifted(table, span, later, copy, ("event_id", "user_id", "session_id"))
            write_table(moved, target / "events" / f"{later.name}.parquet")
            rows += table.num_rows
    shutil.copy(year / "items.parquet", target / "items.parquet")
    return rows


def shifted(
    table: pa.Table, span: Partition, later: Partition, copy: int, ids: tuple[str, ...] = ("event_id", "session_id")
) -> pa.Table:
    """The events of a partition as those of another, with other ``ids``."""
    micros = table["timestamp"].cast(pa.int64())
    moved = (later.first_day - span.first_day).days * 86_400_000_000
    columns = {name: table[name] for name in EVENTS.schema.names}
    for name in ids:
        columns[name] = pc.binary_join_element_wise(table[name], f"{copy}", "-")
    columns["timestamp"] = pc.add(micros, moved).cast(TIMESTAMP)
    return pa.table(list(columns.values()), schema=EVENTS.schema).replace_schema_metadata(table.schema.metadata)


def one_load(folder: Path, *, commit: bool = True) -> dict[str, Cost]:
    """Land the default year as one interval, validate and version it: what the ingest DAG does, without Airflow."""
    env, landing = environment(folder / "home", SHOPLOOM_REPOSITORY=str(folder)), folder / "landing"
    shutil.rmtree(landing, ignore_errors=True)
    options = [f"--{name}={folder / name}.json" for name in ("before", "history", "report")]
    costs = {
        "land": cost_of("pipelines.sources.landing", "--directory", str(landing), folder=folder, environment=env),
        "merge": cost_of("-c", MERGE, str(folder), folder=folder, environment=env),
        "validate": cost_of(
            "pipelines.stages.validate", "--landing", str(folder / "merged"), *options, folder=folder, environment=env
        ),
    }
    if commit:
        arguments = [
            "--landing",
            str(folder / "merged"),
            "--onto",
            str(folder / "onto.json"),
            "--message",
            "Land a year",
        ]
        costs["version"] = cost_of("pipelines.runs.data_versions", *arguments, folder=folder, environment=env)
    return costs


def total(costs: dict[str, Cost]) -> Cost:
    return sum(costs.values(), Cost(0.0, 0))


def load_year() -> None:
    """One load of the whole year, into nothing and beside ten times as much."""
    with workplace() as folder:
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        alone = one_load(folder)
        rows = sum(parquet_file(path).metadata.num_rows for path in (folder / "landing/events").iterdir())
        for name, cost in alone.items():
            print(f"  {name:<10} {cost.seconds:8.1f} s {cost.peak / 1e9:6.2f} GB", flush=True)
        speed = rows / total(alone).seconds
        print(f"one load of a year {rows:>12,} events in {total(alone).seconds:.1f} s")
        print(f"  events a second    {speed:>12,.0f}      (asked: at least {EVENTS_A_SECOND:,})", flush=True)
    with workplace() as folder:
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        history_of(folder, TIMES_THE_HISTORY)
        one_load(folder, commit=False)  # so that what loads remember of their history is there, as after real ones
        shutil.rmtree(folder / "home" / "validate_cache")
        beside = one_load(folder)
        for name, cost in beside.items():
            print(f"  {name:<10} {cost.seconds:8.1f} s {cost.peak / 1e9:6.2f} GB", flush=True)
    print(f"the same beside {TIMES_THE_HISTORY} times the history: {total(beside).seconds:.1f} s")
    print(f"  time               {total(beside).seconds / total(alone).seconds:12.2f} x    (asked: within 1.2)")
    print(f"  memory             {total(beside).peak / total(alone).peak:12.2f} x    (asked: within 1.2)", flush=True)


def history_of(folder: Path, years: int) -> None:
    """Commit earlier years of the same users' same purchases as one data version."""
    env = environment(folder / "home", SHOPLOOM_REPOSITORY=str(folder))
    landing = folder / "landing"
    cost_of("pipelines.sources.landing", "--directory", str(landing), folder=folder, environment=env)
    for path in sorted((landing / "events").iterdir()):
        table, span = read_table(path), parse_partition(path.stem)
        for year in range(1, years + 1):
            earlier = Partition(span.first_day - timedelta(weeks=WEEKS * year), span.days)
            write_table(shifted(table, span, earlier, year), landing / "events" / f"{earlier.name}.parquet")
        path.unlink()
    arguments = ["--landing", str(landing), "--message", "Land earlier years"]
    cost_of("pipelines.runs.data_versions", *arguments, folder=folder, environment=env)


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
    parts = {"load": load_year, "prepare": prepare_scale}
    print(f"{processor()}; ", end="")
    print(
        ", ".join(f"{name} {version(name)}" for name in ("duckdb", "ibis-framework", "pyarrow", "great-expectations"))
    )
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
