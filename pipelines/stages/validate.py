"""``validate``: raw tables as they came -> accepted rows, quarantined rows with every reason, a report.

What one row says by itself is checked once for each partition and suite, and remembered; what holds between rows,
tables and partitions is checked over everything each time. A failure of a table or partition stops the load.

``python -m pipelines.stages.validate --landing DIR --before FILE --history FILE --report FILE`` checks a landing the
same way, its partitions beside those that the data version holds already, and writes only the report.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from expectations import comparison, events, frames, items, judgements, offers, users
from expectations.contract import FIRST_OF_ID, Check, Contract
from expectations.history import file_md5
from expectations.profiles import ProfileCache
from expectations.row_cache import RowCache
from expectations.run import Validation
from expectations.shape import Raw, read_raw
from expectations.sorting import Findings, Reasons, Sorted, cut, mask_of, sort_rows
from pipelines.artifacts import atomic_directory, file_sha256, read_json, write_json, write_table
from pipelines.errors import DataError
from pipelines.params import DistributionParams, ValidateParams, load_params
from pipelines.sources.calendars import parse_partition
from pipelines.stage_environment import cache_folder, side_folder
from pipelines.tables import EVENTS, ITEMS, JUDGEMENTS, OFFERS, TABLES, USERS, Table

RAW = Path("data/raw")
ACCEPTED = Path("data/accepted")
QUARANTINE = Path("data/quarantine")
REPORT = Path("data/validate/report.json")
OPTIONAL = (USERS, OFFERS, JUDGEMENTS)


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

    events: dict[str, Raw]
    digests: dict[str, str]
    items: Raw
    optional: dict[str, Raw] = field(default_factory=dict)
    before: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Validated:
    """What ``validate`` writes: partitions of events, and by name the tables that are versioned whole.

    A landing's also says how its partitions lie beside the history.
    """

    events: dict[str, Sorted]
    whole: dict[str, Sorted]
    findings: Findings
    suites: dict[str, str]
    beside_history: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Rows, accepted, quarantined and reasons of each table and partition, and the warnings."""
        whole: dict[str, Any] = {"rows": 0, "accepted": 0, "quarantined": 0, "reasons": {}}
        for part in (sorted_.summary() for sorted_ in self.events.values()):
            for name in ("rows", "accepted", "quarantined"):
                whole[name] += part[name]
            for reason, count in part["reasons"].items():
                whole["reasons"][reason] = whole["reasons"].get(reason, 0) + count
        return {
            "tables": {"events": whole, **{name: rows.summary() for name, rows in self.whole.items()}},
            "partitions": {name: part.summary() for name, part in self.events.items()},
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
    return Shop(
        {path.stem: read_raw(path, EVENTS, path.stem) for path in paths},
        {path.stem: file_sha256(path) for path in paths},
        read_raw(directory / ITEMS.name / "items.parquet", ITEMS),
        _read_optional(directory),
        {name: rows for name, rows in (before or {}).items() if name not in {path.stem for path in paths}},
    )


def _read_optional(directory: Path) -> dict[str, Raw]:
    paths = {table: directory / table.name / f"{table.name}.parquet" for table in OPTIONAL}
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
    _note_extra_columns(shop, findings)
    catalogue = _sort_table(
        shop.items, ITEMS, items.rows(params), frames.item_columns(shop.items), validation, findings
    )
    ids = catalogue.accepted["item_id"]
    given = {table.name: shop.optional.get(table.name) or _without_rows(table) for table in OPTIONAL}
    columns_of: dict[str, dict[str, Any]] = {
        "users": frames.user_columns(given["users"]),
        "offers": frames.offer_columns(given["offers"], ids),
        "judgements": frames.judgement_columns(given["judgements"], ids),
    }
    suites = {
        "items": (items.rows(params), items.whole(params)),
        "users": (users.rows(), users.whole(params)),
        "offers": (offers.rows(params), offers.whole(params)),
        "judgements": (judgements.rows(), judgements.whole(params)),
    }
    whole = {"items": catalogue}
    for name, raw in given.items():
        whole[name] = _sort_table(raw, TABLES[name], suites[name][0], columns_of[name], validation, findings)
    partitions = _sort_events(shop, params, ids, validation, cache)
    for name, rows in whole.items():
        if rows.num_rows:
            _check_whole({"": rows}, suites[name][1], suites[name][:1], validation, findings)
    by_row, columns = (events.rows(params), events.across()), _partition_columns(shop, partitions, now)
    _check_whole(partitions, events.partitions(params), by_row, validation, findings, columns)
    contracts = (*by_row, events.partitions(params), *(suite for both in suites.values() for suite in both))
    return Validated(partitions, whole, findings, {each.name: each.digest() for each in contracts})


def _without_rows(table: Table) -> Raw:
    return Raw(table.schema.empty_table(), np.ones(0, bool), (), "UTC")


def _note_extra_columns(shop: Shop, findings: Findings) -> None:
    parts = [(ITEMS, "", shop.items), *((EVENTS, partition, raw) for partition, raw in shop.events.items())]
    parts += [(TABLES[name], "", raw) for name, raw in shop.optional.items()]
    for table, partition, raw in parts:
        if raw.extra_columns:
            said = f"columns that the contract does not have are left out: {', '.join(raw.extra_columns)}"
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
    return sort_rows(raw, table, _rejects(contract, failed), contract.digest())


def _sort_events(
    shop: Shop, params: ValidateParams, catalogue: pa.ChunkedArray, validation: Validation, cache: RowCache
) -> dict[str, Sorted]:
    contract, across = events.rows(params), events.across()
    by_row = _row_reasons(shop, contract, validation, cache)
    sizes = {name: raw.rows.num_rows for name, raw in shop.events.items()}
    refused = np.concatenate([mask_of(by_row[name].values(), sizes[name]) for name in shop.events])
    ids = pa.concat_tables([raw.rows.select(["event_id", "item_id"]) for raw in shop.events.values()])
    derived = {
        FIRST_OF_ID: frames.first_of_id(ids["event_id"], refused, frames.landed_order(shop.events)),
        events.ITEM_KNOWN: frames.is_known(ids["item_id"], catalogue),
    }
    between_rows = cut(_rejects(across, validation.run(across, frames.frame_of(ids, derived, across))), sizes)
    order = [check.name for check in (*contract.checks, *across.checks)]
    suite = f"{contract.digest()}-{across.digest()}"
    result = {}
    for name, raw in shop.events.items():
        reasons = by_row[name] | between_rows[name]
        result[name] = sort_rows(raw, EVENTS, {check: reasons[check] for check in order if check in reasons}, suite)
    return result


def _row_reasons(shop: Shop, contract: Contract, validation: Validation, cache: RowCache) -> dict[str, Reasons]:
    """Run the row checks over every partition whose result is not remembered, in one batch.

    The newest is checked in any case, so that Data Docs always show what the row checks found.
    """
    suite = contract.digest()
    sizes = {name: raw.rows.num_rows for name, raw in shop.events.items()}
    known = {
        name: cache.get(name, shop.digests[name], _suite_key(suite, shop.events[name]), sizes[name]) for name in sizes
    }
    newest = list(known)[-1:]
    fresh = [name for name, rows in known.items() if rows is None or name in newest]
    parts = [
        frames.frame_of(shop.events[name].rows, frames.event_columns(shop.events[name], name), contract)
        for name in fresh
    ]
    frame = pd.concat(parts, ignore_index=True)
    print(f"checking {len(frame):,} events of {len(fresh)} partitions of {len(sizes)}")
    failed = _rejects(contract, validation.run(contract, frame))
    for name, rows in cut(failed, {name: sizes[name] for name in fresh}).items():
        known[name] = rows
        cache.put(name, shop.digests[name], _suite_key(suite, shop.events[name]), sizes[name], rows)
    return {name: rows or {} for name, rows in known.items()}


def _suite_key(suite: str, raw: Raw) -> str:
    return f"{suite}-{raw.time_zone}"


def _rejects(contract: Contract, failed: Reasons) -> Reasons:
    return {name: rows for name, rows in failed.items() if contract.check(name).severity == "reject" and len(rows)}


def _check_whole(
    parts: dict[str, Sorted],
    contract: Contract,
    by_row: tuple[Contract, ...],
    validation: Validation,
    findings: Findings,
    columns: Mapping[str, object] | None = None,
) -> None:
    """Check whole partitions of a table, or the table itself, a part of no name.

    Args:
        parts: rows of each, told apart by the suites ``by_row``.
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


def _partition_columns(shop: Shop, partitions: dict[str, Sorted], now: datetime) -> dict[str, object]:
    """What :func:`expectations.events.partitions` looks at of each partition, itself or beside those before."""
    spans = [parse_partition(name) for name in partitions]
    zones = [raw.time_zone for raw in shop.events.values()]
    ends = [span.ends(zone) for span, zone in zip(spans, zones, strict=True)]
    newest = [_newest(part.accepted, end) for part, end in zip(partitions.values(), ends, strict=True)]
    silent = [(end - last).total_seconds() / 86_400 for end, last in zip(ends, newest, strict=True)]
    rows = [part.num_rows for part in partitions.values()]
    median = np.median([*rows, *(known for known in shop.before.values() if known is not None)])
    every = sorted((parse_partition(name) for name in (*partitions, *shop.before)), key=lambda span: span.first_day)
    follows = {later for earlier, later in pairwise(every) if (later.first_day - earlier.last_day).days == 1}
    return {
        "volume_ratio": np.where([raw.all_late for raw in shop.events.values()], np.nan, np.round(rows / median, 6)),
        "silent_days": np.round(silent, 6),
        "started": [span.starts(zone) <= now for span, zone in zip(spans, zones, strict=True)],
        "follows": [span == every[0] or span in follows for span in spans],
    }


def _newest(accepted: pa.Table, otherwise: datetime) -> datetime:
    newest = pc.max(accepted["timestamp"]).as_py()
    return newest if isinstance(newest, datetime) else otherwise


def _found(check: Check, frame: pd.DataFrame, row: int, rows: Sorted, by_row: tuple[Contract, ...]) -> tuple[str, str]:
    """What a check of a whole partition or table met, and the column to look at, if one stands out."""
    value = frame[check.subject or check.column].iloc[row]
    if check.subject == "rejected_share":
        worst = sorted(rows.reasons.items(), key=lambda reason: (-reason[1], reason[0]))[:3]
        columns = {each.name: each.column for contract in by_row for each in contract.checks}
        return f"{value:.1%} ({', '.join(f'{name} {count:,}' for name, count in worst)})", columns[worst[0][0]]
    return (f"{value:g}" if isinstance(value, int | float | np.number) else str(value)), ""


def check(
    directory: Path,
    params: ValidateParams,
    before: Mapping[str, int | None] | None = None,
    history: comparison.Accepted | None = None,
) -> Validated:
    """Validate the raw tables below ``directory``, beside partitions ``before``; build Data Docs in the side folder.

    Args:
        directory: holds the tables.
        params: limits of the contracts.
        before: partitions that came earlier.
        history: what was accepted earlier: the load is held against it too.

    Raises:
        DataError: the load is refused; its quarantined rows lie in the side folder.
    """
    validation = Validation()
    cache = RowCache(cache_folder("validate_cache"))
    validated = validate(read_shop(directory, before), params, validation, cache, datetime.now(UTC))
    if history is not None and not validated.findings.stops:
        beside = judge(
            directory, validated, history, params, load_params(DistributionParams, "distribution"), validation
        )
        validated = replace(validated, beside_history=beside)
    page = validation.build_docs(side_folder("validate") / "data_docs")
    stops = validated.findings.stops
    if stops:
        folder = side_folder("validate") / "quarantine"
        _write_quarantine(validated, folder)
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
) -> dict[str, Any]:
    """Hold a landing's accepted rows against the accepted history; what is unusual is added to its findings.

    Returns:
        As :func:`expectations.comparison.judge`.
    """

    def clean(path: Path, partition: str) -> pa.Table:
        raw = read_raw(path, EVENTS if partition else ITEMS, partition)
        contract = events.rows(params) if partition else items.rows(params)
        derived = frames.event_columns(raw, partition) if partition else frames.item_columns(raw)
        failed = Validation().run(contract, frames.frame_of(raw.rows, derived, contract))
        return sort_rows(raw, EVENTS if partition else ITEMS, _rejects(contract, failed), "").accepted

    load = comparison.Load(
        events={name: part.accepted for name, part in validated.events.items()},
        items=validated.whole[ITEMS.name].accepted,
        md5={name: file_md5(directory / EVENTS.name / f"{name}.parquet") for name in validated.events},
        items_md5=file_md5(directory / ITEMS.name / "items.parquet"),
    )
    cache = ProfileCache(cache_folder("profiles"))
    return comparison.judge(load, history, cache, clean, distribution, validation.run, validated.findings)


def _write_quarantine(validated: Validated, directory: Path) -> None:
    with atomic_directory(directory) as folder:
        for name, part in validated.events.items():
            write_table(part.quarantined, folder / "events" / f"{name}.parquet")
        for name, rows in validated.whole.items():
            write_table(rows.quarantined, folder / f"{name}.parquet")


def _write_accepted(validated: Validated, directory: Path) -> None:
    with atomic_directory(directory / "events") as folder:
        for name, part in validated.events.items():
            write_table(part.accepted, folder / f"{name}.parquet")
    for name, rows in validated.whole.items():
        write_table(rows.accepted, directory / f"{name}.parquet")


def main() -> None:
    """Read ``data/raw``, write ``data/accepted``, ``data/quarantine`` and the report; or only check a landing."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.stages.validate", description=__doc__)
    parser.add_argument("--landing", type=Path, help="check this landing directory and write nothing but the report")
    parser.add_argument(
        "--before", type=Path, help="JSON: partitions that came earlier, with their rows, null where they are not known"
    )
    parser.add_argument("--history", type=Path, help="JSON: hashes of what was accepted earlier, to compare with")
    parser.add_argument("--report", type=Path, help="where the landing's report goes")
    chosen = parser.parse_args()
    params = load_params(ValidateParams, "validate")
    history = comparison.Accepted.from_json(read_json(chosen.history)) if chosen.history else None
    validated = check(chosen.landing or RAW, params, read_json(chosen.before) if chosen.before else None, history)
    report = validated.report()
    if not chosen.landing:
        _write_accepted(validated, ACCEPTED)
        _write_quarantine(validated, QUARANTINE)
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
