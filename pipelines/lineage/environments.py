"""The environment that a run's lock file asks for: this one where it is the same, else one made from the lock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pipelines.errors import RunError
from pipelines.settings import Settings

_PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?", re.MULTILINE)
SETUP = "infra/setup.sh"


def differing(lock: str) -> list[str]:
    """Pins of a lock file that this environment does not hold, as ``numpy 2.4.6 (here 2.4.5)``."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.markers import Marker

    found = []
    for name, pinned, marker in _PIN.findall(lock):
        if marker and not Marker(marker.strip()).evaluate():
            continue
        try:
            here = version(name)
        except PackageNotFoundError:
            here = "none"
        if here != pinned:
            found.append(f"{name} {pinned} (here {here})")
    return found


def python_for(settings: Settings, worktree: Path, lock: Path) -> tuple[Path, str]:
    """The Python of a run's environment.

    Args:
        settings: whose ``uv`` is used where it has one.
        worktree: of the run; an environment is made in its ``.venv`` by its own ``infra/setup.sh``.
        lock: the run's lock file.

    Returns:
        The interpreter, and a sentence that says which one it is.

    Raises:
        RunError: the environment cannot be made.
    """
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    others = differing(text)
    if not others:
        return Path(sys.executable), "this environment, which holds every version of the run's lock"
    setup = worktree / SETUP
    if not setup.is_file():
        raise RunError(
            f"the run's lock asks for {len(others)} other versions, {others[0]} the first; its commit has no {SETUP}",
            mend="make that environment, and call shoploom reproduce from it",
        )
    own = settings.repository / ".shoploom" / "uv" / "bin"
    environment = {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ.get('PATH', '')}", "PYTHON": _base_python()}
    done = subprocess.run(
        ["sh", str(setup)], cwd=worktree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RunError(
            f"the environment of the run's lock cannot be made: {''.join(said)}",
            mend="see that the package index answers, then run the same command again",
        )
    told = f"a new one from the run's lock: {len(others)} versions differ here, {others[0]} among them"
    return worktree / ".venv" / "bin" / "python", told


def _base_python() -> str:
    """The interpreter that this environment was made from."""
    return getattr(sys, "_base_executable", sys.executable)
