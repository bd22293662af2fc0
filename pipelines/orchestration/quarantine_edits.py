"""Quarantined rows corrected by hand: out as JSON lines, and back into the raw tables that are mapped again.

A row's own values are what its source's file said, by column; who the user is is none of them. It is found again by a
digest of all that was kept of it, so that a list made before another load still fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import DataError, ShoploomError, near_names
from pipelines.sources.calendars import parse_partition
from pipelines.tables import EVENTS, SOURCE_ROW, TABLES

if TYPE_CHECKING:
    import pyarrow as pa

AGAIN = "shoploom quarantine show --edit > rows.jsonl writes the list anew"


@dataclass(frozen=True)
class Edit:
    """A line of an edited list.

    Args:
        line: its number, counted from 1.
        table: of the row.
        partition: of the row; empty where the table has none.
        row: the row's digest.
        values: column of the source -> its text, or None.
    """

    line: int
    table: str
    partition: str
    row: str
    values: Mapping[str, str | None]

    @property
    def file(self) -> str:
        """Of the raw tables."""
        return f"{self.table}/{self.partition if self.table == EVENTS.name else self.table}.parquet"


def row_digest(row: Mapping[str, Any]) -> str:
    """What a kept row is found by: 16 hexadecimal digits of all that was kept of it."""
    return sha256(json.dumps([row.get("user_id"), row[SOURCE_ROW.name]]).encode()).hexdigest()[:16]


def to_edit(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of :func:`pipelines.orchestration.quarantine.show_quarantine` as lines to edit.

    Rows of which the source kept no values, as lines that are no rows, are left out.
    """
    lines = []
    for row in rows:
        values = json.loads(row[SOURCE_ROW.name]).get("row") if row.get(SOURCE_ROW.name) else None
        if values is not None:
            about = {"table": row["table"], "partition": row["partition"], "row": row_digest(row)}
            lines.append({**about, "checks": row["reasons"], "values": values})
    return lines


def read_edits(path: Path) -> list[Edit]:
    """Read an edited list.

    Raises:
        DataError: it cannot be read, or a line is not as :func:`to_edit` wrote it; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", mend=AGAIN) from None
    return [_edit(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _edit(path: Path, number: int, line: str) -> Edit:
    try:
        given = json.loads(line)
        table, partition, row = (str(given[name]) for name in ("table", "partition", "row"))
        values = {str(column): None if value is None else value for column, value in given["values"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}:{number} is no line of that list: {error}", mend=AGAIN) from None
    if table not in TABLES:
        raise DataError(f"{path}:{number}: there is no table {table!r}", mend=near_names(table, TABLES) or AGAIN)
    if table == EVENTS.name:
        try:
            parse_partition(partition)
        except ShoploomError:
            raise DataError(f"{path}:{number}: {partition!r} is no partition", mend=AGAIN) from None
    for column, value in values.items():
        if value is not None and not isinstance(value, str):
            raise DataError(
                f"{path}:{number}: {column} is {json.dumps(value)}", mend='write texts, as the file has them: "2.50"'
            )
    return Edit(number, table, partition, row, values)


def apply_edits(path: Path, edits: Sequence[Edit], folder: Path) -> int:
    """Put edited values into raw tables.

    Args:
        path: of the list, for messages.
        edits: of :func:`read_edits`.
        folder: the raw tables; files that change are written anew.

    Returns:
        How many rows have other values now.

    Raises:
        DataError: a row is not there, or has no such column, or was or becomes alike another user's row: such rows are
            numbered by the users' own ids, which nobody keeps.
    """
    from pipelines.artifacts import read_table, write_table

    changed = 0
    for file in dict.fromkeys(edit.file for edit in edits):
        if not (folder / file).is_file():
            raise DataError(f"{path}: there is no {file} in the newest data version", mend=AGAIN)
        table = read_table(folder / file)
        replaced, count = _replaced(path, [edit for edit in edits if edit.file == file], table)
        if count:
            (folder / file).unlink()
            place = table.column_names.index(SOURCE_ROW.name)
            write_table(table.set_column(place, table.schema.field(place), [replaced]), folder / file)
        changed += count
    return changed


def _replaced(path: Path, edits: Sequence[Edit], table: pa.Table) -> tuple[list[str | None], int]:
    """The column ``source_row`` with what was edited, and how many rows that are."""
    if SOURCE_ROW.name not in table.column_names:
        raise DataError(f"{path}: {edits[0].table} keeps no rows of its source", mend=AGAIN)
    kept: list[str | None] = table[SOURCE_ROW.name].to_pylist()
    users = table["user_id"].to_pylist() if "user_id" in table.column_names else [None] * len(kept)
    places: dict[str, list[int]] = {}
    for place, (user, row) in enumerate(zip(users, kept, strict=True)):
        if row is not None:
            places.setdefault(row_digest({"user_id": user, SOURCE_ROW.name: row}), []).append(place)
    owners: dict[str, set[Any]] = {}
    for user, row in zip(users, kept, strict=True):
        if row is not None:
            owners.setdefault(_content(row), set()).add(user)
    result, count = list(kept), 0
    for edit in edits:
        found = places.get(edit.row)
        if not found:
            raise DataError(f"{path}:{edit.line}: this row is not in {edit.file} any more", mend=AGAIN)
        place = found.pop(0)
        before = json.loads(str(kept[place]))
        for column in edit.values:
            if column not in before["row"]:
                near = near_names(column, before["row"]) or f"it has {', '.join(before['row'])}"
                raise DataError(f"{path}:{edit.line}: the row has no column {column!r}; {near}", mend=AGAIN)
        after = {"feed": before["feed"], "row": before["row"] | edit.values}
        if after["row"] == before["row"]:
            continue
        text = json.dumps(after, ensure_ascii=False, separators=(",", ":"))
        if (owners[_content(str(kept[place]))] | owners.get(_content(text), set())) - {users[place]}:
            raise DataError(
                f"{path}:{edit.line}: the row is alike another user's, before or after",
                mend="correct it in the shop's file, and land that again: shoploom ingest",
            )
        result[place], count = text, count + 1
    return result, count


def _content(row: str) -> str:
    """A kept row without its number among twins."""
    said = json.loads(row)
    said.pop("twin", None)
    return json.dumps(said, sort_keys=True)
