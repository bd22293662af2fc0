"""The fault corpus and fifty clean weeks on the default data: what is caught, and what is alarmed at for nothing.

``python tests/benchmarks/bench_faults.py [--week 2017-W40] [--clean 50] [--only TEXT]``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pipelines.params import DistributionParams, ValidateParams, load_params  # noqa: E402
from pipelines.sources import load_source  # noqa: E402
from pipelines.sources.landing import land  # noqa: E402
from tests.faults import FAULTS, Result, World  # noqa: E402

ASKED_SHARE, ASKED_FAULTS = 0.95, 40


def say(name: str, began: float, result: Result) -> None:
    named = ", ".join(sorted(result.named)) or result.error[:150]
    print(f"  {name:55} {result.outcome:10} {time.monotonic() - began:5.1f} s  {named}", flush=True)


def clean_weeks(world: World, count: int) -> int:
    """Load the last ``count`` weeks, each after its predecessors; say how many raised an alarm."""
    alarms = 0
    for week in world.partitions()[-count:]:
        began = time.monotonic()
        result = world.load(week)
        alarms += result.outcome in ("warn", "stop")
        if result.outcome != "clean":
            say(week, began, result)
    return alarms


def faults(world: World, week: str, only: str) -> tuple[int, int]:
    """Load a week with each fault; say how many were caught, of how many."""
    chosen = {name: fault for name, fault in FAULTS.items() if only in name}
    caught = 0
    for name, fault in chosen.items():
        began = time.monotonic()
        result = world.load(week, name, fault)
        caught += result.shows(fault)
        say(f"{'' if result.shows(fault) else 'MISSED '}{name}", began, result)
    return caught, len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--week", default="2017-W40")
    parser.add_argument("--clean", type=int, default=50)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw, cache = Path(folder) / "raw", Path(folder) / "cache"
        land(load_source("complete_journey"), None, None, raw)
        params = load_params(ValidateParams, "validate", ROOT / "params.yaml")
        limits = load_params(DistributionParams, "distribution", ROOT / "params.yaml")
        world = World(raw, cache, params, limits)
        alarms = clean_weeks(world, given.clean)
        caught, count = faults(world, given.week, given.only)
    share = caught / max(count, 1)
    print(f"alarms on {given.clean} clean weekly loads   asked 0      reached {alarms}")
    print(f"faults in the corpus              asked {ASKED_FAULTS}     reached {count}")
    print(f"caught as expected                asked {ASKED_SHARE:.0%}    reached {share:.1%} ({caught} of {count})")
    sys.exit(0 if not alarms and (given.only or count >= ASKED_FAULTS) and share >= ASKED_SHARE else 1)


if __name__ == "__main__":
    main()
