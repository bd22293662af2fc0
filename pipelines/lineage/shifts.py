"""How far the events that one version knew lie from those of another, told from the profiles of their partitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.lineage.graph import Missing, ModelLineage
from pipelines.runs.accepted import accepted_history
from pipelines.settings import Settings

if TYPE_CHECKING:
    from expectations.profiles import Profile

NEWEST = 12
"""Partitions that are told of one by one, at most."""


@dataclass(frozen=True)
class Shift:
    """How far events moved; 0 is the same. Jensen-Shannon distances of mixes, population stability indices of numbers.

    Args:
        events: rows before and after, of the partitions that are known.
        whole: all events of the newer version beside all of the older.
        partitions: of each partition that is new or another, the newest of them: beside all events of the older.
    """

    events: tuple[int, int]
    whole: dict[str, float]
    partitions: dict[str, dict[str, float]]


def shift_of(settings: Settings, old: ModelLineage, new: ModelLineage, missing: list[Missing]) -> Shift | None:
    """Compare the events of two versions.

    Partitions whose profile is not remembered and whose bytes are not on this machine are left out, and named in
    ``missing``; with none on a side there is nothing to tell. Nothing is fetched.
    """
    from pipelines.monitoring.drift import drift, shift

    sides = [_md5s(side) for side in (old, new)]
    if not all(sides) or sides[0] == sides[1]:
        return None
    before, after = (_profiles(settings, side, held, missing) for side, held in zip((old, new), sides, strict=True))
    if not before or not after:
        return None
    moved = [name for name in sorted(after) if sides[0].get(name) != sides[1][name]][-NEWEST:]
    known = list(before.values())
    return Shift(
        events=(sum(one.rows for one in known), sum(one.rows for one in after.values())),
        whole=shift(list(after.values()), known),
        partitions={name: drift(after[name], known) for name in moved},
    )


def _md5s(side: ModelLineage) -> dict[str, str]:
    """Partition of events -> md5."""
    return {one.name: one.md5 for one in side.partitions if one.table == "events"}


def _profiles(
    settings: Settings, side: ModelLineage, held: dict[str, str], missing: list[Missing]
) -> dict[str, Profile]:
    from pipelines.monitoring.windows import Landed, Profiles

    landed = Landed.of(accepted_history(settings, str(side.data["commit"])))
    profiles = Profiles(landed, _folder(settings))
    found = {name: profile for name in held if (profile := profiles.get(name)) is not None}
    unknown = sorted(held.keys() - found.keys())
    if unknown:
        version = side.version.version
        told = f"version {version}: the distribution of {_named(unknown)} is not known on this machine"
        missing.append(
            Missing(told, f"shoploom reproduce model:{version} brings the bytes here, if the remote has them")
        )
    return found


def _folder(settings: Settings) -> Path:
    """Where validation and monitoring remember profiles."""
    return settings.home / "profiles"


def _named(partitions: Sequence[str]) -> str:
    return partitions[0] if len(partitions) == 1 else f"{len(partitions)} partitions ({partitions[0]} the first)"
