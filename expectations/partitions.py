"""The partitions of events, held to their contract a batch at a time: memory follows a batch, never the history.

What a check found of a partition is kept as positions of rows; the rows themselves are read when they are looked at.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from expectations import events, frames
from expectations.contract import FIRST_OF_ID, Check, Contract, bounds
from expectations.repeats import Repeats
from expectations.row_cache import RowCache
from expectations.run import Validation
from expectations.shape import Raw
from expectations.sorting import Findings, Reasons, Sorted, Tally, cut, mask_of, sort_rows
from pipelines import out_of_core
from pipelines.params import ValidateParams
from pipelines.tables import EVENTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RawPartitions(Mapping[str, Raw]):
    """Raw partitions, each read when it is looked at; the last ones stay in memory, up to ``ROWS_AT_ONCE`` rows.

    Args:
        paths: of each partition's file, oldest first.
        read: gives a partition of a file, or raises.
    """

    def __init__(self, paths: Mapping[str, Path], read: Callable[[str, Path], Raw]) -> None:
        self._paths = dict(paths)
        self._read = read
        self._kept: OrderedDict[str, Raw] = OrderedDict()

    def __getitem__(self, partition: str) -> Raw:
        raw = self._kept.pop(partition, None)
        if raw is None:
            raw = self._read(partition, self._paths[partition])
        self._kept[partition] = raw
        while (
            len(self._kept) > 1 and sum(kept.rows.num_rows for kept in self._kept.values()) > out_of_core.ROWS_AT_ONCE
        ):
            self._kept.popitem(last=False)
        return raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@dataclass(frozen=True)
class Facts:
    """What is remembered of a raw partition.

    Args:
        num_rows: of the raw file.
        time_zone: the shop's.
        extra_columns: that the contract does not have.
        all_late: whether its own interval brought nothing.
    """

    num_rows: int
    time_zone: str
    extra_columns: tuple[str, ...]
    all_late: bool

    @classmethod
    def of(cls, raw: Raw) -> Facts:
        return cls(raw.rows.num_rows, raw.time_zone, raw.extra_columns, raw.all_late)


class SortedPartitions(Mapping[str, Sorted]):
    """Partitions told apart into accepted and quarantined rows, each when it is looked at.

    Args:
        raw: the partitions.
        facts: of each.
        reasons: positions of the rows that fail, by check, in the suites' order.
        newest: time of each partition's newest accepted event; None where it has none.
        suite: digests of the suites.
    """

    def __init__(
        self,
        raw: Mapping[str, Raw],
        facts: Mapping[str, Facts],
        reasons: Mapping[str, Reasons],
        newest: Mapping[str, datetime | None],
        suite: str,
    ) -> None:
        self._raw = raw
        self._reasons = reasons
        self._suite = suite
        self.facts = facts
        self.newest = newest
        self.tallies = {name: Tally.of(reasons[name], facts[name].num_rows) for name in facts}
        """Rows, accepted and quarantined, of each partition, without looking at the rows."""

    def __getitem__(self, partition: str) -> Sorted:
        return sort_rows(self._raw[partition], EVENTS, self._reasons[partition], self._suite)

    def __iter__(self) -> Iterator[str]:
        return iter(self.facts)

    def __len__(self) -> int:
        return len(self.facts)


def sort_events(
    raw: Mapping[str, Raw],
    digests: Mapping[str, str],
    params: ValidateParams,
    catalogue: pa.ChunkedArray,
    validation: Validation,
    cache: RowCache,
    findings: Findings,
) -> SortedPartitions:
    """Check the rows of all partitions, by themselves and beside each other.

    Args:
        raw: the partitions, oldest first.
        digests: of their files, for the cache.
        params: limits of the contracts.
        catalogue: ids of the accepted items.
        validation: runs the suites.
        cache: of row checks.
        findings: what a check that rejects no row is failed by is noted here.
    """
    contract, across = event_contract(params), events.across()
    with Repeats() as repeats:
        by_row, facts = _by_row(raw, digests, params, validation, cache, repeats, findings)
        repeated = repeats.found(raw, by_row)
    reasons, newest = _across(raw, facts, by_row, repeated, across, catalogue, validation)
    return SortedPartitions(raw, facts, reasons, newest, f"{contract.digest()}-{across.digest()}")


def event_contract(params: ValidateParams, own: tuple[Check, ...] = ()) -> Contract:
    """The row suite of a partition, with the bounds of ``params.yaml`` and its source's own checks."""
    return events.rows(params).extended(bounds(EVENTS.name, params), own)


def _by_row(
    raw: Mapping[str, Raw],
    digests: Mapping[str, str],
    params: ValidateParams,
    validation: Validation,
    cache: RowCache,
    repeats: Repeats,
    findings: Findings,
) -> tuple[dict[str, Reasons], dict[str, Facts]]:
    """Run the row checks over every partition whose result is not remembered, a batch at a time.

    The newest is checked in any case, so that Data Docs always show what the row checks found.
    """
    last = list(raw)[-1]
    found: dict[str, Reasons] = {}
    facts: dict[str, Facts] = {}
    waiting: dict[str, pd.DataFrame] = {}
    contract = event_contract(params)
    runs: Counter[str] = Counter()

    def check() -> None:
        if not waiting:
            return
        runs[contract.name] += 1
        print(f"checking {sum(map(len, waiting.values())):,} events of {len(waiting)} partitions of {len(raw)}")
        frame = pd.concat(waiting.values(), ignore_index=True)
        failed = validation.run(_numbered(contract.strict(), runs[contract.name]), frame)
        for name, rows in cut(failed, {name: len(part) for name, part in waiting.items()}).items():
            cache.put(name, digests[name], _key(contract.digest(), facts[name]), facts[name].num_rows, rows)
            keep(name, rows)
        waiting.clear()

    def keep(name: str, failed: Reasons) -> None:
        found[name] = rejects(contract, failed)
        for check_name, rows in failed.items():
            failing, share = contract.check(check_name), len(rows) / max(facts[name].num_rows, 1)
            if failing.severity != "reject" and share > failing.tolerated:
                findings.note(failing, EVENTS.name, f"{len(rows):,} rows, {share:.1%}", partition=name)

    own: tuple[Check, ...] = ()
    for name, part in raw.items():
        if part.checks != own:
            check()
            own, contract = part.checks, event_contract(params, part.checks)
        facts[name] = Facts.of(part)
        repeats.add(name, part)
        known = cache.get(name, digests[name], _key(contract.digest(), facts[name]), facts[name].num_rows)
        if known is not None and name != last:
            keep(name, known)
            continue
        if waiting and sum(map(len, waiting.values())) + part.rows.num_rows > out_of_core.ROWS_AT_ONCE:
            check()
        waiting[name] = frames.frame_of(part.rows, frames.event_columns(part, name), contract)
    check()
    return {name: found[name] for name in raw}, facts


def _across(
    raw: Mapping[str, Raw],
    facts: Mapping[str, Facts],
    by_row: Mapping[str, Reasons],
    repeated: Mapping[str, NDArray[np.int64]],
    across: Contract,
    catalogue: pa.ChunkedArray,
    validation: Validation,
) -> tuple[dict[str, Reasons], dict[str, datetime | None]]:
    """Hold rows to the suite that looks beside them; gives all reasons of each partition, and its newest event."""
    import numpy as np

    reasons: dict[str, Reasons] = {}
    newest: dict[str, datetime | None] = {}
    for run, names in enumerate(batches({name: fact.num_rows for name, fact in facts.items()}), start=1):
        parts = []
        for name in names:
            first = np.ones(facts[name].num_rows, bool)
            first[repeated.get(name, np.zeros(0, np.int64))] = False
            known = frames.is_known(raw[name].rows["item_id"], catalogue)
            derived = {FIRST_OF_ID: first, events.ITEM_KNOWN: known}
            parts.append(frames.frame_of(raw[name].rows, derived, across))
        failed = rejects(across, validation.run(_numbered(across, run), pd.concat(parts, ignore_index=True)))
        for name, rows in cut(failed, {name: facts[name].num_rows for name in names}).items():
            order = [check.name for check in across.checks if check.name in rows]
            reasons[name] = by_row[name] | {check: rows[check] for check in order}
            accepted = pa.array(~mask_of(reasons[name].values(), facts[name].num_rows))
            newest[name] = pc.max(raw[name].rows["timestamp"].filter(accepted)).as_py()
    return reasons, newest


def batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Partitions one after another, in lists of ``ROWS_AT_ONCE`` rows together, or of one partition with more."""
    names: list[str] = []
    rows = 0
    for name, size in sizes.items():
        if names and rows + size > out_of_core.ROWS_AT_ONCE:
            yield names
            names, rows = [], 0
        names.append(name)
        rows += size
    yield names


def rejects(contract: Contract, failed: Reasons) -> Reasons:
    """Of what failed, the checks that reject a row, in the suite's order."""
    rejecting = (check.name for check in contract.checks if check.severity == "reject")
    return {name: failed[name] for name in rejecting if len(failed.get(name, ()))}


def _numbered(contract: Contract, run: int) -> Contract:
    """The suite under a name of its own for each batch after the first: Data Docs list them all."""
    return contract if run == 1 else replace(contract, name=f"{contract.name} ({run})")


def _key(suite: str, facts: Facts) -> str:
    return f"{suite}-{facts.time_zone}"
