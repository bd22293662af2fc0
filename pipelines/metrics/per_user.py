"""What is kept of every user for paired tests: a row by user and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.metrics.trial import Floats, Outcome, Trial

K = 10
COLD_K = 50
"""Places that count where cold items are offered: each user bought a few of tens of thousands."""
NDCG, NDCG_NEW, NDCG_NEWCOMER = f"ndcg_at_{K}", f"ndcg_at_{K}_new", f"ndcg_at_{K}_newcomer"
ALONE = f"alone_at_{K}"


def by_user(
    names: Sequence[str],
    segments: NDArray[np.str_],
    outcomes: Mapping[str, Outcome],
    newcomers: Mapping[str, Floats],
) -> pa.Table:
    """Every user's values under every model.

    Args:
        names: of the trial's users.
        segments: str [num_users].
        outcomes: by model.
        newcomers: by model float64 [num_users]: NDCG as if nothing had been known of the user.

    Returns:
        user_id, segment, model, ndcg_at_10, ndcg_at_10_new, ndcg_at_10_newcomer and alone_at_10: candidates that this
        user alone has among the first ten.
    """
    tables = [
        pa.table(
            {
                "user_id": pa.array(names, pa.string()),
                "segment": pa.array(segments.tolist(), pa.string()),
                "model": pa.array([model] * len(names), pa.string()),
                NDCG: pa.array(outcome.values[NDCG], pa.float64()),
                NDCG_NEW: pa.array(outcome.values[NDCG_NEW], pa.float64(), from_pandas=True),
                NDCG_NEWCOMER: pa.array(newcomers[model], pa.float64()),
                ALONE: pa.array(outcome.alone, pa.int64()),
            }
        )
        for model, outcome in outcomes.items()
    ]
    return pa.concat_tables(tables).combine_chunks()


def cold_purchases(names: Sequence[str], trial: Trial, outcomes: Mapping[str, Outcome]) -> pa.Table:
    """Of the items that nobody had bought before, how many each user bought, and how many of these a model found.

    Args:
        names: of the trial's users.
        trial: over these items.
        outcomes: by model; none where there is no such item.

    Returns:
        user_id, model, found_at_50 and bought.
    """
    counts = np.diff(trial.relevant.indptr)
    columns: dict[str, list[Any]] = {"user_id": [], "model": [], f"found_at_{COLD_K}": [], "bought": []}
    for model, outcome in outcomes.items():
        found = np.rint(outcome.values[f"recall_at_{COLD_K}"] * counts).astype(np.int64)
        for column, values in zip(columns.values(), (names, [model] * len(names), found, counts), strict=True):
            column.extend(values)
    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64())
    return pa.table({name: pa.array(columns[name], kind) for name, kind in zip(columns, kinds, strict=True)})
