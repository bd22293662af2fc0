"""A toy pipeline of two stages in a git repository of its own, and how to land, start and run it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.runs import data_versions
from pipelines.runs.git import Git
from pipelines.runs.run_commits import RunCommit, finish_run
from pipelines.runs.stage_runner import StageRequest, answer
from pipelines.runs.start import Start
from pipelines.runs.store import Store
from pipelines.settings import Settings, child_environment
from pipelines.tables import EVENTS

ROOT = Path(__file__).parents[1]

GRAPH = """\
stages:
  sizes:
    cmd: python sizes.py
    deps: [sizes.py, data/raw/events]
    params: [factor]
    outs: [data/sizes]
    metrics: [data/sizes.json: {cache: false}]
  total:
    cmd: python total.py
    deps: [total.py, data/sizes, data/champion/champion.json]
    outs: [data/total.txt]
"""
SIZES = """\
import json, os, pathlib, sys, time
where = pathlib.Path("data/sizes")
where.mkdir(parents=True)
for path in sorted(pathlib.Path("data/raw/events").iterdir()):
    (where / (path.stem + ".txt")).write_text(str(path.stat().st_size))
flag = pathlib.Path(os.environ["FLAGS"], "fail")
if flag.exists():
    print("events/2017-W01: no purchases\\n  -> land it again", file=sys.stderr)
    sys.exit(3)
if pathlib.Path(os.environ["FLAGS"], "hang").exists():
    pathlib.Path(os.environ["FLAGS"], "pid").write_text(str(os.getpid()))
    time.sleep(60)
pathlib.Path("data/sizes.json").write_text(json.dumps({"files": len(list(where.iterdir()))}))
"""
TOTAL = """\
import json, pathlib
json.loads(pathlib.Path("data/champion/champion.json").read_text())
total = sum(int(path.read_text()) for path in pathlib.Path("data/sizes").iterdir())
pathlib.Path("data/total.txt").write_text(str(total))
"""


@dataclass
class Shop:
    """A code repository with a toy pipeline, a landing directory, and how to run things on them."""

    folder: Path
    settings: Settings
    git: Git
    landing: Path
    flags: Path
    entries: dict[str, Any] = field(default_factory=dict)

    def land(self, *weeks: int, rows: int = 4) -> data_versions.DataVersion:
        for old in self.landing.glob("events/*"):
            old.unlink()
        for week in weeks:
            write_week(self.landing, week, rows)
        return data_versions.commit_landing(self.settings, self.landing, f"Land weeks {weeks}")

    def request(self, start: Start, stage: str, run_id: str, **other: Any) -> StageRequest:
        graph = hashlib.sha256((self.settings.repository / "dvc.yaml").read_bytes()).hexdigest()
        told = {"graph_sha256": graph, "upstream": dict(self.entries), **other}
        return StageRequest(stage, start.commit, run_id, **told)

    def popen(self, request: StageRequest) -> subprocess.Popen[bytes]:
        """The runner as a process of its own, as a task starts it."""
        asked, answered = self.folder / "request.json", self.folder / "result.json"
        asked.write_text(json.dumps(asdict(request)))
        command = [sys.executable, "-m", "pipelines.runs.stage_runner", str(asked), str(answered)]
        environment = child_environment(self.settings, PYTHONPATH=str(ROOT))
        return subprocess.Popen(command, env=environment, start_new_session=True, cwd=self.settings.repository)

    def stage(self, start: Start, stage: str, run_id: str, **other: Any) -> dict[str, Any]:
        result = answer(self.settings, self.request(start, stage, run_id, **other)).to_dict()
        if result["lock_entry"]:
            self.entries[stage] = result["lock_entry"]
        return result

    def run(self, start: Start, run_id: str) -> tuple[RunCommit, list[bool]]:
        self.entries = {}
        results = [self.stage(start, stage, run_id) for stage in ("sizes", "total")]
        assert [result["error"] for result in results] == [None, None]
        return finish_run(self.settings, start, self.entries, run_id), [result["cached"] for result in results]

    def cached_file(self, stage: str, path: str) -> Path:
        out = next(out for out in self.entries[stage]["outs"] if out["path"] == path)
        store = Store(self.settings)
        try:
            return store.cache_path(store.files(out["md5"])[0].md5)
        finally:
            store.close()


def make_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A fresh shop; git has no identity to use."""
    for variable in ("REMOTE_URL", "SIDE", "NO_CACHE", "PROGRESS"):
        monkeypatch.delenv(f"SHOPLOOM_{variable}", raising=False)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("SHOPLOOM_HOME", str(tmp_path / "code" / ".shoploom"))
    code = tmp_path / "code"
    code.mkdir()
    for name, text in {
        "dvc.yaml": GRAPH,
        "params.yaml": "factor: 2\n",
        "sizes.py": SIZES,
        "total.py": TOTAL,
        ".gitignore": ".shoploom/\n__pycache__/\n",
    }.items():
        (code / name).write_text(text)
    git = Git(code)
    git.run("init", "--quiet", "--initial-branch=main")
    git.run("add", "--all")
    commit = git.commit(git.text("write-tree"), [], "Write a toy pipeline", 1_500_000_000)
    git.run("update-ref", "refs/heads/main", commit)
    settings = Settings(repository=code)
    flags = tmp_path / "flags"
    flags.mkdir()
    monkeypatch.setenv("FLAGS", str(flags))
    monkeypatch.chdir(tmp_path)
    return Shop(tmp_path, settings, git, tmp_path / "landing", flags)


def write_week(landing: Path, week: int, rows: int) -> None:
    """One week's events, all on its Monday."""
    columns: dict[str, Any] = {name: [None] * rows for name in EVENTS.schema.names}
    columns |= {"event_id": [f"{week}-{i}" for i in range(rows)], "user_id": ["ann"] * rows}
    monday = datetime.fromisocalendar(2017, week, 1).replace(tzinfo=UTC)
    columns |= {"event_type": ["purchase"] * rows, "timestamp": [monday] * rows}
    path = landing / "events" / f"2017-W{week:02}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=EVENTS.schema), path)


def flip(path: Path) -> None:
    """Change one byte in place and keep the mode that DVC trusts."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    with path.open("r+b") as stream:
        stream.write(content)
    path.chmod(0o444)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
