"""What every blend shares: how it is trained, which pairs it sees, how features are squashed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = 1
BLEND_FILE = "blend.json"


@dataclass(frozen=True)
class BlendSettings:
    """How the blends are trained.

    Args:
        rounds: trees.
        learning_rate: of the trees.
        leaves: of one tree.
        min_leaf_rows: rows that a leaf must hold, before negatives are sampled.
        negative_share: share of the pairs not bought that is trained on; each then counts for the others too.
        bins: histogram bins of a feature.
        linear_regularization: ridge of the linear blend, per row.
        seed: of the trees' sampling.
        threads: fixed, so equal input gives equal bytes.
    """

    rounds: int = 150
    learning_rate: float = 0.06
    leaves: int = 63
    min_leaf_rows: int = 200
    negative_share: float = 0.3
    bins: int = 255
    linear_regularization: float = 1e-4
    seed: int = 7
    threads: int = 2


def sample_negatives(
    bought: NDArray[np.bool_], settings: BlendSettings
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Every pair that was bought and a share of the others.

    Returns:
        Row numbers, ascending, and float32 weights that keep chances unbiased.
    """
    drawn = np.random.default_rng(settings.seed).random(len(bought)) < settings.negative_share
    kept = np.flatnonzero(bought | drawn)
    weight = np.where(bought[kept], 1.0, 1.0 / settings.negative_share).astype(np.float32)
    return kept, weight


def squash(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Signed logarithm: float64, of the same shape."""
    values = rows.astype(np.float64)
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def logistic(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 in 0..1, of the same shape."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -60.0, 60.0))))
