"""EASE, the linear item-to-item model: in its dual form, exact, or on neighbourhoods.

Source: Steck 2019, "Embarrassingly shallow autoencoders for sparse data".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.models.base import Histories, Model, Serves, Span, Training
from pipelines.models.files import SPARSE, read_model, write_model
from pipelines.models.histories import pairs_of, purchase_counts
from pipelines.models.linear_forms import Dual, EaseSettings, Weights, read_weights, solved
from pipelines.params import Section

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class LinearSettings(EaseSettings):
    """EASE (section ``train_linear``)."""

    power: float = Field(default=0.5, ge=0, le=1)
    """``n`` purchases of an item enter as ``n ** power``; 0 means bought or not."""
    half_life_days: float | None = Field(default=None, gt=0)
    """Age at which a purchase counts half when a user is scored; null counts all alike."""


class Linear(Model):
    """Scores an item by a linear function of the user's purchases: ``x B``.

    An item's own purchase does not count for itself (``diag(B) = 0``). A user without events scores 0 everywhere.

    Args:
        weights: ``B``, in one of its forms.
        power: a purchase count ``n`` enters as ``n ** power``; 0 means bought or not.
        half_life_days: age at which a purchase counts half; None counts all alike.
    """

    name: ClassVar[str] = "linear"
    serves: ClassVar[Serves] = Serves()
    stage: ClassVar[str | None] = "train_linear"
    Settings: ClassVar[type[Section]] = LinearSettings
    spans: ClassVar[Mapping[str, Span]] = {"regularization": Span(10.0, 3000.0, log=True), "power": Span(0.0, 1.0)}

    def __init__(self, weights: Weights, power: float, half_life_days: float | None = None) -> None:
        self.weights = weights
        self.power = power
        self.half_life_days = half_life_days

    @classmethod
    def fit(cls, training: Training, settings: LinearSettings) -> Self:
        """Solve EASE on the users' purchases; users without events carry no information and are left out.

        Raises:
            ModelError: there is no event, or no inverse.
        """
        weights = solved(_counts(training.histories, settings.power), settings, training.threads)
        return cls(weights, settings.power, settings.half_life_days)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        rows = _counts(histories, self.power)
        if self.half_life_days is not None:
            rows.data *= np.float32(0.5) ** (pairs_of(histories).last / np.float32(self.half_life_days))
        return self.weights.apply(rows, candidates)

    def facts(self) -> dict[str, float]:
        if isinstance(self.weights, Dual):
            return {"users": self.weights.matrix.shape[0]}
        return {"weights": self.weights.matrix.nnz}

    def save(self, directory: Path) -> None:
        arrays = self.weights.arrays()
        settings = {
            "form": self.weights.form,
            "num_items": self.weights.matrix.shape[1],
            "power": self.power,
            "half_life_days": self.half_life_days,
        }
        write_model(directory, self.name, arrays, settings)

    @classmethod
    def load(cls, directory: Path) -> Self:
        names = ("form", "num_items", "power", "half_life_days")
        arrays, settings = read_model(directory, cls.name, SPARSE, names)
        half_life = settings["half_life_days"]
        weights = read_weights(arrays, settings, directory)
        return cls(weights, float(settings["power"]), None if half_life is None else float(half_life))


def _counts(histories: Histories, power: float) -> csr_matrix[Any]:
    rows = purchase_counts(histories)
    rows.data = rows.data ** np.float32(power)
    return rows
