"""What serving reaches with 1 million items of 64 dimensions: drawn vectors and histories, a real server.

    .venv/bin/python tests/benchmarks/bench_wide.py [STATE_FOLDER] [--items N]

STATE_FOLDER is a state folder with a promoted model of the default data, ``.shoploom`` by default, which lends its
texts and encoder; the package is written without training, registered in a fresh registry, and asked over HTTP from a
second process. Its answers are compared with those that scoring every item gives.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pipelines.artifacts import parquet_file  # noqa: E402
from pipelines.models.recommender import Recommender  # noqa: E402
from pipelines.registry.promotion import champion  # noqa: E402
from pipelines.settings import Settings  # noqa: E402
from tests.benchmarks.bench_serving import Ask, failures, load, percentile, row  # noqa: E402
from tests.repositories import new_repository  # noqa: E402
from tests.serving_shop import Served, registered, served  # noqa: E402
from tests.wide_shop import Width, write_wide_package  # noqa: E402

USERS = 60_000
"""More than a server scores ahead, so that the last ones are asked for the first time."""
COMPARED = 200
PAGES = 500
"""Of products that nobody asked about before."""
K = 10


def measure(settings: Settings, package: Path, folder: Path) -> None:
    """Print a row for every number."""
    print(f"{'':<58}{'asked':>18}{'reached':>24}")
    started = time.perf_counter()
    with served(settings, folder, ready=False) as server:
        server.wait(300)
        row("start to ready", "", f"{time.perf_counter() - started:.1f} s")
        server.said(1200, event="warmed")
        row("    until as many users as are kept are scored ahead", "", f"{time.perf_counter() - started:.0f} s")
        ahead: list[Ask] = [("/recommend", {"user": f"w{user}", "k": K}) for user in range(5000)]
        measured = load("closed", server.address, ahead, folder)
        row("recommend, 8 connections: p99", "15 ms", f"{percentile(measured['latencies'], 0.99):.1f} ms")
        row("    requests a second, failed", "", f"{5000 / measured['seconds']:,.0f}, {failures(measured)}")
        first: list[Ask] = [("/recommend", {"user": f"w{user}", "k": K}) for user in range(50_000, 53_000)]
        _row_of(
            "    users never asked for before, 1 connection", "15 ms", load("one", server.address, first[:2000], folder)
        )
        _row_of("    the same, 8 connections", "", load("closed", server.address, first[2000:], folder))
        items = parquet_file(package / "catalogue" / "items.parquet").metadata.num_rows
        for placement in ("similar", "bought-together"):
            pages: list[Ask] = [
                ("/recommend", {"placement": placement, "items": [f"w{item:07}"], "k": K})
                for item in range(0, items, items // PAGES)
            ]
            _row_of(f"    {placement}, of items never asked about", "", load("one", server.address, pages, folder))
        row("memory", "", f"{psutil.Process(server.process.pid).memory_info().rss / 1e9:.2f} GB")
        answers = _answers(server, range(50_000, 50_000 + COMPARED))
    row(f"recall@{K} against scoring every item, {COMPARED} users", "0.98", f"{_recall(package, answers):.4f}")


def _row_of(what: str, asked: str, measured: dict[str, Any]) -> None:
    p50, p99 = (percentile(measured["latencies"], at) for at in (0.5, 0.99))
    assert not failures(measured), what
    row(f"{what}: p99 (p50)", asked, f"{p99:.1f} ms ({p50:.1f} ms)")


def _answers(server: Served, users: range) -> dict[str, list[str]]:
    told = {f"w{user}": server.ask("/recommend", {"user": f"w{user}", "k": K})[1]["results"] for user in users}
    return {user: [result["item_id"] for result in results] for user, results in told.items()}


def _recall(package: Path, answers: dict[str, list[str]]) -> float:
    """The share of what scoring every item puts on the first places that was answered."""
    model = Recommender.load(package)
    found = 0
    for user, answered in answers.items():
        exact = [item.item_id for item in model.recommend(user, K)]
        found += len(set(exact) & set(answered))
    return found / (K * len(answers))


def main() -> None:
    """Write the package, register it in a fresh registry, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path, nargs="?", default=ROOT / ".shoploom")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--package", type=Path, help="keep the package here, and take it from here where it is")
    chosen = parser.parse_args()
    lender = champion(Settings(repository=ROOT, SHOPLOOM_HOME=chosen.state.resolve()))
    assert lender is not None, "no model is promoted: make run"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = new_repository(folder / "repository", configured=True, home=folder / "home")
        shutil.copy(ROOT / "requirements.lock", settings.repository)
        package = chosen.package or folder / "package"
        if not package.is_dir():
            package.mkdir(parents=True)
            started = time.perf_counter()
            width = Width(items=chosen.items, users=USERS, exact_items=min(200_000, chosen.items // 2))
            users = [f"w{user}" for user in range(USERS)]
            write_wide_package(lender.kept_package(), width, users, package)
            print(f"wrote a package of {chosen.items:,} items in {time.perf_counter() - started:.0f} s", flush=True)
        registered(settings, package, folder, "wide")
        measure(settings, package, folder)


if __name__ == "__main__":
    main()
