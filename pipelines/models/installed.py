"""Files that an installed distribution ships."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from pipelines.errors import ModelError

REINSTALLED = "make clean install"
"""Mends what an installed distribution should hold and does not."""


def installed_file(distribution: str, name: str, missing: ModelError) -> Path:
    """Find a file by its distribution's list of files; nothing of it is imported.

    Args:
        distribution: its name.
        name: of the file; of several, the one with the shortest path.
        missing: raised where the distribution is not installed.

    Raises:
        ModelError: it is not installed, or ships no such file.
    """
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        raise missing from None
    paths = (str(file.locate()) for file in files if file.name == name)
    found = sorted(paths, key=lambda path: (len(path), path))
    if not found:
        raise ModelError(f"the distribution {distribution!r} ships no {name}", mend=REINSTALLED)
    return Path(found[0])
