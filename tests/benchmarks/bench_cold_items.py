"""Items without any training purchase: Recall@50 among cold items, beside the popularity of their category.

    .venv/bin/python tests/benchmarks/bench_cold_items.py [WORKTREE]

WORKTREE holds the outputs of the stages up to ``train_cold``. The test window is read here to report, never to choose.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from worktree import worktree

from pipelines.artifacts import read_table
from pipelines.metrics.cold_items import category_codes, category_scorers, times_baseline
from pipelines.metrics.trial import Trial, measure
from pipelines.models.base import Training
from pipelines.models.cold_start import ColdStart, ColdStartSettings
from pipelines.models.histories import purchase_counts
from pipelines.params import load_params
from pipelines.prepared import PREPARED, read_events, read_histories, read_space
from pipelines.validation import WINDOWS, read_attributes

ASKED = 3.0


def main() -> None:
    """Fit before each window, and print."""
    with worktree(("validate", "prepare")):
        space, attributes = read_space(), read_attributes()
        codes = category_codes(read_table(PREPARED / "items.parquet", ["product_type"])["product_type"].to_pylist())
        settings = load_params(ColdStartSettings, "train_cold", Path(__file__).parents[2] / "params.yaml")
        for window, _ in WINDOWS:
            histories, events = read_histories(window, space), read_events([window])
            start = time.perf_counter()
            model = ColdStart.fit(Training(histories, attributes=attributes), settings)
            seconds = time.perf_counter() - start
            bought = purchase_counts(histories)
            cold = np.flatnonzero(np.bincount(bought.indices, minlength=space.num_items) == 0).astype(np.int32)
            ones = np.ones(len(events.users), bool)
            tested = csr_matrix((ones, (events.users, events.items)), shape=bought.shape)
            trial = Trial.build(tested, bought, cold)
            users = histories.pick(trial.users)
            scorers = category_scorers(codes, histories, users, cold)
            scorers[model.name] = lambda first, last, m=model, u=users, c=cold: m.score(u.take(first, last), c)
            rows = {name: measure(trial, scorer, 50).summary(50) for name, scorer in scorers.items()}
            times = times_baseline(rows, "recall_at_50")
            print(f"{window}: {len(cold):,} cold items, {len(trial.users):,} users, fitted in {seconds:.1f} s")
            for name, row in rows.items():
                print(f"  {name:22s} Recall@50 {row['recall_at_50']:.4f}  times own category {times[name]}")
            reached = "reached" if (times[model.name] or 0.0) >= ASKED else "NOT reached"
            print(f"  asked {ASKED} times the better baseline: {times[model.name]}  {reached}", flush=True)


if __name__ == "__main__":
    main()
