"""Matrix factorization: the time of a fit beside calling ``implicit`` directly, and the sweeps that a warm start saves.

    .venv/bin/python tests/benchmarks/bench_factorization.py [WORKTREE]

WORKTREE holds the outputs of ``prepare``. Both fits take turns in one process, of the same library, in float32. The
warm start begins with the factors of six weeks before; the loss is ``implicit``'s own.
"""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from processor import processor
from threadpoolctl import threadpool_limits
from worktree import worktree

from pipelines.models.base import Histories, Previous, Training
from pipelines.models.launches import split_launches
from pipelines.models.matrix_factorization import (
    FactorizationSettings,
    MatrixFactorization,
    confidences,
    first_vectors,
)
from pipelines.params import load_params
from pipelines.prepared import read_histories, read_space

ASKED, TURNS, DAYS = 1.1, 5, 42.0


def direct_als(settings: FactorizationSettings, seed: int, **others: Any) -> Any:
    """``implicit``'s own model with our settings."""
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(
        factors=settings.factors,
        regularization=settings.regularization,
        alpha=1.0,
        iterations=settings.iterations,
        num_threads=settings.threads,
        random_state=seed,
        **others,
    )


def fit_directly(histories: Histories, settings: FactorizationSettings, seed: int) -> None:
    """What somebody who knows ``implicit`` would write."""
    with threadpool_limits(limits=1, user_api="blas"):
        als = direct_als(settings, seed)
        als.fit(confidences(histories, settings.alpha), show_progress=False)


def compare(histories: Histories, settings: FactorizationSettings) -> None:
    """Print the median seconds of both, and the ratio."""
    training = Training(histories, threads=settings.threads)
    ours, direct = [], []
    for _ in range(TURNS):
        start = time.perf_counter()
        MatrixFactorization.fit(training, settings)
        middle = time.perf_counter()
        fit_directly(histories, settings, training.seed)
        ours.append(middle - start)
        direct.append(time.perf_counter() - middle)
    ratio = float(np.median(ours) / np.median(direct))
    reached = "reached" if ratio <= ASKED else "NOT reached"
    print(f"fit: shoploom {np.median(ours):.2f} s, implicit {np.median(direct):.2f} s ({version('implicit')})")
    print(f"ratio {ratio:.2f}  (asked: {ASKED} at most)  {reached}", flush=True)


def losses(histories: Histories, settings: FactorizationSettings, previous: Previous | None) -> list[float]:
    """The training loss after each sweep."""
    items = np.unique(histories.items).astype(np.int32)
    ratings = confidences(histories, settings.alpha)[:, items].tocsr()
    found: list[float] = []
    with threadpool_limits(limits=1, user_api="blas"):
        als = direct_als(settings, 7, calculate_training_loss=True)
        start = first_vectors(previous, items, settings)
        if start is not None:
            als.item_factors = start
            als.user_factors = als.recalculate_user(np.arange(ratings.shape[0]), ratings)
        als.fit(ratings, show_progress=False, callback=lambda _, __, loss: found.append(float(loss)))
    return found


def compare_starts(histories: Histories, settings: FactorizationSettings) -> None:
    """Print the sweeps that a warm start needs for what a fresh one ends at."""
    warm = settings.model_copy(update={"warm": True})
    with TemporaryDirectory() as folder:
        before = split_launches(histories, DAYS).before
        MatrixFactorization.fit(Training(replace(before)), settings).save(Path(folder))
        previous = Previous(Path(folder), np.arange(histories.num_items, dtype=np.int32))
        fresh, started = losses(histories, settings, None), losses(histories, warm, previous)
    needed = next((sweep for sweep, loss in enumerate(started, 1) if loss <= fresh[-1]), None)
    print(f"fresh start: loss {fresh[-1]:.7f} after {len(fresh)} sweeps")
    print(f"warm start of {DAYS:.0f} days before: as low after {needed} sweeps; after 1: {started[0]:.7f}")


def main() -> None:
    """Compare, and print."""
    with worktree(("validate", "prepare")):
        histories = read_histories("test", read_space())
        settings = load_params(FactorizationSettings, "train_mf", Path(__file__).parents[2] / "params.yaml")
        print(f"{processor()}; {len(histories.items):,} purchases, float32")
        compare(histories, settings)
        compare_starts(histories, settings)


if __name__ == "__main__":
    main()
