"""EASE, the linear item-to-item model, in its dual form.

EASE's item weights are ``B = I - P / diag(P)`` with ``P = (X^T X + l I)^-1``, an inverse as wide as the catalogue.
By the Woodbury identity ``P = (I - X^T K X) / l`` with ``K = (X X^T + l I)^-1``, an inverse as wide as the number of
users, which is far smaller in a shop; ``B`` itself is never formed.

Source: Steck 2019, "Embarrassingly shallow autoencoders for sparse data".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN, Histories, Model, Serves, Span, Training
from pipelines.models.files import read_model, write_model
from pipelines.models.histories import purchase_counts
from pipelines.params import Section

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class LinearSettings(Section):
    """EASE (section ``train_linear``)."""

    regularization: float = Field(default=300.0, gt=0)
    """Ridge; larger trusts the neighbours less."""
    power: float = Field(default=0.5, ge=0, le=1)
    """``n`` purchases of an item enter as ``n ** power``; 0 means bought or not."""


class Linear(Model):
    """Scores an item by a linear function of the user's purchases: ``x B = x - (x P) / diag(P)``.

    An item's own purchase does not count for itself (``diag(B) = 0``). A user without events scores 0 everywhere.

    Args:
        purchases: sparse float32 [num_training_users, num_items], the rows that the model was fitted on.
        kernel: float32 [num_training_users, num_training_users], ``K``.
        regularization: ``l``.
        power: a purchase count ``n`` enters as ``n ** power``; 0 means bought or not.
    """

    name: ClassVar[str] = "linear"
    serves: ClassVar[Serves] = Serves()
    stage: ClassVar[str | None] = "train_linear"
    Settings: ClassVar[type[Section]] = LinearSettings
    spans: ClassVar[Mapping[str, Span]] = {"regularization": Span(10.0, 3000.0, log=True), "power": Span(0.0, 1.0)}

    def __init__(
        self, purchases: csr_matrix[Any], kernel: NDArray[np.float32], regularization: float, power: float
    ) -> None:
        self.purchases = purchases
        self.kernel = kernel
        self.regularization = regularization
        self.power = power

    @cached_property
    def _by_item(self) -> csr_matrix[Any]:
        return self.purchases.T.tocsr()

    @cached_property
    def _scaled_diagonal(self) -> NDArray[np.float32]:
        """float32 [num_items]: ``l diag(P)``."""
        diagonal = np.zeros(self.purchases.shape[1])
        for start in range(0, len(diagonal), 8192):
            rows = self._by_item[start : start + 8192]
            diagonal[start : start + 8192] = np.asarray(rows.multiply(rows @ self.kernel).sum(axis=1)).ravel()
        return np.maximum(1.0 - diagonal, 1e-6).astype(np.float32)

    @classmethod
    def fit(cls, training: Training, settings: LinearSettings) -> Self:
        """Solve EASE on the users' purchases; users without events carry no information and are left out.

        Raises:
            ModelError: there is no event.
        """
        rows = _rows(training.histories, settings.power)
        rows = rows[np.diff(rows.indptr) > 0]
        if not rows.shape[0]:
            raise ModelError("EASE needs at least one purchase", mend="shoploom ingest --from DAY")
        gram = (rows @ rows.T).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += settings.regularization
        return cls(rows, np.linalg.inv(gram).astype(np.float32), settings.regularization, settings.power)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        rows = _rows(histories, self.power)
        own = rows[:, candidates].toarray()
        overlap = (rows @ self.purchases.T).toarray() @ self.kernel
        explained = np.asarray(self._by_item[candidates] @ overlap.T).T
        scores: NDArray[np.float32] = own - (own - explained) / self._scaled_diagonal[candidates]
        return scores.astype(np.float32, copy=False)

    def facts(self) -> dict[str, float]:
        return {"users": self.purchases.shape[0]}

    def save(self, directory: Path) -> None:
        arrays = {
            "indptr": self.purchases.indptr.astype(np.int64),
            "indices": self.purchases.indices.astype(np.int32),
            "values": self.purchases.data.astype(np.float32),
            "kernel": self.kernel,
        }
        settings = {
            "num_items": self.purchases.shape[1],
            "regularization": self.regularization,
            "power": self.power,
        }
        write_model(directory, self.name, arrays, settings)

    @classmethod
    def load(cls, directory: Path) -> Self:
        from scipy.sparse import csr_matrix

        names = ("indptr", "indices", "values", "kernel")
        arrays, settings = read_model(directory, cls.name, names, ("num_items", "regularization", "power"))
        try:
            shape = (len(arrays["indptr"]) - 1, int(settings["num_items"]))
            rows = csr_matrix((arrays["values"], arrays["indices"], arrays["indptr"]), shape=shape)
        except ValueError as error:
            raise ModelError(f"{directory} is not an EASE model: {error}", mend=MADE_AGAIN) from error
        return cls(rows, arrays["kernel"], float(settings["regularization"]), float(settings["power"]))


def _rows(histories: Histories, power: float) -> csr_matrix[Any]:
    rows = purchase_counts(histories)
    rows.data = rows.data ** np.float32(power)
    return rows
