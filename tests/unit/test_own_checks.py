"""Checks beside the standing ones: bounds of ``params.yaml``, and those that a source brings with its files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from expectations.contract import OWN_CHECKS_KEY, Check, between, own_checks, own_metadata
from expectations.row_cache import RowCache
from expectations.run import Validation
from pipelines.artifacts import read_table, write_table
from pipelines.errors import ConfigError, DataError
from pipelines.params import ColumnBounds, ValidateParams
from pipelines.sources.landing import land
from pipelines.stages.validate import Validated, read_shop, validate
from tests.tiny_shop import TinyShop, land_tiny_shop

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = date(2024, 1, 28)
PARTITION = "2024-W02"


class StrictShop(TinyShop):
    """A shop that knows more of itself than the tables' contracts do."""

    def checks(self) -> Mapping[str, tuple[Check, ...]]:
        pattern = {"regex": r"^item-\d\d$"}
        form = "ExpectColumnValuesToMatchRegex"
        return {
            "events": (
                between("price_is_small", "price", "nothing costs over 3", min_value=0, max_value=3.0),
                between("quantity_is_one", "quantity", "most buy one", "warn", max_value=1.0, mostly=0.9),
                Check("item_has_two_digits", "stop", "item_id", form, "ids are item-00", pattern),
            ),
            "items": (Check("item_id_has_two_digits", "warn", "item_id", form, "ids are item-00", pattern),),
        }


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("landed")
    land_tiny_shop(directory, UNTIL)
    return directory


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("strict")
    land(StrictShop(), None, UNTIL, directory)
    return directory


def run(raw: Path, cache: Path | None = None, **bounds: ColumnBounds) -> Validated:
    params = ValidateParams(columns={name.replace("__", "."): bound for name, bound in bounds.items()})
    params = params.model_copy(update={"max_rejected_share": 1.0})
    return validate(read_shop(raw), params, Validation(), RowCache(cache), NOW)


def warned(validated: Validated) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for warning in validated.findings.warnings:
        found.setdefault(warning["check"], set()).add(warning["partition"])
    return found


def test_a_bound_rejects_the_rows_beyond_it(landed: Path) -> None:
    validated = run(landed, events__price=ColumnBounds(max=2.95, severity="reject"))
    prices = read_table(landed / f"events/{PARTITION}.parquet")["price"].to_pylist()
    expected = sum(price > 2.95 for price in prices)
    assert expected > 0
    assert validated.events[PARTITION].reasons["price_is_within_bounds"] == expected
    assert not validated.findings.stops


def test_a_bound_warns_of_each_partition_and_keeps_its_rows(landed: Path) -> None:
    validated = run(landed, events__channel=ColumnBounds(values=("store",)))
    assert warned(validated)["channel_is_of_the_set"] == {"2024-W01", "2024-W02", "2024-W03", "2024-W04"}
    assert validated.events[PARTITION].quarantined.num_rows == 0


def test_a_bound_stops_the_load_when_it_says_so(landed: Path) -> None:
    validated = run(landed, events__device_id=ColumnBounds(max_null_share=0.1, severity="stop"))
    assert len(validated.findings.stops) == 4
    assert "column device_id: device_id_is_rarely_empty: at most 10.00% of rows lack" in validated.findings.stops[0]


def test_a_share_of_empty_fields_is_tolerated(landed: Path) -> None:
    validated = run(
        landed, events__device_id=ColumnBounds(max_null_share=1.0), items__brand=ColumnBounds(max_null_share=0)
    )
    assert not {"device_id_is_rarely_empty", "brand_is_rarely_empty"} & set(warned(validated))


@pytest.mark.parametrize(
    ("name", "bound", "said"),
    [
        ("events.prices", ColumnBounds(max=1), "there is no column 'events.prices'"),
        ("events.timestamp", ColumnBounds(min=0), "has no such bound"),
        ("items.category", ColumnBounds(values=("a",)), "has no such bound"),
    ],
)
def test_a_bound_that_fits_no_column_is_refused(landed: Path, name: str, bound: ColumnBounds, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(landed, **{name.replace(".", "__"): bound})


def test_a_source_brings_its_own_checks(strict: Path) -> None:
    validated = run(strict)
    part = validated.events[PARTITION]
    prices = [price for price in part.quarantined["price"].to_pylist() if price > 3.0]
    assert part.reasons == {"price_is_small": len(prices)}
    assert prices
    assert set(warned(validated)["quantity_is_one"]) == {"2024-W01", "2024-W02", "2024-W03", "2024-W04"}
    assert "item_id_has_two_digits" not in warned(validated)
    assert not validated.findings.stops


def test_a_source_s_own_check_stops_a_load(strict: Path, tmp_path: Path) -> None:
    raw = Path(shutil.copytree(strict, tmp_path / "raw"))
    path = raw / f"events/{PARTITION}.parquet"
    rows = read_table(path)
    ids = ["item-1", *rows["item_id"].to_pylist()[1:]]
    write_table(rows.set_column(2, rows.schema.field(2), [ids]), path)
    assert "item_has_two_digits: ids are item-00; found 1 rows" in run(raw).findings.stops[0]


def test_partitions_of_before_a_source_had_checks_are_not_held_to_them(
    landed: Path, strict: Path, tmp_path: Path
) -> None:
    raw = Path(shutil.copytree(landed, tmp_path / "raw"))
    shutil.copy(strict / "events/2024-W04.parquet", raw / "events")
    cache = tmp_path / "cache"
    first, again = run(raw, cache), run(raw, cache)
    for validated in (first, again):
        assert [bool(part.reasons) for part in validated.events.values()] == [False, False, False, True]
        assert warned(validated)["quantity_is_one"] == {"2024-W04"}


@pytest.mark.parametrize(
    "check",
    [
        Check("odd", "reject", "price", "ExpectTableRowCountToEqual", "looks beyond a column"),
        Check("odd", "ignore", "price", "ExpectColumnValuesToNotBeNull", "no severity"),  # type: ignore[arg-type]
    ],
)
def test_own_checks_that_may_not_be_are_refused(check: Check) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        own_checks(own_metadata([check]))


def test_own_checks_that_are_no_json_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        own_checks({OWN_CHECKS_KEY: b"[{]"})


def test_own_checks_survive_their_file() -> None:
    checks = StrictShop().checks()["events"]
    assert own_checks(own_metadata(checks)) == checks
    assert own_metadata(()) == {}
    assert own_checks(None) == ()


def test_a_source_s_own_check_of_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    class Clashing(TinyShop):
        def checks(self) -> Mapping[str, tuple[Check, ...]]:
            return {"events": (between("price_is_plausible", "price", "again", max_value=1.0),)}

    land(Clashing(), None, UNTIL, tmp_path)
    with pytest.raises(DataError, match="own check 'price_is_plausible' of column 'price' does not fit"):
        run(tmp_path)
