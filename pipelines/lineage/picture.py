"""A lineage as boxes and arrows: what the page draws, whatever the lineage is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.lineage.ask import Lineage
from pipelines.lineage.display import moment
from pipelines.lineage.graph import Missing, ModelLineage, Partition, Stage
from pipelines.lineage.served import ServedLineage
from pipelines.lineage.trace import PartitionLineage, TouchedRun
from pipelines.sources.raw_files import RawFile

MOST_BOXES = 12
"""Of one kind side by side; where there are more, one box lists them."""


@dataclass(frozen=True)
class Table:
    """Rows of a box's details."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Box:
    """One thing.

    Args:
        name: unique within a picture.
        kind: source, data, code, stage, run, model, served or verdict: how it is coloured.
        title: what it is.
        text: a few words more.
        facts: its details, name and value.
        tables: lists among its details, by heading.
    """

    name: str
    kind: str
    title: str
    text: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[tuple[str, Table], ...] = ()


@dataclass
class Picture:
    """Boxes, the arrows between them (from what was used to what was made of it), and what could not be shown."""

    title: str
    boxes: list[Box] = field(default_factory=list)
    arrows: list[tuple[str, str]] = field(default_factory=list)
    missing: tuple[Missing, ...] = ()

    def add(self, box: Box, *sources: str) -> str:
        """Add a box and arrows to it; returns its name."""
        self.boxes.append(box)
        self.arrows += [(source, box.name) for source in dict.fromkeys(sources)]
        return box.name


def picture_of(lineage: Lineage) -> Picture:
    """What to draw of a lineage."""
    if isinstance(lineage, ModelLineage):
        picture = Picture(f"Model version {lineage.version.version}", missing=lineage.missing)
        _add_model(picture, lineage)
        return picture
    return _of_partition(lineage) if isinstance(lineage, PartitionLineage) else _of_answer(lineage)


def _of_answer(lineage: ServedLineage) -> Picture:
    picture = Picture(f"Answer {lineage.request_id}", missing=lineage.missing)
    ends = {model.version.version: _add_model(picture, model) for model in lineage.models}
    answers = []
    for number, answer in enumerate(lineage.answers):
        facts = [("answered", moment(answer.answered)), ("version", answer.version), ("run", answer.run_commit)]
        if answer.reign:
            facts.append(("champion", f"{answer.reign.action} by {answer.reign.actor}, {moment(answer.reign.start)}"))
        if answer.override:
            facts.append(("override", answer.override))
        box = Box(f"answer {number}", "served", answer.route, moment(answer.answered), _facts(facts))
        answers.append(picture.add(box, *([ends[answer.version]] if answer.version in ends else [])))
    if lineage.items:
        rows = [
            (str(item.position), item.item_id, item.placement, f"{item.features.get('score', float('nan')):.6g}")
            for item in lineage.items
        ]
        table = _table(("place", "item", "placement", "score"), rows)
        seen = f"{len(lineage.items)} items"
        picture.add(Box("items", "served", "Reported as seen", seen, (), (("Items", table),)), *answers)
    return picture


def _add_model(picture: Picture, lineage: ModelLineage) -> str:
    """Everything that a version was made of; returns the name of the version's box."""
    prefix = f"{lineage.version.version}: "
    tables = _add_data(picture, lineage, prefix)
    last = _add_stages(picture, lineage, prefix, tables)
    run = _add_run(picture, lineage, prefix, tables, last)
    version = lineage.version
    facts = [
        ("package", version.digest),
        ("registered", moment(version.created) if version.created else "not in the registry"),
        ("aliases", ", ".join(version.aliases)),
        *sorted(version.tags.items()),
    ]
    sources = run
    if lineage.verdict:
        judged = [(name, _text(value)) for name, value in lineage.verdict.items()]
        decision = str(lineage.verdict.get("decision"))
        sources = [picture.add(Box(f"{prefix}gate", "verdict", "Gate", decision, _facts(judged)), *run)]
    text = "let out by an override" if version.tags.get("override") else ", ".join(version.aliases)
    box = Box(f"{prefix}version", "model", f"Model version {version.version}", text, _facts(facts))
    return picture.add(box, *sources)


def _add_data(picture: Picture, lineage: ModelLineage, prefix: str) -> dict[str, list[str]]:
    """Files, loads and tables; gives a table's boxes by its name."""
    counts = Counter(raw for partition in lineage.partitions for raw in partition.files or ())
    files = [_add_files(picture, prefix, counts)] if counts else []
    loads: dict[str, str] = {}
    if len(lineage.loads) > MOST_BOXES:
        listed = _table(("load", "data version"), [(load["load"], load["landed"]) for load in lineage.loads])
        title = f"{len(lineage.loads)} loads"
        name = picture.add(Box(f"{prefix}loads", "source", title, "", (), (("Loads", listed),)), *files)
        loads = {load["landed"]: name for load in lineage.loads}
    else:
        for load in lineage.loads:
            facts = _facts([("data version", load["landed"])])
            box = Box(f"{prefix}load {load['landed']}", "source", load["load"], load["landed"][:12], facts)
            loads[load["landed"]] = picture.add(box, *files)
    groups: dict[tuple[str, str], list[Partition]] = {}
    for partition in lineage.partitions:
        groups.setdefault((partition.table, partition.part), []).append(partition)
    names: dict[str, list[str]] = {}
    for (table, part), partitions in groups.items():
        box = _box_of_partitions(prefix, table, part, partitions)
        brought = [loads[one.landed] for one in partitions if one.landed in loads]
        names.setdefault(table, []).append(picture.add(box, *brought))
    return names


def _add_files(picture: Picture, prefix: str, counts: Mapping[RawFile, int]) -> str:
    """The shop's own files."""
    rows = [(raw.path, raw.sha256, f"{raw.size:,}", str(count)) for raw, count in sorted(counts.items())]
    listed = _table(("file", "SHA-256", "bytes", "partitions"), rows)
    first = next(iter(sorted(counts)))
    text = first.path if len(counts) == 1 else f"{first.path} ..."
    title = f"{len(counts)} source file{'s' if len(counts) > 1 else ''}"
    return picture.add(Box(f"{prefix}files", "source", title, text, (), (("Files", listed),)))


def _box_of_partitions(prefix: str, table: str, part: str, partitions: Sequence[Partition]) -> Box:
    accepted = sum(one.accepted or 0 for one in partitions)
    refused = sum(one.quarantined or 0 for one in partitions)
    counted = f", {accepted:,} rows" if any(one.accepted is not None for one in partitions) else ""
    reasons: dict[str, int] = {}
    for one in partitions:
        for check, count in one.reasons.items():
            reasons[check] = reasons.get(check, 0) + count
    facts = [("accepted", f"{accepted:,}"), ("quarantined", f"{refused:,}")] if counted else []
    facts += [(f"refused by {check}", f"{count:,}") for check, count in sorted(reasons.items())]
    rows = [(one.name, one.md5, _count(one.accepted), _count(one.quarantined), one.landed[:12]) for one in partitions]
    listed = _table(("partition", "md5", "accepted", "quarantined", "data version"), rows)
    title = f"{table}: {part}" if part else table
    text = f"{len(partitions)} partition{'s' if len(partitions) > 1 else ''}{counted}"
    return Box(f"{prefix}table {table} {part}", "data", title, text, _facts(facts), (("Partitions", listed),))


def _add_stages(picture: Picture, lineage: ModelLineage, prefix: str, tables: Mapping[str, Sequence[str]]) -> list[str]:
    """Every stage after what it reads; gives the stages that no other reads."""
    read: set[str] = set()
    for stage in lineage.stages:
        sources: list[str] = []
        for one in stage.inputs:
            if one.made_by.startswith("data/raw/"):
                sources += tables.get(one.made_by.removeprefix("data/raw/").removesuffix(".dvc"), [])
            elif not one.made_by.endswith(".dvc"):
                read.add(one.made_by)
                sources.append(f"{prefix}stage {one.made_by}")
            else:
                sources.append(_add_pointer(picture, prefix, one.made_by, one.md5))
        picture.add(_box_of_stage(prefix, stage), *sources)
    return [f"{prefix}stage {stage.name}" for stage in lineage.stages if stage.name not in read]


def _add_pointer(picture: Picture, prefix: str, pointer: str, md5: str) -> str:
    """Data that no stage made and that is no table: the champion that the run was compared with."""
    name = f"{prefix}{pointer}"
    if name not in {box.name for box in picture.boxes}:
        picture.add(Box(name, "data", pointer.removesuffix(".dvc"), md5[:12], (("md5", md5),)))
    return name


def _box_of_stage(prefix: str, stage: Stage) -> Box:
    booked = stage.booked
    took = "cached" if booked.get("cached") else f"{booked['seconds']:.1f} s" if booked else "not in the books"
    facts = [("command", stage.command), ("code", f"{stage.code} files, SHA-256 {stage.code_digest}"), ("took", took)]
    facts.append(("machine", ", ".join((booked.get("machine") or {}).values())))
    inputs = _table(("input", "md5", "made by"), [(one.path, one.md5, one.made_by) for one in stage.inputs])
    outputs = _table(("output", "md5"), [(one.path, one.md5) for one in stage.outputs])
    params = _table(("parameter", "value"), [(name, _text(value)) for name, value in sorted(stage.params.items())])
    tables = (("Inputs", inputs), ("Outputs", outputs), ("Parameters", params))
    return Box(f"{prefix}stage {stage.name}", "stage", stage.name, took, _facts(facts), tables)


def _add_run(
    picture: Picture, lineage: ModelLineage, prefix: str, tables: Mapping[str, Sequence[str]], last: Sequence[str]
) -> list[str]:
    """The run commit with its two parents; without one, whatever there is of them."""
    sources = list(last)
    code, data, environment = lineage.code, lineage.data, lineage.environment
    if code:
        told = [("commit", code["commit"]), ("subject", code.get("subject", "")), ("author", code.get("author", ""))]
        told.append(("uncommitted changes", "yes" if code.get("dirty") else ""))
        listed: tuple[tuple[str, Table], ...] = ()
        if environment:
            told.append((environment["lock"], f"SHA-256 {environment['sha256']}"))
            listed = (("Libraries", _table(("library", "version"), sorted(environment["libraries"].items()))),)
        box = Box(f"{prefix}code", "code", "Code", code["commit"][:12], _facts(told), listed)
        sources.append(picture.add(box))
    if data:
        told = [("commit", data["commit"]), ("subject", str(data.get("subject", "")))]
        hashes = _table(("table", "md5 of its list"), sorted((data.get("tables") or {}).items()))
        box = Box(f"{prefix}data", "data", "Data version", data["commit"][:12], _facts(told), (("Tables", hashes),))
        sources.append(picture.add(box, *(name for names in tables.values() for name in names)))
    run = lineage.run
    if run is None:
        return sources
    compared = f"champion version {run.champion_version}" if run.champion_version else "no champion"
    told = [("commit", run.commit), ("run", run.run_id), ("finished", moment(run.time)), ("compared with", compared)]
    told.append(("root of its training events", run.training_root))
    return [picture.add(Box(f"{prefix}run", "run", "Run", run.commit[:12], _facts(told)), *sources)]


def _of_partition(lineage: PartitionLineage) -> Picture:
    picture = Picture(f"{lineage.table} {lineage.name}", missing=lineage.missing)
    contents = []
    for content in lineage.contents:
        facts = _facts([("md5", content.md5), ("data version", content.landed), ("landed", moment(content.time))])
        raw = _table(("file", "SHA-256"), [(one.path, one.sha256) for one in content.files or ()])
        title, text = content.source, content.md5[:12]
        contents.append(picture.add(Box(f"content {content.md5}", "source", title, text, facts, (("Files", raw),))))
    name = picture.add(Box("partition", "data", lineage.name, lineage.table), *contents)
    by_stage: dict[str, list[str]] = {}
    for output, stage in lineage.outputs.items():
        by_stage.setdefault(stage, []).append(output)
    for stage, outputs in by_stage.items():
        listed = _table(("output",), [(output,) for output in sorted(outputs)])
        box = Box(f"stage {stage}", "stage", stage, f"{len(outputs)} outputs of it", (), (("Outputs", listed),))
        picture.add(box, name)
    reigns = {model.version for run in lineage.runs for model in run.models}
    for run in lineage.runs[:MOST_BOXES]:
        _add_touched(picture, name, run)
    rest = lineage.runs[MOST_BOXES:]
    if rest:
        rows = [
            (run.commit, moment(run.time), run.part, ", ".join(model.version for model in run.models)) for run in rest
        ]
        listed = _table(("run", "finished", "part", "versions"), rows)
        picture.add(Box("older", "run", f"{len(rest)} older runs", "", (), (("Runs", listed),)), name)
    for number, reign in enumerate(lineage.reigns):
        source = f"version {reign.version}"
        if reign.version in reigns and source in {box.name for box in picture.boxes}:
            until = moment(reign.end) if reign.end else "now"
            facts = _facts([("from", moment(reign.start)), ("until", until), ("by", reign.actor)])
            days = f"{reign.days} days, {reign.action}"
            picture.add(Box(f"reign {number}", "served", "Champion", days, facts), source)
    return picture


def _add_touched(picture: Picture, partition: str, run: TouchedRun) -> None:
    told = [("commit", run.commit), ("ref", run.ref), ("finished", moment(run.time)), ("md5 of it", run.md5)]
    told += [("accepted", _count(run.accepted)), ("quarantined", _count(run.quarantined))]
    box = Box(f"run {run.commit}", "run", f"Run {run.commit[:12]}", run.part or "used", _facts(told))
    picture.add(box, partition)
    for model in run.models:
        gate = model.tags.get("gate.decision", "no verdict")
        facts = _facts([("registered", moment(model.created)), ("package", model.digest), *sorted(model.tags.items())])
        title = f"Model version {model.version}"
        text = ", ".join(model.aliases) or gate
        picture.add(Box(f"version {model.version}", "model", title, text, facts), box.name)


def _facts(facts: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those that there are."""
    return tuple((name, value) for name, value in facts if value)


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    return Table(columns, tuple(rows))


def _count(rows: int | None) -> str:
    return "" if rows is None else f"{rows:,}"


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
