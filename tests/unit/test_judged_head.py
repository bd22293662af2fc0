"""What judgements teach about the order of search: the words beside the cosine, weighed as people judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from pipelines.errors import ModelError
from pipelines.models.judged import Judged
from pipelines.models.judged_head import (
    ARRAYS_FILE,
    FEATURES,
    MANIFEST_FILE,
    TITLES_FILE,
    Evidence,
    JudgedHead,
    fit_judged,
)
from pipelines.models.lexical import Lexical
from pipelines.models.manifest import RELEVANCE_FOLDER
from pipelines.models.nearest import Nearest
from pipelines.models.relevance import RelevanceHead
from pipelines.models.search import Search
from pipelines.tables import JUDGEMENTS

TITLES = ["frozen pizza", "pizza frozen cheese", "greek yogurt", "pizza cutter", ""]
TEXTS = [f"{title}, shop" for title in TITLES]


ALL = np.arange(len(TITLES))
SOMEWHERE = np.full(8, 8**-0.5, np.float32)


def vectors_of(texts: Sequence[str]) -> np.ndarray:
    """Stands for the encoder: a direction of its own for each text, of which none is far from ``SOMEWHERE``."""
    return np.eye(len(texts), 8, dtype=np.float32)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence.of_titles(Lexical.fit(TEXTS), TITLES, vectors_of)


def test_evidence_tells_what_query_and_title_share(evidence: Evidence) -> None:
    none = np.zeros(len(TITLES), np.float32)
    rows = evidence.of("Frozen pizzas", SOMEWHERE, ALL, none, none)
    assert rows.shape == (len(TITLES), len(FEATURES))
    assert np.isfinite(rows).all()
    column = {name: rows[:, place] for place, name in enumerate(FEATURES)}
    np.testing.assert_allclose(column["title_similarity"], 8**-0.5)
    assert column["title_words"].tolist() == [1, 1, 0, 0.5, 0]
    assert column["word_pairs"].tolist() == [1, 0, 0, 0, 0]
    assert column["rare_title_words"][0] == 1
    assert 0 < column["rare_title_words"][3] < 0.5  # pizza is the more common of the two words
    assert column["title_letters"].argmax() == 0
    assert column["title_letters"][2] == 0


def test_evidence_of_a_query_without_words_is_finite(evidence: Evidence) -> None:
    zeros = np.zeros(len(TITLES), np.float32)
    for query in ("!", "", "便宜"):
        assert np.isfinite(evidence.of(query, SOMEWHERE, ALL, zeros, zeros)).all()


def taught(by: str, pairs: int = 400) -> tuple[JudgedHead, np.ndarray, np.ndarray]:
    """A head taught by grades that follow one feature, the features, and the grades."""
    generator = np.random.default_rng(0)
    features = generator.random((pairs, len(FEATURES))).astype(np.float32)
    labels = features[:, FEATURES.index(by)]
    head = fit_judged(features, labels)
    assert head is not None
    return head, features, labels


@pytest.mark.parametrize("by", ["similarity", "keywords", "title_words"])
def test_the_head_follows_what_people_judged_by(by: str) -> None:
    head, features, labels = taught(by)
    scores = head.score(features)
    assert ((scores > 0) & (scores < 1)).all()
    assert np.argmax(np.abs(head.weights)) == FEATURES.index(by)
    assert np.corrcoef(scores, labels)[0, 1] > 0.9


def test_judgements_that_are_all_alike_teach_nothing() -> None:
    assert fit_judged(np.random.default_rng(0).random((5, len(FEATURES))).astype(np.float32), np.ones(5)) is None
    assert fit_judged(np.zeros((0, len(FEATURES)), np.float32), np.zeros(0, np.float32)) is None


def test_features_of_judged_pairs_are_those_that_search_reads(evidence: Evidence) -> None:
    rows = [("frozen pizza", "0", 4), ("frozen pizza", "2", 0), ("yogurt", "2", 4)]
    table = pa.Table.from_pylist([dict(zip(JUDGEMENTS.schema.names, row, strict=True)) for row in rows])
    judged = Judged.of(table, [str(row) for row in range(len(TEXTS))], np.arange(len(TEXTS), dtype=np.int32))
    texts = np.eye(len(TEXTS), 8, dtype=np.float32)
    queries = np.stack([SOMEWHERE, SOMEWHERE])
    found = evidence.of_judged(judged, queries, texts)
    keywords = evidence.lexical.score("frozen pizza")
    share = (keywords / keywords.max())[[0, 2]]
    alone = evidence.of("frozen pizza", queries[0], np.array([0, 2]), texts[[0, 2]] @ queries[0], share)
    np.testing.assert_array_equal(found[:2], alone)


def test_titles_are_read_back_and_those_of_another_catalogue_are_refused(evidence: Evidence, tmp_path: Path) -> None:
    twice = [*TITLES, TITLES[1]]
    made = Evidence.of_titles(evidence.lexical, twice, vectors_of)
    assert len(made.title_vectors) == len(TITLES)
    made.save(tmp_path)
    again = Evidence.load(tmp_path, evidence.lexical, twice)
    zeros = np.zeros(len(twice), np.float32)
    asked = "pizza", vectors_of(["pizza"])[0], np.arange(len(twice)), zeros, zeros
    np.testing.assert_array_equal(again.of(*asked), made.of(*asked))
    with pytest.raises(ModelError, match="no vectors of these titles"):
        Evidence.load(tmp_path, evidence.lexical, TITLES)
    (tmp_path / TITLES_FILE).unlink()
    with pytest.raises(ModelError, match="does not exist"):
        Evidence.load(tmp_path, evidence.lexical, twice)


def test_a_head_is_read_back_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    assert JudgedHead.find(tmp_path) is None
    head, features, _ = taught("keywords")
    head.save(tmp_path)
    found = JudgedHead.find(tmp_path)
    assert found is not None
    np.testing.assert_array_equal(found.score(features), head.score(features))
    manifest = (tmp_path / MANIFEST_FILE).read_text()
    (tmp_path / MANIFEST_FILE).write_text(manifest.replace("keywords", "other"))
    with pytest.raises(ModelError, match="holds no weights of these features"):
        JudgedHead.find(tmp_path)
    (tmp_path / MANIFEST_FILE).write_text(manifest)
    (tmp_path / ARRAYS_FILE).write_bytes(b"")
    with pytest.raises(ModelError):
        JudgedHead.find(tmp_path)


class Knows:
    """Stands for the encoder: every query has the same vector, and can be read."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.full((len(texts), 8), 8**-0.5, np.float32)


def test_search_orders_by_the_head_of_judgements_where_there_is_one(tmp_path: Path) -> None:
    titles = ["soap", *TITLES[:4]]
    index = np.array([4, 0, 1, 2, 3], np.int32)
    vectors = np.eye(len(titles), 8, dtype=np.float32)
    search = Search(tmp_path, vectors, index, titles)
    texts = [f"{titles[item]}, shop" for item in np.argsort(index)]
    search.lexical, search.near = Lexical.fit(texts), Nearest(vectors)
    search.encoder, search.multilingual = cast("Any", Knows()), None
    search.relevance = RelevanceHead.prior(8, "for this test")
    assert not search.match("frozen pizza", 5).judged
    del search.judged

    weights = np.zeros(len(FEATURES), np.float32)
    weights[FEATURES.index("word_pairs")] = 3
    (tmp_path / RELEVANCE_FOLDER).mkdir(parents=True)
    JudgedHead(weights, -1.0).save(tmp_path / RELEVANCE_FOLDER)
    Evidence.of_titles(search.lexical, search.titles_of_texts, vectors_of).save(tmp_path / RELEVANCE_FOLDER)
    found = search.match("frozen pizza", 5)
    assert found.judged
    assert found.texts.tolist() == [0, 1, 2, 3, 4]  # the rest are alike, and come by row
    np.testing.assert_allclose(found.relevance, 1 / (1 + np.exp([-2, 1, 1, 1, 1])), rtol=1e-5)
    kept = found.of(found.keywords > 0)
    assert kept.judged
    assert kept.texts.tolist() == [0, 1, 3]
