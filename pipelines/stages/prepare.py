"""``prepare``: accepted rows -> clean tables with dense ids and normalised text, split by time.

History ends where the validation window starts, validation where the test window starts. A row's part and week
follow from the partition that it was landed in, so the split never cuts through a partition. Events go through
:mod:`pipelines.numbering`, out of core.
"""

from __future__ import annotations

import html
import re
import unicodedata
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipelines.artifacts import parquet_file, read_table, table_writer, write_json, write_table
from pipelines.errors import DataError
from pipelines.numbering import Events
from pipelines.out_of_core import out_of_core
from pipelines.params import PrepareParams, WindowParams, load_params
from pipelines.pseudonyms import key_metadata, key_of
from pipelines.sources.calendars import parse_partition, time_zone_of
from pipelines.tables import TIMESTAMP

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend
    from numpy.typing import NDArray

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
        pa.field("attributes", pa.map_(pa.string(), pa.string()), nullable=False),
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

PARTS = ("history", "validation", "test")
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

    def bounds(self) -> dict[str, tuple[int, int]]:
        """The weeks of each part, from the first to the one after the last."""
        limits = (0, self.first_validation, self.first_test, len(self.names))
        return dict(zip(PARTS, pairwise(limits), strict=True))

    def starts(self, index: int) -> float:
        """The first moment of a partition, in days since the epoch, UTC; past the last one, where that ends."""
        if index < len(self.names):
            return _days(parse_partition(self.names[index]).starts(self.time_zone))
        return _days(parse_partition(self.names[-1]).ends(self.time_zone))


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


def prepare(accepted: Path, directory: Path, window: WindowParams, params: PrepareParams) -> dict[str, Any]:
    """Clean, number and split.

    Args:
        accepted: holds ``events/<partition>.parquet`` and ``items.parquet``, as ``validate`` wrote them; an event of an
            item that is not there is left out.
        directory: gets ``items.parquet`` ordered by id (``item`` is the row number), ``users.parquet`` ordered by first
            event, and each part's events ordered by time, user, item, session. The schemas are ``PREPARED_ITEMS``,
            ``PREPARED_USERS`` and ``PREPARED_EVENTS``.
        window: how many partitions are held back.
        params: which events count, and how long a text may be.

    Returns:
        What ``split.json`` says.

    Raises:
        DataError: a partition is damaged, partitions differ in time zone or user key, or nothing is left of history,
            validation or test.
    """
    paths = {path.stem: path for path in sorted((accepted / "events").glob("*.parquet"))}
    if not paths:
        raise DataError(f"{accepted / 'events'} holds no partition", mend="shoploom run makes it")
    schemas = {name: parquet_file(path).schema_arrow for name, path in paths.items()}
    zone = _the_one({name: time_zone_of(schema) for name, schema in schemas.items()}, "time zones", "shoploom ingest")
    keys = {name: key_of(schema) for name, schema in schemas.items()}
    user_key = _the_one(keys, "user keys", "shoploom users rekey")
    windows = split_windows(list(paths), window, zone)
    catalogue = _items(read_table(accepted / "items.parquet"), params)
    known = catalogue.select(["item", "item_id"])
    with out_of_core("prepare") as connection:
        events = Events(connection, [paths[name] for name in windows.names], known, params.event_types)
        users = events.users().cast(PREPARED_USERS)
        counts = _write_parts(events, directory, windows, catalogue.num_rows)
        priced = _priced(connection, catalogue, directory / "history.parquet")
    write_table(priced, directory / "items.parquet")
    write_table(users.replace_schema_metadata(key_metadata(user_key)), directory / "users.parquet")
    return _split(windows, catalogue, users, counts)


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
        "attributes": _attributes(attributes),
    }


def _attributes(given: dict[str, str | None]) -> list[tuple[str, str]]:
    """Attributes but the size, which has a column of its own; normalised, by name; without those that say nothing."""
    said = {normalise(name): normalise(value) for name, value in given.items() if name not in SIZE_ATTRIBUTES}
    return sorted((name, value) for name, value in said.items() if name and value)


def _write_parts(events: Events, directory: Path, windows: Windows, num_items: int) -> dict[str, NDArray[np.int64]]:
    """Write each part's events; returns how many events of it each item has, int64 [num_items]."""
    counts = {name: np.zeros(num_items, np.int64) for name in PARTS}
    with ExitStack() as stack:
        paths = {name: directory / f"{name}.parquet" for name in PARTS}
        writers = {name: stack.enter_context(table_writer(path, PREPARED_EVENTS)) for name, path in paths.items()}
        for batch in events.batches():
            rows = _dated(batch)
            week = rows["week"].to_numpy()
            for name, (low, high) in windows.bounds().items():
                start, end = np.searchsorted(week, (low, high))
                part = rows.slice(start, end - start)
                counts[name] += np.bincount(part["item"].to_numpy(), minlength=num_items)
                writers[name](part)
        for name, (low, high) in windows.bounds().items():
            if not counts[name].any():
                raise DataError(
                    f"events: no accepted event of a known item lies in {name}, {windows.names[low]} to "
                    f"{windows.names[high - 1]}",
                    mend=f"look at {Path('data/quarantine/events').resolve()}",
                )
    return counts


def _dated(rows: pa.Table) -> pa.Table:
    micros = rows["timestamp"].cast(TIMESTAMP).cast(pa.int64()).to_numpy()
    rows = rows.append_column("days", pa.array(micros / MICROSECONDS_A_DAY, pa.float64()))
    return rows.select(PREPARED_EVENTS.names).cast(PREPARED_EVENTS).combine_chunks()


def _split(
    windows: Windows, catalogue: pa.Table, users: pa.Table, counts: dict[str, NDArray[np.int64]]
) -> dict[str, Any]:
    return {
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
        "rows": {name: int(count.sum()) for name, count in counts.items()},
        "bought_items": {name: int(np.count_nonzero(count)) for name, count in counts.items()},
    }


def _priced(connection: Backend, catalogue: pa.Table, history: Path) -> pa.Table:
    """Fill a price that the catalogue lacks with the median paid for the item in history."""
    rows = connection.read_parquet(str(history)).select("item", "price")
    paid_for = rows.filter(rows.price.notnull())
    tally = paid_for.group_by(["item", "price"]).agg(times=paid_for.count())
    found = connection.to_pyarrow(tally.order_by(["item", "price"]))
    items, times = found["item"].to_numpy(), found["times"].to_numpy()
    paid, upto = found["price"].to_numpy().astype(np.float64), np.cumsum(times)
    distinct, first, prices = np.unique(items, return_index=True, return_counts=True)
    start = np.concatenate([[0], upto])[first]
    count = np.concatenate([upto, [0]])[first + prices - 1] - start
    middle = (start + (count - 1) // 2, start + count // 2)
    low, high = (paid[np.searchsorted(upto, place, side="right")] for place in middle)
    median = np.full(catalogue.num_rows, np.nan)
    median[distinct] = np.round((low + high) / 2, 4)
    listed = catalogue["price"].to_numpy(zero_copy_only=False).astype(np.float64)
    price = np.where(np.isnan(listed), median, listed)
    column = pa.array(price, pa.float64(), mask=np.isnan(price))
    return catalogue.set_column(catalogue.schema.get_field_index("price"), PREPARED_ITEMS.field("price"), column)


def _days(moment: datetime) -> float:
    return moment.timestamp() / 86_400


def _the_one(said: dict[str, str], what: str, mend: str) -> str:
    """What all partitions say.

    Raises:
        DataError: they say several things; the message names the first partition of each.
    """
    first: dict[str, str] = {}
    for partition in sorted(said, key=lambda name: parse_partition(name).first_day):
        first.setdefault(said[partition], partition)
    if len(first) > 1:
        found = ", ".join(f"{value or 'none'} (first in {partition})" for value, partition in first.items())
        raise DataError(f"events: partitions of several {what}: {found}", mend=mend)
    return next(iter(first))


def main() -> None:
    """Read ``data/accepted``, write ``data/prepared``."""
    window = load_params(WindowParams, "window")
    params = load_params(PrepareParams, "prepare")
    split = prepare(ACCEPTED, PREPARED, window, params)
    write_json(split, PREPARED / "split.json")
    print(f"prepared {split['rows']} events of {split['users']} users")


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)
