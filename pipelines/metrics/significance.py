"""Is one ranking better than another on the same users? A paired comparison, seeded."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Compare two rankings user by user: :func:`compare_all` with one reference.

    Raises:
        DataError: the shapes differ, or no user has a value under both.
    """
    return compare_all(challenger, {"": reference}, seed=seed, resamples=resamples, confidence=confidence)[""]


def compare_all(
    challenger: Floats,
    references: Mapping[str, Floats],
    *,
    seed: int,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> dict[str, Comparison]:
    """Compare one ranking with each of several, user by user, on the same resamples.

    The interval is a bootstrap percentile interval over users (10,000 resamples by default: the ends of a 95%
    interval are then known to about 0.02 of its width); the p-value is from a two-sided sign-flip permutation
    test of the same size, so the smallest it can be is 1 / 10,001.

    Args:
        challenger: float64 [num_users], a metric per user; NaN where the user has none.
        references: float64 [num_users] each, the same users in the same order, by name.
        seed: of the resampling; equal seeds give equal results whatever the number of threads.
        resamples: bootstrap resamples, and permutations.
        confidence: coverage of the intervals, within 0..1.

    Returns:
        By name the comparison over users with a value under both, as if that reference stood alone.

    Raises:
        DataError: the shapes differ, or no user has a value under both.

    Source: Smucker, Allan and Carterette 2007 (randomisation test); Efron 1979 (percentile interval).
    """
    groups: dict[bytes, dict[str, Floats]] = {}
    for name, reference in references.items():
        if challenger.shape != reference.shape:
            raise DataError(f"{challenger.shape[0]} challenger values cannot be paired with {reference.shape[0]}")
        differences = challenger.astype(np.float64) - reference.astype(np.float64)
        known = ~np.isnan(differences)
        if not known.any():
            raise DataError("no user has a value under both rankings")
        groups.setdefault(known.tobytes(), {})[name] = differences[known]
    found: dict[str, Comparison] = {}
    for group in groups.values():
        found |= _compare_group(group, seed, resamples, confidence)
    return {name: found[name] for name in references}


def _compare_group(group: Mapping[str, Floats], seed: int, resamples: int, confidence: float) -> dict[str, Comparison]:
    """Comparisons from differences (float64 [num_users] each) that the same users have."""
    from threadpoolctl import threadpool_limits

    differences = np.column_stack(list(group.values()))
    bootstrap, permutation = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    with threadpool_limits(limits=1, user_api="blas"):
        lows, highs = _bootstrap_intervals(differences, bootstrap, resamples, confidence)
        p_values = _sign_flip_p_values(differences, permutation, resamples)
    return {
        name: Comparison(
            users=len(values),
            effect=float(values.mean()),
            low=float(low),
            high=float(high),
            confidence=confidence,
            p_value=float(p_value),
        )
        for (name, values), low, high, p_value in zip(group.items(), lows, highs, p_values, strict=True)
    }


def _bootstrap_intervals(
    differences: Floats, generator: np.random.Generator, resamples: int, confidence: float
) -> Floats:
    """Percentile intervals of the means over resampled users.

    Args:
        differences: float64 [num_users, num_references].

    Returns:
        float64 [2, num_references], lower and upper ends.
    """
    tail = (1.0 - confidence) / 2.0
    ends: Floats = np.quantile(bootstrap_means(differences, generator, resamples), [tail, 1.0 - tail], axis=0)
    return ends


def bootstrap_means(values: Floats, generator: np.random.Generator, resamples: int) -> Floats:
    """Means over units drawn with replacement, as many as there are; a batch of draws at a time, so memory is bounded.

    Args:
        values: float64 [num_units, num_columns].
        generator: what to draw from.
        resamples: means wanted of each column.

    Returns:
        float64 [resamples, num_columns].

    Source: Efron 1979.
    """
    size = len(values)
    means = []
    for draws in _batches(resamples, size):
        drawn = generator.integers(0, size, (draws, size), dtype=np.int32)
        cells = drawn + size * np.arange(draws)[:, None]
        times = np.bincount(cells.ravel(), minlength=draws * size).reshape(draws, size)
        means.append(times.astype(np.float64) @ values / size)
    return np.concatenate(means)


def _sign_flip_p_values(differences: Floats, generator: np.random.Generator, resamples: int) -> Floats:
    """Two-sided p-values: the observed assignment counts as one of ``resamples + 1``.

    Args:
        differences: float64 [num_users, num_references].

    Returns:
        float64 [num_references].
    """
    size = len(differences)
    total = differences.sum(axis=0)
    least = np.abs(total) - 1e-12 * np.abs(differences).sum(axis=0)
    as_extreme = np.zeros(differences.shape[1], np.int64)
    for draws in _batches(resamples, size):
        flips = generator.integers(0, 2, (draws, size), dtype=np.int8)
        sums = total - 2.0 * (flips.astype(np.float64) @ differences)
        as_extreme += (np.abs(sums) >= least).sum(axis=0)
    p_values: Floats = (as_extreme + 1) / (resamples + 1)
    return p_values


def _batches(resamples: int, size: int) -> list[int]:
    """Split ``resamples`` so that a batch draws about two million numbers."""
    step = max(1, _DRAWS_AT_ONCE // size)
    return [min(step, resamples - start) for start in range(0, resamples, step)]
