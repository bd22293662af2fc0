"""What verification costs before a model is loaded, and how long a rollback takes, on the default champion.

``python tests/benchmarks/bench_verification.py [--package FOLDER]``; by default the champion of this state folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pipelines.artifacts import write_json  # noqa: E402
from pipelines.errors import ConfigError  # noqa: E402
from pipelines.lineage.promotions import promote_judged, roll_back_version  # noqa: E402
from pipelines.lineage.release import Made, sign_release  # noqa: E402
from pipelines.registry.books import RunStart, open_run  # noqa: E402
from pipelines.registry.gate_verdict import Verdict  # noqa: E402
from pipelines.registry.package import RunInfo, register  # noqa: E402
from pipelines.registry.promotion import champion, registered  # noqa: E402
from pipelines.settings import Settings  # noqa: E402

ASKED_LOAD, ASKED_ROLLBACK, LOADS = 2.0, 10.0, 5
STAGES = 13
COMMITS = {"run_commit": "e" * 40, "code": "c" * 40, "data": "d" * 40}

FRESH = """
import sys, time
from pathlib import Path
from pipelines.lineage.verify import verify_version
from pipelines.registry.promotion import champion
from pipelines.settings import Settings
settings = Settings()
held = champion(settings)
package = held.kept_folder
began = time.perf_counter()
verify_version(settings, held.version, package).require()
print(time.perf_counter() - began)
"""


def release(settings: Settings, package: Path, folder: Path, before: str | None) -> str:
    """Register, sign and promote a package."""
    parent = open_run(settings, RunStart(f"run-{package.name}", "c" * 40))
    made = register(settings, package, folder, RunInfo(parent, *COMMITS.values()))
    reference = "champion" if before else "own_counts"
    verdict = Verdict("promote", reference, 0.1, (0.05, 0.15), 0.001, 40, "because", champion_version=before)
    out = {"path": "data/out", "md5": "0" * 32 + ".dir"}
    lock = {f"stage_{number}": {"cmd": "x", "deps": [out] * 40, "outs": [out]} for number in range(STAGES)}
    whole = Made(made.version, made.digest, package, **COMMITS, run_id="run", approval="none")
    sign_release(settings, whole, lock, (verdict.as_dict(), {}))
    promote_judged(settings, made.version, verdict, "run")
    return made.version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, help="the champion's package")
    given = parser.parse_args().package
    if given is None:
        reigning = champion(Settings())
        if reigning is None:
            raise ConfigError("there is no champion to measure", mend="shoploom run")
        given = reigning.kept_package()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(ROOT / "requirements.lock", folder)
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        os.environ |= {"SHOPLOOM_REPOSITORY": name, "SHOPLOOM_HOME": f"{name}/home"}
        settings = Settings()
        write_json({"models": {"rank": {"kind": "model", "ndcg_at_10": 0.5}}}, folder / "metrics.json")
        first = release(settings, given, folder, None)
        other = shutil.copytree(given, folder / "other")
        (other / "manifest.json").write_text((other / "manifest.json").read_text() + "\n")
        second = release(settings, other, folder, first)
        assert registered(settings, second).version == second
        command = [sys.executable, "-c", FRESH]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        seconds = [
            float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
            for _ in range(LOADS)
        ]
        began = time.perf_counter()
        roll_back_version(settings)
        rolled = time.perf_counter() - began
    size = sum(path.stat().st_size for path in given.rglob("*") if path.is_file()) / 1e6
    worst = max(seconds)
    reached = f"{worst:.2f} s (worst of {LOADS} fresh processes; middle {sorted(seconds)[LOADS // 2]:.2f})"
    print(f"verification at load, {size:.0f} MB    asked {ASKED_LOAD:.0f} s     reached {reached}")
    print(f"rollback                        asked {ASKED_ROLLBACK:.0f} s    reached {rolled:.2f} s")
    sys.exit(0 if worst < ASKED_LOAD and rolled < ASKED_ROLLBACK else 1)


if __name__ == "__main__":
    main()
