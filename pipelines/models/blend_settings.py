"""What every blend shares: how it is trained, which pairs it sees, how features are squashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import write_json

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
        seed: of the trees' sampling.
        threads: fixed, so equal input gives equal bytes.
    """

    rounds: int
    learning_rate: float
    leaves: int
    min_leaf_rows: int
    negative_share: float
    bins: int
    seed: int
    threads: int


def write_blend(directory: Path, kind: str, feature_names: Sequence[str], facts: Mapping[str, object]) -> None:
    """Write ``blend.json``: format, kind, features, and what else is said of this kind."""
    header = {"format": FORMAT_VERSION, "kind": kind, "features": list(feature_names)}
    write_json({**header, **facts}, directory / BLEND_FILE)


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


def standardisation(squashed: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of every column, float64 [num_features] each.

    A column that is the same in all rows, as some are in a small shop, gets a deviation of 1: what it says of later
    rows is not known, and must not be taken for a million deviations.
    """
    deviation = squashed.std(axis=0)
    return squashed.mean(axis=0), np.where(deviation < 1e-6, 1.0, deviation)


def logistic(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 in 0..1, of the same shape."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -60.0, 60.0))))


def log_odds(chances: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64, of the same shape; chances nearer to 0 or 1 than a ten-millionth are taken for that."""
    kept = np.clip(chances.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(kept / (1 - kept)))
