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
    hours = {str(hour): int(count) for hour, count in enumerate(found.hours)}
    usual = {str(hour): int(sum(profile.hours[hour] for profile in reference)) for hour in range(24)}
    mixes = {
        "category_drift": (found.categories, added(profile.categories for profile in reference)),
        "hour_drift": (hours, usual),
    }
    for column in ("event_type", "channel"):
        counts = added(profile.values.get(column, {}) for profile in reference)
        mixes[f"{column}_drift"] = (found.values.get(column, {}), counts)
    numbers = {
        column: population_stability(found.numbers[column], LogHistogram.sum(one.numbers[column] for one in reference))
        for column in ("price", "quantity")
    }
    measured = {name: jensen_shannon(*counts) for name, counts in mixes.items()}
    measured |= {f"{column}_drift": value for column, value in numbers.items()}
    measured["new_user_share"] = 1.0 - found.users.share_in(profile.users for profile in reference)
    measured["new_item_share"] = 1.0 - found.items.share_in(profile.items for profile in reference)
    return {name: round(measured[name], 6) for name in DRIFT}
