"""How many users tell a difference, and how often a difference is told: the normal approximation of a paired test.

.. math:: n = \\left( (z_{1-\\alpha/s} + z_{power}) \\sigma / \\delta \\right)^2

with ``s`` the sides of the test, sigma the standard deviation of a user's difference and delta its mean.

Source: Chow, Shao and Wang 2008, "Sample size calculations in clinical research", sections 3.1.1 and 3.1.2.
"""

from __future__ import annotations

import math


def users_needed(effect: float, deviation: float, *, alpha: float, power: float, sides: int) -> int | None:
    """Users with which a difference of this size is told with chance ``power``.

    Args:
        effect: mean of a user's difference from what is to be ruled out.
        deviation: its standard deviation.
        alpha: of the test.
        power: chance wanted.
        sides: 1 or 2, of the test.

    Returns:
        None where no number of users tells a difference of nothing.
    """
    from scipy.stats import norm

    if effect == 0:
        return None
    quantiles = float(norm.ppf(1 - alpha / sides) + norm.ppf(power))
    return max(2, math.ceil((quantiles * deviation / effect) ** 2))


def chance_to_tell(effect: float, deviation: float, users: int, *, alpha: float, sides: int) -> float:
    """Power: the chance that a test on so many users finds a difference of this size to be above nothing."""
    from scipy.stats import norm

    if deviation == 0:
        return 1.0 if effect > 0 else 0.0
    return float(norm.cdf(effect * math.sqrt(users) / deviation - norm.ppf(1 - alpha / sides)))
