"""The forms of the linear model against one another and against the closed form written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import random_array
from threadpoolctl import threadpool_limits

from pipelines.artifacts import read_arrays, read_json, write_arrays
from pipelines.errors import ModelError
from pipelines.models.base import Model, Training
from pipelines.models.files import ARRAYS_FILE, SETTINGS_FILE, SPARSE
from pipelines.models.histories import purchase_counts
from pipelines.models.linear import Linear, LinearSettings
from pipelines.models.linear_forms import Dual, Sparse
from pipelines.models.linear_solvers import dual_kernel, exact_weights, neighbour_weights, symmetric_inverse
from pipelines.models.recent_linear import RecentLinear
from tests.files import edited_json
from tests.tiny_models import NUM_ITEMS, TinyShop

ALL = NUM_ITEMS
FEW_USERS = 30
"""Fewer than they bought items."""


@pytest.fixture(scope="module")
def shop() -> TinyShop:
    return TinyShop()


def closed_form(shop: TinyShop, regularization: float) -> np.ndarray:
    """EASE's weights by NumPy, float64 [num_items, num_items]."""
    rows = purchase_counts(shop.histories).toarray().astype(np.float64)
    inverse = np.linalg.inv(rows.T @ rows + regularization * np.eye(NUM_ITEMS))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights)


def test_exact_form_equals_the_closed_form(shop: TinyShop) -> None:
    weights = exact_weights(purchase_counts(shop.histories), 50.0, ALL).toarray()
    np.testing.assert_allclose(weights, closed_form(shop, 50.0), atol=2e-5)


def test_neighbourhoods_of_the_whole_catalogue_equal_the_closed_form(shop: TinyShop) -> None:
    together = purchase_counts(shop.histories)
    weights = neighbour_weights(together, 50.0, ALL).toarray()
    bought_together = (together.T @ together).toarray() > 0
    assert not weights[~bought_together].any()
    np.testing.assert_allclose(weights, closed_form(shop, 50.0), atol=5e-3)


def test_dual_kernel_is_the_inverse_and_the_same_on_any_number_of_threads() -> None:
    rows = random_array((400, 900), density=0.05, format="csr", dtype=np.float32, rng=np.random.default_rng(5))
    kernels = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads, user_api="blas"):
            kernels.append(dual_kernel(rows, 20.0))
    np.testing.assert_array_equal(*kernels)
    gram = (rows @ rows.T).toarray().astype(np.float64) + 20.0 * np.eye(400)
    np.testing.assert_allclose(kernels[0], np.linalg.inv(gram), rtol=1e-6, atol=1e-9)


def test_forms_score_alike(shop: TinyShop) -> None:
    settings = LinearSettings(regularization=50.0, power=0.5)
    dual = Linear(Dual(*_dual(shop, settings)), settings.power)
    exact = Linear.fit(shop.training(), settings.model_copy(update={"dual_users": 0}))
    assert isinstance(exact.weights, Sparse)
    np.testing.assert_allclose(
        exact.score(shop.histories, shop.candidates), dual.score(shop.histories, shop.candidates), atol=1e-3
    )


@pytest.mark.parametrize("kind", [Linear, RecentLinear])
def test_no_shop_has_too_many_users_or_items(shop: TinyShop, kind: type[Model], tmp_path: Path) -> None:
    few, wide = Training(shop.histories.take(0, FEW_USERS)), {"dual_users": FEW_USERS, "exact_items": NUM_ITEMS}
    inverse_of = {"users": wide, "items": {**wide, "dual_users": 0}, "neighbours": {"dual_users": 0, "exact_items": 0}}
    found = {}
    for name, limits in inverse_of.items():
        model = kind.fit(few, kind.Settings(regularization=50.0, neighbours=NUM_ITEMS, **limits))
        model.save(tmp_path)
        found[name] = model.score(shop.histories, shop.candidates)
        np.testing.assert_array_equal(kind.load(tmp_path).score(shop.histories, shop.candidates), found[name])
    np.testing.assert_allclose(found["items"], found["users"], atol=1e-3)
    assert np.corrcoef(found["neighbours"].ravel(), found["users"].ravel())[0, 1] > 0.98


@pytest.mark.parametrize("kind", [Linear, RecentLinear])
def test_files_that_lost_their_form_or_kernel_are_refused(shop: TinyShop, kind: type[Model], tmp_path: Path) -> None:
    kind.fit(Training(shop.histories.take(0, FEW_USERS)), kind.Settings()).save(tmp_path)
    whole = read_arrays(tmp_path / ARRAYS_FILE)
    for said in ({"settings": {**read_json(tmp_path / SETTINGS_FILE)["settings"], "form": "other"}}, {"settings": {}}):
        with edited_json(tmp_path / SETTINGS_FILE, **said), pytest.raises(ModelError, match=r"form|lacks the setting"):
            kind.load(tmp_path)
    wrong = {**read_json(tmp_path / SETTINGS_FILE)["settings"], "num_items": "many"}
    with edited_json(tmp_path / SETTINGS_FILE, settings=wrong), pytest.raises(ModelError, match="number of items"):
        kind.load(tmp_path)
    write_arrays({name: whole[name] for name in SPARSE}, tmp_path / ARRAYS_FILE)
    with pytest.raises(ModelError, match="kernel"):
        kind.load(tmp_path)


def _dual(shop: TinyShop, settings: LinearSettings) -> tuple[object, np.ndarray]:
    rows = purchase_counts(shop.histories)
    rows.data = rows.data ** np.float32(settings.power)
    gram = (rows @ rows.T).toarray().astype(np.float64) + settings.regularization * np.eye(rows.shape[0])
    return rows, np.linalg.inv(gram).astype(np.float32)


def test_weights_are_kept_by_their_size(shop: TinyShop) -> None:
    whole = np.abs(exact_weights(purchase_counts(shop.histories), 50.0, ALL).toarray())
    kept = exact_weights(purchase_counts(shop.histories), 50.0, 5)
    assert np.diff(kept.indptr).max() == 5
    np.testing.assert_allclose(
        np.abs(kept.toarray()).sum(axis=1), np.sort(whole, axis=1)[:, -5:].sum(axis=1), rtol=1e-6
    )


def test_a_neighbourhood_has_no_more_items_than_asked_for(shop: TinyShop) -> None:
    weights = neighbour_weights(purchase_counts(shop.histories), 50.0, 3)
    assert np.diff(weights.tocsc().indptr).max() == 3


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_inverse_is_symmetric_and_right_across_blocks(kind: type) -> None:
    root = np.random.default_rng(0).normal(size=(1100, 1100))
    matrix = (root @ root.T / 1100 + np.eye(1100)).astype(kind)
    inverse = symmetric_inverse(matrix.copy())
    np.testing.assert_array_equal(inverse, inverse.T)
    np.testing.assert_allclose(inverse @ matrix, np.eye(1100), atol=2e-4)


def test_inverse_of_what_has_none_is_refused() -> None:
    for matrix in (-np.eye(3), np.full((3, 3), np.nan)):
        with pytest.raises(ModelError, match="no inverse"):
            symmetric_inverse(matrix)


def test_purchases_of_long_ago_count_less_when_a_half_life_is_set(shop: TinyShop) -> None:
    plain = Linear.fit(shop.training(), LinearSettings(regularization=50.0))
    recent = Linear(plain.weights, plain.power, half_life_days=10.0)
    assert not np.allclose(plain.score(shop.histories, shop.candidates), recent.score(shop.histories, shop.candidates))


def test_dual_form_is_read_with_its_diagonal_and_scores_alike_without(shop: TinyShop, tmp_path: Path) -> None:
    settings = LinearSettings(regularization=50.0, power=0.5)
    fitted = Linear(Dual(*_dual(shop, settings)), settings.power)
    expected = fitted.score(shop.histories, shop.candidates)
    fitted.save(tmp_path)
    loaded = Linear.load(tmp_path)
    assert isinstance(loaded.weights, Dual)
    assert loaded.weights.diagonal is not None
    np.testing.assert_array_equal(loaded.score(shop.histories, shop.candidates), expected)

    arrays = read_arrays(tmp_path / ARRAYS_FILE)
    diagonal = arrays.pop("diagonal")
    write_arrays(arrays, tmp_path / ARRAYS_FILE)  # as it was saved before there was one
    np.testing.assert_array_equal(Linear.load(tmp_path).score(shop.histories, shop.candidates), expected)

    write_arrays({**arrays, "diagonal": diagonal[1:]}, tmp_path / ARRAYS_FILE)
    with pytest.raises(ModelError, match="diagonal"):
        Linear.load(tmp_path)
