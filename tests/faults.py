"""The fault corpus: what goes wrong with a shop's feeds, and what must come of each.

``FAULTS`` is a table; each fault edits one weekly load (two data frames, or its files) with a seeded generator.
``World`` loads it after its predecessors as the ingest DAG does, and says what came of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from expectations.comparison import Accepted
from expectations.history import file_md5
from expectations.row_cache import RowCache
from expectations.run import Validation
from pipelines.artifacts import read_table, write_table
from pipelines.errors import DataError
from pipelines.params import DistributionParams, ValidateParams
from pipelines.stages.validate import judge, read_shop, validate

Outcome = Literal["clean", "quarantine", "warn", "stop"]
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Tables:
    """A load, to be edited.

    Args:
        events: a frame in the events schema, of one week.
        items: a frame in the items schema.
        before: the events of the week before.
        random: seeded by the fault.
    """

    events: pd.DataFrame
    items: pd.DataFrame
    before: pd.DataFrame
    random: np.random.Generator

    def some(self, share: float, frame: pd.DataFrame | None = None) -> np.ndarray:
        """bool [rows]: a random ``share`` of the events, or of another frame."""
        return self.random.random(len(self.events if frame is None else frame)) < share


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and what must come of it.

    Args:
        edit: changes the tables, or (where ``of_files``) the landing directory's files.
        outcome: the load is stopped; or a warning is given; or the rows go to quarantine.
        checks: one of them must be named, as a reason, a warning or in the error.
        of_files: whether ``edit`` takes the landing directory and the partition's name.
    """

    edit: Callable[..., None]
    outcome: Outcome
    checks: tuple[str, ...]
    of_files: bool = False


def scale(column: str, factor: float, share: float = 1.0) -> Callable[[Tables], None]:
    def edit(load: Tables) -> None:
        load.events.loc[load.some(share), column] *= factor

    return edit


def put(column: str, value: object, share: float) -> Callable[[Tables], None]:
    def edit(load: Tables) -> None:
        load.events.loc[load.some(share), column] = value

    return edit


def put_item(column: str, value: object, share: float) -> Callable[[Tables], None]:
    def edit(load: Tables) -> None:
        chosen = load.some(share, load.items)
        load.items[column] = [value if hit else old for hit, old in zip(chosen, load.items[column], strict=True)]

    return edit


def swap(left: str, right: str) -> Callable[[Tables], None]:
    def edit(load: Tables) -> None:
        load.events[[left, right]] = load.events[[right, left]].to_numpy()

    return edit


def shift(**delta: float) -> Callable[[Tables], None]:
    def edit(load: Tables) -> None:
        load.events["timestamp"] += pd.Timedelta(**delta)

    return edit


def again(share: float, *, new_ids: bool) -> Callable[[Tables], None]:
    """Rows are sent twice."""

    def edit(load: Tables) -> None:
        copy = load.events[load.some(share)].copy()
        if new_ids:
            copy["event_id"] = "again-" + copy["event_id"]
        load.events = pd.concat([load.events, copy], ignore_index=True)

    return edit


def replay(days: int, *, new_ids: bool = False) -> Callable[[Tables], None]:
    """The week before is sent in place of this one."""

    def edit(load: Tables) -> None:
        load.events = load.before.copy()
        load.events["timestamp"] += pd.Timedelta(days=days)
        if new_ids:
            load.events["event_id"] = "again-" + load.events["event_id"]

    return edit


def keep(chosen: Callable[[pd.DataFrame], Any]) -> Callable[[Tables], None]:
    def edit(load: Tables) -> None:
        load.events = load.events[np.asarray(chosen(load.events), bool)].reset_index(drop=True)

    return edit


def days_from_end(events: pd.DataFrame) -> pd.Series[Any]:
    return (events["timestamp"].max() - events["timestamp"]).dt.total_seconds() / 86_400


def reuse_ids(share: float) -> Callable[[Tables], None]:
    def edit(load: Tables) -> None:
        chosen = np.flatnonzero(load.some(share))[: len(load.before)]
        load.events.loc[chosen, "event_id"] = load.before["event_id"].to_numpy()[: len(chosen)]

    return edit


def burst(load: Tables) -> None:
    """One user buys at random all night."""
    rows = load.events.sample(len(load.events) // 6, random_state=3).copy()
    rows["event_id"] = [f"bot-{number}" for number in range(len(rows))]
    rows["user_id"] = load.events["user_id"].iloc[0]
    rows["timestamp"] = load.events["timestamp"].iloc[len(load.events) // 2]
    load.events = pd.concat([load.events, rows], ignore_index=True)


def swarm(load: Tables) -> None:
    """Hundreds of users that nobody ever saw."""
    users = load.events["user_id"].nunique()
    rows = load.events.sample(users, random_state=3).copy()
    rows["event_id"] = [f"bot-{number}" for number in range(len(rows))]
    rows["user_id"] = [f"bot-{number}" for number in range(len(rows))]
    load.events = pd.concat([load.events, rows], ignore_index=True)


def one_user(load: Tables) -> None:
    load.events["user_id"] = "anonymous"


def shuffle_prices(load: Tables) -> None:
    load.events["price"] = load.random.permutation(load.events["price"].to_numpy())


def flat_prices(load: Tables) -> None:
    load.events["price"] = float(load.events["price"].median())


def midnight(load: Tables) -> None:
    """A date without a time: all of a day happens at its first moment in UTC."""
    load.events["timestamp"] = load.events["timestamp"].dt.floor("D") + pd.Timedelta(hours=5)


def prefix(column: str, text: str) -> Callable[[Tables], None]:
    def edit(load: Tables) -> None:
        load.events[column] = text + load.events[column]

    return edit


def rename_category(load: Tables) -> None:
    """The second most sold category is called something else from today on."""
    first = load.items["category"].map(lambda path: path[0] if path is not None and len(path) else None)
    sold = first[load.items["item_id"].isin(load.events["item_id"])]
    second = sold.value_counts().index[1]
    paths = [
        ["Renamed", *list(path)[1:]] if name == second else path
        for name, path in zip(first, load.items["category"], strict=True)
    ]
    load.items["category"] = pd.Series(paths, index=load.items.index, dtype=object)


def reuse_items(load: Tables) -> None:
    """Ids of old products are given to other products."""
    chosen = np.flatnonzero(load.some(0.1, load.items))
    moved = np.roll(chosen, 1)
    for column in ("title", "category", "brand"):
        values = load.items[column].to_numpy(dtype=object).copy()
        values[chosen] = load.items[column].to_numpy(dtype=object)[moved]
        load.items[column] = pd.Series(values, index=load.items.index, dtype=object)


def garble(load: Tables) -> None:
    """UTF-8 read as Latin-1."""
    chosen = load.some(0.05, load.items)
    load.items["title"] = [
        f"{title} café".encode().decode("latin-1") if hit else title
        for hit, title in zip(chosen, load.items["title"], strict=True)
    ]


def cut_titles(load: Tables) -> None:
    load.items["title"] = load.items["title"].str[:6]


def keep_items(share: float, *, unsold: bool) -> Callable[[Tables], None]:
    def edit(load: Tables) -> None:
        sold = load.items["item_id"].isin(load.events["item_id"])
        kept = load.some(share, load.items) | (sold if unsold else False)
        load.items = load.items[kept].reset_index(drop=True)

    return edit


def repeat_items(load: Tables) -> None:
    load.items = pd.concat([load.items, load.items.head(5)], ignore_index=True)


def of_file(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path, str], None]:
    def edit(landing: Path, partition: str) -> None:
        path = landing / "events" / f"{partition}.parquet"
        write_table(change(read_table(path)), path)

    return edit


def truncate(landing: Path, partition: str) -> None:
    path = landing / "events" / f"{partition}.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bad_bytes(landing: Path, partition: str) -> None:
    """Titles in Latin-1 where UTF-8 was promised."""
    path = landing / "items" / "items.parquet"
    table = read_table(path)
    titles = [
        "café".encode("latin-1") if row % 100 == 0 else (title or "").encode()
        for row, title in enumerate(table["title"].to_pylist())
    ]
    column = table.schema.get_field_index("title")
    write_table(table.set_column(column, "title", pa.array(titles, pa.binary())), path)


FAULTS: Mapping[str, Fault] = {
    "prices in cents": Fault(scale("price", 100), "stop", ("price_level_is_possible", "prices_is_possible")),
    "prices in thousands": Fault(scale("price", 0.001), "stop", ("price_level_is_possible", "prices_is_possible")),
    "a fifth of the prices in cents": Fault(scale("price", 100, 0.2), "warn", ("item_prices_is_usual",)),
    "a decimal point lost in a tenth of the prices": Fault(scale("price", 10, 0.1), "warn", ("item_prices_is_usual",)),
    "prices in another currency": Fault(scale("price", 1.12), "warn", ("price_level_is_usual",)),
    "a quarter of the prices in another currency": Fault(scale("price", 25, 0.25), "warn", ("item_prices_is_usual",)),
    "prices of other rows": Fault(shuffle_prices, "warn", ("item_prices_is_usual",)),
    "one price for all": Fault(flat_prices, "warn", ("prices_is_usual", "item_prices_is_usual")),
    "negative prices": Fault(scale("price", -1, 0.02), "quarantine", ("price_is_not_negative",)),
    "free purchases": Fault(put("price", 0.0, 0.02), "quarantine", ("paid_price_is_positive",)),
    "prices that are no numbers": Fault(put("price", np.inf, 0.01), "quarantine", ("numbers_are_finite",)),
    "absurd prices": Fault(put("price", 1e7, 0.01), "quarantine", ("price_is_plausible",)),
    "prices missing, some": Fault(put("price", None, 0.3), "warn", ("nulls_is_usual",)),
    "prices missing, all": Fault(put("price", None, 1.0), "stop", ("nulls_is_possible",)),
    "quantities in grams": Fault(
        scale("quantity", 1000), "stop", ("quantities_is_possible", "rejected_share_is_small")
    ),
    "negative quantities": Fault(scale("quantity", -1, 0.03), "quarantine", ("quantity_is_positive",)),
    "empty baskets": Fault(put("quantity", 0.0, 0.05), "quarantine", ("quantity_is_positive",)),
    "quantities missing": Fault(put("quantity", None, 1.0), "stop", ("nulls_is_possible",)),
    "the whole feed twice": Fault(again(1.0, new_ids=False), "stop", ("rejected_share_is_small",)),
    "some rows twice": Fault(again(0.05, new_ids=False), "quarantine", ("event_id_is_unique",)),
    "some rows twice under new ids": Fault(again(0.05, new_ids=True), "warn", ("repeated_is_usual",)),
    "last week's feed again": Fault(replay(0), "stop", ("rejected_share_is_small",)),
    "last week's feed under this week's dates": Fault(replay(7), "stop", ("replayed_is_possible",)),
    "last week's feed under this week's dates and new ids": Fault(
        replay(7, new_ids=True), "stop", ("replayed_is_possible",)
    ),
    "event ids used again": Fault(reuse_ids(0.1), "warn", ("replayed_is_usual",)),
    "event ids missing": Fault(put("event_id", None, 0.02), "quarantine", ("event_id_is_present",)),
    "users under other ids": Fault(prefix("user_id", "x-"), "stop", ("new_users_is_possible",)),
    "all users under one id": Fault(one_user, "stop", ("new_users_is_possible",)),
    "users missing": Fault(put("user_id", None, 0.02), "quarantine", ("user_id_is_present",)),
    "items under other ids": Fault(prefix("item_id", "0"), "stop", ("rejected_share_is_small",)),
    "item ids given to other products": Fault(reuse_items, "warn", ("items_retitled_is_usual",)),
    "users and items swapped": Fault(swap("user_id", "item_id"), "stop", ("rejected_share_is_small",)),
    "prices and quantities swapped": Fault(
        swap("price", "quantity"), "stop", ("price_level_is_possible", "item_prices_is_possible")
    ),
    "a column renamed": Fault(
        of_file(lambda table: table.rename_columns([name.replace("price", "Price") for name in table.column_names])),
        "stop",
        ("column price",),
        of_files=True,
    ),
    "a column missing": Fault(
        of_file(lambda table: table.drop(["session_id"])), "stop", ("session_id",), of_files=True
    ),
    "times as text": Fault(
        of_file(lambda table: table.set_column(4, "timestamp", table["timestamp"].cast(pa.string()))),
        "stop",
        ("column timestamp",),
        of_files=True,
    ),
    "a file cut short": Fault(truncate, "stop", ("not a readable Parquet",), of_files=True),
    "a file without rows": Fault(of_file(lambda table: table.slice(0, 0)), "stop", ("is empty",), of_files=True),
    "channels renamed": Fault(put("channel", "SHOP", 1.0), "warn", ("values_is_usual",)),
    "some events of a new type": Fault(put("event_type", "Purchase", 0.1), "quarantine", ("event_type_is_known",)),
    "events renamed": Fault(put("event_type", "Purchase", 1.0), "stop", ("rejected_share_is_small",)),
    "events of another kind": Fault(put("event_type", "view", 0.3), "warn", ("values_is_usual",)),
    "a category renamed": Fault(rename_category, "warn", ("new_categories_is_usual", "items_recategorised_is_usual")),
    "categories missing": Fault(put_item("category", None, 0.2), "warn", ("item_nulls_is_usual",)),
    "titles with damaged letters": Fault(garble, "warn", ("garbled_titles_is_usual",)),
    "titles that are not UTF-8": Fault(bad_bytes, "quarantine", ("text_is_utf8",), of_files=True),
    "titles cut short": Fault(cut_titles, "stop", ("items_retitled_is_possible",)),
    "titles missing": Fault(put_item("title", None, 1.0), "stop", ("item_nulls_is_possible",)),
    "half the catalogue": Fault(keep_items(0.5, unsold=False), "stop", ("rejected_share_is_small",)),
    "products that are not sold left out": Fault(keep_items(0.5, unsold=True), "warn", ("items_gone_is_usual",)),
    "products twice": Fault(repeat_items, "quarantine", ("item_id_is_unique",)),
    "a clock four hours off": Fault(shift(hours=4), "warn", ("hours_is_usual",)),
    "a clock a year off": Fault(shift(days=364), "stop", ("rejected_share_is_small",)),
    "times without their hours": Fault(midnight, "warn", ("hours_is_usual",)),
    "times missing": Fault(put("timestamp", None, 0.03), "quarantine", ("timestamp_is_present",)),
    "events of the future": Fault(
        put("timestamp", pd.Timestamp("2031-01-01", tz="UTC"), 0.01), "quarantine", ("timestamp_is_in_partition",)
    ),
    "the last days missing": Fault(
        keep(lambda events: days_from_end(events) > 2), "warn", ("day_volume_is_usual", "newest_event_is_fresh")
    ),
    "a day missing": Fault(
        keep(lambda events: (days_from_end(events) < 2.6) | (days_from_end(events) > 3.8)),
        "warn",
        ("day_volume_is_usual",),
    ),
    "half the events missing": Fault(
        keep(lambda events: np.arange(len(events)) % 2 == 0), "warn", ("row_count_is_usual",)
    ),
    "nearly all events missing": Fault(
        keep(lambda events: np.arange(len(events)) % 150 == 0), "stop", ("volume_is_possible",)
    ),
    "a bot": Fault(burst, "warn", ("busiest_user_is_usual",)),
    "a swarm of bots": Fault(swarm, "warn", ("new_users_is_usual", "users_is_usual")),
}
"""Every fault by name."""


@dataclass(frozen=True)
class Result:
    """What came of a load.

    Args:
        outcome: the gravest thing that happened.
        named: every check that rejected a row or gave a warning, and the error's text.
    """

    outcome: Outcome
    named: frozenset[str]
    error: str = ""

    def shows(self, fault: Fault) -> bool:
        """Whether the expected thing came of it, for an expected reason; rows in quarantine may come with a warning."""
        said = any(check in self.named or check in self.error for check in fault.checks)
        outcome = "quarantine" if fault.outcome == "quarantine" and self.outcome == "warn" else self.outcome
        return outcome == fault.outcome and said


@dataclass
class World:
    """A shop whose weeks are loaded one after another, into a folder of remembered profiles.

    Args:
        raw: ``events/<partition>.parquet`` of every week, and the other tables, as landed.
        cache: where profiles and row checks are remembered.
        params: the contract's limits.
        dirt: rows that quarantine takes even of a clean load, by partition and check; filled as needed.
    """

    raw: Path
    cache: Path
    params: ValidateParams = field(default_factory=ValidateParams)
    distribution: DistributionParams = field(default_factory=DistributionParams)
    dirt: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def partitions(self) -> list[str]:
        return sorted(path.stem for path in (self.raw / "events").glob("*.parquet"))

    def load(self, partition: str, name: str = "", fault: Fault | None = None) -> Result:
        """Load a week after its predecessors, with a fault or without."""
        if fault is not None and partition not in self.dirt:
            self.load(partition)
        with tempfile.TemporaryDirectory() as folder:
            landing = Path(folder)
            for table in filter(Path.is_dir, self.raw.iterdir()):
                if table.name == "events":
                    (landing / "events").mkdir()
                    shutil.copy(table / f"{partition}.parquet", landing / "events")
                else:
                    shutil.copytree(table, landing / table.name)
            if fault is not None and fault.of_files:
                fault.edit(landing, partition)
            elif fault is not None:
                self._edit(landing, partition, name, fault)
            return self._judge(landing, partition, faulty=fault is not None)

    def _edit(self, landing: Path, partition: str, name: str, fault: Fault) -> None:
        names = self.partitions()
        paths = [landing / "events" / f"{partition}.parquet", landing / "items" / "items.parquet"]
        before = self.raw / "events" / f"{names[names.index(partition) - 1]}.parquet"
        whole = [read_table(path) for path in paths]
        frames = [table.to_pandas() for table in (*whole, read_table(before))]
        seed = np.random.default_rng(np.frombuffer(name.encode().ljust(4, b" "), np.uint8))
        load = Tables(frames[0], frames[1], frames[2], seed)
        fault.edit(load)
        for path, table, frame in zip(paths, whole, (load.events, load.items), strict=True):
            schema = pa.schema([one.with_nullable(True) for one in table.schema], metadata=table.schema.metadata)
            arrays = [_array(frame[one.name], one) for one in schema]
            write_table(pa.table(arrays, schema=schema), path)

    def _judge(self, landing: Path, partition: str, *, faulty: bool) -> Result:
        earlier = [name for name in self.partitions() if name < partition]
        md5 = {name: file_md5(self.raw / "events" / f"{name}.parquet") for name in earlier}
        items = file_md5(self.raw / "items" / "items.parquet")
        paths = {hashed: str(self.raw / "events" / f"{name}.parquet") for name, hashed in md5.items()}
        accepted = Accepted(md5, items, {**paths, items: str(self.raw / "items" / "items.parquet")})
        rows = {name: read_table(self.raw / "events" / f"{name}.parquet", ["event_id"]).num_rows for name in earlier}
        validation = Validation()
        try:
            shop = read_shop(landing, rows)
            validated = validate(shop, self.params, validation, RowCache(None), NOW)
            if not validated.findings.stops:
                judge(landing, validated, accepted, self.params, self.distribution, validation, self.cache)
        except DataError as error:
            return Result("stop", frozenset(), str(error))
        reasons: dict[str, int] = {}
        for part in (*validated.events.values(), *validated.whole.values()):
            for reason, count in part.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
        if not faulty:
            self.dirt[partition] = reasons
        usual = self.dirt[partition]
        more = {reason for reason, count in reasons.items() if count > usual.get(reason, 0)}
        warnings = {str(warning["check"]) for warning in validated.findings.warnings}
        if validated.findings.stops:
            return Result("stop", frozenset(more | warnings), "; ".join(validated.findings.stops))
        if warnings:
            return Result("warn", frozenset(more | warnings))
        return Result("quarantine" if more else "clean", frozenset(more))


def _array(values: pd.Series[Any], schema: pa.Field) -> pa.Array:
    if pa.types.is_nested(schema.type):
        return pa.array([None if value is None else list(value) for value in values], schema.type)
    return pa.array(values, schema.type, from_pandas=True)
