"""Matrix factorization of implicit feedback, by the ``implicit`` library's alternating least squares.

Only item factors are kept: a user is a history, and its vector is the exact least-squares step that ALS itself
takes (fold-in), so a known user, a new one and one with newer purchases are served alike.

Source: Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import ModelError
from pipelines.models.base import Histories, Model, Previous, Serves, Span, Training
from pipelines.models.factorization_learner import FactorizationLearner
from pipelines.models.files import read_model, write_model
from pipelines.models.histories import look_up, purchase_counts, vectors_of_items
from pipelines.models.of_candidates import OfCandidates
from pipelines.models.training import Plan, code_of, identity_of, train_epochs
from pipelines.params import Section

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from threadpoolctl import ThreadpoolController


class FactorizationSettings(Section):
    """Alternating least squares (section ``train_mf``)."""

    factors: int = Field(default=96, ge=1, le=1024)
    """Length of a vector."""
    regularization: float = Field(default=30.0, gt=0)
    """Weight of the squared norms."""
    alpha: float = Field(default=0.5, ge=0)
    """Confidence: ``n`` purchases weigh ``1 + alpha * log(1 + n)``."""
    iterations: int = Field(default=15, ge=1, le=1000)
    """Sweeps over users and items."""
    threads: int = Field(default=2, ge=1, le=256)
    """Of the solver; each row is solved by one thread, so the number changes no result."""
    warm: bool = False
    """Whether a retrain starts from the champion's factors, which the run then pins; its result depends on them."""
    warm_iterations: int = Field(default=5, ge=1, le=1000)
    """Sweeps of such a retrain."""


class MatrixFactorization(Model):
    """Scores an item by the dot product of its vector with the user's.

    A user without events scores 0 everywhere.

    Args:
        item_ids: int32 [num_vectors], ascending: items that were bought at all.
        vectors: float32 [num_vectors, factors].
        num_items: size of the item space.
        regularization: as fitted.
        alpha: as fitted.
    """

    name: ClassVar[str] = "matrix_factorization"
    serves: ClassVar[Serves] = Serves()
    stage: ClassVar[str | None] = "train_mf"
    starts_warm: ClassVar[bool] = True
    Settings: ClassVar[type[Section]] = FactorizationSettings
    spans: ClassVar[Mapping[str, Span]] = {
        "factors": Span(32, 192, log=True),
        "regularization": Span(1.0, 300.0, log=True),
        "alpha": Span(0.05, 10.0, log=True),
    }

    def __init__(
        self,
        item_ids: NDArray[np.int32],
        vectors: NDArray[np.float32],
        num_items: int,
        regularization: float,
        alpha: float,
    ) -> None:
        self.item_ids = item_ids
        self.vectors = vectors
        self.num_items = num_items
        self.regularization = regularization
        self.alpha = alpha
        self._of_candidates = OfCandidates[NDArray[np.float32]]()
        self._folded: tuple[Histories, NDArray[np.float32]] | None = None
        self.gram: NDArray[np.float64] = vectors.T.astype(np.float64) @ vectors.astype(np.float64)
        """float64 [factors, factors]: ``Y^T Y``."""

    @classmethod
    def fit(cls, training: Training, settings: FactorizationSettings) -> Self:
        """Factorize the users' purchases.

        Raises:
            ModelError: there is no event, or the vectors are not finite.
        """
        histories = training.histories
        if not len(histories.items):
            raise ModelError("matrix factorization needs at least one purchase", mend="shoploom ingest --from DAY")
        item_ids = np.unique(histories.items).astype(np.int32)
        ratings = confidences(histories, settings.alpha)[:, item_ids].tocsr()
        start = first_vectors(training.previous, item_ids, settings)
        learner = FactorizationLearner(ratings, start, settings, training.seed)
        sweeps = settings.iterations if start is None else settings.warm_iterations
        first = "fresh" if start is None else sha256(start.tobytes()).hexdigest()
        identity = identity_of(cls, training, settings, code_of(FactorizationLearner), first)
        plan = Plan("train matrix factorization", sweeps, identity, "raise train_mf.regularization")
        train_epochs(learner, plan, training.side)
        vectors = np.asarray(learner.als.item_factors, np.float32)
        return cls(item_ids, vectors, histories.num_items, settings.regularization, settings.alpha)

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """The users' vectors: the least-squares step of ALS, solved exactly.

        .. math:: x_u = (Y^T Y + \\lambda I + Y_u^T (C_u - I) Y_u)^{-1} Y_u^T C_u 1

        Kept while the very same histories are asked about: first for what is near, then for its scores.

        Returns:
            float32 [num_users, factors]; zero for a user without events.
        """
        kept = self._folded
        if kept is not None and kept[0] is histories:
            return kept[1]
        users = self._fold_in(histories)
        users.flags.writeable = False
        self._folded = histories, users
        return users

    def _fold_in(self, histories: Histories) -> NDArray[np.float32]:
        ratings = confidences(histories, self.alpha)
        rows, known = look_up(self.item_ids, ratings.indices)
        users = np.zeros((histories.num_users, self.vectors.shape[1]), np.float32)
        with blas().limit(limits=1, user_api="blas"):
            for user in np.flatnonzero(np.diff(ratings.indptr)):
                own = np.arange(ratings.indptr[user], ratings.indptr[user + 1])
                own = own[known[own]]
                if len(own):
                    users[user] = self._step(rows[own], ratings.data[own])
        return users

    def _step(self, bought: NDArray[np.intp], confidence: NDArray[np.float32]) -> NDArray[np.float64]:
        """One user's vector, in double precision; small matrices, so one thread is faster than several."""
        vectors, weights = self.vectors[bought].astype(np.float64), confidence.astype(np.float64)
        left = self.gram + vectors.T @ (vectors * (weights - 1.0)[:, None])
        left[np.diag_indices_from(left)] += self.regularization
        return np.asarray(np.linalg.solve(left, vectors.T @ weights))

    def item_vectors(self, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [len(items), factors]; zero for items never bought."""
        return vectors_of_items(items, self.item_ids, self.vectors)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        scores: NDArray[np.float32] = self.fold_in(histories) @ self._of_candidates.of(candidates, self.item_vectors).T
        return scores

    def facts(self) -> dict[str, float]:
        return {"items": len(self.item_ids)}

    def save(self, directory: Path) -> None:
        settings = {"num_items": self.num_items, "regularization": self.regularization, "alpha": self.alpha}
        write_model(directory, self.name, {"item_ids": self.item_ids, "vectors": self.vectors}, settings)

    @classmethod
    def load(cls, directory: Path) -> Self:
        names = ("num_items", "regularization", "alpha")
        arrays, settings = read_model(directory, cls.name, ("item_ids", "vectors"), names)
        numbers = int(settings["num_items"]), float(settings["regularization"]), float(settings["alpha"])
        return cls(arrays["item_ids"], arrays["vectors"], *numbers)


def first_vectors(
    previous: Previous | None, item_ids: NDArray[np.int32], settings: FactorizationSettings
) -> NDArray[np.float32] | None:
    """The vectors that a warm start begins with.

    Args:
        previous: the factorization of an earlier run.
        item_ids: int32 [num_vectors], ascending: items bought by now.
        settings: of this fit.

    Returns:
        float32 [num_vectors, factors], zero for items that the earlier one did not have; None where it is not asked for
        or there is none of this size.

    Raises:
        ModelError: the earlier one cannot be read.
    """
    if previous is None or not settings.warm:
        return None
    earlier = MatrixFactorization.load(previous.folder)
    if earlier.vectors.shape[1] != settings.factors:
        print(f"the champion has {earlier.vectors.shape[1]} factors: no warm start")
        return None
    ids = previous.items[earlier.item_ids]
    row, known = look_up(item_ids, ids)
    vectors = np.zeros((len(item_ids), settings.factors), np.float32)
    vectors[row[known]] = earlier.vectors[known]
    return vectors


@lru_cache(maxsize=1)
def blas() -> ThreadpoolController:
    """What sets the number of BLAS's threads; made once, because it looks through all that the process has loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def confidences(histories: Histories, alpha: float) -> csr_matrix[Any]:
    """Sparse float32 [num_users, num_items]: :func:`confidence` where something was bought."""
    counts = purchase_counts(histories)
    counts.data = confidence(counts.data, alpha)
    return counts


def confidence(purchases: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """float32 [num_pairs]: ``1 + alpha * log(1 + purchases)``, how sure it is that a user wants an item."""
    weights: NDArray[np.float32] = (1.0 + alpha * np.log1p(purchases)).astype(np.float32)
    return weights
