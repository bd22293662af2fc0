"""Drift of a partition from the partitions that a champion was trained on, told from profiles alone."""

from __future__ import annotations

from collections.abc import Sequence

from expectations.distances import added, jensen_shannon, population_stability
from expectations.profiles import Profile
from expectations.sketches import LogHistogram

DRIFT = (
    "category_drift",
    "event_type_drift",
    "channel_drift",
    "hour_drift",
    "price_drift",
    "quantity_drift",
    "new_user_share",
    "new_item_share",
)
"""What :func:`drift` measures."""


def drift(found: Profile, reference: Sequence[Profile]) -> dict[str, float]:
    """How far a partition lies from a reference.

    Args:
        found: the partition.
        reference: profiles of what it is compared with; for a day, of the same weekday. At least one.

    Returns:
        Jensen–Shannon distances (0 to 1) of the mixes of categories, event types, channels and hours; population
        stability indices of prices and quantities; the shares of users and items that the reference lacks.
    """
    measured = shift([found], reference)
    measured["new_user_share"] = 1.0 - found.users.share_in(profile.users for profile in reference)
    measured["new_item_share"] = 1.0 - found.items.share_in(profile.items for profile in reference)
    return {name: round(measured[name], 6) for name in DRIFT}


def shift(found: Sequence[Profile], reference: Sequence[Profile]) -> dict[str, float]:
    """How far some partitions together lie from others together: :func:`drift` without the new users and items."""
    hours = [
        {str(hour): int(sum(one.hours[hour] for one in side)) for hour in range(24)} for side in (found, reference)
    ]
    mixes = {
        "category_drift": [added(one.categories for one in side) for side in (found, reference)],
        "hour_drift": hours,
    }
    for column in ("event_type", "channel"):
        mixes[f"{column}_drift"] = [added(one.values.get(column, {}) for one in side) for side in (found, reference)]
    measured = {name: jensen_shannon(*counts) for name, counts in mixes.items()}
    for column in ("price", "quantity"):
        usual, own = (LogHistogram.sum(one.numbers[column] for one in side) for side in (reference, found))
        measured[f"{column}_drift"] = population_stability(own, usual)
    return {name: round(measured[name], 6) for name in DRIFT if name in measured}
