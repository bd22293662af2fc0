"""How a text file is laid out, told from its beginning: what divides columns, its encoding, whether it has names."""

from __future__ import annotations

import codecs
import csv
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipelines.errors import DataError

BYTES = 1 << 18
"""What is read of a file, unpacked."""


@dataclass(frozen=True)
class Layout:
    """What a mapping says of a CSV beside its name.

    Args:
        delimiter: between columns.
        encoding: ``utf-8`` or ``latin-1``.
        header: names for the columns where the first line has none; None where it has.
    """

    delimiter: str
    encoding: str
    header: tuple[str, ...] | None


def layout_of(path: Path, packed: str | None) -> Layout:
    """Look at the beginning of a file.

    Args:
        path: of a text file.
        packed: how it is packed, in Arrow's words; None where it is not.

    Raises:
        DataError: it is empty, packed in another way, or in an encoding that no mapping reads.
    """
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression=packed) as stream:
            start: bytes = cast(Any, stream).read(BYTES)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path.name} cannot be read: {error}", mend=f"bring {path.name} whole") from None
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise DataError(f"{path.name} is UTF-16, or no text", mend=f"save {path.name} as UTF-8")
    text, encoding = _decoded(start)
    if len(start) == BYTES:
        text = text[: text.rfind("\n") + 1] or text
    if not text.strip():
        raise DataError(f"{path.name} is empty", mend=f"bring {path.name} whole")
    delimiter, named, columns = _sniffed(text)
    header = None if named else tuple(f"column_{number}" for number in range(1, columns + 1))
    return Layout(delimiter, encoding, header)


def _decoded(start: bytes) -> tuple[str, str]:
    """The text and its encoding; a letter that the end cuts in two is left out."""
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(start), "utf-8"
    except UnicodeDecodeError:
        return start.decode("latin-1"), "latin-1"


def _sniffed(text: str) -> tuple[str, bool, int]:
    """The delimiter, whether the first line is of names, and how many columns there are."""
    import duckdb

    lines = text.splitlines()
    doubled = Counter(line.count("::") for line in lines)
    if len(doubled) == 1 and 0 not in doubled:  # two letters, of which DuckDB's sniffer does not think
        text = text.replace("::", "\x1f")
        options = ", delim = '\x1f'"
    else:
        options = ""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "start.csv"
        file.write_text(text, encoding="utf-8")
        query = f"SELECT Delimiter, HasHeader, len(Columns) FROM sniff_csv('{file}'{options})"
        try:
            delimiter, named, columns = duckdb.sql(query).fetchall()[0]
        except duckdb.Error:
            delimiter, named, columns = "", True, 1
        marks = {mark: _cells(lines[0], mark) for mark in ",;\t|"}
        if columns == 1 and max(marks.values()) > 1:  # a damaged line makes DuckDB's sniffer give up
            delimiter = max(marks, key=marks.__getitem__)
            named, columns = True, marks[delimiter]
    delimiter = "::" if options else str(delimiter)
    names = [name.strip('"') for name in lines[0].split(delimiter)]
    return delimiter, bool(named) and not any(map(_is_value, names)), int(columns)


def _cells(line: str, delimiter: str) -> int:
    """How many columns a line has, by that delimiter."""
    return len(next(csv.reader([line], delimiter=delimiter), [""]))


def _is_value(name: str) -> bool:
    """Whether what stands in the place of a column's name is none: a number, a time, an address."""
    return "@" in name or re.fullmatch(r"[-+\d.,:/ ]*\d[-+\d.,:/ TZ]*", name) is not None
