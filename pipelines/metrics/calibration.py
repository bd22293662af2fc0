"""How well relevance heads are calibrated, on product types that none of them was trained on.

Types are held out by their hash (:func:`pipelines.models.text_pairs.split_by_type`), so that candidate and champion
have held out the same ones, and are asked the same queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.models.recommender import Recommender
from pipelines.models.relevance import calibration_error
from pipelines.models.text_batches import labelled_pairs
from pipelines.models.text_pairs import TextTable, queries_by_type, split_by_type
from pipelines.models.texts import distinct_texts
from pipelines.params import TrainBertParams

MOST_QUERIES = 400
"""More are thinned evenly: they would tell little more, and take longer to encode."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RelevanceCheck:
    """What was measured of the heads.

    Args:
        facts: queries, pairs and, by model, ``brier`` and ``calibration_error``; or ``not_measured``, why not.
        per_query: query, model, brier: the mean squared error of each query's probabilities.
    """

    facts: dict[str, Any]
    per_query: pa.Table


def check_relevance(
    items: pa.Table, packages: Mapping[str, Recommender], params: TrainBertParams, seed: int
) -> RelevanceCheck:
    """Ask every package's relevance head about the same pairs.

    Args:
        items: the prepared items.
        packages: by name.
        params: section ``train_bert``: which types are held out, how many pairs are drawn.
        seed: of the draw.
    """
    texts, text_index = distinct_texts(items)
    table = TextTable.of(items, texts, text_index)
    types = len(table.values["product_type"])
    if types < params.min_types:
        return _nothing(f"{types} product types, and a head is trained from {params.min_types}")
    trained = {name: package for name, package in packages.items() if not package.finder.relevance.untrained}
    generator = np.random.default_rng(seed)
    *_, held_out = split_by_type(table, params.held_out_types, params.calibration_types)
    queries = queries_by_type(table, held_out, params.queries_per_type, generator)
    queries = queries[:: max(1, -(-len(queries) // MOST_QUERIES))]
    pairs = labelled_pairs(table, queries, params.pairs_per_query, generator)
    if not len(pairs.labels) or not trained:
        return _nothing(
            "no package has a head that was trained" if not trained else "every product answers every query"
        )
    asked, place = np.unique(pairs.texts, return_inverse=True)
    named = items["item_id"].take(pa.array(np.unique(text_index, return_index=True)[1][asked])).to_pylist()
    models, rows = {}, []
    for name, package in trained.items():
        vectors = package.finder.encoder.encode([query.words for query in queries])
        known = text_vectors(package, named, [texts[text] for text in asked])
        scores = package.finder.relevance.score_pairs(vectors[pairs.queries], known[place])
        squares = (scores - pairs.labels).astype(np.float64) ** 2
        counts = np.bincount(pairs.queries, minlength=len(queries))
        briers = np.bincount(pairs.queries, squares, len(queries))[counts > 0] / counts[counts > 0]
        models[name] = {
            "brier": float(squares.mean()),
            "calibration_error": calibration_error(scores, pairs.labels),
        }
        rows += [(str(query), name, brier) for query, brier in zip(np.flatnonzero(counts), briers, strict=True)]
    return RelevanceCheck({"queries": len(queries), "pairs": len(pairs.labels), "models": models}, _table(rows))


def text_vectors(package: Recommender, named: list[str], texts: list[str]) -> Floats:
    """float32 [num_texts, embedding_size]: as the package holds them; encoded where it lacks the item.

    Args:
        package: whose vectors are wanted.
        named: an item of each text.
        texts: what is encoded otherwise.
    """
    finder, rows = package.finder, package.catalogue.rows_of(named)
    missing = np.flatnonzero(rows < 0)
    vectors: Floats = finder.embeddings[finder.text_index[np.maximum(rows, 0)]]
    if len(missing):
        vectors[missing] = finder.encoder.encode([texts[row] for row in missing])
    return vectors


def _nothing(why: str) -> RelevanceCheck:
    return RelevanceCheck({"not_measured": why, "models": {}}, _table([]))


def _table(rows: list[tuple[str, str, float]]) -> pa.Table:
    kinds = {"query": pa.string(), "model": pa.string(), "brier": pa.float64()}
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return pa.table({name: pa.array(column, kinds[name]) for name, column in zip(kinds, columns, strict=True)})
