"""A task's process is stopped with everything that it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from pipelines.orchestration.processes import run_in_group, stop_group
from tests.processes import gone

PARENT = """
import signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def run(tmp_path: Path, program: str, capture: bool = False):
    return run_in_group(
        [sys.executable, "-c", program],
        environment=os.environ,
        folder=tmp_path,
        log=tmp_path / "a" / "log",
        capture=capture,
    )


def test_run_in_group_returns_output_and_logs_errors(tmp_path: Path) -> None:
    ended = run(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", capture=True)
    assert (ended.returncode, ended.output, ended.errors) == (3, "out\n", "err")
    assert "err" in (tmp_path / "a" / "log").read_text(encoding="utf-8")


def test_run_in_group_appends_and_returns_only_its_own_errors(tmp_path: Path) -> None:
    run(tmp_path, "import sys; sys.exit('first')")
    assert run(tmp_path, "import sys; sys.exit('second')").errors == "second"
    assert "first" in (tmp_path / "a" / "log").read_text(encoding="utf-8")


def test_stop_group_stops_children_and_the_stubborn(tmp_path: Path) -> None:
    for argument in ("obedient", "stubborn"):
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, argument], stdout=subprocess.PIPE, start_new_session=True, cwd=tmp_path
        )
        assert process.stdout is not None
        child = int(process.stdout.readline())
        stop_group(process, grace_seconds=0.5)
        process.stdout.close()
        assert gone(child)
        assert gone(process.pid)


def test_run_in_group_leaves_no_orphan_when_its_own_process_is_killed(tmp_path: Path) -> None:
    program = f"""
import os, sys
from pathlib import Path
from pipelines.orchestration.processes import run_in_group
child = "import os, time; print(os.getpid(), file=open('pid', 'w'), flush=True); time.sleep(600)"
folder = Path({str(tmp_path)!r})
run_in_group([sys.executable, "-c", child], environment=os.environ, folder=folder, log=Path("log").absolute())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    pid = tmp_path / "pid"
    while parent.poll() is None and not (pid.exists() and pid.read_text().strip()):
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert gone(int(pid.read_text()))
