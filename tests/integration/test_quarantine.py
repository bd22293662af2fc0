"""Quarantine and replay: rows that a wrong mapping lost come back, byte for byte as if it had never been wrong."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from expectations.row_cache import RowCache
from expectations.run import Validation
from pipelines.artifacts import write_table
from pipelines.cli import main
from pipelines.errors import ConfigError
from pipelines.lineage import audit
from pipelines.orchestration.quarantine import list_quarantine, replay, show_quarantine
from pipelines.params import ValidateParams, load_params
from pipelines.runs.data_versions import commit_landing, latest_data_version, partition_hashes
from pipelines.runs.load_docs import note_refused
from pipelines.runs.store import Store
from pipelines.runs.user_keys import key_for_load
from pipelines.settings import Settings
from pipelines.sources import load_source
from pipelines.sources.landing import land
from pipelines.stages.validate import read_shop, validate
from tests.repositories import new_repository
from tests.tabular_shop import MAPPING, order_lines, write_shop

ROOT = Path(__file__).parents[2]
WRONG = (
    MAPPING.replace("decimal: ',', divided_by", "divided_by")
    .replace("quantity: {column: qty, absolute: true}", "quantity: qty")
    .replace("'%d.%m.%Y %H:%M'}", "'%d.%m.%Y %H:%M', latest: 2024-04-01}")
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    root = tmp_path / "shop"
    new_repository(root, configured=True)
    monkeypatch.setenv("SHOPLOOM_REPOSITORY", str(root))
    monkeypatch.setenv("SHOPLOOM_HOME", str(root / ".shoploom"))
    monkeypatch.setenv("SHOPLOOM_SOURCE", "tabular:till/shop.yaml")
    return Settings()


def land_all(settings: Settings, mapping: str, lines: list[str]) -> dict[str, dict[str, str]]:
    write_shop(settings.repository / "till", lines, mapping)
    landing = settings.repository / f"landing-{hashlib.sha256(mapping.encode()).hexdigest()[:8]}"
    key_for_load(settings)
    land(load_source("tabular:till/shop.yaml"), None, None, landing)
    return partition_hashes(settings, commit_landing(settings, landing, "Land all"))


def test_replay_gives_the_bytes_of_a_history_that_was_right_from_the_start(settings: Settings) -> None:
    broken = "7777;0;ann;P1;2;1,00;02.01.2024 10:00;paid;too many"
    lines = [*order_lines(), broken]
    git = ["git", "-C", str(settings.repository)]
    right = land_all(settings, MAPPING, lines)
    subprocess.run([*git, "update-ref", "-d", "refs/heads/data/main"], check=True)
    # Returns fail the contract by their quantity, prices with a comma and the last two weeks will not map.
    assert land_all(settings, WRONG, lines)["events"] != right["events"]
    shutil.rmtree(settings.repository / "till")
    (settings.repository / "till").mkdir()
    (settings.repository / "till" / "shop.yaml").write_text(MAPPING)
    done = replay(settings)
    tip = latest_data_version(settings)
    assert tip is not None
    assert tip.commit == done.commit
    assert partition_hashes(settings, tip) == right
    assert done.quarantined[1] < done.quarantined[0]
    assert replay(settings).changed == ()
    left = list_quarantine(settings)
    assert [(part["table"], part["rows"], part["checks"]) for part in left] == [
        ("unplaced", 1, {"event_has_a_time": 1})
    ]


def validated(settings: Settings, name: str) -> dict[str, str]:
    """What the contract accepts of the newest data version, by file: a hash."""
    tip = latest_data_version(settings)
    assert tip is not None
    where = settings.repository / name
    raw, out = where / "raw", where / "out"
    store = Store(settings)
    try:
        for table, listing in tip.listings.items():
            for file in store.files(listing):
                (raw / table / file.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(store.cache_path(file.md5), raw / table / file.path)
    finally:
        store.close()
    limits = load_params(ValidateParams, "validate", settings.repository / "params.yaml")
    parts = validate(read_shop(raw), limits, Validation(), RowCache(None), datetime(2030, 1, 1, tzinfo=UTC))
    for partition, part in parts.events.items():
        write_table(part.accepted, out / f"{partition}.parquet")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


def test_replay_after_the_suite_was_mended_gives_the_bytes_of_a_history_under_that_suite(settings: Settings) -> None:
    params = settings.repository / "params.yaml"
    mended = params.read_text()
    right = land_all(settings, MAPPING, order_lines())
    accepted = validated(settings, "right")
    restart(settings)
    strict = mended.replace("columns: {}", "columns: {events.price: {max: 1.22, severity: reject}}")
    params.write_text(strict)
    land_all(settings, MAPPING, order_lines())
    refused = list_quarantine(settings)
    assert refused
    assert {check for part in refused for check in part["checks"]} == {"price_is_within_bounds"}
    assert validated(settings, "strict") != accepted
    params.write_text(mended)
    replay(settings)
    tip = latest_data_version(settings)
    assert tip is not None
    assert partition_hashes(settings, tip) == right
    assert list_quarantine(settings) == []
    assert validated(settings, "mended") == accepted


def test_quarantine_shows_the_rows_own_values_all_checks_and_no_raw_user(settings: Settings) -> None:
    bad = "7777;0;customer-00@shop.example;P99;-5;abc;02.01.2024 10:00;paid"
    land_all(settings, MAPPING.replace("{column: qty, absolute: true}", "qty"), [*order_lines(), bad])
    (row,) = show_quarantine(settings, "events", "2024-W01", "row_is_mapped", 5)
    assert row["reasons"] == ["quantity_is_positive", "row_is_mapped", "item_is_known"]
    assert json.loads(row["source_row"])["row"]["amount"] == "abc"
    assert row["unmapped"] == ["price"]
    assert row["suite"]
    assert "shop.example" not in str(row)
    checks = {part["partition"]: part["checks"] for part in list_quarantine(settings) if part["table"] == "events"}
    assert checks["2024-W01"]["row_is_mapped"] == 1


def restart(settings: Settings) -> None:
    """Forget every data version."""
    command = ["git", "-C", str(settings.repository), "update-ref", "-d", "refs/heads/data/main"]
    subprocess.run(command, check=True)


def asked(*arguments: str) -> str:
    """What a command prints."""
    answer = CliRunner().invoke(main, ["quarantine", *arguments])
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_rows_corrected_by_hand_give_the_bytes_of_a_history_in_which_they_were_right(
    settings: Settings, tmp_path: Path
) -> None:
    draw = random.Random(3)
    lines = order_lines()
    right = land_all(settings, MAPPING, lines)
    restart(settings)
    wrong, truth = list(lines), {}
    for place in draw.sample(range(len(lines) - 1), 12):
        order, line, customer, sku, qty, amount, when, status = lines[place].split(";")
        truth[order, line] = {"qty": qty, "amount": amount, "when": when, "sku": sku}
        broken = draw.choice(["qty", "amount", "when", "sku"])
        bad = truth[order, line] | {broken: {"qty": "many", "amount": "1;5".replace(";", ":"), "when": "someday",
                                             "sku": "P99"}[broken]}  # fmt: skip
        wrong[place] = ";".join([order, line, customer, bad["sku"], bad["qty"], bad["amount"], bad["when"], status])
    assert land_all(settings, MAPPING, wrong) != right

    note_refused(settings, "run-1", "corner", ["2024-W17"], "events: too few rows\n  -> look")
    listed = json.loads(asked("list", "--json"))
    assert sum(part["rows"] for part in listed["rows"]) == 12
    assert [load["why"] for load in listed["stopped"]] == ["events: too few rows"]
    rows = [json.loads(line) for line in asked("show", "--edit").splitlines()]
    for row in rows:
        row["values"] |= truth[row["values"]["order"], row["values"]["line"]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = json.loads(asked("replay", "--rows", str(tmp_path / "rows.jsonl"), "--json"))
    tip = latest_data_version(settings)
    assert tip is not None
    assert partition_hashes(settings, tip) == right
    assert (done["edited"], done["quarantined"]) == (12, [12, 0])
    entry = audit.read(settings)[-1]
    assert (entry.action, entry.subject, entry.details["corrected"]) == ("land", f"data {tip.commit}", 12)


def test_replay_of_a_source_that_keeps_no_rows_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLOOM_SOURCE", "complete_journey")
    with pytest.raises(ConfigError, match="complete_journey keeps no rows of its own"):
        replay(Settings())
