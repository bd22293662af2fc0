"""Landing: a source's tables written as raw partitions, as they came but for the users, who get pseudonyms.

``python -m pipelines.sources.landing --directory DIR [--from DATE --to DATE]`` prints what was landed, as JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from expectations.contract import own_metadata
from pipelines.artifacts import read_table, write_table
from pipelines.errors import ConfigError
from pipelines.progress import track
from pipelines.pseudonyms import KeyRing, key_metadata, key_of, open_ring
from pipelines.sources import Source, load_source, partitions
from pipelines.sources.calendars import zone_metadata
from pipelines.sources.late import by_partition, merge
from pipelines.sources.raw_files import Origins, RawFile, write_origins
from pipelines.stage_environment import state_folder
from pipelines.tables import EVENTS, TABLES

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Landing:
    """What was landed.

    Args:
        source: the source's name.
        partitions: names of the event partitions, oldest first.
        rows: rows of each table.
        late: names of the earlier partitions that events of these came late for.
        late_days: how late an event may come, as the source says.
    """

    source: str
    partitions: tuple[str, ...]
    rows: dict[str, int]
    late: tuple[str, ...] = ()
    late_days: int = 0


def land(source: Source, start: date | None, end: date | None, directory: Path, keys: KeyRing | None = None) -> Landing:
    """Write a source's tables below ``directory``: ``events/<partition>.parquet``, and ``<table>/<table>.parquet`` for
    the others (empty where the shop has none), and ``sources.json``: the shop's own files that each was read from. The
    same rows give the same bytes. An event that came late is in the partition of its own time, beside the interval's
    own.

    Args:
        source: what to land.
        start: first shop-local day; None = from the source's first.
        end: last shop-local day, inclusive; None = to the source's last.
        directory: made where it is missing; files of other partitions stay.
        keys: users are known by their pseudonyms under it; by default the state folder's key ring, made at first use.
            A table whose metadata names a key has pseudonyms already: only the keys after it are applied.

    Raises:
        ConfigError: no partition lies in that span.
    """
    import pyarrow as pa

    chosen = partitions(source, start, end)
    ring = keys or open_ring(state_folder())
    rows = {"events": 0}

    checks = source.checks()
    if unknown := checks.keys() - TABLES.keys():
        raise ConfigError(f"{source.name}: checks() names {min(unknown)!r}", mend=f"tables are {', '.join(TABLES)}")

    def zoned(table: pa.Table, name: str = EVENTS.name) -> pa.Table:
        return table.replace_schema_metadata(zone_metadata(source.time_zone) | own_metadata(checks.get(name, ())))

    def named(table: pa.Table, name: str = EVENTS.name) -> pa.Table:
        key = key_of(table.schema)
        if key == ring.ids[-1]:
            return table.replace_schema_metadata({**(zoned(table, name).schema.metadata or {}), **key_metadata(key)})
        return ring.after(key).table(zoned(table, name))

    def put(table: pa.Table, path: str) -> int:
        write_table(named(table, path.partition("/")[0]), directory / path)
        return int(table.num_rows)

    names = tuple(partition.name for partition in chosen)
    late: dict[str, list[pa.Table]] = {}
    read: dict[str, set[RawFile]] = {}
    for partition in track(chosen, "land events"):
        came = source.events(partition.starts(source.time_zone), partition.ends(source.time_zone))
        parts = by_partition(came, partition, source.partition, source.time_zone, source.late_days)
        rows["events"] += put(next(parts)[1], f"events/{partition.name}.parquet")
        files = set(source.files(EVENTS.name, partition))
        read.setdefault(f"events/{partition.name}.parquet", set()).update(files)
        for earlier, events in parts:
            late.setdefault(earlier.name, []).append(events)
            read.setdefault(f"events/{earlier.name}.parquet", set()).update(files)
    for name, tables in late.items():
        path = directory / "events" / f"{name}.parquet"
        own = read_table(path) if name in names else None
        events = merge(name, own, named(pa.concat_tables(tables)), intervals=())
        rows["events"] += events.num_rows - (own.num_rows if own else 0)
        write_table(events, path)
    whole = {
        "items": source.items,
        "users": source.users,
        "offers": source.offers,
        "judgements": source.judgements,
        "unplaced": source.unplaced,
    }
    for name, give in whole.items():
        rows[name] = put(give(), f"{name}/{name}.parquet")
        read[f"{name}/{name}.parquet"] = set(source.files(name))
    write_origins(Origins({name: tuple(sorted(files)) for name, files in read.items()}), directory)
    return Landing(source.name, names, rows, tuple(sorted(late)), source.late_days)


def parse_day(text: str) -> date:
    """Read a day.

    Raises:
        ConfigError: the text is no day of the calendar.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no date", mend="write it as 2017-12-03") from None


def main() -> None:
    """Land from the command line."""
    from pipelines.settings import Settings

    parser = argparse.ArgumentParser(prog="python -m pipelines.sources.landing", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--source", help="default: the setting SHOPLOOM_SOURCE")
    parser.add_argument("--user-key", default="", help="id of the key on the ring to hash users with; default: newest")
    parser.add_argument("--from", dest="start", type=parse_day, help="first shop-local day")
    parser.add_argument("--to", dest="end", type=parse_day, help="last shop-local day, inclusive")
    chosen = parser.parse_args()
    source = load_source(chosen.source or Settings().source)
    ring = open_ring(state_folder())
    keys = ring.through(chosen.user_key) if chosen.user_key else ring
    print(json.dumps(asdict(land(source, chosen.start, chosen.end, chosen.directory, keys))))


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)
