"""Does a challenger keep what the reference reaches, but for a margin? One-sided tests of non-inferiority.

    slack = challenger - (1 - margin) * reference        where more is better
    slack = (1 + margin) * reference - challenger        where less is better

The challenger keeps the level if the slack's one-sided lower bound is no loss, and breaks it if the upper bound is one.
The margin is a share of the reference, and stands within the tested difference, so that no estimate of the reference is
taken for a constant.

Sources: Laster and Johnson 2003 (a margin as a share of the reference); Holm 1979; Burnham and Overton 1978 (the
jackknife of a number of kinds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.metrics.significance import bootstrap_means

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Retention:
    """How a challenger stands to a share of the reference.

    Args:
        units: users, queries or requests that were compared.
        challenger: its level.
        reference: the other's level.
        slack: what is left before the margin is used up, in the metric's unit; below 0: it is.
        low: one-sided lower bound of the slack.
        high: one-sided upper bound.
        p_kept: chance of a slack as large if the margin were just used up.
        p_broken: chance of a slack as small if the margin were just used up.
        deviation: standard deviation of one unit's slack.
    """

    units: int
    challenger: float
    reference: float
    slack: float
    low: float
    high: float
    p_kept: float
    p_broken: float
    deviation: float


def retention(
    challenger: Floats,
    reference: Floats,
    margin: float,
    *,
    alpha: float,
    seed: int,
    resamples: int = 10_000,
    less_is_better: bool = False,
) -> Retention:
    """Compare means over the same units, by bootstrap over the units.

    Args:
        challenger: float64 [num_units].
        reference: float64 [num_units], the same units in the same order.
        margin: share of the reference's mean that may be lost.
        alpha: each one-sided bound is wrong with this chance.
        seed: of the resampling.
        resamples: of the bootstrap.
        less_is_better: whether a level is a loss, a time or an error.

    Raises:
        DataError: there is no unit, or the two differ in length.
    """
    if challenger.shape != reference.shape or not len(challenger):
        raise DataError(f"{len(challenger)} values of the challenger cannot be held to {len(reference)}")
    slack = (1 + margin) * reference - challenger if less_is_better else challenger - (1 - margin) * reference
    means = bootstrap_means(slack[:, None], np.random.default_rng(seed), resamples)[:, 0]
    nothing = 1e-12 * float(np.abs(challenger).mean() + np.abs(reference).mean())
    low, high = np.quantile(means, [alpha, 1 - alpha])
    return Retention(
        units=len(slack),
        challenger=float(challenger.mean()),
        reference=float(reference.mean()),
        slack=float(slack.mean()),
        low=float(low),
        high=float(high),
        p_kept=float((np.count_nonzero(means < -nothing) + 1) / (resamples + 1)),
        p_broken=float((np.count_nonzero(means >= -nothing) + 1) / (resamples + 1)),
        deviation=float(slack.std(ddof=1)) if len(slack) > 1 else 0.0,
    )


def percentile_retention(
    challenger: Floats,
    reference: Floats,
    share: float,
    margin: float,
    *,
    alpha: float,
    seed: int,
    resamples: int = 2000,
) -> Retention:
    """Compare percentiles of times for the same requests, less being better, by bootstrap over the requests.

    Args:
        challenger: float64 [num_requests].
        reference: float64 [num_requests], the same requests in the same order.
        share: of the requests that are within the percentile, 0.99 for instance.
        margin: share of the reference's percentile that may be added.
        alpha: each one-sided bound is wrong with this chance.
        seed: of the resampling.
        resamples: of the bootstrap.
    """
    size = len(challenger)
    drawn = np.random.default_rng(seed).integers(0, size, (resamples, size))
    ours, theirs = (np.quantile(times[drawn], share, axis=1) for times in (challenger, reference))
    slacks = (1 + margin) * theirs - ours
    level, other = float(np.quantile(challenger, share)), float(np.quantile(reference, share))
    low, high = np.quantile(slacks, [alpha, 1 - alpha])
    return Retention(
        units=size,
        challenger=level,
        reference=other,
        slack=(1 + margin) * other - level,
        low=float(low),
        high=float(high),
        p_kept=float((np.count_nonzero(slacks < 0) + 1) / (resamples + 1)),
        p_broken=float((np.count_nonzero(slacks >= 0) + 1) / (resamples + 1)),
        deviation=float(slacks.std(ddof=1)) * float(np.sqrt(size)),
    )


def coverage_retention(
    challenger: tuple[float, Floats], reference: tuple[float, Floats], margin: float, *, alpha: float
) -> Retention:
    """Compare shares of the catalogue that lists reach, by jackknife over the users.

    A bootstrap would leave out a third of the users each time, and with them what they alone are shown. Leaving out one
    user takes away exactly the items that this user alone is shown.

    Args:
        challenger: its coverage; and float64 [num_users], the share of the catalogue that each user alone is shown.
        reference: the same of the other, users in the same order.
        margin: share of the reference's coverage that may be lost.
        alpha: each one-sided bound is wrong with this chance.
    """
    from scipy import stats

    (reached, alone), (there, alone_there) = challenger, reference
    slack = reached - (1 - margin) * there
    without = alone - (1 - margin) * alone_there
    units = len(without)
    error = float(np.sqrt((units - 1) / units * np.sum((without - without.mean()) ** 2))) if units > 1 else 0.0
    bound = float(stats.t.ppf(1 - alpha, max(units - 1, 1))) * error
    sure = 0.0 if slack >= 0 else 1.0
    p_kept = float(stats.t.sf(slack / error, units - 1)) if error else sure
    return Retention(
        units=units,
        challenger=reached,
        reference=there,
        slack=slack,
        low=slack - bound,
        high=slack + bound,
        p_kept=p_kept,
        p_broken=1.0 - p_kept,
        deviation=error * float(np.sqrt(units)),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for how many there are: comparing each with alpha makes any mistake with chance alpha at most.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted, worst = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p_values}
