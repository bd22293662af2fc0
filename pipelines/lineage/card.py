"""The model card of a version: every figure is from its records, and what they do not say is said to be missing.

    version, verdict ─┐
    run, data, stages ├──> card ──> Markdown, HTML
    metrics.json      ├
    audit log ────────┘

The last part is laid out by articles 10 to 12 of the EU's AI Act (Regulation (EU) 2024/1689), for whoever has to find
there what these ask about. It is a layout, and no statement that they are met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.lineage.audit import Entry
from pipelines.lineage.graph import Missing, ModelLineage, document, out_md5, version_lineage
from pipelines.lineage.history import history
from pipelines.lineage.metric_changes import METRICS
from pipelines.registry.versions import registered_version
from pipelines.runs.run_commits import read_lock
from pipelines.settings import Settings

CARD = "model_card"
"""Name of the files among the artifacts of the MLflow run that registered the version."""
SEAL = "data/seal/seal.json"
INTENDED = (
    "Ranks the products of the shop whose data it was trained on, for search and recommendation to that shop's own "
    "shoppers. Its users are known to it by pseudonyms.",
    "It is not meant for another shop's products, nor for judging, pricing or excluding persons: it was not measured "
    "for any of that.",
)


@dataclass(frozen=True)
class Rows:
    """A table: the columns, and rows of as many cells."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of the card.

    Args:
        title: its heading.
        texts: paragraphs.
        facts: name and value.
        tables: by heading.
        level: of the heading, 2 or 3.
    """

    title: str
    texts: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[tuple[str, Rows], ...] = ()
    level: int = 2


@dataclass(frozen=True)
class Records:
    """What a card is written from.

    Args:
        lineage: of the version.
        metrics: what ``evaluate`` wrote; empty where that is lost.
        seal: of the training events: root, count, partitions; empty where there is none.
        entries: of the audit log that are about the version, its run or its data.
        missing: what could not be read.
    """

    lineage: ModelLineage
    metrics: dict[str, Any]
    seal: dict[str, Any]
    entries: tuple[Entry, ...]
    missing: tuple[Missing, ...]


def records_of(settings: Settings, version: str) -> Records:
    """Read what there is of a version, by number or alias.

    Raises:
        RegistryError: MLflow does not answer or has no such version.
        RunError: git failed.
    """
    lineage = version_lineage(settings, registered_version(settings, version))
    missing = list(lineage.missing)
    return Records(
        lineage,
        _document(settings, lineage, METRICS, missing),
        _document(settings, lineage, SEAL, missing),
        tuple(_entries(history(settings, missing), lineage)),
        tuple(missing),
    )


def card_of(records: Records) -> tuple[Section, ...]:
    """The card's parts, in order."""
    from pipelines.lineage.card_act import act_sections
    from pipelines.lineage.card_parts import data, limits, lineage, metrics, model

    return (
        model(records),
        Section("Intended use", INTENDED),
        data(records),
        *metrics(records),
        limits(records),
        lineage(records),
        *act_sections(records),
    )


def missing_texts(missing: Iterable[Missing]) -> tuple[str, ...]:
    """A sentence for each thing that is not known."""
    return tuple(f"Missing: {one.what} (to mend: {one.mend})." for one in missing)


def figure(value: Any) -> str:
    """A number as a card shows it; what is not there is said to be missing."""
    if value is None or value == "":
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _document(settings: Settings, lineage: ModelLineage, path: str, missing: list[Missing]) -> dict[str, Any]:
    """A JSON output of the version's run; empty, with a note, where it is lost."""
    if lineage.run is None:
        return {}
    lock = read_lock(settings, lineage.run)
    if not out_md5(lock, path):
        missing.append(Missing(f"the run put out no {path}", "shoploom train makes a version of a run that does"))
    return document(settings, lock, path, missing)


def _entries(entries: Iterable[Entry], lineage: ModelLineage) -> Iterable[Entry]:
    run, data = lineage.version.run_commit, lineage.data.get("commit")
    subjects = {f"version {lineage.version.version}", f"run {run}", f"data {data}"}
    return (entry for entry in entries if entry.subject in subjects)


def segments(metrics: Mapping[str, Any], metric: str) -> Rows | None:
    """A metric of every segment and model."""
    found: Mapping[str, Mapping[str, Mapping[str, Any]]] = metrics.get("segments") or {}
    if not found:
        return None
    users: Mapping[str, Any] = metrics.get("segment_users") or {}
    models = list(dict.fromkeys(model for rows in found.values() for model in rows))
    rows = tuple(
        (name, figure(users.get(name)), *(figure((row.get(model) or {}).get(metric)) for model in models))
        for name, row in found.items()
    )
    return Rows(("segment", "users", *models), rows)
