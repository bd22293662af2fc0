"""EASE on purchases that fade with age: what people buy together, as it is now.

Solved as :mod:`pipelines.models.linear` is, on other rows: an item weighs ``decayed count ** power``, both in the
purchases that are learned from and in those that are scored for. On the default data a decay of 0.9 a week finds more
of what is new to a user than even weights do, and the two make different mistakes, so the ranker gains from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN, Histories, Model, Serves, Span, Training
from pipelines.models.files import SPARSE, read_model, write_model
from pipelines.models.histories import decayed_counts
from pipelines.models.linear_forms import EaseSettings, Weights, read_weights, solved
from pipelines.params import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scipy.sparse import csr_matrix

KEPT = ("regularization", "weekly_decay", "power")
"""Settings that lie beside the weights."""


class RecentLinearSettings(EaseSettings):
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
        weights: ``B``, in one of its forms.
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

    def __init__(self, weights: Weights, settings: RecentLinearSettings) -> None:
        self.weights = weights
        self.settings = settings

    @classmethod
    def fit(cls, training: Training, settings: RecentLinearSettings) -> Self:
        """Solve EASE; users without events carry no information and are left out.

        Raises:
            ModelError: there is no event, or no inverse.
        """
        return cls(solved(_rows(training.histories, settings), settings, training.threads), settings)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        return self.weights.apply(_rows(histories, self.settings), candidates)

    def save(self, directory: Path) -> None:
        settings = {name: getattr(self.settings, name) for name in KEPT}
        shape = {"form": self.weights.form, "num_items": self.weights.matrix.shape[1]}
        write_model(directory, self.name, self.weights.arrays(), {**shape, **settings})

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, settings = read_model(directory, cls.name, SPARSE, ("num_items", *KEPT))
        try:
            chosen = RecentLinearSettings(**{name: settings[name] for name in KEPT})
        except ValueError as error:
            raise ModelError(f"{directory} is not an EASE model: {error}", mend=MADE_AGAIN) from error
        return cls(read_weights(arrays, settings, directory), chosen)


def _rows(histories: Histories, settings: RecentLinearSettings) -> csr_matrix[Any]:
    rows = decayed_counts(histories, settings.weekly_decay)
    rows.data = rows.data ** np.float32(settings.power)
    return rows
