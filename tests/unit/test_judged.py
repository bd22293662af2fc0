"""Judgements as training pairs and as a measure, and what is drawn beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import ndcg_score

from pipelines.models.judged import PRODUCTS_A_QUERY, Judged, judged_batches
from pipelines.models.text_batches import Index, hard_negatives, training_batches
from pipelines.models.text_pairs import Query, TextTable
from pipelines.params import TrainBertParams
from pipelines.tables import JUDGEMENTS

TEXTS = ["apple", "pear", "soap", "milk"]
ITEM_IDS = ["a", "a2", "p", "s", "m"]
TEXT_INDEX = np.array([0, 0, 1, 2, 3], np.int32)
ROWS = [
    ("Fruit ", "a", 4),
    ("fruit", "a2", 2),
    ("fruit", "p", 3),
    ("fruit", "s", 0),
    ("wash", "s", 4),
    ("wash", "m", 0),
    ("wash", "gone", 4),
    ("nothing", "m", 0),
]


def judged(rows: Sequence[tuple[str, str, int]] = ROWS) -> Judged:
    named = [dict(zip(JUDGEMENTS.schema.names, row, strict=True)) for row in rows]
    return Judged.of(pa.Table.from_pylist(named, JUDGEMENTS.schema), ITEM_IDS, TEXT_INDEX)


def tokens(texts: Sequence[str]) -> list[np.ndarray]:
    return [np.array([len(text), ord(text[0])], np.int32) for text in texts]


def test_judgements_are_gathered_by_query_and_text() -> None:
    found = judged()
    assert found.queries == ["fruit", "nothing", "wash"]
    assert found.query_index.tolist() == [0, 0, 0, 1, 2, 2]
    assert found.texts.tolist() == [0, 1, 2, 3, 2, 3]
    assert found.grades.tolist() == [3, 3, 0, 0, 4, 0]
    assert found.gains.tolist() == [7, 7, 0, 0, 15, 0]


def test_ndcg_of_judgements_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    rows = [(f"q{query}", item, int(generator.integers(0, 5))) for query in range(20) for item in ("a", "p", "s", "m")]
    found = judged(rows)
    scores = generator.random(len(found.texts))
    expected = [
        ndcg_score(found.gains[mine][None], scores[mine][None], k=10) if found.gains[mine].any() else np.nan
        for mine in (found.query_index == query for query in range(20))
    ]
    np.testing.assert_allclose(found.ndcg(scores), expected)


def test_a_query_without_anything_of_worth_has_no_ndcg() -> None:
    found = judged()
    assert np.isnan(found.ndcg(np.zeros(len(found.texts)))).tolist() == [False, True, False]


def test_split_by_query_is_whole_and_the_same_with_other_queries_around() -> None:
    rows = [(f"query {number}", item, 1) for number in range(300) for item in ("a", "s")]
    parts = judged(rows).split(0.2, 0.3)
    names = [set(part.queries) for part in parts]
    assert sum(len(part.texts) for part in parts) == 600
    assert sum(map(len, names)) == len(set.union(*names)) == 300
    assert all(len(some) > 20 for some in names)
    assert set(judged(rows[100:]).split(0.2, 0.3)[2].queries) <= names[2]


def test_a_batch_wants_what_the_products_of_a_query_are_worth() -> None:
    batches = judged_batches(judged(), TEXTS, tokens, steps=5, products=8, seed=0)
    assert len(batches) == 5
    for batch in batches:
        wanted = batch.wanted()
        assert wanted.shape == batch.excluded.shape == (2, 2 * PRODUCTS_A_QUERY)
        np.testing.assert_allclose(wanted.sum(1), 1, rtol=1e-6)
        assert not (batch.excluded & (wanted > 0)).any()
        asked = [chr(ids[1]) for ids in batch.queries]
        assert sorted(asked) == ["f", "w"]
        shown = np.array([chr(ids[1]) for ids in batch.products])
        fruit, wash = asked.index("f"), asked.index("w")
        assert set(shown[wanted[fruit] > 0]) <= {"a", "p"}
        assert set(shown[wanted[wash] > 0]) == {"s"}
        others = np.arange(len(shown)) // PRODUCTS_A_QUERY != fruit
        assert batch.excluded[fruit][others & (shown == "s")].all()


def test_without_anything_of_worth_there_is_no_batch() -> None:
    assert judged_batches(judged([("x", "a", 0)]), TEXTS, tokens, steps=3, products=8, seed=0) == []
    assert judged_batches(judged([]), TEXTS, tokens, steps=3, products=8, seed=0) == []


@pytest.fixture
def table() -> TextTable:
    kinds = ["Apples", "Apples", "Pears", "Soap", "Milk", "Bread"]
    items = pa.table(
        {
            "department": ["Grocery"] * 6,
            "product_type": kinds,
            "brand": pa.nulls(6, pa.string()),
            "size": pa.nulls(6, pa.string()),
            "category": [["Grocery", kind] for kind in kinds],
        }
    )
    return TextTable.of(
        items, [f"{kind.lower()} {row}" for row, kind in enumerate(kinds)], np.arange(6, dtype=np.int32)
    )


def index(table: TextTable) -> Index:
    """An encoder for which all texts lie on a line, apples and pears at one end, where every query is."""
    angles = np.array([0.0, 0.1, 0.2, 1.2, 1.3, 1.4], np.float32)
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    return Index(tokens, lambda texts: np.tile(vectors[:1], (len(texts), 1)), vectors)


def test_hard_negatives_are_near_and_answer_nothing(table: TextTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.models.text_batches.HARD_POOL", 1)
    params = TrainBertParams(steps=8, batch_size=6, bought_share=0, hard_negatives=4)
    batches = training_batches(table, np.arange(6), np.zeros((0, 2), np.int32), params, index(table), 0)
    for batch in batches:
        assert len(batch.products) == 6 + 4
        assert batch.excluded.shape == (6, 10)
        asked = [chr(ids[1]) for ids in batch.queries]
        hard = [chr(ids[1]) for ids in batch.products[6:]]
        assert hard == ["p" if letter == "a" else "a" for letter in asked[:4]]
        assert all(
            batch.excluded[row, 6 + place] == (hard[place] == asked[row]) for row in range(6) for place in range(4)
        )


def test_without_hard_negatives_a_step_has_a_product_for_each_query(table: TextTable) -> None:
    apples = Query("apples", (("product_type", int(table.codes["product_type"][0])),))
    assert apples.answers(table).sum() == 2
    params = TrainBertParams(steps=2, batch_size=6, bought_share=0, hard_negatives=0)
    batches = training_batches(table, np.arange(6), np.zeros((0, 2), np.int32), params, index(table), 0)
    assert all(batch.excluded.shape == (6, 6) for batch in batches)
    assert [len(some) for some in hard_negatives(table, np.arange(6), [], 0, index(table), 0)] == []
