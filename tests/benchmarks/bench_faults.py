"""The fault corpus and fifty clean weeks on the default data: what is caught, and what is alarmed at for nothing.

``python tests/benchmarks/bench_faults.py [--week 2017-W40] [--clean 50] [--only TEXT] [--folder F] [--seconds 500]``

With ``--folder``, what was landed and what came of each load stays there: a run that was stopped, or stopped itself
after ``--seconds`` (and ended with 2), goes on where it was. What was found by other code or limits is found again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pipelines.artifacts import file_sha256  # noqa: E402
from pipelines.params import DistributionParams, ValidateParams, load_params  # noqa: E402
from pipelines.sources import load_source  # noqa: E402
from pipelines.sources.landing import land  # noqa: E402
from tests.faults import FAULTS, Result, World  # noqa: E402

ASKED_SHARE, ASKED_FAULTS = 0.95, 40


@dataclass
class Book:
    """What came of each load, one JSON line each; a load that is in it is not done again.

    Args:
        path: of the lines.
        until: on the monotonic clock, when no further load is begun.
    """

    path: Path
    until: float
    found: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.path.read_text().splitlines() if self.path.is_file() else ():
            kept = json.loads(line)
            self.found[kept["load"]] = Result(kept["outcome"], frozenset(kept["named"]), kept["error"])

    def result(self, load: str, find: Callable[[], Result]) -> Result:
        """What came of a load, found now if it is not known yet."""
        if load not in self.found:
            if time.monotonic() > self.until:
                print(f"stopped after {len(self.found)} loads; the same command goes on", flush=True)
                sys.exit(2)
            self.found[load] = result = find()
            kept = {"load": load, "outcome": result.outcome, "named": sorted(result.named), "error": result.error}
            with self.path.open("a") as file:
                file.write(f"{json.dumps(kept)}\n")
        return self.found[load]


def say(name: str, began: float, result: Result) -> None:
    named = ", ".join(sorted(result.named)) or result.error[:150]
    print(f"  {name:55} {result.outcome:10} {time.monotonic() - began:5.1f} s  {named}", flush=True)


def clean_weeks(world: World, book: Book, count: int) -> int:
    """Load the last ``count`` weeks, each after its predecessors; say how many raised an alarm."""
    alarms = 0
    for week in world.partitions()[-count:] if count else ():
        began = time.monotonic()
        result = book.result(week, partial(world.load, week))
        alarms += result.outcome in ("warn", "stop")
        if result.outcome != "clean":
            say(week, began, result)
    return alarms


def faults(world: World, book: Book, week: str, only: str) -> tuple[int, int]:
    """Load a week with each fault; say how many were caught, of how many."""
    chosen = {name: fault for name, fault in FAULTS.items() if only in name}
    caught = 0
    for name, fault in chosen.items():
        began = time.monotonic()
        result = book.result(f"{week} {name}", partial(world.load, week, name, fault))
        caught += result.shows(fault)
        say(f"{'' if result.shows(fault) else 'MISSED '}{name}", began, result)
    return caught, len(chosen)


def fingerprint() -> str:
    """Hash of all that decides what comes of a load."""
    files = [
        ROOT / "params.yaml",
        ROOT / "tests/faults.py",
        *sorted((ROOT / "expectations").rglob("*.py")),
        ROOT / "pipelines/stages/validate.py",
        ROOT / "pipelines/tables.py",
        ROOT / "pipelines/params.py",
        *sorted((ROOT / "pipelines/sources").glob("*.py")),
    ]
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--week", default="2017-W40")
    parser.add_argument("--clean", type=int, default=50)
    parser.add_argument("--only", default="")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder / fingerprint()
        raw, cache, landed = folder / "raw", folder / "cache", folder / "landed"
        if not landed.is_file():
            land(load_source("complete_journey"), None, None, raw)
            landed.touch()
        params = load_params(ValidateParams, "validate", ROOT / "params.yaml")
        limits = load_params(DistributionParams, "distribution", ROOT / "params.yaml")
        world, book = World(raw, cache, params, limits), Book(folder / "found.jsonl", until)
        alarms = clean_weeks(world, book, given.clean)
        caught, count = faults(world, book, given.week, given.only)
    share = caught / max(count, 1)
    print(f"alarms on {given.clean} clean weekly loads   asked 0      reached {alarms}")
    print(f"faults in the corpus              asked {ASKED_FAULTS}     reached {count}")
    print(f"caught as expected                asked {ASKED_SHARE:.0%}    reached {share:.1%} ({caught} of {count})")
    sys.exit(0 if not alarms and (given.only or count >= ASKED_FAULTS) and share >= ASKED_SHARE else 1)


if __name__ == "__main__":
    main()
