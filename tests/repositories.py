"""A shop's repository, as small as a test needs it."""

import shutil
import subprocess
from pathlib import Path

from pipelines.settings import Settings

ROOT = Path(__file__).parents[1]


def new_repository(root: Path, *, configured: bool = False, home: Path | None = None) -> Settings:
    """An empty repository; ``configured`` with the project's own ``params.yaml`` and ``dvc.yaml``.

    Args:
        root: made where it is missing.
        configured: whether the two files are there.
        home: the state folder; ``.shoploom`` by default.
    """
    root.mkdir(exist_ok=True)
    for name in ("params.yaml", "dvc.yaml") if configured else ():
        shutil.copy(ROOT / name, root)
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    return Settings(repository=root, SHOPLOOM_HOME=home or root / ".shoploom")
