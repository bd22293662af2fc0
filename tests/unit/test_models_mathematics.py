"""The models' mathematics, against the library or the textbook formula."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pipelines.artifacts import read_json, write_arrays, write_json
from pipelines.errors import DataError, ModelError
from pipelines.metrics.ranking import top_k
from pipelines.models.base import Histories, Training
from pipelines.models.blend import load_blend
from pipelines.models.blend_settings import BLEND_FILE
from pipelines.models.features import feature_names, features
from pipelines.models.fused import principal_components
from pipelines.models.histories import dense_columns, pairs_of, purchase_counts
from pipelines.models.linear import Linear, LinearSettings
from pipelines.models.matrix_factorization import MatrixFactorization, confidences
from pipelines.models.popularity import Popularity, candidates_of
from pipelines.models.repeat import OwnCounts, windows_of
from pipelines.models.signals import _add_best, score_densely, shortlist
from pipelines.models.tree_blend import TREES_FILE
from tests.tiny_models import FACTORIZATION, NUM_ITEMS, NUM_USERS, TinyShop, files_of, nobody


@pytest.fixture(scope="module")
def shop() -> TinyShop:
    return TinyShop()


def test_matrix_factorization_folds_in_as_implicit_does(shop: TinyShop) -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    settings = FACTORIZATION
    bought = np.unique(shop.histories.items)
    ratings = confidences(shop.histories, settings.alpha)[:, bought].tocsr()
    with threadpool_limits(limits=1, user_api="blas"):
        als = AlternatingLeastSquares(
            factors=settings.factors,
            regularization=settings.regularization,
            alpha=1.0,
            iterations=settings.iterations,
            num_threads=1,
            random_state=shop.training().seed,
        )
        als.fit(ratings, show_progress=False)
        expected = als.recalculate_user(np.arange(NUM_USERS), ratings)
    model = shop.factorization()
    np.testing.assert_array_equal(model.vectors, als.item_factors)
    np.testing.assert_allclose(model.fold_in(shop.histories), expected, rtol=2e-3, atol=2e-5)


def test_matrix_factorization_folds_the_same_histories_in_once(shop: TinyShop) -> None:
    model, one, other = shop.factorization(), shop.histories.take(0, 1), shop.histories.take(1, 2)
    first = model.fold_in(one)
    assert model.fold_in(one) is first
    np.testing.assert_array_equal(model.fold_in(other), shop.factorization().fold_in(other))
    np.testing.assert_array_equal(model.fold_in(one), first)


def test_matrix_factorization_gives_equal_bytes_when_threads_differ(shop: TinyShop, tmp_path: Path) -> None:
    for threads in (1, 2):
        directory = tmp_path / str(threads)
        directory.mkdir()
        MatrixFactorization.fit(shop.training(), FACTORIZATION.model_copy(update={"threads": threads})).save(directory)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")


def test_matrix_factorization_refuses_to_fit_without_events() -> None:
    with pytest.raises(ModelError, match="at least one purchase"):
        MatrixFactorization.fit(Training(nobody()), FACTORIZATION)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_linear_equals_the_primal_solution_of_ease(shop: TinyShop, power: float) -> None:
    regularization = 5.0
    rows = purchase_counts(shop.histories).toarray().astype(np.float64)
    rows = np.where(rows > 0, rows**power, 0.0)
    inverse = np.linalg.inv(rows.T @ rows + regularization * np.eye(NUM_ITEMS))
    weights = np.eye(NUM_ITEMS) - inverse / np.diag(inverse)
    assert np.allclose(np.diag(weights), 0.0)
    scores = Linear.fit(shop.training(), LinearSettings(regularization=regularization, power=power)).score(
        shop.histories, shop.candidates
    )
    expected = rows @ weights
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_linear_scores_a_history_that_it_never_saw(shop: TinyShop) -> None:
    model = Linear.fit(Training(shop.histories.take(0, 40)), LinearSettings(regularization=5.0, power=0.0))
    stranger = Histories(np.array([0, 1]), np.array([3], np.int32), np.ones(1, np.float32), np.ones(1, np.float32), 60)
    scores = model.score(stranger, shop.candidates)[0]
    same_taste = shop.candidates[3:-1:4]
    assert scores[3] == pytest.approx(0.0, abs=1e-5)
    assert scores[same_taste].mean() > np.delete(scores, same_taste).mean()


def test_popularity_counts_by_hand() -> None:
    users = np.array([0, 0, 0, 1, 1], np.int32)
    items = np.array([0, 0, 1, 0, 0], np.int32)
    days = np.array([1.0, 60.0, 60.0, 99.0, 99.5])
    history = Histories.from_events(users, items, days, np.ones(5, np.float32), num_users=3, num_items=3, as_of=100.5)
    popularity = Popularity.of(history)
    assert popularity.buyers.tolist() == [2, 1, 0]
    assert popularity.repeat_buyers.tolist() == [1, 0, 0]
    assert popularity.recent.tolist() == [[1, 1, 1, 2, 2], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]
    assert popularity.newcomers.tolist() == [1, 0, 0]
    assert popularity.candidates(2).tolist() == [0]
    assert popularity.candidates(9).tolist() == [0, 1]  # no item has as many: all that was bought
    with pytest.raises(ModelError, match=r"no item was bought\n  -> land more"):
        candidates_of(np.zeros(3, np.int32), 1)
    assert popularity.buyers.dtype == popularity.repeat_buyers.dtype == np.int32
    assert popularity.recent.dtype == np.float32


@pytest.mark.parametrize(
    ("days", "quantities", "named"), [([1, np.nan], [1, 1], "time nan"), ([1, 2], [1, np.inf], "quantity inf")]
)
def test_histories_refuse_what_is_not_finite(days: list[float], quantities: list[float], named: str) -> None:
    ids = np.array([0, 1], np.int32)
    columns = np.array(days, np.float64), np.array(quantities, np.float32)
    with pytest.raises(DataError, match=f"event 1, of user 1, has the {named}"):
        Histories.from_events(ids, ids, *columns, num_users=2, num_items=2, as_of=9.0)


def test_pairs_measure_the_gap_between_purchases_by_hand() -> None:
    days = np.array([0.0, 10.0, 10.2, 30.0, 5.0])
    history = Histories.from_events(
        np.array([0, 0, 0, 0, 1], np.int32),
        np.array([2, 2, 2, 2, 1], np.int32),
        days,
        np.ones(5, np.float32),
        num_users=2,
        num_items=3,
        as_of=40.5,
    )
    pairs = pairs_of(history)
    assert pairs.items.tolist() == [2, 1]
    assert pairs.counts.tolist() == [4, 1]
    assert pairs.days.tolist() == [3, 1]
    assert pairs.last.tolist() == [10.5, 35.5]
    assert pairs.gap.tolist() == [30 / 2, 0]


def test_own_counts_orders_ties_by_buyers(shop: TinyShop) -> None:
    scores = OwnCounts(shop.popularity.buyers).score(nobody(), shop.candidates)[0]
    assert np.array_equal(np.argsort(-scores, kind="stable"), np.argsort(-shop.popularity.buyers, kind="stable"))
    assert scores.max() < 1


def test_principal_components_keep_dot_products_when_none_is_dropped() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 5))
    rotated, explained = principal_components(rows, 5, centre=False)
    np.testing.assert_allclose(rotated @ rotated.T, rows @ rows.T)
    assert explained.sum() == pytest.approx(1.0)
    assert (np.diff(explained) <= 0).all()


def test_fused_places_a_product_that_nobody_bought_near_its_text_s_kin(shop: TinyShop) -> None:
    fused = shop.fused()
    cold = NUM_ITEMS - 1
    assert shop.popularity.buyers[cold] == 0
    assert not shop.factorization().item_vectors(np.array([cold], np.int32)).any()
    unit = fused.vectors / np.linalg.norm(fused.vectors, axis=1, keepdims=True)
    near = unit[:cold] @ unit[cold]
    kin = np.arange(cold) % 4 == cold % 4
    assert near[kin].mean() > near[~kin].mean() + 0.3


def test_shortlist_holds_what_was_bought_and_the_best_of_every_signal(shop: TinyShop) -> None:
    signals = shop.signals()
    scored = score_densely(signals, shop.histories, shop.candidates)
    rows = shortlist(signals, scored, 3)
    listed = np.zeros((NUM_USERS, NUM_ITEMS), bool)
    listed[rows.users, rows.positions] = True
    assert listed[scored.bought].all()
    for scores in scored.dense:
        best = np.argmax(np.where(scored.bought, -np.inf, scores), axis=1)
        assert listed[np.arange(NUM_USERS), best].all()


def test_features_are_finite_and_the_same_alone_and_in_company(shop: TinyShop) -> None:
    signals = shop.signals()
    scored = score_densely(signals, shop.histories, shop.candidates)
    rows = shortlist(signals, scored, 3)
    together = features(signals, shop.histories, scored, rows)
    assert together.shape == (len(rows.users), len(feature_names(signals)))
    assert np.isfinite(together).all()
    alone = shop.histories.take(7, 8)
    scored_alone = score_densely(signals, alone, shop.candidates)
    rows_alone = shortlist(signals, scored_alone, 3)
    np.testing.assert_allclose(
        features(signals, alone, scored_alone, rows_alone), together[rows.users == 7], rtol=1e-3, atol=1e-4
    )


def test_ranker_recommends_new_products_only_when_asked(shop: TinyShop) -> None:
    scores = shop.ranker().score(shop.histories, shop.candidates)
    items = top_k(scores, 5)
    assert (np.diff(np.take_along_axis(scores, items, axis=1), axis=1) <= 0).all()
    assert (items >= 0).all()
    new = top_k(scores, 5, dense_columns(purchase_counts(shop.histories), shop.candidates) > 0)
    for user in range(NUM_USERS):
        own = shop.histories.items[shop.histories.indptr[user] : shop.histories.indptr[user + 1]]
        assert not np.isin(new[user], own).any()
        assert len(set(new[user].tolist())) == 5


def test_ranker_takes_what_its_models_said_before_in_place_of_asking_them(
    shop: TinyShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = shop.ranker()
    expected = ranker.score(shop.histories, shop.candidates)
    dense = {name: model for name, model in ranker.signals.chosen.items() if model.dense}
    known = {name: model.score(shop.histories, shop.candidates) for name, model in dense.items()}
    for model in dense.values():
        monkeypatch.setattr(model, "score", None)
    np.testing.assert_array_equal(ranker.score(shop.histories, shop.candidates, known), expected)


def test_shortlist_takes_as_many_of_every_signal_as_are_asked_ties_by_position() -> None:
    scores = np.array([[1, 2, 2, 2, 0], [3, 1, 4, 0, 0], [0, 0, 0, 0, 0]], np.float32)
    chosen = np.zeros(scores.shape, bool)
    _add_best(chosen, scores, 2)
    assert [np.flatnonzero(row).tolist() for row in chosen] == [[1, 2], [0, 2], [0, 1]]


def test_trees_that_are_no_trees_are_refused_by_the_name_of_their_file(shop: TinyShop, tmp_path: Path) -> None:
    ranker = shop.ranker()
    ranker.blend.save(tmp_path)
    names = feature_names(ranker.signals)
    header, content = read_json(tmp_path / BLEND_FILE), b"no trees at all"
    (tmp_path / TREES_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{TREES_FILE} is not what {BLEND_FILE} says"):
        load_blend(tmp_path, names)
    write_json({**header, "trees_sha256": sha256(content).hexdigest()}, tmp_path / BLEND_FILE)
    with pytest.raises(ModelError, match=f"{TREES_FILE} holds no trees"):
        load_blend(tmp_path, names)


def test_ranker_assembles_from_the_stages_folders(shop: TinyShop, tmp_path: Path) -> None:
    from pipelines.models.ranker import Ranker

    ranker = shop.ranker()
    signals = ranker.signals
    for model in signals.chosen.values():
        (tmp_path / str(model.stage) / "final").mkdir(parents=True)
        model.save(tmp_path / str(model.stage) / "final")
    ranker.part.save(tmp_path / "rank")
    texts = tmp_path / "texts.safetensors"
    write_arrays({"embeddings": signals.texts.embeddings, "text_index": signals.texts.text_index}, texts)
    again = Ranker.assemble(tmp_path / "rank", texts, tmp_path)
    expected = ranker.score(shop.histories, shop.candidates)
    np.testing.assert_array_equal(again.score(shop.histories, shop.candidates), expected)


def test_ranker_pads_when_fewer_products_exist_than_asked(shop: TinyShop) -> None:
    scores = shop.ranker().score(shop.histories.take(0, 2), np.array([1, 2], np.int32))
    places = top_k(scores, 4)
    assert scores.shape == (2, 2)
    assert (places[:, 2:] == -1).all()
    assert sorted(places[0, :2].tolist()) == [0, 1]


def test_repeat_counts_what_was_bought_again_in_each_window_by_hand() -> None:
    ages = np.array([50.0, 40.0, 30.0, 10.0])
    items = np.array([0, 1, 0, 0], np.int32)
    users, ones = np.zeros(4, np.int32), np.ones(4, np.float32)
    history = Histories.from_events(users, items, 100.0 - ages, ones, num_users=1, num_items=2, as_of=100.0)
    latest, earlier = windows_of(history, 20.0, 5)
    for pairs, again in (latest, earlier):
        assert pairs.items.tolist() == [0, 1]
        assert again.tolist() == [True, False]
    assert latest[0].last.tolist() == [10.0, 20.0]
    assert latest[0].days.tolist() == [2.0, 1.0]
    assert earlier[0].last.tolist() == [10.0, 0.0]
    assert len(windows_of(history, 20.0, 1)) == 1
    assert len(windows_of(nobody(), 20.0, 5)) == 1
