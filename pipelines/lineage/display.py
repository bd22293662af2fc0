"""Lineage in a terminal: one tree, hashes shortened, long lists cut unless all is asked for. Text is never markup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipelines.lineage.graph import Missing, ModelLineage, Partition, Stage
from pipelines.lineage.served import ServedLineage
from pipelines.lineage.trace import PartitionLineage, TouchedRun

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

SHOWN = 8
"""Rows of a long list that are shown unless all are asked for."""


def draw_model(lineage: ModelLineage, console: Console, everything: bool = False) -> None:
    """Print the tree of a version."""
    name, text = _headline(lineage)
    tree = root(name, text)
    _draw_version(tree, lineage, everything)
    console.print(tree)
    draw_missing(lineage.missing, console)


def draw_served(lineage: ServedLineage, console: Console, everything: bool = False) -> None:
    """Print what stands behind an answer."""
    tree = root(f"request {lineage.request_id}", f"{len(lineage.answers)} answers")
    for answer in lineage.answers:
        by = f" of run {answer.run_commit[:12]}" if answer.run_commit else ""
        at = add(tree, answer.route, f"{moment(answer.answered)} by version {answer.version}{by}")
        reign = answer.reign
        if reign:
            add(at, "champion", f"from {moment(reign.start)}, {reign.action} by {reign.actor}")
        if answer.override:
            add(at, "override", answer.override)
    if lineage.items:
        seen = add(tree, "reported as seen", f"{len(lineage.items)} items")
        for item in cut(lineage.items, seen, everything):
            score = f", score {item.features['score']:.6g}" if "score" in item.features else ""
            add(seen, f"{item.position}. {item.item_id}", f"{item.placement}{score}")
    for model in lineage.models:
        _draw_version(add(tree, *_headline(model)), model, everything)
    console.print(tree)
    draw_missing(lineage.missing, console)


def _headline(lineage: ModelLineage) -> tuple[str, str]:
    version = lineage.version
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    registered = f"registered {moment(version.created)}" if version.created else "not in the registry"
    return f"model version {version.version}{aliases}", registered


def _draw_version(tree: Tree, lineage: ModelLineage, everything: bool) -> None:
    add(tree, "package", lineage.version.digest or "no digest")
    if lineage.version.tags.get("override"):
        add(tree, "override", lineage.version.tags["override"])
    if lineage.verdict:
        add(tree, "gate", f"{lineage.verdict.get('decision')}: {lineage.verdict.get('why')}")
    run = lineage.run
    if run:
        at = add(tree, f"run {run.commit[:12]}", f"{run.run_id}, finished {moment(run.time)}")
        add(at, "compared with", f"champion version {run.champion_version}" if run.champion_version else "no champion")
    else:
        at = tree
    _draw_code(at, lineage)
    _draw_data(at, lineage, everything)
    stages = add(at, "stages", str(len(lineage.stages))) if lineage.stages else None
    for stage in lineage.stages:
        _draw_stage(stages, stage, everything)


def draw_partition(lineage: PartitionLineage, console: Console, everything: bool = False) -> None:
    """Print what a partition touched."""
    tree = root(f"{lineage.table} {lineage.name}", f"{len(lineage.contents)} contents")
    for content in lineage.contents:
        of = add(tree, f"md5 {content.md5[:12]}", f"by data version {content.landed[:12]}: {content.source}")
        for raw in cut(content.files or (), of, everything):
            add(of, f"<- {raw.path}", f"sha256 {raw.sha256[:12]}, {raw.size:,} bytes")
    tables = add(tree, "tables and outputs made of it", str(len(lineage.outputs)))
    by_stage: dict[str, list[str]] = {}
    for output, stage in lineage.outputs.items():
        by_stage.setdefault(stage, []).append(output)
    for stage, outputs in by_stage.items():
        add(tables, stage, ", ".join(sorted(outputs)))
    models = sum(len(run.models) for run in lineage.runs)
    runs = add(tree, "runs", f"{len(lineage.runs)}, with {models} registered versions")
    for run in cut(lineage.runs, runs, everything):
        _draw_run(runs, run)
    served = add(tree, "champion", f"{len(lineage.reigns)} times, as the audit log has it")
    for reign in cut(lineage.reigns, served, everything):
        until = f"to {moment(reign.end)}" if reign.end else "until now"
        told = f"from {moment(reign.start)} {until}, {reign.days} days; {reign.action} by {reign.actor}"
        add(served, f"version {reign.version}", told)
    console.print(tree)
    draw_missing(lineage.missing, console)


def moment(seconds: float) -> str:
    """A time as a person reads it, UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _draw_code(at: Tree, lineage: ModelLineage) -> None:
    code, environment = lineage.code, lineage.environment
    if code:
        dirty = ", a snapshot of a tree with uncommitted changes" if code.get("dirty") else ""
        node = add(at, f"code {code['commit'][:12]}", f"{code.get('subject', 'gone')}{dirty}")
        if environment:
            pins = len(environment["libraries"])
            add(node, environment["lock"], f"sha256 {environment['sha256'][:12]}, {pins} libraries pinned")
    machines = Counter(
        ", ".join(stage.booked["machine"].values()) for stage in lineage.stages if stage.booked.get("machine")
    )
    for machine, stages in machines.items():
        add(at, "machine", f"{machine} ({stages} stages)")
    if not machines and lineage.stages:
        add(at, "machine", "not noted: the run is older than that")


def _draw_data(at: Tree, lineage: ModelLineage, everything: bool) -> None:
    data = lineage.data
    if not data:
        return
    node = add(at, f"data {data['commit'][:12]}", str(data.get("subject", "gone")))
    for table, told in (lineage.validation.get("tables") or {}).items():
        reasons = ", ".join(f"{check} {count:,}" for check, count in (told.get("reasons") or {}).items())
        text = f"{told['accepted']:,} accepted, {told['quarantined']:,} quarantined"
        add(node, f"validated {table}", f"{text}: {reasons}" if reasons else text)
    warnings = lineage.validation.get("warnings") or []
    if warnings:
        add(node, "warnings", f"{len(warnings)}, the first: {warnings[0].get('message', warnings[0])}")
    by_table: dict[str, list[Partition]] = {}
    for partition in lineage.partitions:
        by_table.setdefault(partition.table, []).append(partition)
    for table, partitions in by_table.items():
        parts = Counter(partition.part for partition in partitions if partition.part)
        told = ", ".join(f"{count} {part}" for part, count in parts.items())
        below = add(node, table, f"{len(partitions)} partitions{f': {told}' if told else ''}")
        for partition in cut(partitions, below, everything):
            _draw_partition_of(below, partition)
    _draw_raw_files(node, lineage, everything)
    loads = add(node, "loads", str(len(lineage.loads)))
    for load in cut(lineage.loads, loads, everything):
        add(loads, load["load"], load["landed"][:12])


def _draw_raw_files(at: Tree, lineage: ModelLineage, everything: bool) -> None:
    """The shop's own files, each once, with how many partitions came from it."""
    counts = Counter(raw for partition in lineage.partitions for raw in partition.files or ())
    silent = sum(partition.files is None for partition in lineage.partitions)
    unknown = f"; of {silent} partitions it was not noted: an older shoploom landed them" if silent else ""
    below = add(at, "source files", f"{len(counts)}{unknown}")
    for raw, count in cut(sorted(counts.items()), below, everything):
        add(below, raw.path, f"sha256 {raw.sha256[:12]}, {raw.size:,} bytes, in {count} partitions")


def _draw_partition_of(at: Tree, partition: Partition) -> None:
    rows = ""
    if partition.accepted is not None:
        rows = f", {partition.accepted:,} accepted, {partition.quarantined or 0:,} quarantined"
    landed = f", by {partition.landed[:12]}" if partition.landed else ""
    add(at, partition.name, f"md5 {partition.md5[:12]}{rows}{landed}")


def _draw_stage(at: Tree | None, stage: Stage, everything: bool) -> None:
    if at is None:
        return
    booked = stage.booked
    took = "cached" if booked.get("cached") else f"{booked['seconds']:.1f} s" if booked else "not in the books"
    node = add(at, stage.name, took)
    for read in cut(stage.inputs, node, everything):
        add(node, f"<- {read.path}", f"{read.md5[:12]} of {read.made_by}")
    add(node, "<- code", f"{stage.code} files, sha256 {stage.code_digest[:12]}")
    for name, value in cut(sorted(stage.params.items()), node, everything):
        add(node, f"<- {name}", str(value))
    for out in stage.outputs:
        add(node, f"-> {out.path}", out.md5[:12])


def _draw_run(at: Tree, run: TouchedRun) -> None:
    rows = "" if run.accepted is None else f", {run.accepted:,} accepted, {run.quarantined or 0:,} quarantined"
    node = add(at, run.commit[:12], f"{run.part or 'used'} of the run of {moment(run.time)}{rows}")
    for model in run.models:
        aliases = f" ({', '.join(model.aliases)})" if model.aliases else ""
        gate = model.tags.get("gate.decision", "no verdict")
        add(node, f"model version {model.version}{aliases}", f"registered {moment(model.created)}, gate: {gate}")


def cut(rows: Any, at: Tree, everything: bool) -> Iterable[Any]:
    """The first rows and, where there are more, a line that says how many."""
    if everything or len(rows) <= SHOWN + 1:
        yield from rows
        return
    yield from rows[: SHOWN // 2]
    add(at, f"... {len(rows) - SHOWN} more", "--all shows them")
    yield from rows[-SHOWN // 2 :]


def draw_missing(missing: Iterable[Missing], console: Console) -> None:
    """Print what could not be shown, and how to mend that."""
    from rich.text import Text

    for lost in missing:
        console.print(Text(f"not shown: {lost.what}\n  -> {lost.mend}"), soft_wrap=True)


def root(name: str, text: str) -> Tree:
    """A tree's first line."""
    from rich.tree import Tree

    return Tree(_line(name, text))


def add(at: Tree, name: str, text: str) -> Tree:
    """A line below another."""
    return at.add(_line(name, text))


def _line(name: str, text: str) -> Any:
    from rich.text import Text

    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return Text.assemble((f"{name}  ", "bold"), plain, overflow="fold")
