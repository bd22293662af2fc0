"""The whole chain in a fresh clone: time, memory, a second run with nothing new, and what the bookkeeping costs.

The bookkeeping is the run's wall time, less landing, its validation and the stages run bare, one after another, right
afterwards: one machine, one session, so the ratio holds where absolute times do not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def peak_memory(process: subprocess.Popen[bytes], stop: threading.Event) -> int:
    """Largest sum of the proportional set sizes of a process tree, bytes, sampled twice a second."""
    peak = 0
    while not stop.wait(0.5):
        total = 0
        try:
            root = psutil.Process(process.pid)
            for member in (root, *root.children(recursive=True)):
                try:
                    total += member.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
        except psutil.NoSuchProcess:
            break
        peak = max(peak, total)
    return peak


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, int]:
    """Wall seconds and peak bytes of a command that must succeed."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    stop, peaks = threading.Event(), [0]
    watcher = threading.Thread(target=lambda: peaks.__setitem__(0, peak_memory(process, stop)))
    watcher.start()
    code = process.wait()
    stop.set()
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with status {code}")
    return time.monotonic() - started, peaks[0]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shoploom-bench-") as scratch:
        clone = Path(scratch) / "shoploom"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = dict(
            os.environ, PYTHONPATH=str(clone), PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        )
        first, peak = timed(["shoploom", "run"], clone, environment)
        status = json.loads(subprocess.check_output(["shoploom", "status", "--json"], cwd=clone, env=environment))
        second, _ = timed(["shoploom", "run"], clone, environment)

        worktree = Path(scratch) / "bare"
        start = status["run"]["start_commit"]
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(worktree), start], cwd=clone, check=True)
        worktrees = (clone / ".shoploom" / "worktrees").iterdir()
        ran = next(path for path in worktrees if (path / "data" / "raw" / "events").is_dir())
        for name in ("raw/events", "raw/items", "raw/offers", "champion"):
            shutil.copytree(ran / "data" / name, worktree / "data" / name)
        bare = dict(
            environment, PYTHONPATH=str(worktree), SHOPLOOM_NO_CACHE="1", SHOPLOOM_SIDE=str(Path(scratch) / "side")
        )
        print(f"first run            {first:8.1f} s    (asked: at most 600)")
        print(f"peak memory          {peak / 2**30:8.2f} GiB  (asked: under 8 GB)")
        print(f"second run           {second:8.1f} s    (asked: at most 40)\n", flush=True)
        print(f"{'stage':<14} {'in the run':>10} {'bare':>10}  seconds")
        landing = str(Path(scratch) / "landing")
        work = {
            "land": ["pipelines.sources.landing", "--directory", landing],
            "validate it": ["pipelines.stages.validate", "--landing", landing, "--report", f"{landing}.json"],
            **{name: [f"pipelines.stages.{name}"] for name in status["stages"]},
        }
        total = 0.0
        for name, arguments in work.items():
            seconds, _ = timed([sys.executable, "-m", *arguments], worktree, bare)
            total += seconds
            inside = f"{status['stages'][name]['seconds']:.1f}" if name in status["stages"] else ""
            print(f"{name:<14} {inside:>10} {seconds:>10.1f}", flush=True)

        print(f"\nthe work, bare       {total:8.1f} s")
        print(f"around it            {first - total:8.1f} s    Airflow, DVC, MLflow, the summary and its two answers")
        print(f"overhead             {(first - total) / total:8.1%}      (asked: at most 15%)")


if __name__ == "__main__":
    main()
