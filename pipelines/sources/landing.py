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

from pipelines.artifacts import write_table
from pipelines.errors import ConfigError
from pipelines.progress import track
from pipelines.pseudonyms import KeyRing, open_ring
from pipelines.sources import Source, load_source, partitions
from pipelines.sources.calendars import zone_metadata
from pipelines.stage_environment import state_folder

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Landing:
    """What was landed.

    Args:
        source: the source's name.
        partitions: names of the event partitions, oldest first.
        rows: rows of each table.
    """

    source: str
    partitions: tuple[str, ...]
    rows: dict[str, int]


def land(source: Source, start: date | None, end: date | None, directory: Path, keys: KeyRing | None = None) -> Landing:
    """Write a source's tables below ``directory``: ``events/<partition>.parquet``, and ``<table>/<table>.parquet`` for
    the others (empty where the shop has none). The same rows give the same bytes.

    Args:
        source: what to land.
        start: first shop-local day; None = from the source's first.
        end: last shop-local day, inclusive; None = to the source's last.
        directory: made where it is missing; files of other partitions stay.
        keys: users are known by their pseudonyms under it; by default the state folder's key ring, made at first use.

    Raises:
        ConfigError: no partition lies in that span.
    """
    chosen = partitions(source, start, end)
    ring = keys or open_ring(state_folder())
    rows = {"events": 0}

    def put(table: pa.Table, path: str) -> int:
        write_table(ring.table(table.replace_schema_metadata(zone_metadata(source.time_zone))), directory / path)
        return int(table.num_rows)

    for partition in track(chosen, "land events"):
        events = source.events(partition.starts(source.time_zone), partition.ends(source.time_zone))
        rows["events"] += put(events, f"events/{partition.name}.parquet")
    whole = {"items": source.items, "users": source.users, "offers": source.offers, "judgements": source.judgements}
    for name, give in whole.items():
        rows[name] = put(give(), f"{name}/{name}.parquet")
    return Landing(source.name, tuple(partition.name for partition in chosen), rows)


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
