"""What popularity debiasing and a diverse list cost and give, on the recommendations of a finished run's package.

    .venv/bin/python tests/benchmarks/bench_diversity.py [WORKTREE]

WORKTREE holds the outputs of every stage; without it the default data is landed and they run in a temporary folder,
which takes ten minutes. NDCG@10 on the purchases of the test window; the defaults (0 and 0) were not chosen by it.
``alike`` is the mean cosine between the texts of a list, ``coverage`` the share of candidates that anybody is shown,
``buyers`` the median number of buyers of what is shown.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from processor import processor
from worktree import worktree

from pipelines.models.diversity import debiased
from pipelines.models.recommender import Recommender
from pipelines.prepared import read_events
from pipelines.progress import track

USERS, K, SEED = 400, 10, 7
SETTINGS = ((0.0, 0.0), (0.1, 0.0), (0.25, 0.0), (0.5, 0.0), (0.0, 0.1), (0.0, 0.3), (0.0, 0.5), (0.25, 0.3))


def measure(model: Recommender, wanted: dict[int, set[int]]) -> None:
    """Print a row for each pair of strengths."""
    users = np.random.default_rng(SEED).permutation(sorted(wanted))[:USERS]
    histories = [model.catalogue.histories.take(user, user + 1) for user in users.tolist()]
    chances = [model.ranker.score(history, model.candidates)[0] for history in track(histories, "score users", USERS)]
    buyers = model.buyers[model.candidates]
    print(f"{len(users)} users, {len(model.candidates):,} candidates; {processor()}")
    print(
        f"{'debias':>8s}{'diversity':>10s}{'NDCG@10':>9s}{'alike':>8s}{'coverage':>10s}{'buyers':>8s}{'ms a list':>11s}"
    )
    for debias, diversity in SETTINGS:
        gains, alike, shown, seconds = [], [], [], 0.0
        for user, scores in zip(users.tolist(), chances, strict=True):
            start = time.perf_counter()
            columns = model.arranged(debiased(scores, buyers, debias), K, diversity)
            seconds += time.perf_counter() - start
            items = model.candidates[columns]
            vectors = model.finder.embeddings[model.finder.text_index[items]]
            alike.append(float((vectors @ vectors.T)[np.triu_indices(len(items), 1)].mean()))
            shown.append(items)
            gains.append(_ndcg(items.tolist(), wanted[user]))
        every = np.concatenate(shown)
        print(
            f"{debias:8.2f}{diversity:10.2f}{np.mean(gains):9.4f}{np.mean(alike):8.3f}"
            f"{len(np.unique(every)) / len(model.candidates):10.3f}{np.median(model.buyers[every]):8.0f}"
            f"{1000 * seconds / len(users):11.2f}",
            flush=True,
        )


def _ndcg(items: list[int], wanted: set[int]) -> float:
    worth = 1.0 / np.log2(np.arange(2, K + 2))
    hits = np.array([item in wanted for item in items], float)
    return float((hits * worth[: len(hits)]).sum() / worth[: min(len(wanted), K)].sum())


def main() -> None:
    """Measure the worktree that was named, or a fresh one."""
    with worktree():
        model = Recommender.load(Path("data/package"))
        bought = read_events(["test"])
        wanted: dict[int, set[int]] = {}
        candidates = set(model.candidates.tolist())
        for user, item in zip(bought.users.tolist(), bought.items.tolist(), strict=True):
            if item in candidates and user < len(model.catalogue.user_ids):
                wanted.setdefault(user, set()).add(item)
        measure(model, wanted)


if __name__ == "__main__":
    main()
