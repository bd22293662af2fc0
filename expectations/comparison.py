"""A load judged beside the accepted history, by profiles that are remembered: the cost follows the load."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from expectations import history
from expectations.catalogues import CatalogueProfile, catalogue_profile
from expectations.profiles import Categories, Profile, ProfileCache, profile_of
from pipelines.params import DistributionParams

if TYPE_CHECKING:
    import pandas as pd

    from expectations.contract import Contract
    from expectations.sorting import Findings, Reasons

ITEMS = "items"
"""Name under which a catalogue's profile is kept beside the partitions'."""


@dataclass(frozen=True)
class Accepted:
    """What the newest data version holds.

    Args:
        events: MD5 of the raw file of each partition.
        items: MD5 of the raw catalogue; empty where there is none.
        paths: where this machine's cache has a file of that MD5.
    """

    events: Mapping[str, str] = field(default_factory=dict)
    items: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Accepted:
        return cls(dict(kept["events"]), str(kept["items"]), dict(kept["paths"]))


Clean = Callable[[Path, str], pa.Table]
"""Reads a raw file of ``events`` (or, without a partition's name, of ``items``) and leaves the rows out that its
contract rejects."""


class Known:
    """Profiles of what was accepted; one that was forgotten is made again where this machine has the file.

    Args:
        accepted: the newest data version.
        cache: remembered profiles.
        clean: reads what has to be made again.
        categories: of the load's own catalogue.
    """

    def __init__(self, accepted: Accepted, cache: ProfileCache, clean: Clean, categories: Categories) -> None:
        self._accepted = accepted
        self._cache = cache
        self._clean = clean
        self._categories = categories

    def names(self) -> Iterable[str]:
        """All partitions, profiled or not."""
        return self._accepted.events

    def profile(self, partition: str) -> Profile | None:
        """The profile of one; None where neither it nor the file is here."""
        md5 = self._accepted.events[partition]
        found = self._cache.get(partition, md5)
        if found is None and md5 in self._accepted.paths:
            rows = self._clean(Path(self._accepted.paths[md5]), partition)
            found = profile_of(partition, rows, self._categories)
            self._cache.put(md5, found)
        return found

    def catalogue(self) -> CatalogueProfile | None:
        """The profile of the catalogue before."""
        md5 = self._accepted.items
        found = self._cache.get_catalogue(md5) if md5 else None
        if found is None and md5 in self._accepted.paths:
            found = catalogue_profile(self._clean(Path(self._accepted.paths[md5]), ""))
            self._cache.put_catalogue(md5, found)
        return found


Run = Callable[["Contract", "pd.DataFrame"], "Reasons"]
"""Runs a suite over a frame: :meth:`expectations.run.Validation.run`."""


@dataclass(frozen=True)
class Load:
    """What came and was accepted.

    Args:
        partitions: names, oldest first.
        events: reads a partition's accepted rows.
        items: the catalogue.
        md5: of each partition's raw file.
        items_md5: of the raw catalogue.
    """

    partitions: Sequence[str]
    events: Callable[[str], pa.Table]
    items: pa.Table
    md5: Mapping[str, str]
    items_md5: str


def judge(
    load: Load,
    accepted: Accepted,
    cache: ProfileCache,
    clean: Clean,
    params: DistributionParams,
    run: Run,
    findings: Findings,
) -> dict[str, Any]:
    """Hold a load against what was accepted before it, and remember what it looks like.

    Args:
        load: what came.
        accepted: the newest data version.
        cache: of profiles.
        clean: reads what was forgotten.
        params: limits.
        run: runs the suites.
        findings: what is unusual is noted here.

    Returns:
        For the report: each answer's value, usual limit and place, by partition (and ``items``).
    """
    categories = Categories(load.items)
    known = Known(accepted, cache, clean, categories)
    own = {name: profile_of(name, load.events(name), categories) for name in load.partitions}
    for name, profile in own.items():
        cache.put(load.md5[name], profile)
    answers = {}
    for name, profile in own.items():
        names = history.reference(name, {*known.names(), *own}, params.window, params.min_partitions)
        before = [found for each in names if (found := own.get(each) or known.profile(each)) is not None]
        if len(before) >= params.min_partitions:
            answers[name] = history.compare(profile, before, params)
    _hold(answers, history.partitions(params), run, findings)
    catalogue, previous = catalogue_profile(load.items), known.catalogue()
    cache.put_catalogue(load.items_md5, catalogue)
    beside = {"": history.compare_catalogues(catalogue, previous, params)} if previous and catalogue.rows else {}
    _hold(beside, history.catalogue(params), run, findings)
    return {
        name or ITEMS: {question: one.as_dict() for question, one in part.items()}
        for name, part in (answers | beside).items()
    }


def _hold(
    answers: Mapping[str, Mapping[str, history.Compared]],
    contract: Contract,
    run: Run,
    findings: Findings,
) -> None:
    """Run a suite of these answers and note what fails; a stop is not said a second time as a warning."""
    if not answers:
        return
    names, stopped = list(answers), set()
    for check_name, rows in run(contract, history.frame_of(answers)).items():
        check = contract.check(check_name)
        for row in rows:
            place = (names[int(row)], check.subject)
            if place not in stopped:
                found = answers[place[0]][check.subject].said()
                findings.note(check, contract.table, found, partition=place[0])
            if check.severity == "stop":
                stopped.add(place)
