"""What first-party code a module needs: its imports, followed through the package's source."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

from pipelines.errors import RegistryError

PACKAGE = "pipelines"
FINDER = (PACKAGE, "models", "found.py")


def import_closure(module: Path, root: Path) -> list[Path]:
    """The first-party modules that a module imports, directly or through others, wherever the import stands.

    What imports :mod:`pipelines.models.found` finds models by their names, so those that can be chosen are among them.

    Args:
        module: a Python file.
        root: the folder that holds the ``pipelines`` package.

    Returns:
        Files under ``root``, sorted, ``module`` itself left out; each package's ``__init__.py`` is among them.

    Raises:
        RegistryError: a first-party module that is imported does not exist.
    """
    seen: set[Path] = set()
    waiting = [module]
    while waiting:
        path = waiting.pop()
        for name in _imported(path) | (_found_by_name() if path == root.joinpath(*FINDER) else set()):
            for file in _files(name, root):
                if file not in seen and file != module:
                    seen.add(file)
                    waiting.append(file)
    return sorted(seen)


def copy_closure(module: Path, root: Path, destination: Path) -> Path:
    """Copy the closure of ``module`` under ``destination``; return the copied package's folder."""
    for file in import_closure(module, root):
        copied = destination / file.relative_to(root)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)
    return destination / PACKAGE


def _found_by_name() -> set[str]:
    from pipelines.models.found import models

    return {f"{PACKAGE}.models.{name}" for name in models()}


def _imported(module: Path) -> set[str]:
    """Dotted first-party names that a file imports; ``from a import b`` gives ``a`` and ``a.b``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == PACKAGE}


def _files(name: str, root: Path) -> list[Path]:
    """The files behind a dotted name: its own and every parent package's ``__init__.py``."""
    parts = name.split(".")
    files = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    module = root.joinpath(*parts).with_suffix(".py")
    found = [file for file in [*files, module] if file.is_file()]
    attribute_of = root.joinpath(*parts[:-1]).with_suffix(".py")
    if not module.is_file() and not files[-1].is_file() and not attribute_of.is_file() and not files[-2].is_file():
        raise RegistryError(f"{name} is imported but is not under {root}", mend="git checkout -- pipelines")
    return found
