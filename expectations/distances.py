"""How far a partition lies from those before it: one number for each question, 0 where nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from expectations.profiles import CATEGORICAL, Profile
from expectations.sketches import STEP, LogHistogram
from pipelines.sources.calendars import parse_partition

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAY_FLOOR = 0.002
"""Of a partition's events: added to a day's count, so that an empty day is far from, not infinitely far."""


@dataclass(frozen=True)
class Distance:
    """One question about a partition.

    Args:
        value: how far; 0 or more.
        where: what lies furthest, in words; may be empty.
    """

    value: float
    where: str = ""


Measure = Callable[[Profile, Sequence[Profile], frozenset[str]], Distance]


def jensen_shannon(found: Mapping[str, int], usual: Mapping[str, int]) -> float:
    """The Jensen–Shannon distance of two tables of counts: 0 for the same mix, 1 for mixes without a common part.

    Source: Endres and Schindelin 2003, the square root of the divergence, logarithms to base 2.
    """
    names = sorted(found.keys() | usual.keys())
    p, q = (np.array([counts.get(name, 0) for name in names], np.float64) for counts in (found, usual))
    if not p.sum() or not q.sum():
        return 0.0 if p.sum() == q.sum() else 1.0
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    divergence = sum(float(np.sum(part[part > 0] * np.log2(part[part > 0] / middle[part > 0]))) for part in (p, q)) / 2
    return float(np.sqrt(max(divergence, 0.0)))


def population_stability(found: LogHistogram, usual: LogHistogram, bins: int = 10) -> float:
    """The population stability index of two histograms, over the usual one's quantiles.

    Args:
        found: of what came.
        usual: of what there was.
        bins: quantiles of ``usual``; both shares of a bin are held at 0.0001 at least.

    Returns:
        0 for the same distribution; by custom up to 0.1 is little, over 0.25 much.

    Source: Siddiqi 2006, "Credit Risk Scorecards".
    """
    if not found.total or not usual.total:
        return 0.0
    ends = np.arange(usual.first, usual.first + len(usual.counts))
    reached = np.cumsum(usual.counts) / usual.total
    inner = np.unique([ends[min(int(np.searchsorted(reached, part / bins)), len(ends) - 1)] for part in range(1, bins)])
    shares = []
    for histogram in (found, usual):
        numbers = histogram.first + np.arange(len(histogram.counts))
        counts = np.bincount(np.searchsorted(inner, numbers), histogram.counts, minlength=len(inner) + 1)
        shares.append(np.maximum(counts / histogram.total, 1e-4))
    p, q = shares
    return float(np.sum((p - q) * np.log(p / q)))


def transport(found: LogHistogram, usual: LogHistogram) -> float:
    """The mean shift of the logarithm between two histograms (the first Wasserstein distance): 0.69 is a factor of 2.

    0 where either is empty.
    """
    if not found.total or not usual.total:
        return 0.0
    first = min(found.first, usual.first)
    end = max(part.first + len(part.counts) for part in (found, usual))
    reached = []
    for part in (found, usual):
        counts = np.zeros(end - first)
        counts[part.first - first : part.first - first + len(part.counts)] = part.counts
        reached.append(np.cumsum(counts) / part.total)
    return float(np.abs(reached[0] - reached[1]).sum() * STEP)


def weekday(day: str) -> int:
    return date.fromisoformat(day).weekday()


def _row_count(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    median = float(np.median([profile.rows for profile in before]))
    return Distance(abs(float(np.log(max(found.rows, 1) / max(median, 1)))), f"{found.rows:,} beside {median:,.0f}")


def _day_volume(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    """Each day beside the same weekday before; a day off counts for nothing."""
    usual: dict[int, list[int]] = {}
    for profile in before:
        for day, count in profile.days.items():
            if day[5:] not in closed:
                usual.setdefault(weekday(day), []).append(count)
    floor = DAY_FLOOR * float(np.median([profile.rows for profile in before]))
    worst = Distance(0.0)
    for day in days_of(found):
        median = float(np.median(usual.get(weekday(day), [0])))
        count = found.days.get(day, 0)
        far = abs(float(np.log((count + floor) / (median + floor)))) if median + floor else 0.0
        if day[5:] not in closed and far > worst.value:
            worst = Distance(far, f"{day}: {count:,} beside {median:,.0f}")
    return worst


def days_of(profile: Profile) -> list[str]:
    """Every shop-local day of a partition, with events or without."""
    span = parse_partition(profile.partition)
    return [(span.first_day + timedelta(days=number)).isoformat() for number in range(span.days)]


def _nulls(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    worst = Distance(0.0)
    for column, count in found.nulls.items():
        share = count / max(found.rows, 1)
        usual = float(np.median([profile.nulls.get(column, 0) / max(profile.rows, 1) for profile in before]))
        if abs(share - usual) > worst.value:
            worst = Distance(abs(share - usual), f"{column}: {share:.1%} beside {usual:.1%}")
    return worst


def _values(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    worst = Distance(0.0)
    for column in CATEGORICAL:
        usual = added(profile.values.get(column, {}) for profile in before)
        far = jensen_shannon(found.values.get(column, {}), usual)
        if far > worst.value:
            worst = Distance(far, f"{column}: {_moved(found.values.get(column, {}), usual)}")
    return worst


def _categories(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    usual = added(profile.categories for profile in before)
    return Distance(jensen_shannon(found.categories, usual), _moved(found.categories, usual))


def _new_categories(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    known = added(profile.categories for profile in before)
    new = {name: count for name, count in found.categories.items() if name not in known}
    largest = max(new, key=lambda name: new[name], default="")
    return Distance(sum(new.values()) / max(found.rows, 1), f"{largest} {new[largest]:,}" if new else "")


def _prices(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    return _number("price", found, before)


def _quantities(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    return _number("quantity", found, before)


def _number(column: str, found: Profile, before: Sequence[Profile]) -> Distance:
    usual = LogHistogram.sum(profile.numbers[column] for profile in before)
    own = found.numbers[column]
    medians = f"median {own.quantile(0.5):.3g} beside {usual.quantile(0.5):.3g}"
    return Distance(transport(own, usual), medians)


def _item_prices(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    """The same items beside themselves: the share whose price is half or twice what it was."""
    ratios = item_price_ratios(found, before)
    share = float(np.mean(np.abs(ratios) > np.log(1.9))) if len(ratios) else 0.0
    factor = float(np.exp(np.median(ratios))) if len(ratios) else 1.0
    return Distance(share, f"{share:.1%} of {len(ratios):,} items, the median price times {factor:.3g}")


def _price_level(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    """The same items beside themselves: how far the middle price moved."""
    ratios = item_price_ratios(found, before)
    middle = float(np.median(ratios)) if len(ratios) else 0.0
    return Distance(abs(middle), f"the median item times {np.exp(middle):.3g}, of {len(ratios):,} items")


def item_price_ratios(found: Profile, before: Sequence[Profile]) -> NDArray[np.float64]:
    """Log of the price of each sampled item over its median price before; float64 [items known to both]."""
    own, size = found.item_prices.astype(np.float64), len(found.items.hashes)
    prices = np.full((len(before), size), np.nan)
    for row, profile in zip(prices, before, strict=True):
        others = profile.items.hashes
        if len(others):
            places = np.minimum(np.searchsorted(others, found.items.hashes), len(others) - 1)
            held = others[places] == found.items.hashes
            row[held] = profile.item_prices[places[held]]
    counts = np.isfinite(prices).sum(axis=0)
    both = np.flatnonzero(np.isfinite(own) & (counts > 0))
    ordered = np.sort(prices[:, both], axis=0)
    columns, counts = np.arange(len(both)), counts[both]
    middle = (ordered[(counts - 1) // 2, columns] + ordered[counts // 2, columns]) / 2
    ratios: NDArray[np.float64] = own[both] - middle
    return ratios


def _hours(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    own = {str(hour): int(count) for hour, count in enumerate(found.hours)}
    usual_counts = np.sum([profile.hours for profile in before], axis=0)
    usual = {str(hour): int(count) for hour, count in enumerate(usual_counts)}
    return Distance(
        jensen_shannon(own, usual), f"the busiest hour is {_busiest(found.hours)}, was {_busiest(usual_counts)}"
    )


def _busiest(hours: NDArray[np.int64]) -> str:
    return f"{int(np.argmax(hours)):02d}:00"


def _busiest_user(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    usual = float(np.median([profile.busiest / max(profile.rows, 1) for profile in before]))
    share = found.busiest / max(found.rows, 1)
    return Distance(max(share - usual, 0.0), f"one user has {share:.1%} of the events, before {usual:.1%}")


def _users(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    median = float(np.median([profile.users.distinct for profile in before]))
    return Distance(
        abs(float(np.log(max(found.users.distinct, 1) / max(median, 1)))),
        f"{found.users.distinct:,} users beside {median:,.0f}",
    )


def _new_users(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    share = 1.0 - found.users.share_in(profile.users for profile in before)
    return Distance(share, f"{share:.1%} of the users")


def _new_items(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    share = 1.0 - found.items.share_in(profile.items for profile in before)
    return Distance(share, f"{share:.1%} of the items")


def _replayed(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    """The largest part that any one partition before has too, by id or by content."""
    worst = Distance(0.0)
    for profile in before:
        for what, share in (
            ("event ids", found.ids.share_in([profile.ids])),
            ("events", found.contents.share_in([profile.contents])),
        ):
            if share > worst.value:
                worst = Distance(share, f"{share:.1%} of the {what} stand in {profile.partition} already")
    return worst


def _repeated(found: Profile, before: Sequence[Profile], closed: frozenset[str]) -> Distance:
    return Distance(found.repeated, f"{found.repeated:.1%} of the events say what another says")


MEASURES: Mapping[str, Measure] = {
    "row_count": _row_count,
    "day_volume": _day_volume,
    "nulls": _nulls,
    "values": _values,
    "categories": _categories,
    "new_categories": _new_categories,
    "prices": _prices,
    "price_level": _price_level,
    "item_prices": _item_prices,
    "quantities": _quantities,
    "hours": _hours,
    "busiest_user": _busiest_user,
    "users": _users,
    "new_users": _new_users,
    "new_items": _new_items,
    "replayed": _replayed,
    "repeated": _repeated,
}
"""Every question, by name."""


def distances(found: Profile, before: Sequence[Profile], closed: frozenset[str] = frozenset()) -> dict[str, Distance]:
    """Ask every question.

    Args:
        found: of what came.
        before: of what it is compared with; at least one.
        closed: days of the year, ``12-25``, on which the shop does not sell.
    """
    return {name: measure(found, before, closed) for name, measure in MEASURES.items()}


def added(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several tables of counts."""
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def _moved(found: Mapping[str, int], usual: Mapping[str, int]) -> str:
    """The value whose share moved most."""
    shares = [
        {name: count / max(sum(counts.values()), 1) for name, count in counts.items()} for counts in (found, usual)
    ]
    names = sorted(shares[0].keys() | shares[1].keys())
    if not names:
        return ""
    moved = max(names, key=lambda name: abs(shares[0].get(name, 0.0) - shares[1].get(name, 0.0)))
    return f"{moved} {shares[0].get(moved, 0.0):.1%} beside {shares[1].get(moved, 0.0):.1%}"
