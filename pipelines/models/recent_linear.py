"""EASE on purchases that fade with age: what people buy together, as it is now.

The same dual solution as :mod:`pipelines.models.linear`, on other rows: an item weighs ``decayed count ** power``, both
in the purchases that are learned from and in those that are scored for. On the default data a decay of 0.9 a week finds
more of what is new to a user than even weights do, and the two make different mistakes, so the ranker gains from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import ModelError
from pipelines.models.base import Histories, Model, Serves, Span, Training
from pipelines.models.files import read_model, write_model
from pipelines.models.histories import decayed_counts
from pipelines.models.linear_forms import Dual
from pipelines.params import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scipy.sparse import csr_matrix


class RecentLinearSettings(Section):
    """EASE on fading purchases (section ``train_recent_linear``)."""

    regularization: float = Field(default=80.0, gt=0)
    """Ridge; larger trusts the neighbours less."""
    weekly_decay: float = Field(default=0.9, gt=0, le=1)
    """Worth of a purchase a week old."""
    power: float = Field(default=0.5, gt=0, le=1)
    """A decayed count ``n`` enters as ``n ** power``."""


class RecentLinear(Model):
    """Scores an item by a linear function of the user's purchases, older ones worth less.

    A user without events scores 0 everywhere.

    Args:
        weights: of the rows that the model was fitted on; their kernel is ``(X X^T + l I)^-1``.
        settings: as fitted.
    """

    name: ClassVar[str] = "recent_linear"
    serves: ClassVar[Serves] = Serves()
    stage: ClassVar[str | None] = "train_recent_linear"
    Settings: ClassVar[type[Section]] = RecentLinearSettings
    spans: ClassVar[Mapping[str, Span]] = {
        "regularization": Span(5.0, 1000.0, log=True),
        "weekly_decay": Span(0.7, 1.0),
        "power": Span(0.2, 1.0),
    }

    def __init__(self, weights: Dual, settings: RecentLinearSettings) -> None:
        self.weights = weights
        self.settings = settings

    @classmethod
    def fit(cls, training: Training, settings: RecentLinearSettings) -> Self:
        """Solve EASE; users without events carry no information and are left out.

        Raises:
            ModelError: there is no event.
        """
        rows = _rows(training.histories, settings)
        rows = rows[np.diff(rows.indptr) > 0]
        if not rows.shape[0]:
            raise ModelError("EASE needs at least one purchase", mend="shoploom ingest --from DAY")
        gram = (rows @ rows.T).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += settings.regularization
        return cls(Dual(rows, np.linalg.inv(gram).astype(np.float32)), settings)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        return self.weights.apply(_rows(histories, self.settings), candidates)

    def save(self, directory: Path) -> None:
        settings = {"num_items": self.weights.matrix.shape[1], **self.settings.model_dump()}
        write_model(directory, self.name, self.weights.arrays(), settings)

    @classmethod
    def load(cls, directory: Path) -> Self:
        from scipy.sparse import csr_matrix

        fields = tuple(RecentLinearSettings.model_fields)
        arrays, settings = read_model(
            directory, cls.name, ("indptr", "indices", "values", "kernel"), ("num_items", *fields)
        )
        try:
            shape = (len(arrays["indptr"]) - 1, int(settings["num_items"]))
            rows = csr_matrix((arrays["values"], arrays["indices"], arrays["indptr"]), shape=shape)
            chosen = RecentLinearSettings(**{name: settings[name] for name in fields})
        except ValueError as error:
            raise ModelError(
                f"{directory} is not an EASE model: {error}", mend="SHOPLOOM_NO_CACHE=1 shoploom run"
            ) from error
        return cls(Dual.of_arrays(rows, arrays, directory), chosen)


def _rows(histories: Histories, settings: RecentLinearSettings) -> csr_matrix[Any]:
    rows = decayed_counts(histories, settings.weekly_decay)
    rows.data = rows.data ** np.float32(settings.power)
    return rows
