"""Two models of one recipe and two seeds, as ``evaluate`` would leave them; labels swapped, lifts injected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.artifacts import write_json, write_table
from pipelines.metrics import ranking
from pipelines.metrics.trial import USERS_AT_ONCE, Scorer, Trial, activity, measure_newcomers

K, COLD_K = 10, 50
LIFTED_SHARE = 0.25
"""Of the users, whom an injected lift falls on."""


@dataclass(frozen=True)
class TwoSeeds:
    """What two models gave the same users; the first axis of everything is the seed.

    Args:
        top: int32 [2, num_users, 10], candidates, best first.
        ndcg: float64 [2, num_users].
        newcomer: float64 [2, num_users].
        segments: str [num_users].
        found: int64 [2, num_cold_users], purchases of never bought items among the first 50.
        bought: int64 [num_cold_users].
        candidates: how many there are.
    """

    top: NDArray[np.int32]
    ndcg: NDArray[np.float64]
    newcomer: NDArray[np.float64]
    segments: NDArray[np.str_]
    found: NDArray[np.int64]
    bought: NDArray[np.int64]
    candidates: int

    @classmethod
    def of(
        cls,
        trial: Trial,
        cold: Trial,
        scorers: Callable[[Trial, bool], tuple[Scorer, Scorer]],
        purchases: NDArray[np.int64],
    ) -> TwoSeeds:
        """Rank for every user of two trials.

        Args:
            trial: over all candidates.
            cold: over the items that nobody had bought.
            scorers: of both seeds for a trial; for nobody where the second argument says so.
            purchases: int64 [num_users], by which the trial's users are light.
        """
        lists = [_ranked(trial, scorer, K) for scorer in scorers(trial, False)]
        nobody = [measure_newcomers(trial, scorer(0, 1), K) for scorer in scorers(trial, True)]
        counts = np.diff(cold.relevant.indptr).astype(np.int64)
        found = [_ranked(cold, scorer, COLD_K).hits.sum(axis=1) for scorer in scorers(cold, False)]
        return cls(
            top=np.stack([ranked.top for ranked in lists]),
            ndcg=np.stack([ranking.ndcg(ranked) for ranked in lists]),
            newcomer=np.stack(nobody),
            segments=activity(purchases)[0],
            found=np.stack(found).astype(np.int64),
            bought=counts,
            candidates=len(trial.candidates),
        )

    def lifted(self, ndcg: NDArray[np.float64], lift: float, generator: np.random.Generator) -> NDArray[np.float64]:
        """A quarter of the users gain so much that everybody gains ``lift`` in the mean; nobody reaches more than 1."""
        lucky = generator.random(len(ndcg)) < LIFTED_SHARE
        return np.where(lucky, np.minimum(ndcg + lift / LIFTED_SHARE, 1.0), ndcg)

    def moments(self, lift: float) -> tuple[float, float]:
        """Mean and standard deviation of a user's difference, labels swapped by chance and a lift injected."""
        gains = np.minimum(self.ndcg + lift / LIFTED_SHARE, 1.0) - self.ndcg
        difference = self.ndcg[0] - self.ndcg[1]
        signed = np.stack([difference, -difference])
        mean = LIFTED_SHARE * gains.mean()
        square = (1 - LIFTED_SHARE) * (signed**2).mean() + LIFTED_SHARE * ((signed + gains) ** 2).mean()
        return float(mean), float(np.sqrt(square - mean**2))

    def write(self, folder: Path, generator: np.random.Generator, lift: float = 0.0) -> Path:
        """An A/A comparison: user by user it is chance which seed is the candidate; then a lift for the candidate."""
        size = self.ndcg.shape[1]
        sides = generator.integers(0, 2, size)
        columns: dict[str, list[pa.Array]] = {}
        models = {}
        cold_sides = generator.integers(0, 2, len(self.bought))
        cold: dict[str, list[pa.Array]] = {}
        for model, seeds, cold_seeds in (("rank", sides, cold_sides), ("champion", 1 - sides, 1 - cold_sides)):
            users, cold_users = np.arange(size), np.arange(len(self.bought))
            top, ndcg = self.top[seeds, users], self.ndcg[seeds, users]
            if model == "rank" and lift:
                ndcg = self.lifted(ndcg, lift, generator)
            rows = {
                "user_id": pa.array(users.astype(str)),
                "segment": pa.array(self.segments.astype(str)),
                "model": pa.array([model] * size),
                "ndcg_at_10": pa.array(ndcg),
                "ndcg_at_10_newcomer": pa.array(self.newcomer[seeds, users]),
                "alone_at_10": pa.array(ranking.shown_to_one(top)),
            }
            cold_rows = {
                "user_id": pa.array(cold_users.astype(str), pa.string()),
                "model": pa.array([model] * len(cold_users), pa.string()),
                "found_at_50": pa.array(self.found[cold_seeds, cold_users]),
                "bought": pa.array(self.bought),
            }
            for gathered, part in ((columns, rows), (cold, cold_rows)):
                for name, values in part.items():
                    gathered.setdefault(name, []).append(values)
            kind = "model" if model == "rank" else "champion"
            coverage = ranking.coverage(top, self.candidates)
            models[model] = {"kind": kind, "ndcg_at_10": float(ndcg.mean()), "coverage_at_10": coverage}
        for name, gathered in (("per_user", columns), ("cold_purchases", cold)):
            write_table(
                pa.table({key: pa.concat_arrays(parts) for key, parts in gathered.items()}), folder / f"{name}.parquet"
            )
        facts = {"models": models, "champion": {"version": "1"}, "users": size, "candidates": self.candidates}
        write_json(facts, folder / "metrics.json")
        return folder


def _ranked(trial: Trial, scorer: Scorer, k: int) -> ranking.RankedUsers:
    parts = []
    for start in range(0, len(trial.users), USERS_AT_ONCE):
        stop = min(start + USERS_AT_ONCE, len(trial.users))
        parts.append(ranking.rank_users(scorer(start, stop), trial.relevant[start:stop].toarray(), k))
    tops, hits, counts = zip(*((part.top, part.hits, part.relevant) for part in parts), strict=True)
    return ranking.RankedUsers(np.concatenate(tops), np.concatenate(hits), np.concatenate(counts))
