"""The linear model: the time of a fit beside EASE's closed form as it is written in NumPy.

    .venv/bin/python tests/benchmarks/bench_linear.py [WORKTREE]

WORKTREE holds the outputs of ``prepare``; without it the default data is landed and prepared. On all of it the inverse
is as wide as the users, here and in NumPy; on its most bought items it is as wide as these. Both take turns in one
process, and both may use every core; in NumPy everything is float32 where the items are inverted, and float64 where the
users are, as it is here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from processor import processor
from threadpoolctl import threadpool_limits
from worktree import worktree

from pipelines.models.base import Histories, Training
from pipelines.models.histories import purchase_counts
from pipelines.models.linear import Linear, LinearSettings
from pipelines.params import load_params
from pipelines.prepared import read_histories, read_space

ASKED, TURNS, ITEMS = 1.0, 3, 6000


def by_users(rows: Any, regularization: float) -> Any:
    """``(X X^T + l I)^-1`` as wide as the users."""
    gram = (rows @ rows.T).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    return np.linalg.inv(gram).astype(np.float32)


def by_items(rows: Any, regularization: float) -> Any:
    """EASE as its paper writes it. Source: Steck 2019."""
    gram = (rows.T @ rows).toarray().astype(np.float32)
    gram[np.diag_indices_from(gram)] += np.float32(regularization)
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0
    return weights


def most_bought(histories: Histories, count: int) -> Histories:
    """The purchases of the most bought items, numbered anew."""
    chosen = np.sort(np.argsort(-np.bincount(histories.items, minlength=histories.num_items), kind="stable")[:count])
    place = np.full(histories.num_items, -1)
    place[chosen] = np.arange(len(chosen))
    kept = place[histories.items] >= 0
    lengths = np.bincount(np.repeat(np.arange(histories.num_users), np.diff(histories.indptr))[kept])
    lengths = np.pad(lengths, (0, histories.num_users - len(lengths)))
    return replace(
        histories,
        num_items=len(chosen),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(histories.indptr.dtype),
        items=place[histories.items[kept]].astype(np.int32),
        ages=histories.ages[kept],
        quantities=histories.quantities[kept],
    )


def compare(what: str, histories: Histories, settings: LinearSettings, direct: Callable[[Any, float], Any]) -> None:
    """Print the least seconds of both, and the ratio."""
    training = Training(histories, threads=os.cpu_count() or 1)
    ours, theirs = [], []
    for _ in range(TURNS):
        start = time.perf_counter()
        Linear.fit(training, settings)
        middle = time.perf_counter()
        with threadpool_limits(limits=training.threads, user_api="blas"):
            rows = purchase_counts(histories).astype(np.float32)
            rows.data **= np.float32(settings.power)
            direct(rows[np.diff(rows.indptr) > 0], settings.regularization)
        ours.append(middle - start)
        theirs.append(time.perf_counter() - middle)
    ratio = min(ours) / min(theirs)
    reached = "reached" if ratio <= ASKED else "NOT reached"
    print(f"{what}: shoploom {min(ours):.2f} s, NumPy {np.__version__} {min(theirs):.2f} s")
    print(f"  ratio {ratio:.2f}  (asked: {ASKED} at most)  {reached}", flush=True)


def main() -> None:
    """Compare both forms."""
    with worktree(("validate", "prepare")):
        histories = read_histories("test", read_space())
        settings = load_params(LinearSettings, "train_linear", Path(__file__).parents[2] / "params.yaml")
        machine = processor()
        print(f"{machine}; {len(histories.items):,} purchases")
        compare(f"all, as wide as {histories.num_users:,} users", histories, settings, by_users)
        exact = settings.model_copy(update={"dual_users": 0, "exact_items": ITEMS})
        compare(f"as wide as the {ITEMS:,} most bought items", most_bought(histories, ITEMS), exact, by_items)


if __name__ == "__main__":
    main()
