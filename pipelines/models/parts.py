"""Parts of a package that a JSON file of their own describes, beside their arrays."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipelines.artifacts import read_arrays, read_json
from pipelines.errors import DataError, ModelError

PACKAGED_AGAIN = "shoploom run makes it again"


def read_part(
    manifest: Path, arrays: Path, form: tuple[str, int], what: str, earlier: Collection[int] = ()
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a part.

    Args:
        manifest: holds ``format`` and ``format_version`` beside the part's own facts.
        arrays: safetensors.
        form: both of them, as they must be.
        what: the part, in words.
        earlier: versions of the format that are read too.

    Returns:
        The manifest, and the arrays by name.

    Raises:
        ModelError: a file is missing, unreadable or of another format version.
    """
    try:
        facts, held = read_json(manifest), read_arrays(arrays)
    except DataError as error:
        raise ModelError(error.message, mend=PACKAGED_AGAIN) from error
    if facts.get("format") != form[0] or facts.get("format_version") not in (form[1], *earlier):
        raise ModelError(f"{manifest.parent} holds no {what} of version {form[1]}", mend=PACKAGED_AGAIN)
    return facts, held
