"""``validate``: raw tables as they came -> accepted rows, quarantined rows with every reason, a report.

What one row says by itself is checked once for each partition and suite, and remembered; what holds between rows,
tables and partitions is checked over everything each time. A failure of a table or partition stops the load.

``python -m pipelines.stages.validate --landing DIR --before FILE --history FILE --report FILE --docs DIR`` checks a
landing the same way, its partitions beside those that the data version holds already, and writes the report and Data
Docs alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from expectations import comparison, events, frames, items, judgements, offers, users
from expectations.contract import Check, Contract, bounds
from expectations.history import file_md5
from expectations.partitions import RawPartitions, SortedPartitions, event_contract, rejects, sort_events
from expectations.profiles import ProfileCache
from expectations.row_cache import RowCache
from expectations.run import Validation
from expectations.shape import Raw, read_raw
from expectations.sorting import Findings, Sorted, Tally, sort_rows
from pipelines.artifacts import atomic_directory, file_sha256, read_json, write_json, write_table
from pipelines.errors import DataError
from pipelines.params import DistributionParams, ValidateParams, load_params
from pipelines.sources.calendars import parse_partition
from pipelines.stage_environment import cache_folder, side_folder
from pipelines.tables import EVENTS, ITEMS, JUDGEMENTS, OFFERS, TABLES, UNPLACED, USERS, Table

RAW = Path("data/raw")
ACCEPTED = Path("data/accepted")
QUARANTINE = Path("data/quarantine")
REPORT = Path("data/validate/report.json")
OPTIONAL = (USERS, OFFERS, JUDGEMENTS)
UNPLACED_ROWS = "event_has_a_time"
"""Why the rows of ``unplaced`` are in quarantine."""


@dataclass(frozen=True)
class Shop:
    """A shop's raw tables, of the right shape.

    Args:
        events: by partition, oldest first.
        digests: SHA-256 of each partition's file.
        items: the catalogue.
        optional: the tables that a shop need not have, by name, where it has them.
        before: partitions that came in earlier loads and are no part of this one, with their rows, or None where
            nobody knows: what came is judged beside them.
    """

    events: Mapping[str, Raw]
    digests: dict[str, str]
    items: Raw
    optional: dict[str, Raw] = field(default_factory=dict)
    before: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Validated:
    """What ``validate`` writes: partitions of events, and by name the tables that are versioned whole.

    A landing's also says how its partitions lie beside the history.
    """

    events: SortedPartitions
    whole: dict[str, Sorted]
    findings: Findings
    suites: dict[str, str]
    beside_history: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Rows, accepted, quarantined and reasons of each table and partition, and the warnings."""
        whole: dict[str, Any] = {"rows": 0, "accepted": 0, "quarantined": 0, "reasons": {}}
        for part in (tally.summary() for tally in self.events.tallies.values()):
            for name in ("rows", "accepted", "quarantined"):
                whole[name] += part[name]
            for reason, count in part["reasons"].items():
                whole["reasons"][reason] = whole["reasons"].get(reason, 0) + count
        return {
            "tables": {"events": whole, **{name: rows.tally.summary() for name, rows in self.whole.items()}},
            "partitions": {name: tally.summary() for name, tally in self.events.tallies.items()},
            "warnings": self.findings.warnings,
            "suites": self.suites,
            **({"history": self.beside_history} if self.beside_history else {}),
        }


def read_shop(directory: Path, before: Mapping[str, int | None] | None = None) -> Shop:
    """Read the raw tables below ``directory``; ``before`` may name partitions that lie there too.

    Raises:
        DataError: a file is missing, unreadable, empty or of the wrong shape; the message names the table, the
            partition and the column.
    """
    paths = list((directory / EVENTS.name).glob("*"))
    if not paths:
        raise DataError(f"events: {directory / EVENTS.name} holds no partition", mend="shoploom ingest")
    for path in sorted(paths):
        if path.suffix != ".parquet":
            raise DataError(f"events: {path} is no partition", mend="remove it, or name it <partition>.parquet")
    paths.sort(key=lambda path: parse_partition(path.stem).first_day)
    came = {path.stem for path in paths}
    return Shop(
        RawPartitions({path.stem: path for path in paths}, lambda partition, path: read_raw(path, EVENTS, partition)),
        {path.stem: file_sha256(path) for path in paths},
        read_raw(directory / ITEMS.name / "items.parquet", ITEMS),
        _read_optional(directory),
        {name: rows for name, rows in (before or {}).items() if name not in came},
    )


def _read_optional(directory: Path) -> dict[str, Raw]:
    paths = {table: directory / table.name / f"{table.name}.parquet" for table in (*OPTIONAL, UNPLACED)}
    return {table.name: read_raw(path, table) for table, path in paths.items() if path.exists()}


def validate(shop: Shop, params: ValidateParams, validation: Validation, cache: RowCache, now: datetime) -> Validated:
    """Check every table.

    Args:
        shop: what came.
        params: limits of the contracts.
        validation: runs the suites and keeps their results for Data Docs.
        cache: of row checks.
        now: partitions that start later are refused.

    Returns:
        Accepted and quarantined rows. ``findings.stops`` names what the load is to be refused for, if anything.
    """
    findings = Findings()
    contract = _extended(items.rows(params), shop.items, params)
    catalogue = _sort_table(shop.items, ITEMS, contract, frames.item_columns(shop.items), validation, findings)
    ids = catalogue.accepted["item_id"]
    given = {table.name: shop.optional.get(table.name) or _without_rows(table) for table in OPTIONAL}
    columns_of: dict[str, dict[str, Any]] = {
        "users": frames.user_columns(given["users"]),
        "offers": frames.offer_columns(given["offers"], ids),
        "judgements": frames.judgement_columns(given["judgements"], ids),
    }
    suites = {
        "items": (contract, items.whole(params)),
        "users": (_extended(users.rows(), given["users"], params), users.whole(params)),
        "offers": (_extended(offers.rows(params), given["offers"], params), offers.whole(params)),
        "judgements": (_extended(judgements.rows(), given["judgements"], params), judgements.whole(params)),
    }
    whole = {"items": catalogue}
    for name, raw in given.items():
        whole[name] = _sort_table(raw, TABLES[name], suites[name][0], columns_of[name], validation, findings)
    if UNPLACED.name in shop.optional:
        whole[UNPLACED.name] = _refuse_unplaced(shop.optional[UNPLACED.name], findings)
    partitions = sort_events(shop.events, shop.digests, params, ids, validation, cache, findings)
    _note_extra_columns(shop, partitions, findings)
    for name, rows in whole.items():
        if rows.tally.num_rows and name in suites:
            _check_whole({"": rows.tally}, suites[name][1], suites[name][:1], validation, findings)
    by_row, columns = (event_contract(params), events.across()), _partition_columns(shop, partitions, now)
    _check_whole(partitions.tallies, events.partitions(params), by_row, validation, findings, columns)
    contracts = (*by_row, events.partitions(params), *(suite for both in suites.values() for suite in both))
    return Validated(partitions, whole, findings, {each.name: each.digest() for each in contracts})


def _refuse_unplaced(raw: Raw, findings: Findings) -> Sorted:
    """Rows that no partition has a place for: all of them go to quarantine."""
    count = raw.rows.num_rows
    refused = sort_rows(raw, UNPLACED, {UNPLACED_ROWS: np.arange(count)} if count else {}, UNPLACED_ROWS)
    if count:
        findings.warn(UNPLACED_ROWS, UNPLACED.name, f"{count:,} rows have no time that can be read")
    return refused


def _extended(contract: Contract, raw: Raw, params: ValidateParams) -> Contract:
    """A row suite with the bounds of ``params.yaml`` and the source's own checks."""
    return contract.extended(bounds(contract.table, params), raw.checks)


def _without_rows(table: Table) -> Raw:
    return Raw(table.schema.empty_table(), np.ones(0, bool), (), "UTC")


def _note_extra_columns(shop: Shop, partitions: SortedPartitions, findings: Findings) -> None:
    parts = [(ITEMS, "", shop.items.extra_columns)]
    parts += [(EVENTS, partition, facts.extra_columns) for partition, facts in partitions.facts.items()]
    parts += [(TABLES[name], "", raw.extra_columns) for name, raw in shop.optional.items()]
    for table, partition, columns in parts:
        if columns:
            said = f"columns that the contract does not have are left out: {', '.join(columns)}"
            findings.warn("columns_are_known", table.name, said, partition=partition)


def _sort_table(
    raw: Raw,
    table: Table,
    contract: Contract,
    derived: dict[str, Any],
    validation: Validation,
    findings: Findings,
) -> Sorted:
    """Check a table that is versioned whole."""
    if not raw.rows.num_rows:
        return sort_rows(raw, table, {}, contract.digest())
    failed = validation.run(contract, frames.frame_of(raw.rows, derived, contract))
    for name, rows in failed.items():
        check = contract.check(name)
        if check.severity != "reject":
            findings.note(check, table.name, f"{1 - len(rows) / raw.rows.num_rows:.1%}")
    return sort_rows(raw, table, rejects(contract, failed), contract.digest())


def _check_whole(
    parts: Mapping[str, Tally],
    contract: Contract,
    by_row: tuple[Contract, ...],
    validation: Validation,
    findings: Findings,
    columns: Mapping[str, object] | None = None,
) -> None:
    """Check whole partitions of a table, or the table itself, a part of no name.

    Args:
        parts: counts of each, told apart by the suites ``by_row``.
        contract: looks at a frame of one row for each part: ``rows``, ``rejected_share`` and ``columns``.
        by_row: name the column that most rejected rows fail in.
        validation: runs the suite.
        findings: what failed is noted here.
        columns: more columns of that frame, in the order of ``parts``.
    """
    names = list(parts)
    frame = pd.DataFrame(
        {
            "rows": [part.num_rows for part in parts.values()],
            "rejected_share": [part.rejected_share for part in parts.values()],
            **(columns or {}),
        }
    )
    for name, failing in validation.run(contract, frame).items():
        check = contract.check(name)
        for row in failing:
            partition = names[int(row)]
            found, column = _found(check, frame, int(row), parts[partition], by_row)
            findings.note(check, contract.table, found, column, partition)


def _partition_columns(shop: Shop, partitions: SortedPartitions, now: datetime) -> dict[str, object]:
    """What :func:`expectations.events.partitions` looks at of each partition, itself or beside those before."""
    spans, facts = [parse_partition(name) for name in partitions], list(partitions.facts.values())
    ends = [span.ends(fact.time_zone) for span, fact in zip(spans, facts, strict=True)]
    newest = [partitions.newest[name] or end for name, end in zip(partitions, ends, strict=True)]
    silent = [(end - last).total_seconds() / 86_400 for end, last in zip(ends, newest, strict=True)]
    rows = [fact.num_rows for fact in facts]
    median = np.median([*rows, *(known for known in shop.before.values() if known is not None)])
    every = sorted((parse_partition(name) for name in (*partitions, *shop.before)), key=lambda span: span.first_day)
    follows = {later for earlier, later in pairwise(every) if (later.first_day - earlier.last_day).days == 1}
    return {
        "volume_ratio": np.where([fact.all_late for fact in facts], np.nan, np.round(rows / median, 6)),
        "silent_days": np.round(silent, 6),
        "started": [span.starts(fact.time_zone) <= now for span, fact in zip(spans, facts, strict=True)],
        "follows": [span == every[0] or span in follows for span in spans],
    }


def _found(check: Check, frame: pd.DataFrame, row: int, rows: Tally, by_row: tuple[Contract, ...]) -> tuple[str, str]:
    """What a check of a whole partition or table met, and the column to look at, if one stands out."""
    value = frame[check.subject or check.column].iloc[row]
    if check.subject == "rejected_share":
        worst = sorted(rows.reasons.items(), key=lambda reason: (-reason[1], reason[0]))[:3]
        columns = {each.name: each.column for contract in by_row for each in contract.checks}
        return f"{value:.1%} ({', '.join(f'{name} {count:,}' for name, count in worst)})", columns.get(worst[0][0], "")
    return (f"{value:g}" if isinstance(value, int | float | np.number) else str(value)), ""


def check(
    directory: Path,
    params: ValidateParams,
    before: Mapping[str, int | None] | None = None,
    history: comparison.Accepted | None = None,
    docs: Path | None = None,
) -> Validated:
    """Validate the raw tables below ``directory``, beside partitions ``before``; build Data Docs in the side folder.

    Args:
        directory: holds the tables.
        params: limits of the contracts.
        before: partitions that came earlier.
        history: what was accepted earlier: the load is held against it too.
        docs: where Data Docs go; by default to the side folder.

    Raises:
        DataError: the load is refused; its quarantined rows lie in the side folder.
    """
    validation = Validation()
    cache = RowCache(cache_folder("validate_cache"))
    validated = validate(read_shop(directory, before), params, validation, cache, datetime.now(UTC))
    if history is not None and not validated.findings.stops:
        limits = load_params(DistributionParams, "distribution")
        beside = judge(directory, validated, history, params, limits, validation, cache_folder("profiles"))
        validated = replace(validated, beside_history=beside)
    page = validation.build_docs(docs or side_folder("validate") / "data_docs")
    stops = validated.findings.stops
    if stops:
        folder = side_folder("validate") / "quarantine"
        _write(validated, folder)
        more = f" (and {len(stops) - 1} more: {page})" if len(stops) > 1 else ""
        raise DataError(stops[0] + more, mend=f"look at {folder}; mend the source and land it again")
    return validated


def judge(
    directory: Path,
    validated: Validated,
    history: comparison.Accepted,
    params: ValidateParams,
    distribution: DistributionParams,
    validation: Validation,
    remembered: Path | None,
) -> dict[str, Any]:
    """Hold a landing's accepted rows against the accepted history; what is unusual is added to its findings.

    Args:
        directory: the landing.
        validated: what was found of it; its findings are added to.
        history: the newest data version.
        params: limits of the contracts.
        distribution: limits beside the history.
        validation: runs the suites.
        remembered: where profiles lie; None = they are made again.

    Returns:
        As :func:`expectations.comparison.judge`.
    """

    def clean(path: Path, partition: str) -> pa.Table:
        raw = read_raw(path, EVENTS if partition else ITEMS, partition)
        contract = event_contract(params, raw.checks) if partition else _extended(items.rows(params), raw, params)
        derived = frames.event_columns(raw, partition) if partition else frames.item_columns(raw)
        failed = Validation().run(contract.strict(), frames.frame_of(raw.rows, derived, contract))
        return sort_rows(raw, EVENTS if partition else ITEMS, rejects(contract, failed), "").accepted

    load = comparison.Load(
        partitions=tuple(validated.events),
        events=lambda name: validated.events[name].accepted,
        items=validated.whole[ITEMS.name].accepted,
        md5={name: file_md5(directory / EVENTS.name / f"{name}.parquet") for name in validated.events},
        items_md5=file_md5(directory / ITEMS.name / "items.parquet"),
    )
    cache = ProfileCache(remembered)
    return comparison.judge(load, history, cache, clean, distribution, validation.run, validated.findings)


def _write(validated: Validated, quarantine: Path, accepted: Path | None = None) -> None:
    """Write quarantined rows and, where they are asked for, accepted ones; every partition is looked at once."""
    with ExitStack() as stack:
        refused = stack.enter_context(atomic_directory(quarantine))
        kept = stack.enter_context(atomic_directory(accepted / EVENTS.name)) if accepted else None
        for name, part in validated.events.items():
            write_table(part.quarantined, refused / EVENTS.name / f"{name}.parquet")
            if kept:
                write_table(part.accepted, kept / f"{name}.parquet")
        for name, rows in validated.whole.items():
            write_table(rows.quarantined, refused / f"{name}.parquet")
            if accepted and name != UNPLACED.name:
                write_table(rows.accepted, accepted / f"{name}.parquet")


def main() -> None:
    """Read ``data/raw``, write ``data/accepted``, ``data/quarantine`` and the report; or only check a landing."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.stages.validate", description=__doc__)
    parser.add_argument("--landing", type=Path, help="check this landing directory and write nothing but the report")
    parser.add_argument(
        "--before", type=Path, help="JSON: partitions that came earlier, with their rows, null where they are not known"
    )
    parser.add_argument("--history", type=Path, help="JSON: hashes of what was accepted earlier, to compare with")
    parser.add_argument("--docs", type=Path, help="where Data Docs go; the side folder by default")
    parser.add_argument("--report", type=Path, help="where the landing's report goes")
    parser.add_argument("--quarantine", type=Path, help="where the landing's quarantined rows go; nowhere by default")
    chosen = parser.parse_args()
    params = load_params(ValidateParams, "validate")
    history = comparison.Accepted.from_json(read_json(chosen.history)) if chosen.history else None
    before = read_json(chosen.before) if chosen.before else None
    validated = check(chosen.landing or RAW, params, before, history, chosen.docs)
    report = validated.report()
    if chosen.landing and chosen.quarantine:
        _write(validated, chosen.quarantine)
    if not chosen.landing:
        _write(validated, QUARANTINE, ACCEPTED)
    target = chosen.report if chosen.landing else REPORT
    if target:
        write_json(report, target)
    for name, table in report["tables"].items():
        print(f"{name}: {table['accepted']:,} of {table['rows']:,} rows accepted, {table['quarantined']:,} quarantined")
    for warning in report["warnings"]:
        print(f"warning: {warning['message']}", file=sys.stderr)


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)
