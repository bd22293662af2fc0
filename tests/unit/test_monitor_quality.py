"""The champion's quality on a window after it: the same as a ranking from everybody's whole history."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.artifacts import read_json, read_table, write_json, write_table
from pipelines.metrics import ranking
from pipelines.models.base import Histories
from pipelines.models.catalogue import ITEM_COLUMNS, Catalogue
from pipelines.models.manifest import CATALOGUE_FOLDER, RANKER_FOLDER, Facts, write_manifest
from pipelines.monitoring.quality import Champion, answer
from pipelines.monitoring.windows import Landed, since, windows_of
from pipelines.params import MonitorParams
from pipelines.pseudonyms import KeyRing, write_ring
from pipelines.sources.calendars import partition_of
from pipelines.tables import EVENTS
from tests.tiny_models import NUM_ITEMS, NUM_USERS, TinyShop

AS_OF = 180.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop() -> TinyShop:
    return TinyShop()


@pytest.fixture(scope="module")
def package(shop: TinyShop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package without search, which recommending does not need."""
    folder = tmp_path_factory.mktemp("package")
    (folder / CATALOGUE_FOLDER).mkdir()
    (folder / RANKER_FOLDER).mkdir()
    named = {name: [f"{name}-{item:02d}" for item in range(NUM_ITEMS)] for name in ITEM_COLUMNS}
    Catalogue(pa.table(named), tuple(f"user-{user:02d}" for user in range(NUM_USERS)), shop.histories).save(
        folder / CATALOGUE_FOLDER
    )
    shop.ranker().save(folder / RANKER_FOLDER)
    write_manifest(folder, Facts(AS_OF, AS_OF, 10, 0.1, 0.1, 0.1, 0.0, 0.0))
    return folder


@pytest.fixture(scope="module")
def partitions(shop: TinyShop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The weeks after the package's histories, and the one in which they end; some rows in them count for nothing."""
    folder = tmp_path_factory.mktemp("partitions")
    weeks: dict[str, list[dict[str, object]]] = {}
    for number, (user, item, day) in enumerate(zip(shop.users, shop.items, shop.days, strict=True)):
        if day < AS_OF - 2:
            continue
        row = {"event_id": str(number), "user_id": f"user-{user:02d}", "item_id": f"item_id-{item:02d}"}
        row |= {"event_type": "purchase", "timestamp": EPOCH + timedelta(days=float(day)), "quantity": None}
        name = partition_of((EPOCH + timedelta(days=float(day))).date(), "week").name
        odd = [
            {**row, "item_id": "unknown"},
            {**row, "item_id": f"item_id-{(item + 1) % NUM_ITEMS:02d}", "event_type": "view"},
            {**row, "item_id": f"item_id-{(item + 1) % NUM_ITEMS:02d}", "quantity": -1.0},
        ]
        weeks.setdefault(name, []).extend([row, *odd])
    paths = {}
    for name, rows in sorted(weeks.items()):
        paths[name] = folder / f"{name}.parquet"
        write_table(pa.Table.from_pylist(rows, schema=EVENTS.schema), paths[name])
    return paths


def asked(package: Path, partitions: dict[str, Path], users: int = 1000) -> dict[str, object]:
    return {
        "package": str(package),
        "partitions": {name: str(path) for name, path in partitions.items()},
        "windows": ["1970-W28"],
        "event_types": ["purchase"],
        "users": users,
        "seed": 7,
    }


def test_quality_is_that_of_a_ranking_from_whole_histories(
    shop: TinyShop, package: Path, partitions: dict[str, Path]
) -> None:
    found = answer(asked(package, partitions))["1970-W28"]
    starts, ends = 186.0, 193.0
    assert (EPOCH + timedelta(days=starts)).date() == date.fromisocalendar(1970, 28, 1)
    before, inside = shop.days < starts, (shop.days >= starts) & (shop.days < ends)
    histories = Histories.from_events(
        shop.users[before],
        shop.items[before],
        shop.days[before],
        np.ones(int(before.sum()), np.float32),
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        as_of=starts,
    )
    champion = Champion.load(package)
    wanted = np.zeros((NUM_USERS, NUM_ITEMS), bool)
    wanted[shop.users[inside], shop.items[inside]] = True
    wanted = wanted[:, champion.candidates]
    scores = champion.ranker.score(histories, champion.candidates)
    served = wanted.any(axis=1)
    expected = ranking.mean(ranking.ndcg(ranking.rank_users(scores[served], wanted[served], 10)))
    assert found["users"] == int(served.sum())
    assert found["ndcg_at_10"] == pytest.approx(expected, abs=1e-6)
    assert float(found["ndcg_at_10"] or 0) > 0.2


def test_quality_asks_few_users_and_the_same_ones_again(package: Path, partitions: dict[str, Path]) -> None:
    few = answer(asked(package, partitions, users=5))["1970-W28"]
    assert few["users"] == 5
    assert answer(asked(package, partitions, users=5))["1970-W28"] == few


def test_quality_does_not_depend_on_the_key_and_follows_users_that_were_rekeyed_since(
    package: Path, partitions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing((bytes(32),)).rotated()
    write_ring(ring, tmp_path)
    monkeypatch.setenv("SHOPLOOM_HOME", str(tmp_path))
    first = ring.through(ring.ids[0])
    trained = Path(shutil.copytree(package, tmp_path / "package"))
    catalogue = Catalogue.load(package / CATALOGUE_FOLDER)
    names = tuple(first.pseudonym(name) for name in catalogue.user_ids)
    replace(catalogue, user_ids=names, user_key=first.ids[0]).save(trained / CATALOGUE_FOLDER)
    write_manifest(trained, Facts(AS_OF, AS_OF, 10, 0.1, 0.1, 0.1, 0.0, 0.0))
    rekeyed = {name: tmp_path / path.name for name, path in partitions.items()}
    for name, path in partitions.items():
        write_table(ring.table(read_table(path)), rekeyed[name])
    for users in (5, 1000):
        assert answer(asked(trained, rekeyed, users)) == answer(asked(package, partitions, users))


def test_quality_is_none_where_nobody_bought_a_candidate(
    package: Path, partitions: dict[str, Path], tmp_path: Path
) -> None:
    empty = tmp_path / "1970-W28.parquet"
    write_table(EVENTS.schema.empty_table(), empty)
    request, answered = tmp_path / "request.json", tmp_path / "answer.json"
    write_json(asked(package, {**partitions, "1970-W28": empty}), request)
    write_json(answer(read_json(request)), answered)
    assert read_json(answered) == {"1970-W28": {"ndcg_at_10": None, "users": 0}}


def test_windows_are_what_came_after_the_champion(partitions: dict[str, Path]) -> None:
    landed = Landed({name: name for name in partitions}, "", {name: str(path) for name, path in partitions.items()})
    names = landed.in_order()
    trained = Landed({name: name for name in names[:2]}, "", {})
    assert windows_of(landed, trained, MonitorParams(n=2)) == names[2:][-2:]
    assert windows_of(landed, landed, MonitorParams()) == []
    assert windows_of(landed, None, MonitorParams(n=3)) == names[-3:]
    assert list(since(landed, AS_OF)) == names[1:]
    assert list(since(landed, 187.0)) == names[2:]
    assert since(Landed(landed.events, "", {}), AS_OF) == {}
