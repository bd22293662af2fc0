"""Alternating least squares sweep by sweep: the solver of ``implicit``, with a curve and a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.training import State

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from pipelines.models.matrix_factorization import FactorizationSettings

SAMPLE = 512, 4096
"""Users and items whose cells the error is measured on, spread evenly."""


class FactorizationLearner:
    """One factorization; a :class:`pipelines.models.training.Learner` whose epoch is a sweep over users and items.

    Args:
        ratings: sparse float32 [num_users, num_vectors], confidences.
        start: float32 [num_vectors, factors], vectors to start from; None starts from random ones.
        settings: see :class:`pipelines.models.matrix_factorization.FactorizationSettings`.
        seed: of the random vectors.
    """

    def __init__(
        self,
        ratings: csr_matrix[Any],
        start: NDArray[np.float32] | None,
        settings: FactorizationSettings,
        seed: int,
    ) -> None:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        self.ratings = ratings
        self.users, self.items = (
            np.unique(np.linspace(0, size - 1, min(size, most)).astype(np.int64))
            for size, most in zip(ratings.shape, SAMPLE, strict=True)
        )
        sample = ratings[self.users][:, self.items].toarray()
        self.bought, self.weights = (sample > 0).astype(np.float32), np.where(sample > 0, sample, np.float32(1))
        with threadpool_limits(limits=1, user_api="blas"):
            self.als = AlternatingLeastSquares(
                factors=settings.factors,
                regularization=settings.regularization,
                alpha=1.0,
                iterations=1,
                num_threads=settings.threads,
                random_state=seed,
            )
            if start is not None:
                self.als.item_factors = start
                self.als.user_factors = self.als.recalculate_user(np.arange(ratings.shape[0]), ratings)

    def steps(self) -> int:
        return 1

    def epoch(self, number: int) -> Iterator[float]:
        """Sweep once; the loss is the weighted squared error over a sample of the cells."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1, user_api="blas"):
            self.als.fit(self.ratings, show_progress=False)
        errors = self.bought - self.als.user_factors[self.users] @ self.als.item_factors[self.items].T
        yield float((self.weights * errors**2).mean())

    def measure(self) -> Mapping[str, float]:
        return {}

    def state(self) -> State:
        """Both sides' vectors; ALS has nothing else."""
        return {"users": self.als.user_factors, "items": self.als.item_factors}

    def restore(self, state: State) -> None:
        """See :meth:`state`."""
        self.als.user_factors, self.als.item_factors = state["users"], state["items"]
