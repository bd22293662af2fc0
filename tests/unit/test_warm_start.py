"""A factorization that starts from an earlier run's factors, and the plain baselines of cold items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.metrics.cold_items import EVERYBODYS, OWN, category_codes, category_scorers, times_baseline
from pipelines.models.base import Histories, Previous, Training
from pipelines.models.launches import split_launches
from pipelines.models.matrix_factorization import (
    FactorizationSettings,
    MatrixFactorization,
    confidences,
    first_vectors,
)
from tests.tiny_models import FACTORIZATION, NUM_ITEMS, TinyShop, files_of

WARM = FACTORIZATION.model_copy(update={"warm": True})


@pytest.fixture(scope="module")
def shop() -> TinyShop:
    return TinyShop()


@pytest.fixture(scope="module")
def previous(shop: TinyShop, tmp_path_factory: pytest.TempPathFactory) -> Previous:
    """The factorization of 30 days before, whose run numbered the items the other way round."""
    order = np.arange(NUM_ITEMS, dtype=np.int32)[::-1].copy()
    before = split_launches(shop.histories, 30.0).before
    other = replace(before, items=order[before.items])
    folder = tmp_path_factory.mktemp("previous")
    settings = FACTORIZATION.model_copy(update={"iterations": 30})
    MatrixFactorization.fit(Training(other), settings).save(folder)
    return Previous(folder, order)


def objective(model: MatrixFactorization, histories: Histories) -> float:
    """What ALS makes small: weighted squared errors of 1 where bought and 0 elsewhere, and the vectors' lengths."""
    weights = confidences(histories, model.alpha).toarray().astype(np.float64)
    users, items = model.fold_in(histories), model.item_vectors(np.arange(NUM_ITEMS, dtype=np.int32))
    errors = (weights > 0) - users.astype(np.float64) @ items.T
    lengths = float((users.astype(np.float64) ** 2).sum() + (items.astype(np.float64) ** 2).sum())
    return float((np.where(weights > 0, weights, 1.0) * errors**2).sum()) + model.regularization * lengths


def sweeps(shop: TinyShop, count: int, settings: FactorizationSettings, previous: Previous | None) -> float:
    settings = settings.model_copy(update={"iterations": count, "warm_iterations": count})
    return objective(MatrixFactorization.fit(shop.training(previous=previous), settings), shop.histories)


def test_a_warm_start_is_after_one_sweep_where_a_fresh_one_is_after_several(shop: TinyShop, previous: Previous) -> None:
    warm = sweeps(shop, 1, WARM, previous)
    fresh = [sweeps(shop, count, FACTORIZATION, None) for count in (1, 2, 4)]
    assert warm < min(fresh)


def test_a_warm_start_maps_items_by_name_and_gives_new_ones_zero(shop: TinyShop, previous: Previous) -> None:
    bought = np.unique(shop.histories.items).astype(np.int32)
    earlier = MatrixFactorization.load(previous.folder)
    start = first_vectors(previous, bought, WARM)
    assert start is not None
    for row, item in enumerate(bought):
        np.testing.assert_array_equal(start[row], earlier.item_vectors(previous.items[[item]])[0])
    gone = replace(previous, items=np.full_like(previous.items, -1))
    assert not np.any(first_vectors(gone, bought, WARM))


def test_a_warm_start_is_only_made_where_it_is_asked_for_and_fits(
    shop: TinyShop, previous: Previous, tmp_path: Path
) -> None:
    fresh, warm = MatrixFactorization.fit(shop.training(), FACTORIZATION), shop.training(previous=previous)
    wider = WARM.model_copy(update={"factors": 9})
    for name, model in (("fresh", fresh), ("not asked", MatrixFactorization.fit(warm, FACTORIZATION))):
        (tmp_path / name).mkdir()
        model.save(tmp_path / name)
    assert files_of(tmp_path / "fresh") == files_of(tmp_path / "not asked")
    assert first_vectors(previous, np.unique(shop.histories.items).astype(np.int32), wider) is None
    assert MatrixFactorization.fit(warm, wider).vectors.shape[1] == 9


def test_a_warm_start_gives_equal_bytes_when_made_again(shop: TinyShop, previous: Previous, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        MatrixFactorization.fit(shop.training(previous=previous), WARM).save(tmp_path / name)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")


def test_category_baselines_by_hand() -> None:
    codes = category_codes(["tea", "milk", "milk", None, "tea", "milk"])
    assert codes.tolist() == [2, 1, 1, 0, 2, 1]
    bought = np.array([0, 0, 1, 0], np.int32), np.array([1, 2, 0, 1], np.int32)
    days = np.array([1.0, 2.0, 3.0, 4.0])
    histories = Histories.from_events(*bought, days, np.ones(4, np.float32), num_users=2, num_items=6, as_of=5.0)
    cold = np.array([3, 4, 5], np.int32)
    scorers = category_scorers(codes, histories, histories, cold)
    assert scorers[EVERYBODYS](0, 2).tolist() == [[0.0, 1.0, 3.0]] * 2
    own = [[0.0, 0 + 1 / 4, 3 + 3 / 4], [0.0, 1 + 1 / 4, 0 + 3 / 4]]
    np.testing.assert_allclose(scorers[OWN](0, 2), own)
    np.testing.assert_allclose(scorers[OWN](1, 2), own[1:])
    rows = {EVERYBODYS: {"r": 0.1}, OWN: {"r": 0.2}, "model": {"r": 0.7}}
    assert times_baseline(rows, "r") == {EVERYBODYS: 0.5, OWN: 1.0, "model": 3.5}
    assert times_baseline({"model": {"r": 0.7}}, "r") == {"model": None}
