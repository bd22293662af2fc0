"""The protocol's figures of every model, and the time of fitting beside calling ``implicit`` directly.

    .venv/bin/python tests/benchmarks/bench_recommenders.py [WORKTREE]

WORKTREE holds the outputs of the stages up to ``rank``; without it the default data is landed and the stages run, one
after another, in a temporary folder. The test window is read here to report, never to choose.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from worktree import worktree

from pipelines.models.base import Histories, Scoring, Training
from pipelines.models.matrix_factorization import FactorizationSettings, MatrixFactorization, confidences
from pipelines.models.ranker import Ranker
from pipelines.params import WindowParams, load_params
from pipelines.prepared import read_events, read_histories, read_space
from pipelines.validation import measure


def time_factorization(histories: Histories, settings: FactorizationSettings, repeats: int = 3) -> None:
    """Print the seconds of a fit through the model and through the library, taken in turns."""
    from implicit.cpu.als import AlternatingLeastSquares

    training = Training(histories, threads=settings.threads)
    ours, direct = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        MatrixFactorization.fit(training, settings)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        with threadpool_limits(limits=1, user_api="blas"):
            als = AlternatingLeastSquares(
                factors=settings.factors,
                regularization=settings.regularization,
                iterations=settings.iterations,
                num_threads=settings.threads,
                random_state=training.seed,
            )
            als.fit(confidences(histories, settings.alpha), show_progress=False)
        direct.append(time.perf_counter() - start)
    ratio = float(np.median(ours) / np.median(direct))
    print(f"fit: MatrixFactorization {np.median(ours):.2f} s, implicit {np.median(direct):.2f} s, ratio {ratio:.2f}")


def report(name: str, model: Scoring, histories: Histories, candidates: np.ndarray, purchases: np.ndarray) -> None:
    """Print one model's figures and the seconds that it took to score everybody."""
    start = time.perf_counter()
    figures = measure(model, histories, candidates, purchases)
    seconds = time.perf_counter() - start
    print(f"{name:22s} {figures['ndcg_at_10']:10.4f} {figures['ndcg_at_10_new']:14.4f} {seconds:9.1f}")


def measure_worktree() -> None:
    """Measure what lies in the current folder."""
    space, window = read_space(), load_params(WindowParams, "window")
    histories = read_histories("test", space)
    purchases = read_events(["test"]).keys(space)
    ranker = Ranker.assemble(Path("data/rank/ranker"), Path("data/train_bert/texts.safetensors"))
    candidates = ranker.signals.popularity.candidates(window.min_buyers)
    print(f"{'model':22s} {'NDCG@10':>10s} {'new products':>14s} {'seconds':>9s}")
    for name, model in {**ranker.signals.models(), ranker.name: ranker}.items():
        report(name, model, histories, candidates, purchases)
    time_factorization(histories, load_params(FactorizationSettings, "train_mf"))


def main() -> None:
    """Measure the worktree that was named, or a fresh one."""
    with worktree():
        measure_worktree()


if __name__ == "__main__":
    main()
