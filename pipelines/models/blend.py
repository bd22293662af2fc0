"""The learned blend: from a pair's features to the chance that it is bought.

Three kinds are measured beside each other by the stage ``rank``, and the best is kept: gradient-boosted trees
(LightGBM, saved as its own text), a linear blend (logistic regression, saved as numbers) and a small neural one
(:mod:`pipelines.models.neural_blend`).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import read_json
from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN
from pipelines.models.blend_settings import (
    BLEND_FILE,
    FORMAT_VERSION,
    BlendSettings,
    logistic,
    sample_negatives,
    squash,
    standardisation,
    write_blend,
)
from pipelines.models.files import model_errors
from pipelines.models.neural_blend import NeuralBlend

TREES_FILE = "trees.txt"
LINEAR_RIDGE = 1e-4
"""Ridge of the linear blend, per row."""


class TreeBlend:
    """Gradient-boosted trees on the binary objective.

    Args:
        text: LightGBM's own text.
        feature_names: columns, in order.
        threads: used to predict.
    """

    kind = "trees"

    def __init__(self, text: str, feature_names: Sequence[str], threads: int) -> None:
        from lightgbm import Booster

        self._booster: Any = Booster(model_str=text)
        self._text = text
        self.threads = threads
        """Used to predict; their number changes no result."""
        self.feature_names = tuple(feature_names)

    @classmethod
    def fit(
        cls,
        rows: NDArray[np.float32],
        bought: NDArray[np.bool_],
        feature_names: Sequence[str],
        settings: BlendSettings,
    ) -> TreeBlend:
        """Train on shortlisted pairs."""
        import lightgbm

        parameters = {
            "objective": "binary",
            "learning_rate": settings.learning_rate,
            "num_leaves": settings.leaves,
            "min_data_in_leaf": max(1, round(settings.min_leaf_rows * settings.negative_share)),
            "max_bin": settings.bins,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 5.0,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": settings.threads,
            "seed": settings.seed,
            "verbosity": -1,
        }
        kept, weight = sample_negatives(bought, settings)
        label = bought[kept].astype(np.float32)
        data = lightgbm.Dataset(rows[kept], label=label, weight=weight, feature_name=list(feature_names))
        booster = lightgbm.train(parameters, data, num_boost_round=settings.rounds)
        return cls(booster.model_to_string(), feature_names, settings.threads)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [num_rows] in 0..1, from float32 [num_rows, num_features]."""
        if not len(rows):
            return np.zeros(0, np.float32)
        return np.asarray(self._booster.predict(rows, num_threads=self.threads), np.float32)

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """What every feature adds to the log odds of each row: exact Shapley values of the trees.

        Source: Lundberg et al. 2018, "Consistent individualized feature attribution for tree ensembles" (LightGBM's
        own implementation).

        Returns:
            float64 [num_rows, num_features + 1]; the last column is what a row has before any feature is known. A row
            adds up to the log odds of its chance.
        """
        width = len(self.feature_names) + 1
        if not len(rows):
            return np.zeros((0, width))
        added = self._booster.predict(rows, num_threads=self.threads, pred_contrib=True)
        return np.asarray(added, np.float64).reshape(len(rows), width)

    def importance(self) -> dict[str, float]:
        """Share of the total gain of every feature."""
        gain = np.asarray(self._booster.feature_importance("gain"), np.float64)
        shares = gain / max(float(gain.sum()), 1e-12)
        return {name: round(float(share), 6) for name, share in zip(self.feature_names, shares, strict=True)}

    def save(self, directory: Path) -> None:
        """Write the blend into ``directory``."""
        (directory / TREES_FILE).write_bytes(self._text.encode())
        digest = sha256(self._text.encode()).hexdigest()
        facts = {"threads": self.threads, "trees_sha256": digest}
        write_blend(directory, self.kind, self.feature_names, facts)

    @classmethod
    def load(cls, directory: Path, digest: str, feature_names: Sequence[str], threads: int) -> TreeBlend:
        """Read what :meth:`save` wrote, checked first: LightGBM ends the process on text that is cut short.

        Raises:
            ModelError: the trees are not those of ``digest``, or LightGBM cannot read them.
        """
        from lightgbm.basic import LightGBMError

        path = directory / TREES_FILE
        content = path.read_bytes()
        if sha256(content).hexdigest() != digest:
            raise ModelError(f"{path} is not what {BLEND_FILE} says", mend=MADE_AGAIN)
        try:
            return cls(content.decode("utf-8"), feature_names, threads)
        except LightGBMError as error:
            raise ModelError(f"{path} holds no trees: {error}", mend=MADE_AGAIN) from error


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


AnyBlend = TreeBlend | LinearBlend | NeuralBlend


def load_blend(directory: Path, feature_names: Sequence[str]) -> AnyBlend:
    """Read a saved blend of any kind.

    Raises:
        ModelError: a file is missing or unreadable, or the blend was trained on other features.
    """
    with model_errors():
        header = read_json(directory / BLEND_FILE)
    try:
        if header["format"] != FORMAT_VERSION or tuple(header["features"]) != tuple(feature_names):
            raise ModelError(
                f"{directory / BLEND_FILE} is of another version: its features or format differ from this code's",
                mend="load it with the code of its run commit, or train again with shoploom run",
            )
        if header["kind"] == TreeBlend.kind:
            return TreeBlend.load(directory, header["trees_sha256"], header["features"], int(header["threads"]))
        if header["kind"] == NeuralBlend.kind:
            return NeuralBlend.load(directory, int(header["layers"]), header["features"])
        arrays = [np.asarray(header[name], np.float64) for name in ("weights", "centre", "scale")]
        return LinearBlend(arrays[0], float(header["bias"]), arrays[1], arrays[2], header["features"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ModelError(f"{directory} holds no readable blend: {error}", mend=MADE_AGAIN) from error
