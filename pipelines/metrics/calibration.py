"""How well the relevance that search serves is calibrated, on queries that no head was trained on.

Where a shop has judgements, what is asked is their held-out queries; else attribute queries for held-out product types.
Both are held out by their hash (:mod:`pipelines.models.judged`, :mod:`pipelines.models.text_pairs`), so that candidate
and champion have held out the same ones, and are asked the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.models.judged import Judged
from pipelines.models.recommender import Recommender
from pipelines.models.relevance import calibration_error
from pipelines.models.text_batches import LabelledPairs
from pipelines.models.text_pairs import TextTable
from pipelines.models.text_parts import Part, divide, pairs_of
from pipelines.models.texts import distinct_texts
from pipelines.params import TrainBertParams

MOST_QUERIES = 400
"""More are thinned evenly: they would tell little more, and take longer to encode."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RelevanceCheck:
    """What was measured of the heads.

    Args:
        facts: queries, pairs, whether people judged these, and, by model, ``brier``, ``calibration_error`` and the
            ``head`` that it serves; or ``not_measured``, why not.
        per_query: query, model, brier: the mean squared error of each query's probabilities.
    """

    facts: dict[str, Any]
    per_query: pa.Table


@dataclass(frozen=True)
class _Asked:
    """Queries that were held out, and pairs with the share of relevance that each has."""

    words: list[str]
    pairs: LabelledPairs
    judged: bool


def check_relevance(
    items: pa.Table, judgements: pa.Table, packages: Mapping[str, Recommender], params: TrainBertParams, seed: int
) -> RelevanceCheck:
    """Ask what every package serves about the same pairs, of products that all of them hold.

    Args:
        items: the prepared items.
        judgements: in the judgements schema; may be empty.
        packages: by name.
        params: section ``train_bert``: what is held out, how many pairs are drawn.
        seed: of the draw.
    """
    texts, text_index = distinct_texts(items)
    table = TextTable.of(items, texts, text_index)
    judged = Judged.of(judgements, items["item_id"].to_pylist(), text_index)
    types = len(table.values["product_type"])
    trained = {name: package for name, package in packages.items() if _is_trained(package)}
    if not trained:
        return _nothing("no package has a head that was trained")
    asked = _held_out(table, judged, params, seed)
    if asked is None:
        return _nothing(f"{types} product types, and a head is trained from {params.min_types}")
    first = np.unique(text_index, return_index=True)[1]
    rows = {
        name: package.catalogue.rows_of(items["item_id"].take(pa.array(first)).to_pylist())
        for name, package in trained.items()
    }
    foreign = np.array([any(each.finder.is_foreign(words) for each in trained.values()) for words in asked.words], bool)
    known = np.logical_and.reduce([places >= 0 for places in rows.values()])
    pairs = asked.pairs.of(known[asked.pairs.texts] & ~foreign[asked.pairs.queries])
    if not len(pairs.labels):
        return _nothing("every product answers every query" if not len(asked.pairs.labels) else "no product is known")
    models, per_query = {}, []
    counts = np.bincount(pairs.queries, minlength=len(asked.words))
    for name, package in trained.items():
        scores = served(package, asked.words, pairs, rows[name])
        squares = (scores - pairs.labels).astype(np.float64) ** 2
        briers = np.bincount(pairs.queries, squares, len(asked.words))[counts > 0] / counts[counts > 0]
        models[name] = {
            "brier": float(squares.mean()),
            "calibration_error": calibration_error(scores, pairs.labels),
            "head": "vectors" if package.finder.judged is None else "judgements",
        }
        per_query += [(str(query), name, brier) for query, brier in zip(np.flatnonzero(counts), briers, strict=True)]
    facts = {"queries": int((counts > 0).sum()), "pairs": len(pairs.labels), "judged": asked.judged, "models": models}
    return RelevanceCheck(facts, _table(per_query))


def _is_trained(package: Recommender) -> bool:
    return package.finder.judged is not None or not package.finder.relevance.untrained


def _held_out(table: TextTable, judged: Judged, params: TrainBertParams, seed: int) -> _Asked | None:
    """Judged queries where ``train_bert`` holds any out, else attribute queries; None where it holds out nothing."""
    *_, part = divide(table, judged, params)
    if part.judged.queries:
        part = Part(part.texts[:0], part.judged.of_queries(_thinned(len(part.judged.queries))))
    elif not len(part.texts):
        return None
    queries, words, pairs = pairs_of(table, part, params, np.random.default_rng(seed))
    if queries:
        pairs = pairs.of(_thinned(len(queries))[pairs.queries])
    return _Asked(words, pairs, bool(part.judged.queries))


def _thinned(count: int) -> NDArray[np.bool_]:
    """bool [count]: every n-th, so that ``MOST_QUERIES`` are left."""
    kept: NDArray[np.bool_] = np.arange(count) % max(1, -(-count // MOST_QUERIES)) == 0
    return kept


def served(package: Recommender, queries: list[str], pairs: LabelledPairs, rows: NDArray[np.int32]) -> Floats:
    """The relevance that a package's search gives to pairs, float32 [num_pairs].

    Args:
        package: what is asked.
        queries: in lower case, with single spaces.
        pairs: of queries and texts.
        rows: int32 [num_texts], the package's item of each text.
    """
    finder = package.finder
    texts = finder.text_index[rows[pairs.texts]].astype(np.int64)
    asked = np.unique(pairs.queries)
    vectors = finder.encoder.encode([queries[query] for query in asked])
    scores = np.zeros(len(texts), np.float32)
    for query, vector in zip(asked, vectors, strict=True):
        mine, words = pairs.queries == query, queries[query]
        scores[mine] = finder.weigh(words, vector, finder.lexical.score(words), texts[mine]).relevance
    return scores


def _nothing(why: str) -> RelevanceCheck:
    return RelevanceCheck({"not_measured": why, "models": {}}, _table([]))


def _table(rows: list[tuple[str, str, float]]) -> pa.Table:
    kinds = {"query": pa.string(), "model": pa.string(), "brier": pa.float64()}
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return pa.table({name: pa.array(column, kinds[name]) for name, column in zip(kinds, columns, strict=True)})
