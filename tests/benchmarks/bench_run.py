"""The whole chain in a fresh clone: time, memory, a second run with nothing new, the bookkeeping's cost, the quality.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from dags.dvc_graph import read_graph

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


def quality(worktree: Path, status: Mapping[str, Any]) -> list[str]:
    """Every figure of quality beside what is asked of it, a line each.

    Args:
        worktree: where the stages ran; the metrics of ``evaluate`` and ``train_bert`` are read there.
        status: ``shoploom status --json`` of that run.
    """
    evaluated, bert = (
        json.loads((worktree / "data" / name / "metrics.json").read_text()) for name in ("evaluate", "train_bert")
    )
    models = status["models"]
    baselines = [name for name, row in models.items() if row["kind"] == "baseline"]
    lines = [
        f"users, candidates    {evaluated['users']:>8,}  {evaluated['candidates']:,}",
        f"NDCG@10              {models['rank']['ndcg_at_10']:8.3f}      (asked: at least 0.478)",
        *(f"  {name:<18} {models[name]['ndcg_at_10']:8.3f}" for name in baselines),
        f"NDCG@10, new to them {models['rank']['ndcg_at_10_new']:8.3f}      (asked: at least 0.070)",
        *(f"  {name:<18} {models[name]['ndcg_at_10_new']:8.3f}" for name in baselines),
    ]
    for metric, heading in (("ndcg_at_10", "all purchases"), ("ndcg_at_10_new", "new to the user")):
        lines.append(f"rank minus each baseline, {heading}      (asked: above each, significantly)")
        lines += [f"  {name:<18} {difference(evaluated['comparisons'][name][metric])}" for name in baselines]
    return [
        *lines,
        f"text NDCG@10 before  {bert['zero_shot_ndcg_at_10']:8.3f}      held-out attribute queries, as pre-trained",
        f"text NDCG@10 after   {bert['fine_tuned_ndcg_at_10']:8.3f}      (asked: better, significantly)",
        f"  fine-tuning gives  {difference(bert['fine_tuned_over_zero_shot'])}",
        f"relevance AUROC      {bert['relevance_auroc']:8.3f}      (asked: at least 0.90)",
        f"calibration error    {bert['relevance_calibration_error']:8.3f}",
        f"train_bert           {status['stages']['train_bert']['seconds']:8.1f} s    (asked: at most 240)",
    ]


def difference(judged: Mapping[str, Any] | None) -> str:
    """A paired comparison in one line; it may be missing where no user has a value."""
    if judged is None:
        return "       - (nobody has a value)"
    sure = "significant" if judged["significant"] else "not significant"
    interval = f"{judged['low']:+.4f} to {judged['high']:+.4f}"
    return (
        f"{judged['effect']:+8.4f}      {interval}, p = {judged['p_value']:.2g}, {judged['users']:,} compared: {sure}"
    )


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
        needed = ("raw/events", "evaluate/metrics.json", "train_bert/metrics.json")
        ran = next(path for path in worktrees if all((path / "data" / name).exists() for name in needed))
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
            **{stage.name: stage.cmd[0].split()[2:] for stage in read_graph(worktree / "dvc.yaml")},
        }
        total = 0.0
        for name, arguments in work.items():
            seconds, _ = timed([sys.executable, "-m", *arguments], worktree, bare)
            total += seconds
            inside = f"{status['stages'][name]['seconds']:.1f}" if name in status["stages"] else ""
            print(f"{name:<14} {inside:>10} {seconds:>10.1f}", flush=True)

        print(f"\nthe work, bare       {total:8.1f} s    one after another; the run works two at a time")
        print(f"around it            {first - total:8.1f} s    Airflow, DVC, MLflow, the summary and its two answers")
        print(f"overhead             {(first - total) / total:8.1%}      (asked: at most 15%)\n")
        print("\n".join(quality(ran, status)))


if __name__ == "__main__":
    main()
