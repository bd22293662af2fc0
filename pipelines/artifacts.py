"""Files that stages exchange: written to a temporary name and renamed, the same bytes for the same content.

Tables are Parquet, arrays are safetensors, the rest is JSON. None of these formats can carry code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from pyarrow.parquet import ParquetFile

    Arrays = Mapping[str, NDArray[Any]]

ROW_GROUP = 1024 * 1024
"""Rows of a Parquet file's groups, but for the last."""
HASHED_AT_ONCE = 4
"""Files."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it replaces ``path``, on failure nothing remains."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Give an empty temporary directory; on success it replaces ``path`` whole, on failure nothing remains."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def files_sha256(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each of some files, a few at once: hashing leaves the interpreter to others."""
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        return list(pool.map(file_sha256, paths))


def write_table(table: pa.Table, path: Path) -> None:
    """Write ``table`` as Parquet (zstd, microsecond timestamps)."""
    import pyarrow.parquet as pq

    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", coerce_timestamps="us", store_schema=True)


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Write a table piece by piece; the same rows give the bytes of :func:`write_table`, however they are cut.

    Yields:
        What takes the next rows, in ``schema``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        atomic_file(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", coerce_timestamps="us", store_schema=True) as writer,
    ):
        waiting = schema.empty_table()

        def write(rows: pa.Table) -> None:
            nonlocal waiting
            if not rows.num_rows:
                return  # an empty slice would keep all that it was cut from
            waiting = pa.concat_tables((waiting, rows))
            while waiting.num_rows >= ROW_GROUP:
                writer.write_table(waiting.slice(0, ROW_GROUP).combine_chunks(), ROW_GROUP)
                waiting = waiting.slice(ROW_GROUP)

        yield write
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks(), ROW_GROUP)


def parquet_file(path: Path) -> ParquetFile:
    """Open a Parquet file.

    Raises:
        DataError: the file is missing, truncated or something else; the message names it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", mend="shoploom run makes it") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}", mend="write the file again") from error


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file.

    Raises:
        DataError: the file is missing, truncated or lacks a column; the message names the file.
    """
    import pyarrow as pa

    try:
        table = parquet_file(path).read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}", mend="write the file again") from error
    for name in columns or ():
        if name not in table.column_names:
            raise DataError(f"{path} lacks the column {name!r}", mend="write the file again")
    return table


def write_arrays(arrays: Arrays, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays as safetensors; keys are sorted, so equal content gives equal bytes."""
    import numpy as np
    from safetensors.numpy import save

    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    with atomic_file(path) as temporary:
        temporary.write_bytes(save(ordered, metadata=dict(metadata) if metadata else None))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read named arrays written by :func:`write_arrays`.

    Raises:
        DataError: the file is missing or not safetensors; the message names it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, NDArray[Any]] = load_file(path)
        return arrays
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", mend="shoploom run makes it") from None
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path} is not a readable safetensors file: {error}", mend="shoploom run makes it again"
        ) from error


def write_json(value: object, path: Path) -> None:
    """Write ``value`` as indented JSON with sorted keys; NaN is refused."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_picture(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a Matplotlib figure as PNG; equal figures give equal bytes."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing, unreadable or not JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", mend="shoploom run makes it") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not readable JSON: {error}", mend="write the file again") from error
