"""The files of a model: arrays as safetensors, settings as JSON with a name and a format version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import read_arrays, read_json, write_arrays, write_json
from pipelines.errors import DataError, ModelError
from pipelines.models.base import MADE_AGAIN, Model, Texts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_Kind = TypeVar("_Kind", bound=Model)

FORMAT_VERSION = 1
ARRAYS_FILE = "arrays.safetensors"
SETTINGS_FILE = "model.json"
CHOSEN_FILE = "chosen.json"
"""Lies in a stage's folder in the place of a model that was not chosen, and holds :data:`NOT_CHOSEN`."""
NOT_CHOSEN = {"chosen": False}


def write_model(
    directory: Path, name: str, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, object] | None = None
) -> None:
    """Write ``arrays.safetensors`` and ``model.json`` into ``directory``; it is made where missing."""
    write_arrays(arrays, directory / ARRAYS_FILE)
    write_json({"format": FORMAT_VERSION, "model": name, "settings": dict(settings or {})}, directory / SETTINGS_FILE)


@contextmanager
def model_errors() -> Iterator[None]:
    """Raise a file's DataError as the ModelError that loading a model promises."""
    try:
        yield
    except DataError as error:
        raise ModelError(error.message, mend=error.mend) from error


def read_required(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read the arrays of a model.

    Args:
        path: safetensors.
        names: arrays that must be present.

    Raises:
        ModelError: the file is missing or unreadable, lacks an array, or holds a number that is not finite.
    """
    with model_errors():
        arrays = read_arrays(path)
    for name in names:
        if name not in arrays:
            raise ModelError(f"{path} lacks the array {name!r}", mend=MADE_AGAIN)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(f"{path}: {name!r} holds a number that is not finite", mend=MADE_AGAIN)
    return arrays


def read_model(
    directory: Path, name: str, arrays: Sequence[str], settings: Sequence[str] = ()
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what :func:`write_model` wrote.

    Args:
        directory: the model's own.
        name: the model expected there.
        arrays: that must be present.
        settings: that must be present.

    Returns:
        The arrays by name, and the settings.

    Raises:
        ModelError: a file is missing or unreadable, belongs to another model or format version, lacks an array or
            a setting, or holds a number that is not finite.
    """
    with model_errors():
        header = read_json(directory / SETTINGS_FILE)
    if not isinstance(header, dict) or (header.get("model"), header.get("format")) != (name, FORMAT_VERSION):
        found = (header.get("model"), header.get("format")) if isinstance(header, dict) else header
        raise ModelError(f"{directory} holds {found!r}, not model {name!r} of format {FORMAT_VERSION}", mend=MADE_AGAIN)
    chosen = dict(header.get("settings") or {})
    for key in settings:
        if key not in chosen:
            raise ModelError(f"{directory / SETTINGS_FILE} lacks the setting {key!r}", mend=MADE_AGAIN)
    return read_required(directory / ARRAYS_FILE, arrays), chosen


SPARSE = ("indptr", "indices", "values")
"""The arrays of a sparse matrix."""


def sparse_arrays(matrix: csr_matrix[Any]) -> dict[str, NDArray[Any]]:
    """The arrays of a sparse float32 matrix, by the names in :data:`SPARSE`."""
    return {
        "indptr": matrix.indptr.astype(np.int64),
        "indices": matrix.indices.astype(np.int32),
        "values": matrix.data.astype(np.float32),
    }


def read_sparse(arrays: Mapping[str, NDArray[Any]], num_columns: int, directory: Path) -> csr_matrix[Any]:
    """Put the matrix together that :func:`sparse_arrays` took apart.

    Args:
        arrays: holds those of :data:`SPARSE`.
        num_columns: of the matrix.
        directory: named where it cannot be.

    Raises:
        ModelError: the arrays are no matrix of so many columns.
    """
    from scipy.sparse import csr_matrix

    try:
        shape = (len(arrays["indptr"]) - 1, num_columns)
        matrix = csr_matrix((arrays["values"], arrays["indices"], arrays["indptr"]), shape=shape)
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise ModelError(f"{directory} holds no sparse matrix: {error}", mend=MADE_AGAIN) from error
    return matrix


def read_texts(path: Path) -> Texts:
    """Read the catalogue's vectors (``embeddings``, ``text_index``) as ``embed`` and ``train_bert`` write them.

    Raises:
        ModelError: the file is missing or unreadable, lacks an array, or holds a number that is not finite.
    """
    arrays = read_required(path, ("embeddings", "text_index"))
    return Texts(arrays["embeddings"].astype(np.float32), arrays["text_index"].astype(np.int32))


def load_trained(kind: type[_Kind], directory: Path) -> _Kind:
    """Read a model that its stage fitted.

    Raises:
        ModelError: as :meth:`Model.load`, or the stage was told not to fit it.
    """
    if (directory / CHOSEN_FILE).is_file():
        with model_errors():
            chosen = read_json(directory / CHOSEN_FILE)
        if chosen == NOT_CHOSEN:
            raise ModelError(f"{directory} holds no {kind.name}: it was not chosen", mend=MADE_AGAIN)
    return kind.load(directory)
