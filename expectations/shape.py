"""What a raw file must look like before any row of it is checked: readable, the right columns, the right types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from expectations.contract import Check, own_checks
from pipelines.artifacts import read_table
from pipelines.errors import DataError, near_names
from pipelines.pseudonyms import key_of
from pipelines.sources.calendars import time_zone_of
from pipelines.tables import EVENTS, LANDED_IN, SOURCE_ROW, TIMESTAMP, UNMAPPED, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Raw:
    """A raw file whose shape is right.

    Args:
        rows: in the table's schema (a field may still hold null where it must not).
        is_utf8: bool [num_rows]; False where a text is not UTF-8 (such bytes are replaced in ``rows``).
        extra_columns: columns that the table does not have; they are left out.
        time_zone: the shop's, as the file says; UTC where it says nothing.
        user_key: id of the key that its user ids were hashed with; empty where they are raw, or there are none.
        landed_in: string [num_rows], see :mod:`pipelines.sources.late`; None where all came in the partition's own
            interval.
        kept: string and list<string> [num_rows], ``SOURCE_ROW`` and ``UNMAPPED``: what the source kept beside each row,
            null where it kept nothing.
        checks: the source's own, as the file says.
    """

    rows: pa.Table
    is_utf8: NDArray[np.bool_]
    extra_columns: tuple[str, ...]
    time_zone: str
    user_key: str = ""
    landed_in: pa.ChunkedArray | None = None
    kept: pa.Table | None = None
    checks: tuple[Check, ...] = ()

    @property
    def all_late(self) -> bool:
        """Whether the partition's own interval brought nothing, so that its volume says nothing."""
        return self.landed_in is not None and not self.landed_in.null_count

    @property
    def is_mapped(self) -> NDArray[np.bool_]:
        """bool [num_rows]; False where the source could not read a value."""
        if self.kept is None:
            return np.ones(self.rows.num_rows, bool)
        lengths = pc.fill_null(pc.list_value_length(self.kept[UNMAPPED.name]), 0)
        mapped: NDArray[np.bool_] = pc.equal(lengths, 0).to_numpy(zero_copy_only=False).astype(bool)
        return mapped


def read_raw(path: Path, table: Table, partition: str = "") -> Raw:
    """Read a raw file of ``table``.

    Raises:
        DataError: the file is missing, unreadable or empty, or a column is missing, renamed or of a wrong type; the
            message names the table, the partition and the column.
    """
    place = f"{table.name}: partition {partition}" if partition else table.name
    mend = "land it again from the source; shoploom run goes on from there"
    try:
        found = read_table(path)
    except DataError as error:
        raise DataError(f"{place}: {error.message}", mend=mend) from error
    if not found.num_rows and table.required:
        raise DataError(f"{place}: the {'partition' if partition else 'table'} is empty: {path} has no rows", mend=mend)
    kept = _kept(found, table)
    found = found.select([name for name in found.column_names if name not in kept.column_names])
    extra = tuple(name for name in found.column_names if name not in (*table.schema.names, LANDED_IN))
    columns: list[pa.ChunkedArray] = []
    is_utf8 = np.ones(found.num_rows, bool)
    for field in table.schema:
        if found.column_names.count(field.name) != 1:
            raise DataError(_missing(place, field.name, found.column_names, extra), mend=mend)
        column = found.column(field.name)
        try:
            clean, good = _conform(column, field.type)
        except (pa.ArrowException, TypeError) as error:
            raise DataError(
                f"{place}, column {field.name}: its type is {column.type}, not {field.type}", mend=mend
            ) from error
        columns.append(clean)
        is_utf8 &= good
    nullable = pa.schema([pa.field(field.name, field.type) for field in table.schema])
    rows, zone, key = pa.table(columns, schema=nullable), time_zone_of(found.schema), key_of(found.schema)
    late = found.column(LANDED_IN) if table is EVENTS and LANDED_IN in found.column_names else None
    beside, own = kept if kept.num_columns else None, own_checks(found.schema.metadata)
    return Raw(rows, is_utf8, extra, zone, key, late, beside, own)


def _kept(found: pa.Table, table: Table) -> pa.Table:
    """What the source kept beside the rows, in the columns ``SOURCE_ROW`` and ``UNMAPPED``; no columns where nothing.

    A column of such a name but of another type is one that the contract does not have.
    """
    fields = [SOURCE_ROW, UNMAPPED]
    names = [field.name for field in fields if field.name not in table.schema.names]
    given = all(found.column_names.count(field.name) == 1 for field in fields)
    right = given and all(found.schema.field(field.name).type == field.type for field in fields)
    return found.select(names if right else [])


def _missing(place: str, name: str, found: list[str], extra: tuple[str, ...]) -> str:
    if name in found:
        return f"{place}, column {name}: there are {found.count(name)} of that name"
    near = near_names(name, extra)
    others = f"; the file has {', '.join(extra)} instead" if extra else ""
    return f"{place}, column {name}: it is missing{others}{f' ({near})' if near else ''}"


def _conform(column: pa.ChunkedArray, wanted: pa.DataType) -> tuple[pa.ChunkedArray, NDArray[np.bool_]]:
    """Bring a column to the wanted type where that loses nothing but letters that are not UTF-8.

    Raises:
        TypeError: the types differ in kind.
        pa.ArrowException: a value does not fit.
    """
    found = column.type
    good = np.ones(len(column), bool)
    if pa.types.is_dictionary(found):
        column = column.cast(found.value_type)
        found = column.type
    if not _kin(found, wanted):
        raise TypeError(f"{found} is not {wanted}")
    if pa.types.is_timestamp(wanted):
        return column.cast(TIMESTAMP, safe=False), good
    if not _holds_text(wanted):
        return column.cast(wanted), good
    if not _has_bytes(found):
        column = column.cast(wanted)
        try:
            column.validate(full=True)
            return column, good
        except pa.ArrowInvalid:
            pass
    values = column.cast(_as_bytes(wanted)).to_pylist()
    decoded = [_decode(value) for value in values]
    good = np.array([value == _encode(text) for value, text in zip(values, decoded, strict=True)], bool)
    return pa.chunked_array([pa.array(decoded, wanted)]), good


def _kin(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a type holds the same kind of thing."""
    types = pa.types
    if types.is_null(found):
        return True
    if types.is_map(wanted):
        return bool(types.is_map(found)) and _kin(found.key_type, pa.string()) and _kin(found.item_type, pa.string())
    if types.is_list(wanted):
        return bool(types.is_list(found) or types.is_large_list(found)) and _kin(found.value_type, wanted.value_type)
    if types.is_timestamp(wanted):
        return bool(types.is_timestamp(found)) and found.tz is not None
    if types.is_string(wanted):
        return _is_text(found) or _is_bytes(found)
    if types.is_floating(wanted):
        return bool(types.is_floating(found) or types.is_integer(found) or types.is_decimal(found))
    return bool(types.is_integer(wanted) and types.is_integer(found))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _leaves(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_map(kind):
        return [kind.key_type, kind.item_type]
    return [kind.value_type] if pa.types.is_list(kind) or pa.types.is_large_list(kind) else [kind]


def _holds_text(kind: pa.DataType) -> bool:
    return any(_is_text(leaf) for leaf in _leaves(kind))


def _has_bytes(kind: pa.DataType) -> bool:
    return any(_is_bytes(leaf) for leaf in _leaves(kind))


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_map(kind):
        return pa.map_(pa.binary(), pa.binary())
    return pa.list_(pa.binary()) if pa.types.is_list(kind) else pa.binary()


def _decode(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, list | tuple):
        return type(value)(_decode(part) for part in value)
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list | tuple):
        return type(value)(_encode(part) for part in value)
    return value
