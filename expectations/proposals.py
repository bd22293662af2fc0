"""Bounds proposed from what was accepted: a fragment of ``params.yaml`` with the numbers behind each, for a person.

Nothing is taken over by itself. What a shop accepted may hold a fault that nobody saw: read the numbers first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expectations import history
from expectations.catalogues import COLUMNS, CatalogueProfile
from expectations.distances import MEASURES, added, days_of, distances, weekday
from expectations.profiles import CATEGORICAL, NUMERIC, OTHERS, Profile
from expectations.sketches import LogHistogram
from pipelines.params import DistributionParams

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROOM = 1.5
"""How far beyond what was seen a proposed bound lies, as a factor."""
MOST_VALUES = 30
"""A column of more values has no set proposed."""


@dataclass(frozen=True)
class Proposal:
    """One bound.

    Args:
        section: of ``params.yaml``.
        key: within it; ``columns.events.price`` is the entry ``events.price`` of ``columns``.
        value: proposed.
        why: the numbers behind it.
    """

    section: str
    key: str
    value: Any
    why: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"section": self.section, "key": self.key, "value": self.value, "why": self.why}


def propose(
    profiles: Sequence[Profile], catalogue: CatalogueProfile | None, params: DistributionParams
) -> list[Proposal]:
    """Propose bounds.

    Args:
        profiles: of the accepted partitions, oldest first; at least one.
        catalogue: of the accepted catalogue.
        params: what is chosen now; says how partitions are compared.
    """
    return [
        *_volumes(profiles),
        *(
            _number(column, profiles)
            for column in NUMERIC
            if any(profile.numbers[column].total for profile in profiles)
        ),
        *(one for column in CATEGORICAL if (one := _values(column, profiles))),
        *_nulls(profiles),
        *_catalogue(catalogue),
        *_closed_days(profiles),
        *_limits(profiles, params),
    ]


def weekday_volumes(profiles: Sequence[Profile]) -> dict[str, tuple[int, int, int]]:
    """The least, the median and the most events of each weekday on which any were sold."""
    counts: dict[int, list[int]] = {}
    for profile in profiles:
        for day, count in profile.days.items():
            counts.setdefault(weekday(day), []).append(count)
    return {WEEKDAYS[day]: (min(found), int(np.median(found)), max(found)) for day, found in sorted(counts.items())}


def _volumes(profiles: Sequence[Profile]) -> list[Proposal]:
    rows = np.array([profile.rows for profile in profiles], np.float64)
    ratios = rows / np.median(rows)
    seen = f"rows of {len(rows)} partitions: {rows.min():,.0f} to {rows.max():,.0f}, median {np.median(rows):,.0f}"
    bounds = [_down(float(ratios.min()) / ROOM), _up(float(ratios.max()) * ROOM)]
    days = "; ".join(
        f"{day} {low:,}..{middle:,}..{high:,}" for day, (low, middle, high) in weekday_volumes(profiles).items()
    )
    return [Proposal("validate", "volume_ratio_warn", bounds, f"{seen}; by weekday (least..median..most): {days}")]


def _number(column: str, profiles: Sequence[Profile]) -> Proposal:
    numbers = LogHistogram.sum(profile.numbers[column] for profile in profiles)
    low, middle, high = (numbers.quantile(share) for share in (0.001, 0.5, 0.999))
    seen = (
        f"of {numbers.total:,}: lowest {numbers.lowest:.4g}, 0.1% {low:.4g}, median {middle:.4g}, 99.9% {high:.4g}, "
        f"highest {numbers.highest:.4g}"
    )
    bounds = {"min": _down(numbers.lowest / ROOM), "max": _up(numbers.highest * ROOM)}
    return Proposal("validate", f"columns.events.{column}", bounds, seen)


def _values(column: str, profiles: Sequence[Profile]) -> Proposal | None:
    counts = added(profile.values.get(column, {}) for profile in profiles)
    if not counts or OTHERS in counts or len(counts) > MOST_VALUES:
        return None
    total = sum(counts.values())
    shares = ", ".join(f"{name} {count / total:.1%}" for name, count in Counter(counts).most_common())
    return Proposal("validate", f"columns.events.{column}", {"values": sorted(counts)}, f"of {total:,}: {shares}")


def _nulls(profiles: Sequence[Profile]) -> list[Proposal]:
    """Columns that are empty at times: those that always hold a value, or never, need no bound but 0 and 1."""
    found = []
    for column in profiles[0].nulls:
        shares = [profile.nulls.get(column, 0) / max(profile.rows, 1) for profile in profiles]
        if max(shares) < 1:
            bound = _up(min(max(shares) * ROOM, 1.0)) if max(shares) else 0.0
            seen = f"empty in {min(shares):.2%} to {max(shares):.2%} of a partition's rows"
            found.append(Proposal("validate", f"columns.events.{column}", {"max_null_share": bound}, seen))
    return found


def _catalogue(catalogue: CatalogueProfile | None) -> list[Proposal]:
    if catalogue is None or not catalogue.rows:
        return []
    found = []
    for column, key in (("title", "min_title_share"), ("category", "min_category_share")):
        share = 1.0 - catalogue.nulls[column] / catalogue.rows
        seen = f"{share:.2%} of {catalogue.rows:,} items have a {column}"
        found.append(Proposal("validate", key, _down(1.0 - (1.0 - share) * ROOM), seen))
    for column in COLUMNS:
        share = catalogue.nulls[column] / catalogue.rows
        if share < 1 and column not in ("title", "category"):
            bound = _up(min(share * ROOM, 1.0)) if share else 0.0
            seen = f"empty in {share:.2%} of {catalogue.rows:,} items"
            found.append(Proposal("validate", f"columns.items.{column}", {"max_null_share": bound}, seen))
    return found


def _closed_days(profiles: Sequence[Profile]) -> list[Proposal]:
    """Days within the history without an event, on a weekday that has some as a rule."""
    sold = {day for profile in profiles for day in profile.days}
    inside = [day for profile in profiles for day in days_of(profile) if min(sold) < day < max(sold)]
    empty = [day for day in inside if day not in sold]
    often = Counter(weekday(day) for day in inside)
    never = Counter(weekday(day) for day in empty)
    days = [day for day in empty if never[weekday(day)] <= often[weekday(day)] / 4]
    if not days:
        return []
    return [
        Proposal("distribution", "closed_days", sorted({day[5:] for day in days}), f"no event on {', '.join(days)}")
    ]


def _limits(profiles: Sequence[Profile], params: DistributionParams) -> list[Proposal]:
    """What would have warned on no partition of the history, each beside those before it."""
    by_name = {profile.partition: profile for profile in profiles}
    seen: dict[str, list[tuple[float, str]]] = {name: [] for name in MEASURES}
    for name, profile in by_name.items():
        before = history.reference(name, by_name, params.window, params.min_partitions)
        if before:
            found = distances(profile, [by_name[each] for each in before], frozenset(params.closed_days))
            for question, distance in found.items():
                seen[question].append((distance.value, name))
    proposals = []
    for question, values in seen.items():
        if not values:
            continue
        highest, where = max(values)
        numbers = np.array([value for value, _ in values])
        chosen, stop = params.limit(question)
        warn = _up(max(highest * ROOM, chosen / 4))
        said = (
            f"median {np.median(numbers):.3g}, 95% {np.quantile(numbers, 0.95):.3g}, highest {highest:.3g} "
            f"({where}) of {len(numbers)} partitions; chosen is {chosen:g}"
        )
        proposals.append(
            Proposal("distribution", f"limits.{question}", [warn, None if stop is None else max(stop, warn)], said)
        )
    return proposals


def as_yaml(proposals: Sequence[Proposal]) -> str:
    """The proposals as a fragment of ``params.yaml``, the numbers behind each above it."""
    lines = ["# Proposed from what was accepted. Read the numbers, take over what is right, and leave the rest."]
    sections: dict[str, list[Proposal]] = {}
    for proposal in proposals:
        sections.setdefault(proposal.section, []).append(proposal)
    for section, chosen in sections.items():
        lines.append(f"{section}:")
        nested: dict[str, list[Proposal]] = {}
        for proposal in chosen:
            group, dot, _ = proposal.key.partition(".")
            nested.setdefault(group if dot else "", []).append(proposal)
        for proposal in nested.pop("", []):
            lines += [f"  # {proposal.why}", f"  {proposal.key}: {_flow(proposal.value)}"]
        for group, parts in nested.items():
            lines.append(f"  {group}:")
            for key, (value, whys) in _merged(parts).items():
                lines += [*(f"    # {why}" for why in whys), f"    {key}: {_flow(value)}"]
    return "\n".join(lines) + "\n"


def _merged(parts: Sequence[Proposal]) -> Mapping[str, tuple[Any, list[str]]]:
    """Proposals of one key put together: a column's bounds and its share of empty fields."""
    merged: dict[str, tuple[Any, list[str]]] = {}
    for part in parts:
        key = part.key.partition(".")[2]
        value, whys = merged.get(key, ({}, []))
        merged[key] = ({**value, **part.value} if isinstance(part.value, dict) else part.value, [*whys, part.why])
    return merged


def _flow(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("...\n").strip()


def _up(value: float) -> float:
    """Rounded up to two significant digits."""
    return _rounded(value, np.ceil)


def _down(value: float) -> float:
    """Rounded down to two significant digits."""
    return _rounded(value, np.floor)


def _rounded(value: float, towards: Any) -> float:
    if not value or not np.isfinite(value):
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    return float(f"{towards(round(value / unit, 6)) * unit:.10g}")
