"""The three parts of what is known about texts: what trains the encoder, what trains its head, and what measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.models.judged import GRADES, Judged
from pipelines.models.text_batches import LabelledPairs, labelled_pairs
from pipelines.models.text_pairs import Query, TextTable, queries_by_type, split_by_type
from pipelines.params import TrainBertParams


@dataclass(frozen=True)
class Part:
    """Texts and judgements of one of the three parts; either may be empty.

    Args:
        texts: int64, texts of the part's product types.
        judged: judgements of the part's queries.
    """

    texts: NDArray[np.int64]
    judged: Judged


def divide(table: TextTable, judged: Judged, params: TrainBertParams) -> tuple[Part, Part, Part]:
    """Divide into what trains the encoder, what trains the head and what measures.

    Product types, or judged queries, that are too few are in no part.
    """
    few_types = len(table.values["product_type"]) < params.min_types
    few_queries = len(judged.queries) < params.min_judged_queries
    shares = params.held_out_types, params.calibration_types
    nothing = np.zeros(0, np.int64)
    texts = (nothing, nothing, nothing) if few_types else split_by_type(table, *shares)
    none = judged.of_queries(np.zeros(len(judged.queries), np.bool_))
    graded = (none, none, none) if few_queries else judged.split(*shares)
    training, head, held_out = (Part(*part) for part in zip(texts, graded, strict=True))
    return training, head, held_out


def pairs_of(
    table: TextTable, part: Part, params: TrainBertParams, generator: np.random.Generator
) -> tuple[list[Query], list[str], LabelledPairs]:
    """Attribute queries for the part's texts, the words of these and of its judged queries, and pairs with labels.

    A judged pair's label is its grade as a share of the highest.
    """
    queries = queries_by_type(table, part.texts, params.queries_per_type, generator)
    weak = labelled_pairs(table, queries, params.pairs_per_query, generator)
    judged = part.judged
    pairs = LabelledPairs(
        np.concatenate([weak.queries, len(queries) + judged.query_index]),
        np.concatenate([weak.texts, judged.texts]),
        np.concatenate([weak.labels, judged.grades / np.float32(GRADES)]),
    )
    return queries, [*(query.words for query in queries), *judged.queries], pairs
