"""Lineage of a model and of a partition over 1,000 runs and 10,000 partitions; proofs among 10 million events."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.lineage.ask import lineage_of
from pipelines.merkle import WIDTH, Tree, write_levels
from pipelines.registry.store import MODEL, connect, experiment_id
from pipelines.runs.data_versions import pointer
from pipelines.runs.git import Entry, Git
from pipelines.settings import Settings

ROOT = Path(__file__).parents[2]
RUNS, PARTITIONS, EVENTS = 1_000, 10_000, 10_000_000


def main() -> None:
    """Print what was asked and what was reached."""
    with tempfile.TemporaryDirectory() as folder:
        measure_proofs(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        measure_lineage(Path(folder))


def measure_proofs(folder: Path) -> None:
    """Time and size of proofs, of events that are in and of others."""
    random = np.random.default_rng(7)
    words = random.integers(0, 2**64, size=(EVENTS, 4), dtype=np.uint64)
    words = words[np.argsort(words[:, 0].byteswap() if sys.byteorder == "little" else words[:, 0])]
    words.tofile(folder / "leaves")
    began = time.perf_counter()
    write_levels(folder / "leaves", folder / "levels", 10)
    print(f"tree over {EVENTS:,} sorted leaves: {time.perf_counter() - began:.1f} s")
    with Tree(folder / "leaves", folder / "levels", 10) as tree:
        proofs, times = [], []
        for i in range(1000):
            began = time.perf_counter()
            proofs.append(tree.prove(f"event-{i}"))
            times.append(1000 * (time.perf_counter() - began))
    size = max(len(json.dumps(proof.to_dict())) for proof in proofs)
    p99, median = float(np.percentile(times, 99)), statistics.median(times)
    print(f"row membership proof among {EVENTS:,}: asked 50 ms, reached {p99:.2f} ms p99 of 1,000", end="")
    print(f" ({median:.2f} ms median, {max(times):.2f} ms where a page came from the disk)")
    print(f"size of a proof: asked under 4 kB, reached {size:,} bytes at most")


def measure_lineage(folder: Path) -> None:
    """Runs, data versions and a registered version as shoploom writes them, only in bulk."""
    settings = Settings(repository=folder / "shop", SHOPLOOM_HOME=folder / "home")
    commit = synthesize(settings)
    began = time.perf_counter()
    client = connect(settings)
    client.create_registered_model(MODEL)
    run = client.create_run(experiment_id(settings)).info.run_id
    tags = {"run_commit": commit, "package_digest": "a" * 64}
    client.create_model_version(MODEL, source=settings.artifacts, run_id=run, tags=tags)
    print(f"MLflow imported and its database made: {time.perf_counter() - began:.1f} s")
    for target in ("model:1", "partition:P05000"):
        cold = timed(lambda target=target: lineage_of(settings, target))  # type: ignore[misc]
        warm = min(timed(lambda target=target: lineage_of(settings, target)) for _ in range(3))  # type: ignore[misc]
        print(
            f"lineage {target} over {RUNS:,} runs and {PARTITIONS:,} partitions: asked 2 s, reached {warm:.2f} s",
            end="",
        )
        print(f" ({cold:.2f} s the first time, before the index)")
    environment = {
        "SHOPLOOM_REPOSITORY": str(settings.repository),
        "SHOPLOOM_HOME": str(settings.home),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-m", "pipelines.cli", "lineage", "model:1", "--json"]
    spent = min(
        timed(lambda: subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True))
        for _ in range(3)
    )
    print(f"the whole command, Python's start included: asked 2 s, reached {spent:.2f} s")


def synthesize(settings: Settings) -> str:
    """A chain of data versions, each with ten partitions more, and a run on each; returns the last run's commit."""
    settings.repository.mkdir()
    git = Git(settings.repository)
    git.run("init", "--quiet")
    lock = (ROOT / "dvc.yaml").read_bytes().replace(b"stages:", b"stages: {}\n#", 1).replace(b"\n", b"\n#")
    described = [Entry("100644", git.write_blob(b"stages: {}\n#" + lock), "dvc.lock")]
    lines: list[str] = []
    data = code = git.commit(git.write_tree([]), [], "Write code", 0)
    refs = [f"create refs/heads/main {code}\n"]
    run = parent = ""
    for number in range(RUNS):
        first = number * PARTITIONS // RUNS
        for i in range(first, first + PARTITIONS // RUNS):
            lines.append(f'{{"md5": "{hashlib.md5(str(i).encode()).hexdigest()}", "relpath": "P{i:05}.parquet"}}')
        listing = f"[{', '.join(lines)}]".encode()
        md5 = f"{hashlib.md5(listing).hexdigest()}.dir"
        place = settings.home / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(listing)
        entry = Entry("100644", git.write_blob(pointer("events", md5, len(lines))), "data/raw/events.dvc")
        data = git.commit(git.write_tree([entry]), [parent] if parent else [], f"Land load {number}", number)
        parent = data
        message = f"Run r{number}\n\nShoploom-Start: {code}\nShoploom-Run-Id: r{number}\n"
        run = git.commit(git.write_tree([entry, *described]), [code, data], message, number)
        refs.append(f"create refs/shoploom/runs/{number:04}-{run[:10]} {run}\n")
    refs.append(f"create refs/heads/data/main {data}\n")
    git.run("update-ref", "--stdin", stdin="".join(refs).encode())
    return run


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call took."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


assert WIDTH == 4 * 8

if __name__ == "__main__":
    main()
