"""The sequence model: nothing leaks from the future or within a basket, cold items are served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ModelError
from pipelines.models.base import Histories
from pipelines.models.histories import purchase_counts
from pipelines.models.sequence import Sequence
from pipelines.models.sequence_batches import Batches
from pipelines.models.sequence_network import first_weights, states
from pipelines.models.sequence_visits import START, Visits, baskets, first_purchases, tokens_of, windows_of
from pipelines.models.training import epoch_generator, read_curves
from tests.tiny_models import NUM_ITEMS, SEQUENCE, TinyShop, nobody


@pytest.fixture(scope="module")
def shop() -> TinyShop:
    return TinyShop()


@pytest.fixture(scope="module")
def fitted(shop: TinyShop) -> Sequence:
    return Sequence.fit(shop.training(), SEQUENCE)


def shopper(items: list[int], ages: list[float]) -> Histories:
    """One user's purchases."""
    rows = np.zeros(len(items), np.int32), np.array(items, np.int32), 100.0 - np.array(ages)
    return Histories.from_events(*rows, np.ones(len(items), np.float32), num_users=1, num_items=NUM_ITEMS, as_of=100.0)


def test_visits_are_what_was_bought_at_one_moment() -> None:
    history = shopper([5, 3, 9, 3], [40.0, 40.0, 7.0, 7.0])
    visits = Visits.of(history)
    assert visits.events.tolist() == [0, 2, 4]
    assert visits.ages.tolist() == [40.0, 7.0]
    tokens = tokens_of(visits, visits.users[:-1], visits.users[1:])
    assert tokens.visits.tolist() == [[START, 0, 1]]
    content = baskets(visits, tokens, history.items, NUM_ITEMS).toarray()
    assert not content[0].any()
    assert np.flatnonzero(content[1]).tolist() == [3, 5]
    np.testing.assert_allclose(content[1, 3], 1 / np.sqrt(2))


def test_windows_ask_for_every_visit_once(shop: TinyShop) -> None:
    visits = Visits.of(shop.histories)
    for length in (1, 7, 1000):
        low, high = windows_of(visits, length)
        assert (high - low).max() <= length
        asked = np.concatenate([np.arange(first, last) for first, last in zip(low, high, strict=True)])
        np.testing.assert_array_equal(np.sort(asked), np.arange(len(visits.ages)))


def test_no_token_that_is_asked_holds_what_it_is_asked_for(shop: TinyShop) -> None:
    baskets_of_ten = replace(shop.histories, ages=np.ceil(shop.histories.ages / 10) * 10)
    for ahead in (1, 3):
        settings = SEQUENCE.model_copy(update={"ahead": ahead, "visits": 5})
        batches = Batches(baskets_of_ten, shop.texts.texts, settings)
        for low, high in batches.windows:
            batch = batches.batch((low, high), epoch_generator(3, 1))
            length = batch["gaps"].shape[1]
            rows, places = np.divmod(batch["asked"], length)
            last = batches.ends_of(low)
            for row, place, item in zip(rows, places, batch["wanted"], strict=True):
                following = slice(
                    batches.visits.events[low[row] + place],
                    batches.visits.events[min(low[row] + place + ahead, last[row])],
                )
                assert item in baskets_of_ten.items[following]
            read = tokens_of(batches.visits, low, high - 1).visits.ravel()[batch["asked"]]
            assert np.all(read < low[rows] + places)


def test_only_first_purchases_are_asked_for_where_repeats_are_left_out(shop: TinyShop) -> None:
    history = shopper([5, 3, 3, 5, 7, 3], [40.0, 40.0, 40.0, 9.0, 9.0, 2.0])
    expected = [(3, True), (3, True), (5, True), (5, False), (7, True), (3, False)]
    assert list(zip(history.items, first_purchases(history), strict=True)) == expected
    batches = Batches(history, shop.texts.texts, SEQUENCE.model_copy(update={"repeats": False, "targets": 9}))
    batch = batches.batch(batches.windows[0], epoch_generator(3, 1))
    assert set(batch["wanted"][batch["asked"] == 0]) <= {3, 5}
    assert set(batch["wanted"][batch["asked"] == 1]) == {7}
    assert set(batch["asked"]) == {0, 1}


def test_a_later_event_changes_no_earlier_output(shop: TinyShop, fitted: Sequence) -> None:
    days = [80.0, 80.0, 51.0, 30.0, 9.0, 9.0]
    before = fitted.states(shopper([1, 2, 3, 4, 5, 6], days))[0]
    for changed, same in (([1, 2, 3, 4, 55, 6], 4), ([1, 2, 3, 50, 5, 6], 3), ([1, 9, 3, 4, 5, 6], 1)):
        after = fitted.states(shopper(changed, days))[0]
        np.testing.assert_array_equal(after[:same], before[:same])
        assert np.abs(after[same] - before[same]).max() > 1e-4
    moved = fitted.states(shopper([1, 2, 3, 4, 5, 6], [*days[:4], 1.0, 1.0]))[0]
    np.testing.assert_array_equal(moved[:4], before[:4])
    assert np.abs(moved[4] - before[4]).max() > 1e-6


def test_a_basket_has_no_order(fitted: Sequence) -> None:
    history = shopper([8, 1, 2, 3, 7], [20.0, 5.0, 5.0, 5.0, 5.0])
    other = replace(history, items=history.items[[0, 4, 2, 1, 3]])
    np.testing.assert_allclose(fitted.fold_in(other), fitted.fold_in(history), atol=1e-6)


def test_only_the_last_visits_are_read(fitted: Sequence) -> None:
    short = Sequence(
        fitted.weights, fitted.item_ids, fitted.ids, fitted.texts, fitted.text_index, fitted.demand, visits=2
    )
    ages = [90.0, 60.0, 20.0, 4.0]
    recent = short.fold_in(shopper([1, 2, 3, 4], ages))
    np.testing.assert_array_equal(short.fold_in(shopper([9, 2, 3, 4], ages)), recent)
    assert np.abs(short.fold_in(shopper([1, 2, 9, 4], ages)) - recent).max() > 1e-4


def test_numpy_serves_what_keras_learns(shop: TinyShop) -> None:
    from pipelines.models.keras_runtime import import_keras

    keras = import_keras()
    generator = np.random.default_rng(5)
    weights = {
        name: array + 0.3 * generator.normal(size=array.shape).astype(np.float32)
        for name, array in first_weights(8, 2, 3, generator).items()
    }
    visits = Visits.of(shop.histories)
    tokens = tokens_of(visits, visits.users[:-1], visits.users[1:])
    content = generator.normal(size=(*tokens.visits.shape, 8)).astype(np.float32)
    given = tokens.gaps, tokens.days, tokens.apart
    ours, theirs = states(np, weights, content, given), states(keras.ops, weights, content, given)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, np.asarray(theirs), atol=2e-5)


def test_cold_items_are_scored_by_their_text_alone(shop: TinyShop, fitted: Sequence) -> None:
    cold = NUM_ITEMS - 1
    assert not purchase_counts(shop.histories)[:, [cold]].nnz
    np.testing.assert_array_equal(
        fitted.item_vectors(np.array([cold], np.int32))[0], fitted.texts[fitted.text_index[cold]]
    )
    scores = fitted.score(shop.histories, shop.candidates)[:-1]
    taste = (np.arange(len(scores)) % 4) == cold % 4
    assert scores[taste, cold].mean() > scores[~taste, cold].mean()


def test_items_of_few_buyers_have_no_id_unless_all_are(shop: TinyShop) -> None:
    quick = SEQUENCE.model_copy(update={"epochs": 1, "layers": 0})
    some = Sequence.fit(shop.training(), quick.model_copy(update={"min_buyers": 15}))
    assert 0 < len(some.item_ids) < NUM_ITEMS - 1
    every = Sequence.fit(shop.training(), quick.model_copy(update={"min_buyers": 1000}))
    assert len(every.item_ids) >= 1


def test_users_without_events_get_what_first_visits_hold(shop: TinyShop, fitted: Sequence) -> None:
    np.testing.assert_allclose(fitted.fold_in(nobody())[0], fitted.states(shop.histories)[3, 0], atol=1e-6)


def test_sequence_learns(shop: TinyShop, tmp_path: Path) -> None:
    Sequence.fit(shop.training(side=tmp_path), SEQUENCE)
    losses = [point["loss"] for point in read_curves(tmp_path)]
    assert len(losses) == SEQUENCE.epochs
    assert losses[-1] < 0.95 * losses[0]


def test_sequence_that_diverges_says_so(shop: TinyShop) -> None:
    with pytest.raises(ModelError, match=r"train sequence diverged in epoch \d") as caught:
        Sequence.fit(shop.training(), SEQUENCE.model_copy(update={"learning_rate": 1e30}))
    assert "train_sequence.learning_rate" in str(caught.value.mend)
