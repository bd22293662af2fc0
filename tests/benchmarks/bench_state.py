"""The server's state: durable events a second, 100 kills, 20 power cuts. Power cuts need root, to mount file systems.

python tests/benchmarks/bench_state.py [--folder DIR] [--kills 100] [--cuts 20] [--seconds 5]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipelines.serving.state import Event, State
from tests.crashes import Trial, acknowledged, can_mount, cut_power, examine, kill
from tests.postgresql_server import postgresql_is_installed, postgresql_server
from tests.state_database import RING, an_event, new_database

ASKED_RATE = 1_000


def rate(address: str, senders: int, batch: int, seconds: float) -> tuple[float, float, float]:
    """Durable events a second from some senders that each wait for their receipts; latency p50 and p99 in ms."""
    state = State.open(address, RING)
    started = time.monotonic()
    latencies: list[float] = []

    def send(sender: int) -> None:
        number = 0
        while time.monotonic() < started + seconds:
            events = [an_event(f"{sender}-{number}-{place}") for place in range(batch)]
            number += 1
            before = time.perf_counter()
            state.events.append(events)
            latencies.append(time.perf_counter() - before)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lasted = time.monotonic() - started
    state.close()
    median, slow = np.percentile(latencies, [50, 99]) * 1e3
    return len(latencies) * batch / lasted, float(median), float(slow)


def one_by_one(address: str, seconds: float) -> float:
    """The same without group commit: a transaction for each event, one after the other."""
    state = State.open(address, RING)
    started, number = time.monotonic(), 0
    while time.monotonic() < started + seconds:
        state.events.append([_event(number)])
        number += 1
    state.close()
    return number / (time.monotonic() - started)


def kills(address: str, folder: Path, count: int) -> Trial:
    """Kill a writer again and again on one database; looked at after each."""
    log = folder / "acknowledged"
    chance = random.Random(0)
    worst = Trial(0, 0, 0)
    for number in range(count):
        kill(address, log, f"run{number}", chance.randint(1, 300))
        trial = examine(address, acknowledged(log))
        worst = Trial(trial.acknowledged, max(worst.lost, trial.lost), max(worst.twice, trial.twice))
    return worst


def cuts(folder: Path, count: int, synchronous: str) -> list[Trial]:
    """Cut the power some times, each on a file system of its own."""
    chance = random.Random(1)
    trials = []
    for number in range(count):
        place = folder / f"{synchronous}-{number}"
        place.mkdir()
        trials.append(cut_power(place, chance.randint(10, 1_500), synchronous))
        for image in ("disk", "copy"):
            (place / image).unlink()
    return trials


def main() -> None:
    """Print what was asked and what was reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="on the disk that is measured; default: the temporary folder")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        _rates("SQLite", lambda: f"sqlite:///{tempfile.mkdtemp(dir=folder)}/state.db", chosen.seconds)
        if postgresql_is_installed():
            with postgresql_server(durable=True) as server:
                _rates("PostgreSQL", lambda: new_database(server), chosen.seconds)
        trial = kills(f"sqlite:///{folder}/killed.db", folder, chosen.kills)
        print(
            f"{chosen.kills} kills, {trial.acknowledged} acknowledged: asked 0 lost, 0 twice; "
            f"reached {trial.lost} lost, {trial.twice} twice",
            flush=True,
        )
        if not can_mount(folder):
            print("power cuts: not measured, this process may not mount a file system")
            return
        for level, count in (("FULL", chosen.cuts), ("OFF", max(1, chosen.cuts // 5))):
            _said(level, cuts(folder, count, level))


def _rates(kind: str, address: object, seconds: float) -> None:
    assert callable(address)
    alone = one_by_one(address(), seconds)
    print(f"{kind}, durable events a second, one sender, one event a request: {alone:,.0f}")
    for senders, batch in ((8, 1), (32, 1), (8, 20)):
        reached, median, slow = rate(address(), senders, batch, seconds)
        print(
            f"{kind}, durable events a second, {senders} senders, {batch} a request: asked {ASKED_RATE:,}, reached "
            f"{reached:,.0f} (p50 {median:.1f} ms, p99 {slow:.1f} ms)",
            flush=True,
        )


def _said(level: str, trials: Sequence[Trial]) -> None:
    promised, lost = sum(trial.acknowledged for trial in trials), sum(trial.lost for trial in trials)
    asked = "0 lost" if level == "FULL" else "some lost"
    losers = sum(trial.lost > 0 for trial in trials)
    print(
        f"{len(trials)} power cuts, synchronous={level}, {promised} acknowledged: asked {asked}; "
        f"reached {lost} lost in {losers} cuts, {sum(trial.twice for trial in trials)} twice",
        flush=True,
    )


def _event(number: int) -> Event:
    return an_event(f"e{number}")


if __name__ == "__main__":
    main()
