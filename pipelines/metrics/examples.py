"""Recommendations and searches as a person would see them, for the evaluation's report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.metrics.per_user import K
from pipelines.metrics.report import Example, Line
from pipelines.metrics.trial import SEGMENTS, Floats, Trial
from pipelines.models.recommender import Recommender


def examples(
    candidate: Recommender, trial: Trial, names: Sequence[str], values: Floats, segments: NDArray[np.str_], count: int
) -> list[Example]:
    """What customers and searchers would see.

    For each segment the user whose NDCG is the segment's median, and the ``count`` most bought product types as
    queries.

    Args:
        candidate: the package under evaluation.
        trial: whose users are shown.
        names: of its users.
        values: float64 [num_users], the candidate's NDCG.
        segments: str [num_users].
        count: of the queries.
    """
    shown = []
    for segment in SEGMENTS:
        rows = np.flatnonzero(segments == segment)
        if len(rows):
            row = int(rows[np.argsort(values[rows], kind="stable")[len(rows) // 2]])
            if names[row] in candidate.catalogue.user_rows:
                shown.append(_recommended(names[row], segment, row, candidate, trial))
    for query in _queries(candidate, count):
        results = candidate.search(query, 5)
        lines = tuple(Line(result.title, ", ".join(result.reasons)) for result in results)
        shown.append(Example(f"search: {query}", lines))
    return shown


def _recommended(user_id: str, segment: str, row: int, candidate: Recommender, trial: Trial) -> Example:
    relevant = set(candidate.catalogue.item_ids[trial.candidates[trial.relevant[row].indices]].tolist())
    lines = tuple(
        Line(result.title, "; ".join(result.reasons), result.item_id in relevant)
        for result in candidate.recommend(user_id, K)
    )
    return Example(f"user {user_id}, a {segment} buyer", lines)


def _queries(candidate: Recommender, count: int) -> list[str]:
    """The product types with the most buyers, in lower case."""
    types = candidate.catalogue.items["product_type"]
    totals = pa.table({"type": types, "buyers": pa.array(candidate.buyers)}).filter(pc.is_valid(types))
    ranked = totals.group_by("type").aggregate([("buyers", "sum")])
    ranked = ranked.sort_by([("buyers_sum", "descending"), ("type", "ascending")])
    return [str(name).lower() for name in ranked["type"].to_pylist()[:count]]
