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

from pipelines.models.judged import GRADES, Judged
from pipelines.models.recommender import Recommender
from pipelines.models.relevance import calibration_error
from pipelines.models.text_batches import LabelledPairs, labelled_pairs
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
    asked = _judged(judged, params) or _attributes(table, params, seed)
    if asked is None:
        return _nothing(f"{types} product types, and a head is trained from {params.min_types}")
    first = np.unique(text_index, return_index=True)[1]
    rows = {
        name: package.catalogue.rows_of(items["item_id"].take(pa.array(first)).to_pylist())
        for name, package in trained.items()
    }
    foreign = np.array([any(package.finder.is_foreign(words) for package in trained.values()) for words in asked.words])
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


def _judged(judged: Judged, params: TrainBertParams) -> _Asked | None:
    """Held-out judged queries; None where ``train_bert`` holds none out."""
    if len(judged.queries) < params.min_judged_queries:
        return None
    *_, held_out = judged.split(params.held_out_types, params.calibration_types)
    if not held_out.queries:
        return None
    every = max(1, -(-len(held_out.queries) // MOST_QUERIES))
    held_out = held_out.of_queries(np.arange(len(held_out.queries)) % every == 0)
    labels = held_out.grades / np.float32(GRADES)
    return _Asked(held_out.queries, LabelledPairs(held_out.query_index, held_out.texts, labels), True)


def _attributes(table: TextTable, params: TrainBertParams, seed: int) -> _Asked | None:
    """Attribute queries for held-out product types; None where there are too few types to hold any out."""
    if len(table.values["product_type"]) < params.min_types:
        return None
    generator = np.random.default_rng(seed)
    *_, held_out = split_by_type(table, params.held_out_types, params.calibration_types)
    queries = queries_by_type(table, held_out, params.queries_per_type, generator)
    queries = queries[:: max(1, -(-len(queries) // MOST_QUERIES))]
    pairs = labelled_pairs(table, queries, params.pairs_per_query, generator)
    return _Asked([query.words for query in queries], pairs, False)


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
    vectors = finder.encoder.encode(queries)
    scores = np.zeros(len(texts), np.float32)
    for query in np.unique(pairs.queries):
        mine = pairs.queries == query
        words = queries[query]
        scores[mine] = finder.weigh(words, vectors[query], finder.lexical.score(words), texts[mine]).relevance
    return scores


def _nothing(why: str) -> RelevanceCheck:
    return RelevanceCheck({"not_measured": why, "models": {}}, _table([]))


def _table(rows: list[tuple[str, str, float]]) -> pa.Table:
    kinds = {"query": pa.string(), "model": pa.string(), "brier": pa.float64()}
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return pa.table({name: pa.array(column, kinds[name]) for name, column in zip(kinds, columns, strict=True)})
