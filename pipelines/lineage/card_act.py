"""The part of a card that is laid out by articles 10 to 12 of the EU's AI Act."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipelines.lineage.card import Records, Rows, Section, figure, segments
from pipelines.lineage.card_parts import HEADLINE, tables_of

LAYOUT = (
    "Laid out by articles 10 to 12 of Regulation (EU) 2024/1689, so that whoever has to look for what they ask about "
    "finds what the records say. Whether they apply to this system, and whether they are met, is for the shop to judge."
)


def act_sections(records: Records) -> Iterable[Section]:
    """The three articles."""
    yield Section("Laid out by the EU AI Act", (LAYOUT,))
    yield _article_10(records)
    yield _article_11(records)
    yield _article_12(records)


def _article_10(records: Records) -> Section:
    """Data and data governance: article 10 (2), letter by letter."""
    lineage = records.lineage
    params = {name: value for stage in lineage.stages for name, value in stage.params.items()}
    chosen = {name: params[name] for name in sorted(params) if name.split(".")[0] in ("window", "prepare", "validate")}
    loads = ", ".join(load["load"] for load in lineage.loads[:3])
    more = f" and {len(lineage.loads) - 3} more" if len(lineage.loads) > 3 else ""
    suites = lineage.validation.get("suites") or {}
    facts = (
        ("(a) design choices", _listed(chosen)),
        ("(b) collection and origin", f"{loads}{more}" if loads else "missing"),
        ("(c) preparation", _preparation(records)),
        (
            "(d) assumptions",
            f"held to by checks of {_listed(suites)}" if suites else "missing: the report names no suites",
        ),
        ("(e) availability and quantity", _quantity(records)),
        ("(f) possible biases", "the figures of each segment below"),
        ("(g) against biases", _settings(params, ("popularity_debias", "diversity", "min_new_share"))),
        (
            "(h) gaps",
            f"{len(records.missing)} records are missing; see Limits" if records.missing else "none on record",
        ),
    )
    by_segment = segments(records.metrics, HEADLINE)
    tables = [*tables_of(records), *([("Segments", by_segment)] if by_segment else [])]
    return Section("Article 10: data and data governance", (), facts, tuple(tables), level=3)


def _article_11(records: Records) -> Section:
    """Technical documentation: what annex IV asks about and the records have."""
    lineage, version = records.lineage, records.lineage.version
    run = lineage.run
    compared = run.champion_version if run else None
    params = sorted({name: value for stage in lineage.stages for name, value in stage.params.items()}.items())
    facts = (
        ("1. general description", "see Model and Intended use"),
        ("2. elements and development", f"{len(lineage.stages)} stages; see Lineage" if lineage.stages else "missing"),
        ("2 (d) data", "see article 10"),
        ("2 (g) validation and testing", "see Metrics" if records.metrics else "missing"),
        (
            "3. monitoring and control",
            "shoploom monitor, and the gate before every promotion; see Guardrails where any",
        ),
        (
            "6. changes",
            f"shoploom diff model:{compared} model:{version.version}" if compared else "no champion before it",
        ),
        ("7. standards", "in-toto and SLSA statements, OpenSSF model signing: shoploom verify"),
    )
    rows = tuple((name, str(value)) for name, value in params)
    tables = (("Parameters", Rows(("parameter", "value"), rows)),) if rows else ()
    return Section("Article 11: technical documentation", (), facts, tables, level=3)


def _article_12(records: Records) -> Section:
    """Record-keeping: what the audit log has of the version."""
    rows = tuple(
        (entry.time, entry.action, entry.subject[:24], entry.actor, entry.hash[:12]) for entry in records.entries
    )
    texts = [
        "Events are appended to a hash-chained log that git and MLflow hold copies of (shoploom audit verify); which "
        "version gave which answer is kept by the server (shoploom lineage served:REQUEST_ID).",
    ]
    if not rows:
        texts.append("Missing: the audit log has no entry of this version.")
    columns = ("time", "action", "subject", "actor", "entry")
    tables = (("Entries", Rows(columns, rows)),) if rows else ()
    return Section("Article 12: record-keeping", tuple(texts), (), tables, level=3)


def _preparation(records: Records) -> str:
    names = [stage.name for stage in records.lineage.stages if stage.name in ("validate", "prepare", "seal")]
    return f"stages {', '.join(names)}, by hash under Lineage" if names else "missing"


def _quantity(records: Records) -> str:
    tables: dict[str, Any] = records.lineage.validation.get("tables") or {}
    told = [f"{name} {figure(row.get('accepted'))} rows" for name, row in tables.items()]
    return ", ".join(told) or "missing"


def _settings(params: dict[str, Any], names: tuple[str, ...]) -> str:
    found = {name: value for name, value in params.items() if name.split(".")[-1] in names}
    return _listed(found)


def _listed(values: Any) -> str:
    if isinstance(values, dict):
        return ", ".join(f"{name} {figure(value)}" for name, value in values.items()) or "missing"
    return ", ".join(map(str, values)) or "missing"
