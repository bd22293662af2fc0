"""``prepare``: accepted rows -> clean tables with dense ids and normalised text, split by time.

History ends where the validation window starts, validation where the test window starts. A row's part and week
follow from the partition that it was landed in, so the split never cuts through a partition.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
from ibis import _

from pipelines.artifacts import read_table, write_json, write_table
from pipelines.errors import DataError
from pipelines.params import PrepareParams, WindowParams, load_params
from pipelines.sources.calendars import parse_partition, time_zone_of
from pipelines.tables import TIMESTAMP

if TYPE_CHECKING:
    from ibis.expr.types import Table

ACCEPTED = Path("data/accepted")
PREPARED = Path("data/prepared")

PREPARED_ITEMS = pa.schema(
    [
        pa.field("item", pa.int32(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("category", pa.list_(pa.string()), nullable=False),
        pa.field("department", pa.string()),
        pa.field("product_type", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("size", pa.string()),
        pa.field("price", pa.float64()),
    ]
)
PREPARED_USERS = pa.schema(
    [pa.field("user", pa.int32(), nullable=False), pa.field("user_id", pa.string(), nullable=False)]
)
PREPARED_EVENTS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("days", pa.float64(), nullable=False),
        pa.field("week", pa.int16(), nullable=False),
        pa.field("quantity", pa.float32(), nullable=False),
        pa.field("price", pa.float32()),
        pa.field("session", pa.int32(), nullable=False),
    ]
)

MICROSECONDS_A_DAY = 86_400_000_000
SIZE_ATTRIBUTES = ("package_size", "size")
_TAG = re.compile(r"<[^<>]{0,200}>")


@dataclass(frozen=True)
class Windows:
    """Where history, validation and test lie.

    Args:
        names: partitions, oldest first; a week number is an index into it.
        first_validation: index of the first validation partition.
        first_test: index of the first test partition.
        time_zone: the shop's.
    """

    names: tuple[str, ...]
    first_validation: int
    first_test: int
    time_zone: str

    def starts(self, index: int) -> float:
        """The first moment of a partition, in days since the epoch, UTC; past the last one, where that ends."""
        if index < len(self.names):
            return _days(parse_partition(self.names[index]).starts(self.time_zone))
        return _days(parse_partition(self.names[-1]).ends(self.time_zone))


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` writes; the schemas are ``PREPARED_ITEMS``, ``PREPARED_USERS`` and ``PREPARED_EVENTS``."""

    items: pa.Table
    users: pa.Table
    history: pa.Table
    validation: pa.Table
    test: pa.Table
    split: dict[str, Any]


def split_windows(names: list[str], window: WindowParams, time_zone: str) -> Windows:
    """Lay the windows over the partitions.

    Raises:
        DataError: too few partitions to leave any history.
    """
    ordered = tuple(sorted(names, key=lambda name: parse_partition(name).first_day))
    held_back = window.test_partitions + window.validation_partitions
    if len(ordered) <= held_back:
        raise DataError(
            f"events: {len(ordered)} partitions leave no history before {held_back} of validation and test",
            mend="land more partitions, or lower window.* in params.yaml",
        )
    first_test = len(ordered) - window.test_partitions
    return Windows(ordered, first_test - window.validation_partitions, first_test, time_zone)


def prepare(events: dict[str, pa.Table], items: pa.Table, windows: Windows, params: PrepareParams) -> Prepared:
    """Clean, de-duplicate, number and split.

    Args:
        events: accepted rows of each partition, in the events schema.
        items: accepted catalogue, in the items schema; an event of another item is left out.
        windows: where to split.
        params: which events count, and how long a text may be.

    Returns:
        Items ordered by id (``item`` is the row number), users ordered by id, and the events of each part ordered
        by time, user, item, session.

    Raises:
        DataError: nothing is left of history, validation or test.
    """
    connection = ibis.duckdb.connect()
    try:
        catalogue = _items(items, params)
        known = ibis.memtable(catalogue.select(["item", "item_id"]))
        clean = _clean(ibis.memtable(_numbered(events, windows)), params)
        rows = connection.create_table("kept", clean.join(known, "item_id"), temp=True)
        users, sessions = _dense(rows, "user_id", "user"), _dense(rows, "session_key", "session")
        joined = rows.join(users, "user_id").join(sessions, "session_key")
        table = connection.to_pyarrow(joined.order_by(["timestamp", "user", "item", "session", "event_id"]))
        users_table = connection.to_pyarrow(users.order_by("user").select("user", "user_id")).cast(PREPARED_USERS)
    finally:
        connection.disconnect()
    return _split(table, catalogue, users_table, windows)


def normalise(text: str | None) -> str:
    """One line of plain text: NFKC, no markup, no control characters, single spaces; empty for None."""
    if not text:
        return ""
    plain = _TAG.sub(" ", html.unescape(text))
    plain = unicodedata.normalize("NFKC", plain)
    plain = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in plain)
    return " ".join(plain.split())


def item_text(title: str, parts: list[str], longest: int) -> str:
    """What is embedded of an item: its title, then every part that is not said already, in lower case.

    Args:
        title: normalised.
        parts: normalised category levels, brand, size, description; the most telling first.
        longest: characters kept, at a word's end.
    """
    text = title.lower()
    for part in (part.lower() for part in parts):
        if part and part not in text:
            text = f"{text}, {part}" if text else part
    if len(text) <= longest:
        return text
    return text[: longest + 1].rsplit(" ", 1)[0][:longest].rstrip(", ")


def _items(items: pa.Table, params: PrepareParams) -> pa.Table:
    rows: dict[str, dict[str, Any]] = {}
    for row in items.to_pylist():
        rows.setdefault(row["item_id"], row)
    return pa.Table.from_pylist(
        [_item(number, rows[item_id], params) for number, item_id in enumerate(sorted(rows))], schema=PREPARED_ITEMS
    )


def _item(number: int, row: dict[str, Any], params: PrepareParams) -> dict[str, Any]:
    category = [level for level in map(normalise, row["category"] or []) if level]
    attributes = dict(row["attributes"] or [])
    size = next((normalise(attributes[name]) for name in SIZE_ATTRIBUTES if attributes.get(name)), None)
    brand = normalise(row["brand"]) or None
    title = normalise(row["title"]) or (category[-1] if category else row["item_id"])
    parts = [*reversed(category), brand or "", size or "", normalise(row["description"])]
    return {
        "item": number,
        "item_id": row["item_id"],
        "title": title,
        "text": item_text(title, parts, params.text_characters),
        "category": category,
        "department": category[0] if category else None,
        "product_type": category[-1] if category else None,
        "brand": brand,
        "size": size,
        "price": row["price"],
    }


def _numbered(events: dict[str, pa.Table], windows: Windows) -> pa.Table:
    """All partitions in one table, each row with its week."""
    tables = []
    for week, name in enumerate(windows.names):
        rows = events[name]
        weeks = pa.repeat(pa.scalar(week, pa.int16()), rows.num_rows)
        tables.append(rows.replace_schema_metadata(None).append_column("week", weeks))
    return pa.concat_tables(tables)


def _clean(raw: Table, params: PrepareParams) -> Table:
    """Events that name an item and are of a type that counts, each event once (the earliest row of an id)."""
    rows = raw.filter(_.item_id.notnull(), _.event_type.isin(params.event_types))
    first = ibis.window(group_by="event_id", order_by=["timestamp", "user_id", "item_id", "week"])
    rows = rows.mutate(copy=ibis.row_number().over(first)).filter(_.copy == 0)
    visit = ibis.literal("week/") + rows.week.cast("string") + "/" + rows.user_id
    return rows.select(
        "event_id",
        "user_id",
        "item_id",
        "event_type",
        "timestamp",
        "week",
        "price",
        quantity=_.quantity.fill_null(1.0),
        session_key=ibis.coalesce(ibis.literal("session/") + rows.session_id, visit),
    )


def _dense(rows: Table, text: str, number: str) -> Table:
    """Number the distinct values of a column in their own order."""
    distinct = rows.select(text).distinct()
    return distinct.mutate(**{number: ibis.row_number().over(ibis.window(order_by=text)).cast("int32")})


def _split(rows: pa.Table, catalogue: pa.Table, users: pa.Table, windows: Windows) -> Prepared:
    import numpy as np

    micros = rows["timestamp"].cast(TIMESTAMP).cast(pa.int64()).to_numpy()
    rows = rows.append_column("days", pa.array(micros / MICROSECONDS_A_DAY, pa.float64()))
    rows = rows.select(PREPARED_EVENTS.names).cast(PREPARED_EVENTS).combine_chunks()
    week = rows["week"].to_numpy()
    bounds = (0, windows.first_validation, windows.first_test, len(windows.names))
    parts = {}
    for name, low, high in zip(("history", "validation", "test"), bounds, bounds[1:], strict=False):
        parts[name] = rows.filter(pa.array((week >= low) & (week < high)))
        if not parts[name].num_rows:
            raise DataError(
                f"events: no accepted event of a known item lies in {name}, {windows.names[low]} to "
                f"{windows.names[high - 1]}",
                mend=f"look at {Path('data/quarantine/events').resolve()}",
            )
    split = {
        "partitions": len(windows.names),
        "first_partition": windows.names[0],
        "last_partition": windows.names[-1],
        "first_validation_week": windows.first_validation,
        "first_test_week": windows.first_test,
        "first_validation_partition": windows.names[windows.first_validation],
        "first_test_partition": windows.names[windows.first_test],
        "validation_starts": windows.starts(windows.first_validation),
        "test_starts": windows.starts(windows.first_test),
        "test_ends": windows.starts(len(windows.names)),
        "time_zone": windows.time_zone,
        "items": catalogue.num_rows,
        "texts": len(set(catalogue["text"].to_pylist())),
        "users": users.num_rows,
        "rows": {name: part.num_rows for name, part in parts.items()},
        "bought_items": {name: int(np.unique(part["item"].to_numpy()).size) for name, part in parts.items()},
    }
    return Prepared(_priced(catalogue, parts["history"]), users, **parts, split=split)


def _priced(catalogue: pa.Table, history: pa.Table) -> pa.Table:
    """Fill a price that the catalogue lacks with the median paid for the item in history."""
    import numpy as np

    items, paid = history["item"].to_numpy(), history["price"].to_numpy(zero_copy_only=False).astype(np.float64)
    known = ~np.isnan(paid)
    items, paid = items[known], paid[known]
    order = np.lexsort((paid, items))
    items, paid = items[order], paid[order]
    distinct, first, counts = np.unique(items, return_index=True, return_counts=True)
    medians = (paid[first + (counts - 1) // 2] + paid[first + counts // 2]) / 2
    median = np.full(catalogue.num_rows, np.nan)
    median[distinct] = np.round(medians, 4)
    listed = catalogue["price"].to_numpy(zero_copy_only=False).astype(np.float64)
    price = np.where(np.isnan(listed), median, listed)
    column = pa.array(price, pa.float64(), mask=np.isnan(price))
    return catalogue.set_column(catalogue.schema.get_field_index("price"), PREPARED_ITEMS.field("price"), column)


def _days(moment: datetime) -> float:
    return moment.timestamp() / 86_400


def _time_zone(events: dict[str, pa.Table]) -> str:
    """The one time zone of all partitions.

    Raises:
        DataError: there are several; the message names the first partition of each.
    """
    first: dict[str, str] = {}
    for partition in sorted(events, key=lambda name: parse_partition(name).first_day):
        first.setdefault(time_zone_of(events[partition].schema), partition)
    if len(first) > 1:
        found = ", ".join(f"{zone} (first in {partition})" for zone, partition in first.items())
        raise DataError(f"events: partitions of several time zones: {found}", mend="shoploom ingest")
    return next(iter(first))


def main() -> None:
    """Read ``data/accepted``, write ``data/prepared``."""
    window = load_params(WindowParams, "window")
    params = load_params(PrepareParams, "prepare")
    paths = sorted((ACCEPTED / "events").glob("*.parquet"))
    if not paths:
        raise DataError(f"{ACCEPTED / 'events'} holds no partition", mend="shoploom run makes it")
    events = {path.stem: read_table(path) for path in paths}
    windows = split_windows(list(events), window, _time_zone(events))
    prepared = prepare(events, read_table(ACCEPTED / "items.parquet"), windows, params)
    for name in ("items", "users", "history", "validation", "test"):
        write_table(getattr(prepared, name), PREPARED / f"{name}.parquet")
    write_json(prepared.split, PREPARED / "split.json")
    print(f"prepared {prepared.split['rows']} events of {prepared.users.num_rows} users")


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)
