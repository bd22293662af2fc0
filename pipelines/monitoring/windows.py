"""Which partitions are windows of the champion, what they are compared with, and how far they have drifted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from expectations import history
from expectations.profiles import Categories, Profile, ProfileCache, profile_of
from pipelines.artifacts import read_table
from pipelines.monitoring.drift import drift
from pipelines.params import MonitorParams
from pipelines.sources.calendars import parse_partition

LEAST = 2
"""Reference partitions under which drift says nothing."""


@dataclass(frozen=True)
class Landed:
    """A data version, as :func:`pipelines.runs.accepted.accepted_history` gives it.

    Args:
        events: MD5 of each partition's raw file.
        items: MD5 of the raw catalogue; empty where there is none.
        paths: where this machine has a file of that MD5.
    """

    events: Mapping[str, str]
    items: str
    paths: Mapping[str, str]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Landed:
        return cls(dict(found["events"]), str(found["items"]), dict(found["paths"]))

    def in_order(self) -> list[str]:
        """Partitions, oldest first."""
        return sorted(self.events, key=lambda name: parse_partition(name).first_day)


class Profiles:
    """Profiles of a data version's partitions, made again where they were forgotten and the files are here.

    Args:
        landed: the data version.
        folder: where profiles are remembered.
    """

    def __init__(self, landed: Landed, folder: Path) -> None:
        self._landed = landed
        self._cache = ProfileCache(folder)
        self._categories: Categories | None = None

    def get(self, partition: str) -> Profile | None:
        """One partition's profile, or None."""
        md5 = self._landed.events[partition]
        found = self._cache.get(partition, md5)
        if found is not None or md5 not in self._landed.paths or self._landed.items not in self._landed.paths:
            return found
        if self._categories is None:
            self._categories = Categories(
                read_table(Path(self._landed.paths[self._landed.items]), ["item_id", "category"])
            )
        found = profile_of(partition, read_table(Path(self._landed.paths[md5])), self._categories)
        self._cache.put(md5, found)
        return found


def windows_of(landed: Landed, trained: Landed | None, params: MonitorParams) -> list[str]:
    """The partitions that came after what a champion was trained on, oldest first and ``n`` at most.

    Args:
        landed: the newest data version.
        trained: the data version that the champion was trained on; None where there is no champion.
        params: how many windows count.
    """
    names = landed.in_order()
    if trained is not None and trained.events:
        newest = parse_partition(trained.in_order()[-1]).first_day
        names = [name for name in names if parse_partition(name).first_day > newest]
    return names[-params.n :]


def measure_drift(
    windows: list[str], landed: Landed, trained: Landed | None, params: MonitorParams, folder: Path
) -> dict[str, dict[str, float]]:
    """The drift of each window; one whose profile or reference is not known has none.

    Args:
        windows: names, from :func:`windows_of`.
        landed: the newest data version.
        trained: the champion's data version.
        params: how large the reference is.
        folder: where profiles are remembered.
    """
    profiles, drifts = Profiles(landed, folder), {}
    kept = {name for name in landed.events if trained is None or name in trained.events}
    for name in windows:
        found = profiles.get(name)
        names = history.reference(name, kept - {name}, params.reference, LEAST)
        reference = [one for each in names if (one := profiles.get(each)) is not None]
        if found is not None and len(reference) >= LEAST and _complete(found):
            drifts[name] = drift(found, reference)
    return drifts


def _complete(profile: Profile) -> bool:
    """Whether its last day has come: a partition that the source's end cuts short is none to judge by."""
    return parse_partition(profile.partition).last_day.isoformat() in profile.days


def since(landed: Landed, day: float) -> dict[str, str]:
    """The files of the partitions that end after a moment, oldest first; empty where one of them is not here.

    Args:
        landed: the newest data version.
        day: days since the epoch, UTC.
    """
    moment = date(1970, 1, 1) + timedelta(days=int(day) - 1)
    names = [name for name in landed.in_order() if parse_partition(name).last_day >= moment]
    files = {name: landed.paths.get(landed.events[name], "") for name in names}
    return files if all(files.values()) else {}
