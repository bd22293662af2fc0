"""A linear blend: logistic regression, saved as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.models.blend_settings import (
    BlendSettings,
    logistic,
    sample_negatives,
    squash,
    standardisation,
    write_blend,
)

LINEAR_RIDGE = 1e-4
"""Ridge of the linear blend, per row."""


class LinearBlend:
    """Logistic regression on squashed, standardised features.

    Args:
        weights: float64 [num_features].
        bias: of the logit.
        centre: float64 [num_features], means of the squashed features.
        scale: float64 [num_features], their standard deviations, > 0.
        feature_names: columns, in order.
    """

    kind = "linear"

    def __init__(
        self,
        weights: NDArray[np.float64],
        bias: float,
        centre: NDArray[np.float64],
        scale: NDArray[np.float64],
        feature_names: Sequence[str],
    ) -> None:
        self.weights = weights
        self.bias = bias
        self.centre = centre
        self.scale = scale
        self.feature_names = tuple(feature_names)

    @classmethod
    def fit(
        cls,
        rows: NDArray[np.float32],
        bought: NDArray[np.bool_],
        feature_names: Sequence[str],
        settings: BlendSettings,
        steps: int = 12,
    ) -> LinearBlend:
        """Newton's method; deterministic."""
        kept, weight = sample_negatives(bought, settings)
        squashed = squash(rows[kept])
        centre, scale = standardisation(squashed)
        design = np.hstack([(squashed - centre) / scale, np.ones((len(squashed), 1))])
        label = bought[kept].astype(np.float64)
        weights = np.zeros(design.shape[1])
        ridge = LINEAR_RIDGE * float(weight.sum()) * np.eye(design.shape[1])
        for _ in range(steps):
            chance = logistic(design @ weights)
            gradient = design.T @ (weight * (label - chance)) - ridge @ weights
            curvature = design.T @ (design * (weight * chance * (1 - chance))[:, None]) + ridge
            weights = weights + np.linalg.solve(curvature, gradient)
        return cls(weights[:-1], float(weights[-1]), centre, scale, feature_names)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [num_rows] in 0..1, from float32 [num_rows, num_features]."""
        logit = ((squash(rows) - self.centre) / self.scale) @ self.weights + self.bias
        return logistic(logit).astype(np.float32)

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """See :meth:`TreeBlend.contributions`; a feature adds its weight times its distance from the mean."""
        added = ((squash(rows) - self.centre) / self.scale) * self.weights
        return np.hstack([added, np.full((len(rows), 1), self.bias)])

    def save(self, directory: Path) -> None:
        """Write the blend into ``directory``."""
        numbers = {"weights": self.weights.tolist(), "centre": self.centre.tolist(), "scale": self.scale.tolist()}
        write_blend(directory, self.kind, self.feature_names, {**numbers, "bias": self.bias})
