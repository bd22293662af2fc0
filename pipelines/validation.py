"""The validation window: how good a model that was fitted before it would have been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import atomic_directory
from pipelines.metrics.ranking import mean, ndcg, rank_users
from pipelines.models.base import Histories, Model
from pipelines.models.histories import dense_columns, purchase_counts
from pipelines.models.popularity import Popularity
from pipelines.params import WindowParams, load_params
from pipelines.prepared import Space, read_events, read_histories, read_space

_Fitted = TypeVar("_Fitted", bound=Model)


def fit_twice(fit: Callable[[Histories], _Fitted], output: Path) -> tuple[dict[str, float], _Fitted]:
    """Fit a model before the validation window and before the test window, and judge the first.

    Args:
        fit: from purchases to a model.
        output: gets the folders ``validation`` and ``final``.

    Returns:
        What :func:`judge` says, and the model fitted before the test window.
    """
    space = read_space()
    histories = read_histories("validation", space)
    model = fit(histories)
    with atomic_directory(output / "validation") as directory:
        model.save(directory)
    metrics = judge(model, histories, Popularity.fit(histories), space)
    final = fit(read_histories("test", space))
    with atomic_directory(output / "final") as directory:
        final.save(directory)
    return metrics, final


def judge(model: Model, histories: Histories, popularity: Popularity, space: Space) -> dict[str, float]:
    """Measure a model on the validation window, and print what came out.

    Args:
        model: fitted before the window.
        histories: purchases before the window.
        popularity: of the histories.
        space: the dense ids.
    """
    candidates = popularity.candidates(load_params(WindowParams, "window").min_buyers)
    metrics = measure(model, histories, candidates, read_events(["validation"]).keys(space))
    print(f"validation window: NDCG@10 {metrics['ndcg_at_10']:.4f}, new to the user {metrics['ndcg_at_10_new']:.4f}")
    return metrics


def measure(
    model: Model, histories: Histories, candidates: NDArray[np.int32], purchases: NDArray[np.int64]
) -> dict[str, float]:
    """NDCG@10 over what was bought in a window, by the protocol of the design.

    Args:
        model: fitted before the window.
        histories: purchases before the window.
        candidates: int32 [num_candidates], ascending.
        purchases: int64, ascending: ``user * num_items + item`` of every purchase in the window.

    Returns:
        ``ndcg_at_10`` over all purchases and ``ndcg_at_10_new`` over products new to the user; 0 where no user
        has a relevant item.
    """
    every: list[NDArray[np.float64]] = []
    new: list[NDArray[np.float64]] = []
    for start, chunk in histories.chunks():
        scores = model.score(chunk, candidates)
        keys = (start + np.arange(chunk.num_users))[:, None] * histories.num_items + candidates[None, :]
        relevant = np.isin(keys, purchases, assume_unique=True)
        bought = dense_columns(purchase_counts(chunk), candidates) > 0
        every.append(ndcg(rank_users(scores, relevant, 10)))
        new.append(ndcg(rank_users(scores, relevant, 10, excluded=bought)))
    return {"ndcg_at_10": _mean(every), "ndcg_at_10_new": _mean(new)}


def _mean(parts: list[NDArray[np.float64]]) -> float:
    return round(mean(np.concatenate([np.zeros(0), *parts])) or 0.0, 6)
