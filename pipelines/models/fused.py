"""Behaviour and text in one space.

An item's behaviour vector (from matrix factorization) is averaged with the one that its text predicts, weighed by
how many buyers it has, so an item nobody bought yet still has a place; its reduced text vector is put beside it, and
principal components keep what matters. A user's vector is the least-squares step of ALS in that space.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import ModelError
from pipelines.models.base import Histories, Model, Serves, Span, Training
from pipelines.models.files import read_model, write_model
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.popularity import Popularity
from pipelines.params import Section


class FusionSettings(Section):
    """Behaviour and text in one space (section ``fuse``)."""

    components: int = Field(default=96, ge=1, le=1024)
    """Length of a fused vector."""
    text_components: int = Field(default=48, ge=1, le=384)
    """Principal components kept of the text vectors."""
    text_weight: float = Field(default=0.3, ge=0)
    """Length of the text part, relative to the behaviour part."""
    ridge: float = Field(default=10.0, gt=0)
    """Regularization of the projection from text to behaviour."""
    prior_buyers: float = Field(default=3.0, gt=0)
    """Buyers at which behaviour and text's prediction weigh the same."""
    regularization: float = Field(default=30.0, gt=0)
    """Of the users' least-squares step in the fused space."""
    picture_items: int = Field(default=1500, ge=0)
    """Most bought products in the t-SNE picture, which the stage draws."""


class Fused(Model):
    """Scores an item by the dot product of fused vectors; a user without events scores 0 everywhere.

    Args:
        vectors: float32 [num_items, components], every item of the catalogue, bought or not.
        explained: float64 [components], share of the variance that each component holds.
        regularization: of the users' least-squares step.
        alpha: confidence of one purchase.
    """

    name: ClassVar[str] = "fused"
    serves: ClassVar[Serves] = Serves(cold_items=True)
    stage: ClassVar[str | None] = "fuse"
    needs: ClassVar[tuple[str, ...]] = ("matrix_factorization",)
    reads_texts: ClassVar[bool] = True
    because: ClassVar[str] = "it is like your purchases"
    Settings: ClassVar[type[Section]] = FusionSettings
    spans: ClassVar[Mapping[str, Span]] = {
        "text_weight": Span(0.05, 1.0, log=True),
        "ridge": Span(1.0, 100.0, log=True),
        "prior_buyers": Span(0.5, 20.0, log=True),
        "regularization": Span(1.0, 300.0, log=True),
    }

    def __init__(
        self,
        vectors: NDArray[np.float32],
        explained: NDArray[np.float64],
        regularization: float,
        alpha: float,
    ) -> None:
        self.vectors = vectors
        self.explained = explained
        self._space = MatrixFactorization(
            np.arange(len(vectors), dtype=np.int32), vectors, len(vectors), regularization, alpha
        )

    @classmethod
    def fit(cls, training: Training, settings: FusionSettings) -> Self:
        """Join the two spaces.

        Args:
            training: holds the text vectors and, fitted on the same purchases, ``matrix_factorization``.
            settings: see :class:`FusionSettings`.

        Raises:
            ModelError: one of the two is not there.
        """
        behaviour, texts = training.fitted.get(MatrixFactorization.name), training.texts
        if not isinstance(behaviour, MatrixFactorization) or texts is None:
            raise ModelError("fusion needs a matrix factorization and the text vectors", mend="shoploom run makes them")
        buyers = Popularity.of(training.histories).buyers
        items = np.arange(len(buyers), dtype=np.int32)
        bought = behaviour.item_vectors(items).astype(np.float64)
        reduced, _ = principal_components(texts.embeddings.astype(np.float64), settings.text_components)
        text = reduced[texts.text_index]
        predicted = text_to_behaviour(text, bought, buyers, settings.ridge)
        weight = (buyers / (buyers + settings.prior_buyers))[:, None]
        joined = weight * bought + (1.0 - weight) * predicted
        scale = settings.text_weight * _root_mean_square(joined) / _root_mean_square(text)
        fused, explained = principal_components(np.hstack([joined, scale * text]), settings.components, centre=False)
        return cls(fused.astype(np.float32), explained, settings.regularization, behaviour.alpha)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        return self._space.score(histories, candidates)

    def save(self, directory: Path) -> None:
        settings = {"regularization": self._space.regularization, "alpha": self._space.alpha}
        write_model(directory, self.name, {"vectors": self.vectors, "explained": self.explained}, settings)

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, settings = read_model(directory, cls.name, ("vectors", "explained"), ("regularization", "alpha"))
        numbers = float(settings["regularization"]), float(settings["alpha"])
        return cls(arrays["vectors"], arrays["explained"], *numbers)


def principal_components(
    rows: NDArray[np.float64], components: int, *, centre: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotate rows to their principal axes.

    Args:
        rows: float64 [num_rows, size].
        components: axes kept; at most ``size`` are.
        centre: subtract the mean; without it, dot products between rows are kept as well as they can be.

    Returns:
        float64 [num_rows, components], and float64 [components], the share of the variance on each axis. An axis
        points where its largest loading is positive, so the result does not depend on the solver's signs.
    """
    rows = rows - rows.mean(axis=0) if centre else rows
    values, axes = np.linalg.eigh(rows.T @ rows)
    values, axes = np.maximum(values[::-1], 0.0), axes[:, ::-1]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    kept = min(components, axes.shape[1])
    return rows @ axes[:, :kept], values[:kept] / max(float(values.sum()), 1e-12)


def text_to_behaviour(
    text: NDArray[np.float64], behaviour: NDArray[np.float64], buyers: NDArray[np.int32], ridge: float
) -> NDArray[np.float64]:
    """Predict behaviour vectors from texts by ridge regression, fitted on bought items, weighed by log buyers.

    Args:
        text: float64 [num_items, text_components].
        behaviour: float64 [num_items, factors]; rows of items without buyers are not read.
        buyers: int32 [num_items].
        ridge: regularization.

    Returns:
        float64 [num_items, factors].
    """
    design = np.hstack([text, np.ones((len(text), 1))])
    weight = np.log1p(buyers.astype(np.float64))[:, None]
    left = design.T @ (design * weight) + ridge * np.eye(design.shape[1])
    return np.asarray(design @ np.linalg.solve(left, design.T @ (behaviour * weight)))


def _root_mean_square(rows: NDArray[np.float64]) -> float:
    return max(float(np.sqrt(np.mean(rows**2))), 1e-12)
