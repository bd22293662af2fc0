"""Sources: how fast each kind of file is mapped and landed, in rows of events a second.

    python tests/benchmarks/bench_sources.py [--rows 1000000] [--only history]

The files are generated: a year of events of 20,000 users and 5,000 items, in every format that `tabular` reads, and in
the layouts of Amazon Reviews 2023 and MovieLens 1M and 25M. Landing includes reading, mapping, pseudonyms, ordering and
writing a partition a week. The figure asked for is that of a whole load, of which landing is a part.

At the end a year in files of a week each is landed by itself, and again beside the files of the ten years before, which
were landed earlier: time and memory are to follow the load, not the history.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from processor import processor

ROOT = Path(__file__).parents[2]
ASKED = 40_000
USERS, ITEMS, DAYS = 20_000, 5_000, 364
FIRST = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())

MAPPING = """\
shop: bench
time_zone: Europe/Berlin
events:
  files: orders{ending}
  fields:
    event_id: {{hash: [order, line]}}
    user_id: customer
    item_id: sku
    event_type:
      rules:
        - when: {{column: qty, below: 0}}
          then: return
      otherwise: purchase
    timestamp: {{column: when, format: '%Y-%m-%d %H:%M:%S'}}
    quantity: {{column: qty, absolute: true}}
    price: {{column: amount, divided_by: qty, absolute: true}}
    session_id: order
items:
  files: products.jsonl
  fields: {{item_id: sku, title: name, category: shelf}}
"""

YEARS_BEFORE, TIMES_ASKED = 10, 1.2

LAND = "import sys; from pathlib import Path; from pipelines.sources import load_source; "
LAND += "from pipelines.sources.landing import land, parse_day; "
LAND += (
    "days = [*map(parse_day, sys.argv[3:])] or [None, None]; land(load_source(sys.argv[1]), *days, Path(sys.argv[2]))"
)


def orders(rows: int) -> pa.Table:
    """A shop's order lines, as texts but for numbers: order, line, when, customer, sku, qty, amount."""
    draw = np.random.default_rng(7)
    seconds = np.sort(draw.integers(0, DAYS * 86_400, rows))
    moments = (np.datetime64("2024-01-01") + seconds.astype("timedelta64[s]")).astype(str)
    order = np.arange(rows) // 4
    quantity = np.where(draw.random(rows) < 0.01, -1, draw.integers(1, 4, rows))
    return pa.table(
        {
            "order": order,
            "line": np.arange(rows) % 4,
            "when": pa.array([moment.replace("T", " ") for moment in moments]),
            "customer": pa.array([f"customer-{user}@shop.example" for user in draw.integers(0, USERS, rows)]),
            "sku": pa.array([f"P{item}" for item in draw.integers(0, ITEMS, rows)]),
            "qty": quantity,
            "amount": np.round(quantity * draw.uniform(0.5, 20, rows), 2),
        }
    )


def tabular(ending: str) -> Callable[[Path, pa.Table], str]:
    """Writes a shop's own files of one format; gives the source."""

    def write(folder: Path, rows: pa.Table) -> str:
        path = folder / f"orders{ending}"
        if ending == ".parquet":
            pq.write_table(rows, path)
        elif ending.startswith(".jsonl"):
            with path.open("w", encoding="utf-8") as file:
                file.writelines(
                    json.dumps(row) + "\n" for batch in rows.to_batches(10_000) for row in batch.to_pylist()
                )
        else:
            with pa.output_stream(str(path), compression="gzip" if ending.endswith(".gz") else None) as stream:
                pa_csv.write_csv(rows, stream)
        with (folder / "products.jsonl").open("w", encoding="utf-8") as file:
            kept = (
                {"sku": f"P{item}", "name": f"Product {item}", "shelf": f"Shelf {item % 50}"} for item in range(ITEMS)
            )
            file.writelines(json.dumps(row) + "\n" for row in kept)
        (folder / "shop.yaml").write_text(MAPPING.format(ending=ending), encoding="utf-8")
        return f"tabular:{folder / 'shop.yaml'}"

    return write


def ratings(rows: int) -> Iterator[tuple[int, int, int, int]]:
    """User, item, stars and seconds since the epoch."""
    draw = np.random.default_rng(9)
    columns = [draw.integers(1, top, rows).tolist() for top in (USERS, ITEMS, 6)]
    return zip(*columns, np.sort(draw.integers(FIRST, FIRST + DAYS * 86_400, rows)).tolist(), strict=True)


def amazon_reviews(folder: Path, rows: pa.Table) -> str:
    """Reviews with a text of usual length, and products."""
    with gzip.open(folder / "Beauty.jsonl.gz", "wt", encoding="utf-8", compresslevel=1) as file:
        for user, item, stars, seconds in ratings(rows.num_rows):
            review = {
                "rating": float(stars), "title": "Nice", "text": "It smells good and lasts all day. " * 5, "images": [],
                "asin": f"B{item}", "parent_asin": f"B{item}", "user_id": f"A{user}", "timestamp": 1000 * seconds,
                "helpful_vote": 0, "verified_purchase": True,
            }  # fmt: skip
            file.write(json.dumps(review) + "\n")
    with gzip.open(folder / "meta_Beauty.jsonl.gz", "wt", encoding="utf-8") as file:
        for item in range(1, ITEMS):
            product = {
                "main_category": "All Beauty", "title": f"Spray {item}", "description": ["Sea salt"], "price": 4.99,
                "store": "Howard", "categories": ["Beauty", "Hair"], "images": [], "details": {"UPC": str(item)},
                "parent_asin": f"B{item}",
            }  # fmt: skip
            file.write(json.dumps(product) + "\n")
    return f"amazon_reviews:{folder}"


def movielens(layout: str) -> Callable[[Path, pa.Table], str]:
    """Writes the files of a layout; gives the source."""

    def write(folder: Path, rows: pa.Table) -> str:
        mark, ending = ("::", "dat") if layout == "1M" else (",", "csv")
        with (folder / f"ratings.{ending}").open("w", encoding="utf-8") as file:
            file.write("" if layout == "1M" else "userId,movieId,rating,timestamp\n")
            file.writelines(mark.join(map(str, row)) + "\n" for row in ratings(rows.num_rows))
        with (folder / f"movies.{ending}").open("w", encoding="utf-8") as file:
            file.write("" if layout == "1M" else "movieId,title,genres\n")
            file.writelines(f"{item}{mark}Film {item} (1996){mark}Comedy|Drama\n" for item in range(1, ITEMS))
        if layout == "1M":
            users = "".join(f"{user}::M::24::12::85711\n" for user in range(1, USERS))
            (folder / "users.dat").write_text(users, encoding="utf-8")
        return f"movielens:{folder}"

    return write


SOURCES: dict[str, Callable[[Path, pa.Table], str]] = {
    "tabular, CSV": tabular(".csv"),
    "tabular, CSV.gz": tabular(".csv.gz"),
    "tabular, JSON-lines": tabular(".jsonl"),
    "tabular, Parquet": tabular(".parquet"),
    "amazon_reviews": amazon_reviews,
    "movielens, 1M": movielens("1M"),
    "movielens, 25M": movielens("25M"),
}


def landed(source: str, folder: Path, *days: str) -> tuple[float, float, int]:
    """Land a source, or some days of it, in a process of its own: seconds with its start, most memory in MB, rows."""
    shutil.rmtree(folder / "landing", ignore_errors=True)
    environment = os.environ | {"SHOPLOOM_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    started, most = time.perf_counter(), 0
    process = psutil.Popen(
        [sys.executable, "-c", LAND, source, str(folder / "landing"), *days], cwd=ROOT, env=environment
    )
    while True:
        try:
            process.wait(timeout=0.1)
            break
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            most = max(most, process.memory_info().rss)
    if process.returncode:
        raise SystemExit(process.returncode)
    rows = sum(pq.read_metadata(path).num_rows for path in (folder / "landing/events").iterdir())
    return time.perf_counter() - started, most / 1e6, rows


def write_year(folder: Path, rows: pa.Table, years_before: int) -> None:
    """Write a file for each week of a year before the benchmark's own, with orders of its own."""
    starts = np.datetime64("2024-01-01") - np.timedelta64(DAYS * years_before, "D")
    moments = rows["when"].cast(pa.timestamp("s")).to_numpy() - np.timedelta64(DAYS * years_before, "D")
    texts = pa.array([moment.replace("T", " ") for moment in moments.astype("datetime64[s]").astype(str)])
    own = pc.add(rows["order"], years_before * rows.num_rows)
    moved = rows.set_column(0, "order", own).set_column(2, "when", texts)
    weeks = (moments - starts) // np.timedelta64(7, "D")
    for week in range(DAYS // 7):
        low, high = np.searchsorted(weeks, (week, week + 1))
        with pa.output_stream(str(folder / f"{starts + np.timedelta64(7 * week, 'D')}.csv")) as stream:
            pa_csv.write_csv(moved.slice(low, high - low), stream)


def worked() -> float:
    """Processor seconds of the processes that ended: on a machine that others use they tell more than the clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def beside_history(rows: pa.Table) -> None:
    """Land a year of weekly files alone, and beside ten times as many that were landed before."""
    costs: list[tuple[float, float, float]] = []
    days = ("2024-01-01", "2024-12-29")
    for years in (0, YEARS_BEFORE):
        with tempfile.TemporaryDirectory(prefix="bench-sources-") as scratch:
            folder = Path(scratch)
            (folder / "orders").mkdir()
            source = tabular(".csv")(folder, rows.slice(0, 0))
            mapping = (folder / "shop.yaml").read_text(encoding="utf-8").replace("orders.csv", "orders/*.csv")
            (folder / "shop.yaml").write_text(mapping, encoding="utf-8")
            for before in range(1, years + 1):
                write_year(folder / "orders", rows, before)
            if years:
                time.sleep(3)  # what was written a moment ago is not remembered
                landed(source, folder)
            write_year(folder / "orders", rows, 0)
            before = worked()
            seconds, memory, written = landed(source, folder, *days)
            costs.append((seconds, worked() - before, memory))
            assert written == rows.num_rows
            speed = rows.num_rows / seconds
            print(
                f"a year beside {years:>2} years {speed:>9,.0f} rows/s, {seconds:6.1f} s, {memory:6,.0f} MB", flush=True
            )
    for place, what in enumerate(("time", "processor time", "memory")):
        times = costs[1][place] / costs[0][place]
        reached = "reached" if times <= TIMES_ASKED else "missed"
        print(f"  {what:<18} {times:9.2f} x     (asked: within {TIMES_ASKED}; {reached})")


def main() -> None:
    """Generate, land, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["formats", "history"])
    given = parser.parse_args()
    print(f"{given.rows:,} rows of events each; {processor()}")
    rows = orders(given.rows)
    if given.only != "history":
        formats(rows)
    if given.only != "formats":
        beside_history(rows)


def formats(rows: pa.Table) -> None:
    """Land each kind of file."""
    count = rows.num_rows
    for name, write in SOURCES.items():
        with tempfile.TemporaryDirectory(prefix="bench-sources-") as scratch, chdir(ROOT):
            folder = Path(scratch)
            source = write(folder, rows)
            seconds, memory, written = landed(source, folder)
            assert written == count, f"{name}: {written:,} rows were landed"
            speed = count / seconds
            print(
                f"{name:<20} {speed:>9,.0f} rows/s, {seconds:6.1f} s, {memory:6,.0f} MB "
                f"(asked: {ASKED:,} rows/s for the whole load; {'reached' if speed >= ASKED else 'missed'})",
                flush=True,
            )


if __name__ == "__main__":
    main()
