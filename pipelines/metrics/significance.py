"""Is one ranking better than another on the same users? A paired comparison, seeded."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError

Floats = NDArray[np.float64]

_DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two rankings.

    Args:
        users: number of users that have a value under both.
        effect: mean of challenger minus reference.
        low: lower end of the interval for the effect.
        high: upper end.
        confidence: the interval's coverage, for instance 0.95.
        p_value: chance of an effect at least this large, either way, if the two were interchangeable.
    """

    users: int
    effect: float
    low: float
    high: float
    confidence: float
    p_value: float

    @property
    def significant(self) -> bool:
        """Whether the p-value is below 1 - confidence."""
        return self.p_value < 1.0 - self.confidence

    def as_dict(self) -> dict[str, float | int | bool]:
        """The fields and ``significant``, as JSON holds them."""
        return {**asdict(self), "significant": self.significant}


def compare(
    challenger: Floats,
    reference: Floats,
    *,
    seed: int,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two rankings user by user.

    The interval is a bootstrap percentile interval over users (10,000 resamples by default: the ends of a 95%
    interval are then known to about 0.02 of its width); the p-value is from a two-sided sign-flip permutation
    test of the same size, so the smallest it can be is 1 / 10,001.

    Args:
        challenger: float64 [num_users], a metric per user; NaN where the user has none.
        reference: float64 [num_users], the same users in the same order.
        seed: of the resampling; equal seeds give equal results whatever the number of threads.
        resamples: bootstrap resamples, and permutations.
        confidence: coverage of the interval, within 0..1.

    Returns:
        The comparison over users with a value under both.

    Raises:
        DataError: the shapes differ, or no user has a value under both.

    Source: Smucker, Allan and Carterette 2007 (randomisation test); Efron 1979 (percentile interval).
    """
    if challenger.shape != reference.shape:
        raise DataError(f"{challenger.shape[0]} challenger values cannot be paired with {reference.shape[0]}")
    differences = challenger.astype(np.float64) - reference.astype(np.float64)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        raise DataError("no user has a value under both rankings")
    effect = float(differences.mean())
    bootstrap, permutation = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    low, high = _bootstrap_interval(differences, bootstrap, resamples, confidence)
    return Comparison(
        users=len(differences),
        effect=effect,
        low=low,
        high=high,
        confidence=confidence,
        p_value=_sign_flip_p_value(differences, permutation, resamples),
    )


def _bootstrap_interval(
    differences: Floats, generator: np.random.Generator, resamples: int, confidence: float
) -> tuple[float, float]:
    """Percentile interval of the mean of ``differences`` (float64 [num_users]) over resampled users."""
    size = len(differences)
    means = np.concatenate(
        [
            differences[generator.integers(0, size, (draws, size), dtype=np.int32)].mean(axis=1)
            for draws in _batches(resamples, size)
        ]
    )
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def _sign_flip_p_value(differences: Floats, generator: np.random.Generator, resamples: int) -> float:
    """Two-sided p-value: the observed assignment counts as one of ``resamples + 1``."""
    size = len(differences)
    observed = abs(float(differences.sum()))
    slack = 1e-12 * float(np.abs(differences).sum())
    as_extreme = 0
    for draws in _batches(resamples, size):
        flips = generator.integers(0, 2, (draws, size), dtype=np.int8).astype(bool)
        sums = np.where(flips, -differences, differences).sum(axis=1)
        as_extreme += int((np.abs(sums) >= observed - slack).sum())
    return (as_extreme + 1) / (resamples + 1)


def _batches(resamples: int, size: int) -> list[int]:
    """Split ``resamples`` so that a batch draws about two million numbers."""
    step = max(1, _DRAWS_AT_ONCE // size)
    return [min(step, resamples - start) for start in range(0, resamples, step)]
