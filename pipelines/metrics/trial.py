"""A trial: one set of users, candidates and relevant items on which any number of scorers are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.metrics import ranking
from pipelines.models.side_by_side import side_by_side
from pipelines.progress import track

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
Scorer = Callable[[int, int], NDArray[np.float32]]
"""Scores users ``start`` to ``stop - 1`` of a trial: float32 [stop - start, num_candidates]."""
Scorers = Callable[[int, int], Iterable[tuple[str, NDArray[np.float32]]]]
"""Scores users ``start`` to ``stop - 1`` of a trial by one model after another: its name, and what a :data:`Scorer`
gives. Called from several threads; the names are always the same."""

SEGMENTS = ("light", "regular", "heavy")
"""Thirds of the users, by how much they bought in training."""

METRICS = {"ndcg": ranking.ndcg, "recall": ranking.recall, "map": ranking.average_precision}
USERS_AT_ONCE = 256


@dataclass(frozen=True)
class Trial:
    """Users with at least one relevant item.

    Args:
        users: int32 [num_users], dense ids, ascending.
        candidates: int32 [num_candidates], dense ids, ascending.
        relevant: sparse bool [num_users, num_candidates], bought in the test window.
        bought: sparse bool [num_users, num_candidates], bought in training: left out of ``_new`` metrics.
    """

    users: NDArray[np.int32]
    candidates: NDArray[np.int32]
    relevant: csr_matrix[Any]
    bought: csr_matrix[Any]

    @classmethod
    def build(cls, test: csr_matrix[Any], training: csr_matrix[Any], candidates: NDArray[np.int32]) -> Trial:
        """Keep the users that have a relevant item.

        Args:
            test: sparse [num_all_users, num_items], non-zero where bought in the test window.
            training: sparse [num_all_users, num_items], non-zero where bought before it.
            candidates: int32, ascending: what may be offered; nothing else is relevant.
        """
        relevant = test[:, candidates].astype(bool).tocsr()
        users = np.flatnonzero(np.diff(relevant.indptr) > 0).astype(np.int32)
        return cls(users, candidates, relevant[users], training[:, candidates][users].astype(bool).tocsr())


@dataclass(frozen=True)
class Outcome:
    """What one scorer reached on a trial.

    Args:
        values: float64 [num_users] by metric, ``ndcg_at_10`` and, over items new to the user, ``ndcg_at_10_new``.
        coverage: share of the candidates in anybody's first k.
        curve: float64 [k], mean NDCG at 1..k.
        alone: int64 [num_users], candidates that this user alone has among the first k.
    """

    values: Mapping[str, Floats]
    coverage: float
    curve: Floats
    alone: NDArray[np.int64]

    def summary(self, k: int, rows: NDArray[np.bool_] | None = None) -> dict[str, float | None]:
        """Means over all users, or over those of ``rows`` (bool [num_users]), to six decimals."""
        chosen = {name: values if rows is None else values[rows] for name, values in self.values.items()}
        means = {name: _rounded(ranking.mean(values)) for name, values in chosen.items()}
        return means if rows is not None else {**means, f"coverage_at_{k}": round(self.coverage, 6)}


def measure(trial: Trial, scorer: Scorer, k: int) -> Outcome:
    """Score every user of a trial by one model; see :func:`measure_all`."""
    return measure_all(trial, lambda start, stop: [("", scorer(start, stop))], k)[""]


def measure_all(trial: Trial, scorers: Scorers, k: int, description: str = "") -> dict[str, Outcome]:
    """Score every user of a trial by every model.

    Args:
        trial: whom and what.
        scorers: scores for a range of the trial's users, in the order of its candidates.
        k: places that count.
        description: shown with the progress bar; no bar when empty.

    Returns:
        By model, in the order of ``scorers``.
    """

    def rank(start: int) -> dict[str, tuple[ranking.RankedUsers, ranking.RankedUsers]]:
        stop = min(start + USERS_AT_ONCE, len(trial.users))
        relevant, bought = trial.relevant[start:stop].toarray(), trial.bought[start:stop].toarray()
        return {
            name: (ranking.rank_users(scores, relevant, k), ranking.rank_users(scores, relevant, k, bought))
            for name, scores in scorers(start, stop)
        }

    starts = range(0, max(len(trial.users), 1), USERS_AT_ONCE)
    chunks = side_by_side(rank, starts)
    ranked = list(track(chunks, description, len(starts)) if description else chunks)
    return {
        name: _outcome(trial, k, *(_joined([chunk[name][part] for chunk in ranked]) for part in (0, 1)))
        for name in ranked[0]
    }


def _outcome(trial: Trial, k: int, ranked: ranking.RankedUsers, ranked_new: ranking.RankedUsers) -> Outcome:
    values = {f"{name}_at_{k}": metric(ranked) for name, metric in METRICS.items()}
    values |= {f"{name}_at_{k}_new": metric(ranked_new) for name, metric in METRICS.items()}
    return Outcome(
        values=values,
        coverage=ranking.coverage(ranked.top, max(len(trial.candidates), 1)),
        curve=np.array([ranking.mean(ranking.ndcg(_first(ranked, places))) or 0.0 for places in range(1, k + 1)]),
        alone=ranking.shown_to_one(ranked.top),
    )


def measure_newcomers(trial: Trial, scores: NDArray[np.float32], k: int) -> Floats:
    """NDCG at k of every user as if they came for the first time, so that everybody gets one list.

    Args:
        trial: whom and what.
        scores: float32 [1, num_candidates], for somebody without a history.
        k: places that count.

    Returns:
        float64 [num_users].
    """
    top = ranking.top_k(scores, k)[0]
    hits = trial.relevant[:, np.maximum(top, 0)].toarray() & (top >= 0)
    counts = np.diff(trial.relevant.indptr).astype(np.int64)
    return ranking.ndcg(ranking.RankedUsers(np.tile(top, (len(counts), 1)), hits, counts))


def activity(purchases: NDArray[np.int64]) -> tuple[NDArray[np.str_], tuple[int, int]]:
    """Sort users into thirds by how much they bought in training.

    Args:
        purchases: int64 [num_users], training purchases of each user.

    Returns:
        str [num_users], one of ``SEGMENTS`` each, and the two limits: light users bought at most the first, heavy
        ones more than the second.
    """
    if not len(purchases):
        return np.zeros(0, np.str_), (0, 0)
    ordered = np.sort(purchases)
    low, high = (int(ordered[(len(ordered) - 1) * third // 3]) for third in (1, 2))
    names = np.array(SEGMENTS)
    return names[(purchases > low).astype(int) + (purchases > high)], (low, high)


def _joined(parts: list[ranking.RankedUsers]) -> ranking.RankedUsers:
    return ranking.RankedUsers(
        np.concatenate([part.top for part in parts]),
        np.concatenate([part.hits for part in parts]),
        np.concatenate([part.relevant for part in parts]),
    )


def _first(ranked: ranking.RankedUsers, places: int) -> ranking.RankedUsers:
    return ranking.RankedUsers(ranked.top[:, :places], ranked.hits[:, :places], ranked.relevant)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
