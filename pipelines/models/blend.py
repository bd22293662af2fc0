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

from pipelines.artifacts import read_json, write_json
from pipelines.errors import DataError, ModelError
from pipelines.models.blend_settings import (
    BLEND_FILE,
    FORMAT_VERSION,
    BlendSettings,
    logistic,
    sample_negatives,
    squash,
)
from pipelines.models.neural_blend import NeuralBlend

TREES_FILE = "trees.txt"


class TreeBlend:
    """Gradient-boosted trees on the binary objective.

    Args:
        text: LightGBM's own text.
        feature_names: columns, in order.
        threads: used to predict.
    """

    kind = "trees"

    def __init__(self, text: str, feature_names: Sequence[str], threads: int = 2) -> None:
        from lightgbm import Booster
        from lightgbm.basic import LightGBMError

        try:
            self._booster: Any = Booster(model_str=text)
        except LightGBMError as error:
            raise ModelError(f"the blend's trees are unreadable: {error}", mend="shoploom run makes them") from error
        self._text = text
        self._threads = threads
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
        return np.asarray(self._booster.predict(rows, num_threads=self._threads), np.float32)

    def importance(self) -> dict[str, float]:
        """Share of the total gain of every feature."""
        gain = np.asarray(self._booster.feature_importance("gain"), np.float64)
        shares = gain / max(float(gain.sum()), 1e-12)
        return {name: round(float(share), 6) for name, share in zip(self.feature_names, shares, strict=True)}

    def save(self, directory: Path) -> None:
        """Write the blend into ``directory``."""
        (directory / TREES_FILE).write_bytes(self._text.encode())
        header = {"format": FORMAT_VERSION, "kind": self.kind, "features": list(self.feature_names)}
        digest = sha256(self._text.encode()).hexdigest()
        write_json({**header, "threads": self._threads, "trees_sha256": digest}, directory / BLEND_FILE)


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
        centre, scale = squashed.mean(axis=0), np.maximum(squashed.std(axis=0), 1e-6)
        design = np.hstack([(squashed - centre) / scale, np.ones((len(squashed), 1))])
        label = bought[kept].astype(np.float64)
        weights = np.zeros(design.shape[1])
        ridge = settings.linear_regularization * float(weight.sum()) * np.eye(design.shape[1])
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

    def save(self, directory: Path) -> None:
        """Write the blend into ``directory``."""
        numbers = {"weights": self.weights.tolist(), "centre": self.centre.tolist(), "scale": self.scale.tolist()}
        header = {"format": FORMAT_VERSION, "kind": self.kind, "features": list(self.feature_names)}
        write_json({**header, **numbers, "bias": self.bias}, directory / BLEND_FILE)


AnyBlend = TreeBlend | LinearBlend | NeuralBlend


def load_blend(directory: Path, feature_names: Sequence[str]) -> AnyBlend:
    """Read a saved blend of any kind.

    Raises:
        ModelError: a file is missing or unreadable, or the blend was trained on other features.
    """
    try:
        header = read_json(directory / BLEND_FILE)
        if header["format"] != FORMAT_VERSION or tuple(header["features"]) != tuple(feature_names):
            raise ModelError(
                f"{directory / BLEND_FILE} is of another version: its features or format differ from this code's",
                mend="load it with the code of its run commit, or train again with shoploom run",
            )
        if header["kind"] == TreeBlend.kind:
            text = _read_trees(directory / TREES_FILE, str(header["trees_sha256"]))
            return TreeBlend(text, header["features"], int(header["threads"]))
        if header["kind"] == NeuralBlend.kind:
            return NeuralBlend.load(directory, int(header["layers"]), header["features"])
        arrays = [np.asarray(header[name], np.float64) for name in ("weights", "centre", "scale")]
        return LinearBlend(arrays[0], float(header["bias"]), arrays[1], arrays[2], header["features"])
    except ModelError:
        raise
    except DataError as error:
        raise ModelError(error.message, mend=error.mend) from error
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ModelError(f"{directory} holds no readable blend: {error}", mend="shoploom run makes it") from error


def _read_trees(path: Path, digest: str) -> str:
    """The trees' text, checked first: LightGBM ends the process on text that is cut short."""
    content = path.read_bytes()
    if sha256(content).hexdigest() != digest:
        raise ModelError(f"{path} is not what {BLEND_FILE} says", mend="shoploom run makes it again")
    return content.decode("utf-8")
