"""A fresh clone in which README's first command was typed, with every outbound connection refused and recorded."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class Shop:
    """The clone.

    Args:
        folder: its root.
        attempts: file that refused connections were written to.
        first: what the first command printed.
    """

    folder: Path
    attempts: Path
    first: str

    @property
    def environment(self) -> dict[str, str]:
        set_here = ("SHOPLOOM_", "GIT_", "MLFLOW_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(set_here)}
        return inherited | {
            "PATH": f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "tests" / "offline"),
            "SHOPLOOM_TEST_ATTEMPTS": str(self.attempts),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_SYSTEM": "/dev/null",
        }

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(list(command), cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert not check or ended.returncode == 0, f"{command}: {ended.stdout[-3000:]}\n{ended.stderr[-6000:]}"
        return ended


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("newcomer") / "shoploom"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    subprocess.run(["make", "--silent", "install"], cwd=folder, check=True)
    shop = Shop(folder, folder.parent / "attempts", "")
    shop.first = shop.run("make", "--silent", "run").stdout
    yield shop
    shutil.rmtree(folder)
