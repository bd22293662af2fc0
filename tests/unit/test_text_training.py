"""What the text model is trained on, how, and what its head says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.errors import DataError, ModelError
from pipelines.models import two_tower
from pipelines.models.bert import build_encoder
from pipelines.models.relevance import RelevanceHead, calibration_error, fit_relevance, sigmoid
from pipelines.models.text_pairs import (
    Query,
    TextTable,
    attribute_query,
    bought_together,
    excluded_negatives,
    hashed_share,
    queries_by_type,
    split_by_type,
    words_of,
)
from pipelines.models.training import read_curves
from pipelines.models.two_tower import PairBatch, TwoTowerParams, fine_tune, padded
from tests.tiny_bert import tiny_bert

PARAMS = TwoTowerParams(learning_rate=3e-2, temperature=0.05, trained_layers=2, query_tokens=8, product_tokens=8)


def table_of(rows: list[tuple[str, str, str | None, str | None]]) -> TextTable:
    """A table of one text per (department, product type, brand, size)."""
    texts = [" ".join(part for part in row if part) for row in rows]
    columns = [list(column) for column in zip(*rows, strict=True)]
    names = ("department", "product_type", "brand", "size")
    categories = [[row[0], "Shelf", row[1]] for row in rows]
    items = pa.table({**dict(zip(names, columns, strict=True)), "category": categories})
    return TextTable.of(items, texts, np.arange(len(rows), dtype=np.int32))


FRUIT = table_of(
    [
        ("Produce", "Apples", "National", "2 lb"),
        ("Produce", "Apples", "Private", "2 lb"),
        ("Produce", "Pears", "National", None),
        ("Grocery", "Soap", None, "2 lb"),
    ]
)


def test_query_is_answered_by_texts_with_every_wanted_attribute() -> None:
    apples, private = FRUIT.codes["product_type"][0], FRUIT.codes["brand"][1]
    assert Query("apples", (("product_type", apples),)).answers(FRUIT).tolist() == [True, True, False, False]
    both = Query("private apples", (("product_type", apples), ("brand", private)))
    assert both.answers(FRUIT).tolist() == [False, True, False, False]


def test_drawn_query_is_answered_by_the_text_it_was_drawn_for() -> None:
    generator = np.random.default_rng(0)
    for text in [0, 1, 2, 3] * 20:
        query = attribute_query(FRUIT, text, generator)
        assert query.answers(FRUIT)[text]
        assert set(words_of(FRUIT.value("product_type", text))) <= set(query.words.split())


def test_words_keep_numbers_whole_and_drop_punctuation() -> None:
    assert words_of("Frzn fruit: 7.5 oz (1/2 off), bakers' O'Brien") == [
        "frzn", "fruit", "7.5", "oz", "1/2", "off", "bakers", "o'brien",
    ]  # fmt: skip


def test_split_keeps_each_product_type_in_one_part_and_is_the_same_in_another_catalogue() -> None:
    rows = [("Produce", f"Type {number}", None, size) for number in range(200) for size in ("1 oz", "2 oz")]
    table = table_of(rows)
    parts = split_by_type(table, 0.2, 0.3)
    types = [{table.value("product_type", int(text)) for text in part} for part in parts]
    assert sum(len(part) for part in parts) == len(rows)
    assert sum(len(kinds) for kinds in types) == len(set.union(*types)) == 200
    assert all(hashed_share(kind) < 0.2 for kind in types[2])
    smaller = table_of(rows[100:])
    again = split_by_type(smaller, 0.2, 0.3)[2]
    assert {smaller.value("product_type", int(text)) for text in again} <= types[2]


@pytest.mark.parametrize("count", range(3, 12))
def test_split_of_few_product_types_leaves_no_part_empty(count: int) -> None:
    table = table_of([("Produce", f"Kind {number}", None, "1 oz") for number in range(count)])
    parts = split_by_type(table, 0.15, 0.15)
    assert all(len(part) for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    shares = [[hashed_share(table.value("product_type", int(text))) for text in part] for part in parts]
    assert min(shares[0]) > max(shares[1])
    assert min(shares[1]) > max(shares[2])


def test_split_refuses_fewer_types_than_parts() -> None:
    with pytest.raises(DataError, match="1 product types cannot be divided into three parts"):
        split_by_type(table_of([("Produce", "Apples", None, None)]), 0.2, 0.2)


def test_negatives_exclude_what_answers_the_query_too() -> None:
    apples = Query("apples", (("product_type", int(FRUIT.codes["product_type"][0])),))
    pears = Query("pears", (("product_type", int(FRUIT.codes["product_type"][2])),))
    excluded = excluded_negatives([apples, pears, 0], np.array([0, 2, 1]), FRUIT)
    assert excluded.tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_pairs_bought_together_are_ordered_by_lift_and_never_of_one_type() -> None:
    baskets = [[0, 2], [0, 2], [0, 2, 3], [0, 3], [0, 3], [0, 1], [0, 1]]
    sessions = np.array([number for number, basket in enumerate(baskets) for _ in basket], np.int32)
    texts = np.array([text for basket in baskets for text in basket], np.int32)
    pairs = bought_together(sessions, texts, FRUIT, min_count=1, limit=10)
    # lift of (0, 2) = 3 / (7 * 3), of (0, 3) = 3 / (7 * 3), of (2, 3) = 1 / (3 * 3); (0, 1) are both apples
    assert pairs.tolist() == [[0, 2], [0, 3], [2, 3]]
    assert len(bought_together(sessions, texts, FRUIT, min_count=1, limit=2)) == 2


def test_padded_cuts_long_texts_and_keeps_the_separator() -> None:
    token_ids, mask = padded([np.array([2, 5, 3], np.int32), np.array([2, 5, 6, 7, 3], np.int32)], 4)
    assert token_ids.tolist() == [[2, 5, 3, 0], [2, 5, 6, 3]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def batches_of(count: int, last: float = 1.0) -> list[PairBatch]:
    """Steps of eight pairs: token ``10 + i`` asks for token ``20 + i``."""
    queries = [np.array([2, 10 + number, 3], np.int32) for number in range(8)]
    products = [np.array([2, 20 + number, 3], np.int32) for number in range(8)]
    weights = np.ones(8, np.float32)
    weights[-1] = last
    return [PairBatch(queries, products, np.zeros((8, 8), np.bool_), weights)] * count


def test_fine_tuning_lowers_the_loss_and_is_reproducible(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path / "bert")
    first, second = build_encoder(directory), build_encoder(directory)
    losses = fine_tune(first, batches_of(20), PARAMS)
    assert losses[-5:].mean() < 0.5 * losses[0]
    assert np.array_equal(fine_tune(second, batches_of(20), PARAMS), losses)
    assert all(
        np.array_equal(one.numpy(), other.numpy()) for one, other in zip(first.weights, second.weights, strict=True)
    )


def test_fine_tuning_leaves_the_layers_below_alone(tmp_path: Path) -> None:
    model = build_encoder(tiny_bert(tmp_path / "bert"))
    before = {weight.path: weight.numpy() for weight in model.weights}
    fine_tune(model, batches_of(2), TwoTowerParams(**{**PARAMS.__dict__, "trained_layers": 1}))
    changed = [weight.path for weight in model.weights if not np.array_equal(before[weight.path], weight.numpy())]
    assert changed
    assert all("transformer_layer_1" in path for path in changed)


def test_fine_tuning_first_loss_is_the_masked_softmax(tmp_path: Path) -> None:
    model = build_encoder(tiny_bert(tmp_path / "bert"))
    batch = batches_of(1)[0]
    excluded = np.zeros((8, 8), np.bool_)
    excluded[0, 3] = True
    weights = np.array([2, 1, 1, 1, 1, 1, 1, 0], np.float32)
    vectors = [
        np.asarray(model(dict(zip(("token_ids", "padding_mask"), padded(rows, 8), strict=True))))
        for rows in (batch.queries, batch.products)
    ]
    logits = np.where(excluded, -np.inf, vectors[0] @ vectors[1].T / PARAMS.temperature)
    expected = np.log(np.exp(logits).sum(1)) - np.diag(logits)
    losses = fine_tune(model, [PairBatch(batch.queries, batch.products, excluded, weights)], PARAMS)
    assert losses[0] == pytest.approx((expected * weights).sum() / 8, rel=1e-4)


def test_fine_tuning_refuses_more_layers_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the encoder has 2 layers"):
        fine_tune(build_encoder(tiny_bert(tmp_path / "bert")), batches_of(1), TwoTowerParams(1e-3, 0.05, 3, 8, 8))


def test_fine_tuning_stops_when_the_loss_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"diverged in epoch 1: loss is nan\n  -> lower train_bert.learning_rate"):
        fine_tune(build_encoder(tiny_bert(tmp_path / "bert")), batches_of(1, last=float("nan")), PARAMS)


def test_fine_tuning_that_is_killed_goes_on_after_its_last_checkpoint_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, batches = tiny_bert(tmp_path / "bert"), batches_of(25)
    whole, killed, resumed = (build_encoder(directory) for _ in range(3))
    losses = fine_tune(whole, batches, PARAMS, tmp_path / "whole")
    assert [point["epoch"] for point in read_curves(tmp_path / "whole")] == [1, 2, 3]
    assert read_curves(tmp_path / "whole")[2]["loss"] == pytest.approx(losses[20:].mean())
    step, ran = two_tower.TwoTowerLearner.epoch, []

    def epoch(self: two_tower.TwoTowerLearner, number: int) -> Iterator[float]:
        ran.append(number)
        if ran == [1, 2, 3]:
            raise KeyboardInterrupt
        yield from step(self, number)

    monkeypatch.setattr(two_tower.TwoTowerLearner, "epoch", epoch)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(killed, batches, PARAMS, tmp_path / "side")
    assert np.array_equal(fine_tune(resumed, batches, PARAMS, tmp_path / "side"), losses)
    assert ran == [1, 2, 3, 3]
    assert all(
        np.array_equal(one.numpy(), two.numpy()) for one, two in zip(whole.weights, resumed.weights, strict=True)
    )
    other = TwoTowerParams(**{**PARAMS.__dict__, "learning_rate": 1e-3})
    fine_tune(build_encoder(directory), batches, other, tmp_path / "side")
    assert ran == [1, 2, 3, 3, 1, 2, 3]


def head_pairs(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    queries, items = (generator.normal(size=(4000, 8)).astype(np.float32) for _ in range(2))
    queries, items = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, items))
    chance = sigmoid(12 * (queries * items).sum(1) - 3)
    return queries, items, (generator.random(4000) < chance).astype(np.float32)


def test_relevance_head_is_calibrated_on_pairs_it_has_not_seen(tmp_path: Path) -> None:
    head = fit_relevance(*head_pairs(0), epochs=40, seed=0)
    queries, items, labels = head_pairs(1)
    scores = np.array([head.score(queries[row : row + 1], items[row : row + 1])[0, 0] for row in range(1000)])
    assert calibration_error(scores, labels[:1000]) < 0.06
    assert np.mean((scores > 0.5) == labels[:1000]) > 0.8
    head.save(tmp_path)
    again = RelevanceHead.load(tmp_path)
    assert np.array_equal(again.score(queries[:5], items[:7]), head.score(queries[:5], items[:7]))


def test_relevance_head_scores_every_query_against_every_item() -> None:
    head = RelevanceHead(np.array([2.0, 4.0], np.float32), -1.0)
    scores = head.score(np.array([[1, 0], [0, 1]], np.float32), np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32))
    logits = np.array([[2 - 1, 2 * 0.6 - 1, -1], [-1, 4 * 0.8 - 1, 4 - 1]])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_relevance_head_refuses_vectors_of_another_size_and_one_label(tmp_path: Path) -> None:
    head = RelevanceHead(np.ones(2, np.float32), 0.0)
    with pytest.raises(ModelError, match=r"\[n, 2\]"):
        head.score(np.ones((1, 3), np.float32), np.ones((1, 2), np.float32))
    with pytest.raises(ModelError, match="pairs that fit and pairs that do not"):
        fit_relevance(
            np.ones((2, 2), np.float32), np.ones((2, 2), np.float32), np.ones(2, np.float32), epochs=1, seed=0
        )
    with pytest.raises(ModelError, match="does not exist"):
        RelevanceHead.load(tmp_path)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([0.05, 0.05, 0.95, 1.0], np.float32)
    labels = np.array([0, 1, 1, 1], np.float32)
    # two pairs in the first bin, predicted 0.05 and observed 1/2; two in the last, predicted 0.975 and observed 1
    assert calibration_error(probabilities, labels) == pytest.approx(0.5 * (0.5 - 0.05) + 0.5 * (1 - 0.975), abs=1e-6)


def test_queries_by_type_covers_every_type_once_per_wording() -> None:
    queries = queries_by_type(FRUIT, np.arange(4), 6, np.random.default_rng(0))
    wanted = [dict(query.wanted)["product_type"] for query in queries]
    assert set(wanted) == set(FRUIT.codes["product_type"].tolist())
    assert len({query.words for query in queries}) == len(queries)
