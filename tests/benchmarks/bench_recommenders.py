"""The protocol's figures of every model, and the time of fitting beside calling ``implicit`` directly.

    python -m tests.benchmarks.bench_recommenders [WORKTREE]

WORKTREE holds the outputs of ``prepare``, ``train_mf``, ``train_linear``, ``train_bert``, ``fuse`` and ``rank``; the
current folder by default. Nothing here is read by a stage: the test window serves to report, never to choose.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from pipelines.models.base import Histories, Model
from pipelines.models.matrix_factorization import FactorizationSettings, MatrixFactorization, confidences
from pipelines.models.ranker import Ranker
from pipelines.params import TrainMfParams, WindowParams, load_params
from pipelines.prepared import read_events, read_space
from pipelines.validation import measure


def time_factorization(histories: Histories, params: TrainMfParams, repeats: int = 3) -> None:
    """Print the seconds of a fit through the model and through the library, taken in turns."""
    from implicit.cpu.als import AlternatingLeastSquares

    settings = FactorizationSettings(params.factors, params.regularization, params.alpha, params.iterations)
    ours, direct = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        MatrixFactorization.fit(histories, settings)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        with threadpool_limits(limits=1, user_api="blas"):
            als = AlternatingLeastSquares(
                factors=params.factors,
                regularization=params.regularization,
                iterations=params.iterations,
                num_threads=settings.threads,
                random_state=settings.seed,
            )
            als.fit(confidences(histories, params.alpha), show_progress=False)
        direct.append(time.perf_counter() - start)
    ratio = float(np.median(ours) / np.median(direct))
    print(f"fit: MatrixFactorization {np.median(ours):.2f} s, implicit {np.median(direct):.2f} s, ratio {ratio:.2f}")


def report(name: str, model: Model, histories: Histories, candidates: np.ndarray, purchases: np.ndarray) -> None:
    """Print one model's figures and the seconds that it took to score everybody."""
    start = time.perf_counter()
    figures = measure(model, histories, candidates, purchases)
    seconds = time.perf_counter() - start
    print(f"{name:22s} {figures['ndcg_at_10']:10.4f} {figures['ndcg_at_10_new']:14.4f} {seconds:9.1f}")


def main() -> None:
    """Measure what lies in the worktree."""
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else ".")
    space, window = read_space(), load_params(WindowParams, "window")
    histories = read_events(["history", "validation"]).histories(space, space.test_starts)
    purchases = read_events(["test"]).keys(space)
    ranker = Ranker.assemble(
        rank=Path("data/rank/ranker"),
        matrix_factorization=Path("data/train_mf/final"),
        linear=Path("data/train_linear/final"),
        fused=Path("data/fuse/final"),
        texts=Path("data/train_bert/texts.safetensors"),
    )
    candidates = ranker.signals.popularity.candidates(window.min_buyers)
    print(f"{'model':22s} {'NDCG@10':>10s} {'new products':>14s} {'seconds':>9s}")
    for name, model in {**ranker.signals.models(), ranker.name: ranker}.items():
        report(name, model, histories, candidates, purchases)
    time_factorization(histories, load_params(TrainMfParams, "train_mf"))


if __name__ == "__main__":
    main()
