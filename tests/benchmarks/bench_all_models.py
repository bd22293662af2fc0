"""Full training of every model there is on the default data: `shoploom run --models all` in a fresh clone.

Prints wall time and peak memory beside what is asked, the seconds of every stage, and each model's figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_run import ROOT, timed
from processor import processor

MINUTES, GIGABYTES = 20.0, 10.0


def main() -> None:
    """Run, and print."""
    with tempfile.TemporaryDirectory(prefix="shoploom-bench-") as scratch:
        clone = Path(scratch) / "shoploom"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = dict(os.environ, PYTHONPATH=str(clone), PATH=path)
        seconds, peak = timed(["shoploom", "run", "--models", "all"], clone, environment)
        status = json.loads(subprocess.check_output(["shoploom", "status", "--json"], cwd=clone, env=environment))
        reached = {True: "reached", False: "NOT reached"}
        print(processor())
        ok = seconds <= 60 * MINUTES
        print(f"full training of all models {seconds / 60:6.1f} min  (asked: at most {MINUTES:.0f})  {reached[ok]}")
        print(f"peak memory                 {peak / 1e9:6.1f} GB   (asked: at most {GIGABYTES:.0f})  "
              f"{reached[peak <= 1e9 * GIGABYTES]}")  # fmt: skip
        for name, stage in status["stages"].items():
            print(f"  {name:20s} {stage['seconds']:8.1f} s")
        print(f"{'model':22s} {'NDCG@10':>8s} {'new to the user':>16s}")
        for name, row in status["models"].items():
            print(f"{name:22s} {row['ndcg_at_10']:8.3f} {row['ndcg_at_10_new'] or 0.0:16.3f}")


if __name__ == "__main__":
    main()
