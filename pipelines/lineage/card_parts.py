"""The parts of a model card: the version, its data, its metrics by segment, its limits, where it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pipelines.lineage.card import Records, Rows, Section, figure, missing_texts, segments
from pipelines.lineage.display import moment
from pipelines.lineage.graph import Partition

HEADLINE = "ndcg_at_10"


def model(records: Records) -> Section:
    """Which version, who let it out, and by what verdict."""
    version, verdict = records.lineage.version, records.lineage.verdict or {}
    facts = [
        ("version", version.version),
        ("aliases", ", ".join(version.aliases) or "none"),
        ("registered", moment(version.created) if version.created else "missing"),
        ("package, SHA-256", figure(version.digest)),
        (
            "gate",
            f"{verdict.get('decision')}: {verdict.get('why')}" if verdict else "missing: the books have no verdict",
        ),
    ]
    if version.tags.get("override"):
        facts.append(("override", f"let out although refused: {version.tags['override']}"))
    approvals = [entry for entry in records.entries if entry.action == "approve"]
    for entry in approvals:
        reason = f": {entry.details['reason']}" if entry.details.get("reason") else ""
        facts.append(("approved by", f"{entry.details.get('approver', entry.actor)}, {entry.time}{reason}"))
    return Section("Model", (), tuple(facts))


def data(records: Records) -> Section:
    """What it was trained, validated and tested on, and what was refused."""
    lineage = records.lineage
    newest = lineage.data.get("newest_event")
    files = {raw for partition in lineage.partitions for raw in partition.files or ()}
    silent = sum(partition.files is None for partition in lineage.partitions)
    facts = [
        ("data version", figure(lineage.data.get("commit"))),
        ("newest event", moment(newest) if newest else "missing"),
        ("loads", figure(len(lineage.loads)) if lineage.loads else "missing"),
        ("source files", f"{len(files):,}{f'; not noted of {silent:,} partitions' if silent else ''}"),
        ("training events", _training(records.seal)),
    ]
    return Section("Data", (), tuple(facts), tuple(tables_of(records)))


def tables_of(records: Records) -> Iterable[tuple[str, Rows]]:
    """Partitions by table and part, and refused rows by reason."""
    groups: dict[tuple[str, str], list[Partition]] = {}
    for one in records.lineage.partitions:
        groups.setdefault((one.table, one.part), []).append(one)
    rows = [
        (table, part or "whole", figure(len(held)), _span(held), _sum(held, "accepted"), _sum(held, "quarantined"))
        for (table, part), held in groups.items()
    ]
    if rows:
        columns = ("table", "part", "partitions", "from - to", "rows accepted", "rows quarantined")
        yield "Partitions", Rows(columns, tuple(rows))
    told: Mapping[str, Any] = records.lineage.validation.get("tables") or {}
    reasons = [
        (table, check, figure(count))
        for table, row in told.items()
        for check, count in (row.get("reasons") or {}).items()
    ]
    if reasons:
        yield "Rows refused, by check", Rows(("table", "check", "rows"), tuple(reasons))


def metrics(records: Records) -> Iterable[Section]:
    """What ``evaluate`` measured: all users, then by segment, then against what."""
    found = records.metrics
    if not found:
        yield Section("Metrics", ("Missing: what evaluate measured is lost, or the run never measured.",))
        return
    protocol: Mapping[str, Any] = found.get("protocol") or {}
    facts = [("users", figure(found.get("users"))), ("candidate items", figure(found.get("candidates")))]
    facts += [("test window", f"{_day(protocol.get('test_starts'))} to {_day(protocol.get('test_ends'))}")]
    facts += [(name, figure(protocol[name])) for name in ("gain", "ideal", "ties", "new") if name in protocol]
    rows: Mapping[str, Mapping[str, Any]] = found.get("models") or {}
    names = [name for name in dict.fromkeys(key for row in rows.values() for key in row) if name != "kind"]
    table = Rows(
        ("model", "kind", *names),
        tuple((name, figure(row.get("kind")), *(figure(row.get(key)) for key in names)) for name, row in rows.items()),
    )
    yield Section("Metrics", (), tuple(facts), (("All users", table),) if rows else ())
    by_segment = segments(found, HEADLINE)
    if by_segment is None:
        yield Section("By segment", ("Missing: the run measured no segments.",), level=3)
    else:
        yield Section("By segment", (), (("metric", HEADLINE),), (("Segments", by_segment),), level=3)
    yield Section("Against others", (), (), _comparisons(found), level=3)
    rails = list((records.lineage.verdict or {}).get("guardrails") or ())
    if rails:
        cells = tuple(
            (rail["name"], rail["standing"], figure(rail.get("margin")), figure(rail.get("candidate")),
             figure(rail.get("reference")), str(rail.get("why", "")))
            for rail in rails
        )  # fmt: skip
        columns = ("guardrail", "standing", "margin", "candidate", "reference", "why")
        yield Section("Guardrails", (), (), (("What may not be lost", Rows(columns, cells)),), level=3)


def limits(records: Records) -> Section:
    """What is known not to be known."""
    found = records.metrics
    texts = [str(warning) for warning in found.get("warnings") or ()]
    validation = records.lineage.validation
    texts += [str(one.get("message", one)) for one in validation.get("warnings") or ()]
    if found.get("protocol"):
        texts.append(
            "Measured offline, on purchases of one window: what nobody was shown cannot have been bought, so that a "
            "model that shows other things may be better or worse than its figures."
        )
    texts += missing_texts(records.missing)
    return Section("Limits", tuple(dict.fromkeys(texts)) or ("No limit is on record.",))


def lineage(records: Records) -> Section:
    """Where all of it comes from, and how to check that."""
    found, version = records.lineage, records.lineage.version
    run, environment = found.run, found.environment
    machines = Counter(
        ", ".join(stage.booked["machine"].values()) for stage in found.stages if stage.booked.get("machine")
    )
    facts = [
        ("run commit", run.commit if run else "missing"),
        ("finished", moment(run.time) if run else "missing"),
        ("code commit", figure(found.code.get("commit"))),
        ("data commit", figure(found.data.get("commit"))),
        (
            "libraries",
            f"{len(environment['libraries'])}, SHA-256 {environment['sha256']}" if environment else "missing",
        ),
        ("machine", "; ".join(f"{name} ({count} stages)" for name, count in machines.items()) or "missing"),
        ("root of the training events", figure(run.training_root if run else "")),
    ]
    rows = tuple(
        (stage.name, stage.code_digest[:12], ", ".join(f"{one.path} {one.md5[:12]}" for one in stage.outputs))
        for stage in found.stages
    )
    tables = (("Stages", Rows(("stage", "code", "outputs"), rows)),) if rows else ()
    texts = (
        f"To look and to check: shoploom lineage model:{version.version}, shoploom verify {version.version}, "
        f"shoploom reproduce model:{version.version}.",
    )
    return Section("Lineage", texts, tuple(facts), tables)


def _comparisons(found: Mapping[str, Any]) -> tuple[tuple[str, Rows], ...]:
    """The candidate beside every other model, with interval and p-value."""
    rows = []
    for name, tested in (found.get("comparisons") or {}).items():
        for metric, one in (tested or {}).items():
            if one:
                interval = f"{one['low']:+.4f} to {one['high']:+.4f}"
                users, p_value = figure(one.get("users")), figure(one.get("p_value"))
                rows.append((name, metric, f"{one['effect']:+.4f}", interval, p_value, users))
    columns = ("against", "metric", "effect", "interval", "p-value", "users")
    return (("User by user", Rows(columns, tuple(rows))),) if rows else ()


def _training(seal: Mapping[str, Any]) -> str:
    if not seal:
        return "missing"
    return f"{seal['count']:,}, partitions {seal.get('first_partition')} to {seal.get('last_partition')}"


def _span(partitions: Iterable[Partition]) -> str:
    names = sorted(one.name for one in partitions)
    return names[0] if len(names) == 1 else f"{names[0]} - {names[-1]}"


def _sum(partitions: Iterable[Partition], count: str) -> str:
    counts = [getattr(one, count) for one in partitions]
    return figure(None if any(one is None for one in counts) else sum(counts))


def _day(days: Any) -> str:
    if not isinstance(days, int | float):
        return "missing"
    return f"{datetime.fromtimestamp(days * 86_400, UTC):%Y-%m-%d %H:%M} UTC"
