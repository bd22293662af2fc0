"""The files of a model: arrays as safetensors, settings as JSON with a name and a format version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import read_arrays, read_json, write_arrays, write_json
from pipelines.errors import DataError, ModelError

FORMAT_VERSION = 1
ARRAYS_FILE = "arrays.safetensors"
SETTINGS_FILE = "model.json"


def write_model(
    directory: Path, name: str, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, object] | None = None
) -> None:
    """Write ``arrays.safetensors`` and ``model.json`` into ``directory``; it is made where missing."""
    write_arrays(arrays, directory / ARRAYS_FILE)
    write_json({"format": FORMAT_VERSION, "model": name, "settings": dict(settings or {})}, directory / SETTINGS_FILE)


def read_model(directory: Path, name: str, required: Sequence[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what :func:`write_model` wrote.

    Args:
        directory: the model's own.
        name: the model expected there.
        required: arrays that must be present.

    Returns:
        The arrays by name, and the settings.

    Raises:
        ModelError: a file is missing or unreadable, belongs to another model or format version, lacks an
            array, or holds a number that is not finite.
    """
    try:
        header = read_json(directory / SETTINGS_FILE)
        arrays = read_arrays(directory / ARRAYS_FILE)
    except DataError as error:
        raise ModelError(error.message, mend=error.mend) from error
    if not isinstance(header, dict) or (header.get("model"), header.get("format")) != (name, FORMAT_VERSION):
        found = (header.get("model"), header.get("format")) if isinstance(header, dict) else header
        raise ModelError(
            f"{directory} holds {found!r}, not model {name!r} of format {FORMAT_VERSION}",
            mend="shoploom run makes it again",
        )
    for key in required:
        if key not in arrays:
            raise ModelError(f"{directory / ARRAYS_FILE} lacks the array {key!r}", mend="shoploom run makes it again")
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(f"{directory / ARRAYS_FILE}: {key!r} holds a number that is not finite")
    return arrays, dict(header.get("settings") or {})
