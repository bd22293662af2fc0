"""Cold items: attributes as groups, simulated launches, and what is learned from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.errors import ModelError
from pipelines.models.attributes import Attributes
from pipelines.models.base import Histories, Training
from pipelines.models.cold_start import MIN_LAUNCHED_PAIRS, ColdStart, ColdStartSettings
from pipelines.models.launches import appeal_features, split_launches
from tests.tiny_models import nobody

NUM_USERS, NUM_ITEMS, TYPES = 60, 400, 8
SETTINGS = ColdStartSettings(rounds=20)


def launching_shop(seed: int = 5) -> tuple[Histories, Attributes, np.ndarray, np.ndarray]:
    """A shop whose even types launch an item every few days, and whose odd types never do.

    Returns:
        The purchases, the attributes, and the users and items of the purchases after them.
    """
    rng = np.random.default_rng(seed)
    kinds = np.arange(NUM_ITEMS) % TYPES
    launched = np.where(kinds % 2 == 0, rng.uniform(0.0, 240.0, NUM_ITEMS), 0.0)
    launched[(kinds % 2 == 1) & (rng.random(NUM_ITEMS) < 0.5)] = np.inf
    users, items, days = [], [], []
    for user in range(NUM_USERS):
        for day in np.sort(rng.uniform(0.0, 240.0, 120)):
            on_sale = np.flatnonzero((launched <= day) & (kinds // 2 == user % (TYPES // 2)))
            if len(on_sale):
                users.append(user)
                items.append(rng.choice(on_sale))
                days.append(day)
    owners, bought, when = np.array(users, np.int32), np.array(items, np.int32), np.array(days)
    early = when < 200.0
    ones = np.ones(int(early.sum()), np.float32)
    sizes = {"num_users": NUM_USERS, "num_items": NUM_ITEMS}
    histories = Histories.from_events(owners[early], bought[early], when[early], ones, as_of=200.0, **sizes)
    groups = {"category_1": (kinds // 4 + 1).astype(np.int32), "category_2": (kinds + 1).astype(np.int32)}
    return histories, Attributes(groups), owners[~early], bought[~early]


def test_launches_hide_the_last_days_and_keep_what_was_cold_before_them() -> None:
    users, items = np.array([0, 0, 1, 1, 1], np.int32), np.array([0, 1, 1, 2, 2], np.int32)
    days = np.array([10.0, 95.0, 96.0, 97.0, 98.0])
    history = Histories.from_events(users, items, days, np.ones(5, np.float32), num_users=2, num_items=4, as_of=100.0)
    launches = split_launches(history, 42.0)
    assert launches.before.items.tolist() == [0]
    assert launches.before.ages.tolist() == [48.0]
    assert launches.cold.tolist() == [1, 2, 3]
    assert list(zip(launches.users.tolist(), launches.items.tolist(), strict=True)) == [(0, 1), (1, 1), (1, 2)]


def test_a_cold_item_is_described_by_its_groups_and_not_by_what_comes_later() -> None:
    histories, attributes, *_ = launching_shop()
    groups = np.stack(list(attributes.groups.values()))
    before = split_launches(histories, 42.0).before
    rows = appeal_features(before, groups, 42.0)
    assert np.isfinite(rows).all()
    cold = np.flatnonzero(np.bincount(before.items, minlength=NUM_ITEMS) == 0)
    same = np.flatnonzero(groups[1] == groups[1][cold[0]])
    of_groups = rows[:, : rows.shape[1] - 12]
    np.testing.assert_array_equal(
        of_groups[np.intersect1d(cold, same)], of_groups[cold[:1]].repeat(len(np.intersect1d(cold, same)), axis=0)
    )


def test_cold_start_finds_what_each_user_will_buy_of_what_nobody_bought() -> None:
    histories, attributes, users, items = launching_shop()
    assert len(split_launches(histories, 42.0).users) >= MIN_LAUNCHED_PAIRS
    model = ColdStart.fit(Training(histories, attributes=attributes), SETTINGS)
    cold = np.flatnonzero(np.bincount(histories.items, minlength=NUM_ITEMS) == 0).astype(np.int32)
    bought = np.zeros((NUM_USERS, NUM_ITEMS), bool)
    bought[users, items] = True
    buyers = np.flatnonzero(bought[:, cold].any(axis=1))
    best = model.recommend(histories, 10, cold)[buyers]
    hits = np.take_along_axis(bought[buyers], best, axis=1).mean()
    chance = bought[np.ix_(buyers, cold)].mean()
    assert hits > 4 * chance
    scores = model.score(histories, cold)
    assert np.isfinite(scores).all()
    assert np.ptp(scores, axis=0).min() > 0
    assert np.ptp(model.score(nobody(NUM_ITEMS), cold)) > 0


def test_cold_start_writes_equal_bytes_when_fitted_again(tmp_path: Path) -> None:
    histories, attributes, *_ = launching_shop()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        ColdStart.fit(Training(histories, attributes=attributes), SETTINGS).save(tmp_path / name)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")]
    assert files[0] == files[1]
    again = ColdStart.load(tmp_path / "first")
    model = ColdStart.fit(Training(histories, attributes=attributes), SETTINGS)
    items = np.arange(NUM_ITEMS, dtype=np.int32)
    np.testing.assert_array_equal(again.score(histories, items), model.score(histories, items))


def test_cold_start_asks_for_attributes() -> None:
    histories, *_ = launching_shop()
    with pytest.raises(ModelError, match="attributes"):
        ColdStart.fit(Training(histories), SETTINGS)


def test_attributes_are_numbered_by_name_and_crossed_with_the_category() -> None:
    items = pa.table(
        {
            "category": [["food", "milk"], ["food", "milk"], ["food", "tea"], ["home", "soap"], None, ["home", "soap"]],
            "brand": ["a", "b", "a", "a", None, "a"],
        }
    )
    makers = [{"maker": name} if name else {} for name in ("x", "x", "y", "y", "", "y")]
    attributes = Attributes.of_items(items, makers)
    assert attributes.groups["category_1"].tolist() == [1, 1, 1, 2, 0, 2]
    assert attributes.groups["attribute_maker"].tolist() == [1, 1, 2, 2, 0, 2]
    assert attributes.groups["brand"].tolist() == [1, 2, 1, 1, 0, 1]
    assert "category_2_brand" not in attributes.groups, "more groups than half the items say nothing"
    with pytest.raises(ModelError, match="6 items have a category_1, and there are 5"):
        attributes.check(5)
