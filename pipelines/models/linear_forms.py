"""How the weights of the linear item-to-item models are chosen to be solved, and the forms in which they are held."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN
from pipelines.models.files import read_sparse, sparse_arrays
from pipelines.models.histories import dense_columns
from pipelines.models.linear_solvers import dual_kernel, exact_weights, load_lapack, neighbour_weights
from pipelines.models.of_candidates import OfCandidates
from pipelines.params import Section

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COLUMNS_AT_ONCE = 512
"""Columns that are turned at once: as many as stay in the cache of a core."""


class EaseSettings(Section):
    """How EASE is solved: by what is small."""

    regularization: float = Field(default=300.0, gt=0)
    """Ridge; larger trusts the neighbours less."""
    dual_users: int = Field(default=8_000, ge=0)
    """The most users for which the inverse is as wide as the users."""
    exact_items: int = Field(default=20_000, ge=0)
    """The most items bought for which the inverse is as wide as the items; past it neighbourhoods are solved."""
    neighbours: int = Field(default=200, ge=1)
    """Of each item, where neighbourhoods are solved."""
    kept: int = Field(default=512, ge=1)
    """Weights kept from each item to others, the strongest, where the inverse is as wide as the items."""


class Weights(ABC):
    """A solved form of ``B``."""

    form: ClassVar[str]
    matrix: csr_matrix[Any]

    @abstractmethod
    def apply(self, rows: csr_matrix[Any], candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [num_rows, num_candidates]: the candidates' columns of ``rows B``."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is saved."""


@dataclass(frozen=True)
class Dual(Weights):
    """``B = I - P / diag(P)`` by ``P = (I - X^T K X) / l``.

    Args:
        matrix: sparse float32 [num_training_users, num_items], ``X``.
        kernel: float32 [num_training_users, num_training_users], ``K``.
        diagonal: float32 [num_items], ``l diag(P)``; None where it is still to be found, which takes a second.
    """

    matrix: csr_matrix[Any]
    kernel: NDArray[np.float32]
    diagonal: NDArray[np.float32] | None = None
    form: ClassVar[str] = "dual"

    @classmethod
    def of_arrays(cls, matrix: csr_matrix[Any], arrays: Mapping[str, NDArray[Any]], directory: Path) -> Self:
        """Put together what :meth:`arrays` took apart; what was saved before there was a diagonal has none.

        Args:
            matrix: of these arrays.
            arrays: by name.
            directory: named where they do not fit.

        Raises:
            ModelError: the arrays do not fit together.
        """
        users, items = matrix.shape
        kernel, diagonal = arrays.get("kernel", np.zeros(0)), arrays.get("diagonal")
        if kernel.shape != (users, users) or (diagonal is not None and diagonal.shape != (items,)):
            raise ModelError(f"{directory} holds a kernel or a diagonal of another size", mend=MADE_AGAIN)
        return cls(matrix, kernel, diagonal)

    @cached_property
    def _by_item(self) -> csr_matrix[Any]:
        return self.matrix.T.tocsr()

    @cached_property
    def _of_candidates(self) -> OfCandidates[csr_matrix[Any]]:
        """Sparse float32 [num_candidates, num_training_users]."""
        return OfCandidates()

    @cached_property
    def _scaled_diagonal(self) -> NDArray[np.float32]:
        """float32 [num_items]: ``l diag(P)``."""
        if self.diagonal is not None:
            return self.diagonal
        diagonal = np.zeros(self.matrix.shape[1])
        for start in range(0, len(diagonal), 8192):
            rows = self._by_item[start : start + 8192]
            diagonal[start : start + 8192] = np.asarray(rows.multiply(rows @ self.kernel).sum(axis=1)).ravel()
        return np.maximum(1.0 - diagonal, 1e-6).astype(np.float32)

    def apply(self, rows: csr_matrix[Any], candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Weights.apply`."""
        own = dense_columns(rows, candidates)
        overlap = (rows @ self._by_item).toarray() @ self.kernel
        explained = self._of_candidates.of(candidates, self._by_item.__getitem__) @ overlap.T
        scores = np.empty_like(own)
        for start in range(0, len(candidates), COLUMNS_AT_ONCE):
            columns = slice(start, start + COLUMNS_AT_ONCE)
            np.subtract(own[:, columns], explained[columns].T, out=scores[:, columns])
        scores /= self._scaled_diagonal[candidates]
        return np.subtract(own, scores, out=scores)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {**sparse_arrays(self.matrix), "kernel": self.kernel, "diagonal": self._scaled_diagonal}


@dataclass(frozen=True)
class Sparse(Weights):
    """``B`` itself, its strongest weights.

    Args:
        matrix: sparse float32 [num_items, num_items].
    """

    matrix: csr_matrix[Any]
    form: ClassVar[str] = "sparse"

    def apply(self, rows: csr_matrix[Any], candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Weights.apply`."""
        return dense_columns(rows @ self.matrix, candidates)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return sparse_arrays(self.matrix)


def solved(rows: csr_matrix[Any], settings: EaseSettings, threads: int) -> Weights:
    """Solve EASE on the users' purchases; users without any carry no information and are left out.

    Args:
        rows: sparse float32 [num_users, num_items].
        settings: of the model.
        threads: how many the algebra may use.

    Raises:
        ModelError: there is no purchase, or no inverse.
    """
    rows = rows[np.diff(rows.indptr) > 0]
    num_users, num_bought = rows.shape[0], len(np.unique(rows.indices))
    if not num_users:
        raise ModelError("EASE needs at least one purchase", mend="shoploom ingest --from DAY")
    load_lapack()
    with threadpool_limits(limits=threads, user_api="blas"):
        if num_users <= min(num_bought, settings.dual_users):
            return Dual(rows, dual_kernel(rows, settings.regularization))
        if num_bought <= settings.exact_items:
            return Sparse(exact_weights(rows, settings.regularization, settings.kept))
        return Sparse(neighbour_weights(rows, settings.regularization, settings.neighbours))


def read_weights(arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], directory: Path) -> Weights:
    """Put together what :meth:`Weights.arrays` took apart.

    Args:
        arrays: by name.
        settings: saved beside them, with ``num_items`` and ``form``; models saved before there was a choice are dual.
        directory: named where they do not fit.

    Raises:
        ModelError: the arrays do not fit together.
    """
    try:
        num_items = int(settings["num_items"])
    except (TypeError, ValueError) as error:
        raise ModelError(f"{directory} names no number of items: {settings['num_items']!r}", mend=MADE_AGAIN) from error
    matrix = read_sparse(arrays, num_items, directory)
    form = settings.get("form", Dual.form if "kernel" in arrays else None)
    if form is None:
        raise ModelError(f"{directory} lacks the setting 'form'", mend=MADE_AGAIN)
    if form == Dual.form:
        return Dual.of_arrays(matrix, arrays, directory)
    if form != Sparse.form or matrix.shape[0] != num_items:
        raise ModelError(f"{directory} holds no form of EASE that is known", mend=MADE_AGAIN)
    return Sparse(matrix)
