"""A worktree in which the default data is landed and the stages have run, for benchmarks that need their outputs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dags.dvc_graph import read_graph

ROOT = Path(__file__).parents[2]


@contextmanager
def worktree(stages: Sequence[str] | None = None) -> Iterator[None]:
    """Work in the worktree that was named on the command line, or in a fresh one where these stages have run.

    Args:
        stages: names; by default every stage before ``evaluate``.
    """
    if len(sys.argv) > 1:
        with chdir(sys.argv[1]):
            yield
        return
    with TemporaryDirectory() as folder:
        make_worktree(Path(folder), stages)
        with chdir(folder):
            yield


def make_worktree(folder: Path, stages: Sequence[str] | None = None) -> None:
    """Land the default data and run stages in ``folder``, printing the seconds of each."""
    shutil.copy(ROOT / "params.yaml", folder)
    graph = [stage for stage in read_graph(ROOT / "dvc.yaml") if stage.name != "evaluate"]
    commands = [["pipelines.sources.landing", "--directory", "data/raw"]]
    commands += [stage.cmd[0].split()[2:] for stage in graph if stages is None or stage.name in stages]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for arguments in commands:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        print(f"{' '.join(arguments[:2]):52s} {time.perf_counter() - start:6.1f} s", flush=True)
