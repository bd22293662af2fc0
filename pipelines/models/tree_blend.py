"""A blend of gradient-boosted trees: LightGBM, saved as its own text."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN
from pipelines.models.blend_settings import BLEND_FILE, BlendSettings, sample_negatives, write_blend
from pipelines.models.boosting import lightgbm

TREES_FILE = "trees.txt"


class TreeBlend:
    """Gradient-boosted trees on the binary objective.

    Args:
        text: LightGBM's own text.
        feature_names: columns, in order.
        threads: used to predict.
    """

    kind = "trees"

    def __init__(self, text: str, feature_names: Sequence[str], threads: int) -> None:
        self._booster: Any = lightgbm().Booster(model_str=text)
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
        data = lightgbm().Dataset(rows[kept], label=label, weight=weight, feature_name=list(feature_names))
        booster = lightgbm().train(parameters, data, num_boost_round=settings.rounds)
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
        path = directory / TREES_FILE
        content = path.read_bytes()
        if sha256(content).hexdigest() != digest:
            raise ModelError(f"{path} is not what {BLEND_FILE} says", mend=MADE_AGAIN)
        try:
            return cls(content.decode("utf-8"), feature_names, threads)
        except lightgbm().basic.LightGBMError as error:
            raise ModelError(f"{path} holds no trees: {error}", mend=MADE_AGAIN) from error
