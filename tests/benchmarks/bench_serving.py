"""What serving reaches on a finished run's champion: asked and reached, the load from a second process on loopback.

    .venv/bin/python tests/benchmarks/bench_serving.py [STATE_FOLDER] [--short]

STATE_FOLDER is a state folder with a promoted model of the default data, ``.shoploom`` by default; its champion is
registered in a fresh one. ``--short`` asks a tenth of the requests. ``mlflow models serve`` of the same registered
model is measured in the same run.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pipelines.artifacts import read_table, write_table  # noqa: E402
from pipelines.models.manifest import Facts, write_manifest  # noqa: E402
from pipelines.pseudonyms import ring_path  # noqa: E402
from pipelines.registry.promotion import champion  # noqa: E402
from pipelines.registry.store import CHAMPION, MODEL, connect  # noqa: E402
from pipelines.settings import Settings, child_environment  # noqa: E402
from tests.processes import champion_served  # noqa: E402
from tests.repositories import new_repository  # noqa: E402
from tests.serving_shop import Served, registered, served  # noqa: E402

CONNECTIONS = 8
HOUSEHOLDS = 2469
"""The default data's raw user ids are 1 to this."""
SEARCHES_A_SECOND = 50
Ask = tuple[str, dict[str, Any]]


async def _post(address: str, asks: list[Ask], latencies: list[float], answers: list[Any], keep: bool) -> None:
    """Ask one after another over one connection that is kept."""
    place = urlsplit(address)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    for path, body in asks:
        content = json.dumps(body).encode()
        fields = ("Host: localhost", "Content-Type: application/json", f"Content-Length: {len(content)}")
        head = "\r\n".join((f"POST {path} HTTP/1.1", *fields, "", ""))
        started = time.perf_counter()
        writer.write(head.encode() + content)
        status = int((await reader.readline()).split()[1])
        length = 0
        while (line := await reader.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        answer = await reader.readexactly(length)
        latencies.append(time.perf_counter() - started)
        answers.append((status, json.loads(answer) if keep else None))
    writer.close()


async def closed_loop(address: str, asks: list[Ask], keep: bool, connections: int) -> dict[str, Any]:
    """Every connection asks again as soon as it was answered."""
    latencies: list[float] = []
    answers: list[Any] = []
    started = time.perf_counter()
    parts = [asks[place::connections] for place in range(connections)]
    await asyncio.gather(*(_post(address, part, latencies, answers, keep) for part in parts))
    return {"seconds": time.perf_counter() - started, "latencies": latencies, "answers": answers}


async def open_loop(address: str, asks: list[Ask], per_second: float) -> dict[str, Any]:
    """Ask at a fixed rate, whatever is answered; latency counts from when a request was due."""
    latencies: list[float] = []
    answers: list[Any] = []
    started = time.perf_counter()
    queue: asyncio.Queue[tuple[float, Ask] | None] = asyncio.Queue()

    async def worker() -> None:
        while (due_and_ask := await queue.get()) is not None:
            due, ask = due_and_ask
            own: list[float] = []
            await _post(address, [ask], own, answers, False)
            latencies.append(time.perf_counter() - due)

    workers = [asyncio.create_task(worker()) for _ in range(4 * CONNECTIONS)]
    for number, ask in enumerate(asks):
        due = started + number / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        queue.put_nowait((due, ask))
    for _ in workers:
        queue.put_nowait(None)
    await asyncio.gather(*workers)
    return {"seconds": time.perf_counter() - started, "latencies": latencies, "answers": answers}


def load(kind: str, address: str, asks: list[Ask], folder: Path) -> dict[str, Any]:
    """Run a loop in a process of its own, and read what it measured."""
    plan, told = folder / "plan.json", folder / "told.json"
    plan.write_text(json.dumps({"kind": kind, "address": address, "asks": asks}))
    subprocess.run([sys.executable, __file__, "--load", str(plan), str(told)], check=True)
    measured: dict[str, Any] = json.loads(told.read_text())
    return measured


def _load(plan: Path, told: Path) -> None:
    facts = json.loads(plan.read_text())
    asks = [(path, body) for path, body in facts["asks"]]
    if facts["kind"] == "open":
        measured = asyncio.run(open_loop(facts["address"], asks, SEARCHES_A_SECOND))
    else:
        connections = 1 if facts["kind"] == "one" else CONNECTIONS
        measured = asyncio.run(closed_loop(facts["address"], asks, facts["kind"] == "keep", connections))
    told.write_text(json.dumps(measured))


def percentile(seconds: list[float], share: float) -> float:
    """In milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(what: str, asked: str, reached: str) -> None:
    print(f"{what:<58}{asked:>18}{reached:>24}", flush=True)


def failures(measured: dict[str, Any]) -> int:
    return sum(status != 200 for status, _ in measured["answers"])


def measure(settings: Settings, folder: Path, short: bool) -> None:
    """Print a row for every number."""
    share = 0.1 if short else 1.0
    draw = random.Random(7)
    users = [str(draw.randint(1, HOUSEHOLDS)) for _ in range(int(8000 * share))]
    print(f"{'':<58}{'asked':>18}{'reached':>24}")
    started = time.perf_counter()
    with served(settings, folder) as server:
        row("start to ready", "10 s", f"{time.perf_counter() - started:.1f} s")
        server.said(600, event="warmed")
        row("    until every known user is scored ahead", "", f"{time.perf_counter() - started:.0f} s")
        recommends: list[Ask] = [("/recommend", {"user": user, "k": 10}) for user in users]
        load("closed", server.address, recommends, folder)
        measured = load("closed", server.address, recommends, folder)
        ours = len(recommends) / measured["seconds"]
        p99 = percentile(measured["latencies"], 0.99)
        row("recommend, 8 connections, users asked before: p99", "15 ms", f"{p99:.1f} ms")
        row("    requests a second, failed", "", f"{ours:,.0f}, {failures(measured)}")
        titles = read_table(_package(settings) / "catalogue" / "items.parquet", ["title"])["title"].to_pylist()
        _visits(server, folder, users, share)
        _searches(server, folder, titles, draw, share)
        _events(server, users, share)
        memory = psutil.Process(server.process.pid).memory_info().rss
        row("memory, all of the above done", "1.5 GB", f"{memory / 1e9:.2f} GB")
        _swaps(settings, server, folder, recommends[: int(10_000 * share)], share)
    theirs = _mlflow(settings, folder, users[: int(400 * share)])
    row("times the throughput of mlflow models serve", "10", f"{ours / theirs:.0f}")


def _package(settings: Settings) -> Path:
    named = champion(settings)
    assert named is not None, "no model is promoted: make run"
    return named.kept_package()


def _visits(server: Served, folder: Path, users: list[str], share: float) -> None:
    """Recommendations to users who each look at another item first."""
    shown = server.ask("/recommend", {"k": 200})[1]["results"]
    items = [result["item_id"] for result in shown]
    asks: list[Ask] = [
        ("/recommend", {"user": user, "viewed": [items[number % len(items)]]})
        for number, user in enumerate(users[: int(2000 * share)])
    ]
    load("closed", server.address, asks, folder)
    measured = load("closed", server.address, asks, folder)
    row("    the same with an item looked at: p99", "", f"{percentile(measured['latencies'], 0.99):.1f} ms")


def _searches(server: Served, folder: Path, titles: list[str], draw: random.Random, share: float) -> None:
    words = sorted({word for title in titles for word in title.lower().split() if word.isalpha() and len(word) > 3})
    queries = [" ".join(draw.sample(words, 2)) for _ in range(int(1500 * share))]
    measured = load("open", server.address, [("/search", {"query": query}) for query in queries], folder)
    p50, p99 = (percentile(measured["latencies"], at) for at in (0.5, 0.99))
    row("search for a new query, 50 a second: p99 (p50)", "40 ms", f"{p99:.1f} ms ({p50:.1f} ms)")


def _events(server: Served, users: list[str], share: float) -> None:
    """An event is posted, and the recommendation after it seen; the two together."""
    items = [result["item_id"] for result in server.ask("/recommend", {"k": 200})[1]["results"]]
    seconds, unseen = [], 0
    for number in range(int(500 * share)):
        who = {"user": users[number]}
        event = {"event_id": f"bench-{number}", "type": "view", "item_id": items[number % len(items)], **who}
        started = time.perf_counter()
        server.ask("/events", {"events": [event]})
        answer = server.ask("/recommend", who)[1]
        seconds.append(time.perf_counter() - started)
        unseen += "session" not in answer["based_on"]
    row("event posted and seen in the next recommendation: p99", "50 ms", f"{percentile(seconds, 0.99):.1f} ms")
    row("    events that the next recommendation did not know", "0", str(unseen))


def _swaps(settings: Settings, server: Served, folder: Path, asks: list[Ask], share: float) -> None:
    """The alias moves to and fro between two versions while requests come; every answer is of one of them."""
    first = champion(settings)
    assert first is not None
    other = folder / "other"
    shutil.copytree(first.kept_package(), other)
    items = read_table(other / "catalogue" / "items.parquet")
    titles = [f"{title} II" for title in items["title"].to_pylist()]
    place = items.schema.get_field_index("title")
    write_table(items.set_column(place, items.schema.field(place), [titles]), other / "catalogue" / "items.parquet")
    write_manifest(other, Facts(**json.loads((other / "manifest.json").read_text())["facts"]))
    asks = (asks * (1 + int(10_000 * share) // len(asks)))[: int(10_000 * share)]
    plan, told = folder / "plan.json", folder / "told.json"
    plan.write_text(json.dumps({"kind": "keep", "address": server.address, "asks": asks}))
    loading = subprocess.Popen([sys.executable, __file__, "--load", str(plan), str(told)])
    second = registered(settings, other, folder, "second")
    client = connect(settings)
    while loading.poll() is None:
        time.sleep(5)
        client.set_registered_model_alias(MODEL, CHAMPION, first.version)
        time.sleep(5)
        client.set_registered_model_alias(MODEL, CHAMPION, second)
    client.set_registered_model_alias(MODEL, CHAMPION, first.version)
    measured = json.loads(told.read_text())
    mixed = sum(
        {result["title"].endswith(" II") for result in answer["results"]} != {answer["model"]["version"] == second}
        for status, answer in measured["answers"]
        if status == 200
    )
    versions = [answer["model"]["version"] for status, answer in measured["answers"] if status == 200]
    swaps = sum(before != after for before, after in pairwise(versions))
    row(f"failed and mixed of {len(asks):,} answers under swaps", "0 and 0", f"{failures(measured)} and {mixed}")
    row("    versions seen, p99", "", f"{len(set(versions))}, {percentile(measured['latencies'], 0.99):.1f} ms")
    assert swaps or short_run(share), "no swap happened while requests came"


def short_run(share: float) -> bool:
    return share < 1


def _mlflow(settings: Settings, folder: Path, users: list[str]) -> float:
    """Requests a second of ``mlflow models serve``."""
    environment = child_environment(settings, MLFLOW_TRACKING_URI=settings.tracking)
    with champion_served(Path(sys.executable).parent / "mlflow", environment, folder) as address:
        root = address.removesuffix("/invocations")
        asks: list[Ask] = [
            ("/invocations", {"dataframe_records": [{"task": "recommend", "user_id": user, "k": 10}]}) for user in users
        ]
        load("closed", root, asks[: 2 * CONNECTIONS], folder)
        measured = load("closed", root, asks, folder)
    p99 = percentile(measured["latencies"], 0.99)
    row("mlflow models serve: requests a second, p99", "", f"{len(asks) / measured['seconds']:.1f}, {p99:.0f} ms")
    return len(asks) / float(measured["seconds"])


def main() -> None:
    """Register the state folder's champion in a fresh registry, signed anew, and measure that."""
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if "--load" in sys.argv:
        _load(Path(arguments[0]), Path(arguments[1]))
        return
    source = Path(arguments[0] if arguments else ROOT / ".shoploom").resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = new_repository(folder / "repository", configured=True, home=folder / "home")
        shutil.copy(ROOT / "requirements.lock", settings.repository)
        settings.home.joinpath("keys").mkdir(mode=0o700, parents=True)
        shutil.copy(ring_path(source), ring_path(settings.home))
        registered(settings, _package(Settings(repository=ROOT, SHOPLOOM_HOME=source)), folder, "first")
        measure(settings, folder, "--short" in sys.argv)


if __name__ == "__main__":
    main()
