"""A comparison of two versions in a terminal: a tree, a part a branch; long lists cut unless all is asked for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pipelines.lineage.compare import CodeChange, Comparison, TableChange
from pipelines.lineage.display import add, cut, draw_missing, root
from pipelines.lineage.metric_changes import MetricChange
from pipelines.lineage.shifts import Shift

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

BY_CUSTOM = "PSI: up to 0.1 is little, over 0.25 much; mixes: 0 the same, 1 nothing in common"


def draw_comparison(found: Comparison, console: Console, everything: bool = False) -> None:
    """Print what changed."""
    tree = root(f"version {found.before} -> version {found.after}", _summary(found))
    _draw_code(tree, found, everything)
    _draw_data(tree, found, everything)
    if found.shift:
        _draw_shift(tree, found.shift, everything)
    for name, changes in (("parameters", found.params), ("libraries", found.libraries)):
        below = add(tree, name, f"{len(changes)} changed" if changes else "the same, or not known")
        for key, (before, after) in cut(sorted(changes.items()), below, everything):
            add(below, key, f"{_value(before)} -> {_value(after)}")
    _draw_stages(tree, found, everything)
    below = add(tree, "metrics", "" if found.metrics else "not known")
    for metric in found.metrics:
        add(below, metric.name, _metric(metric))
    for how in dict.fromkeys(metric.how for metric in found.metrics if metric.how):
        add(below, "note", how)
    console.print(tree)
    draw_missing(found.missing, console)


def _summary(found: Comparison) -> str:
    parts = {
        "code": bool(found.code and found.code.files),
        "data": any(one.added or one.changed or one.removed for one in found.data),
        "parameters": bool(found.params),
        "libraries": bool(found.libraries),
    }
    changed = [name for name, differs in parts.items() if differs]
    return f"another {', '.join(changed)}" if changed else "nothing that is known of differs"


def _draw_code(tree: Tree, found: Comparison, everything: bool) -> None:
    before, after = (commit[:12] or "not known" for commit in found.code_commits)
    code: CodeChange | None = found.code
    if code is None or not code.files:
        add(tree, "code", f"{before} -> {after}{': the same files' if code else ''}")
        return
    lines = [one for one in code.files.values() if one]
    told = f"{len(code.files)} files, +{sum(one[0] for one in lines):,} -{sum(one[1] for one in lines):,} lines"
    commits = f", {code.commits} commits" if code.commits is not None else ", neither leads to the other"
    below = add(tree, "code", f"{before} -> {after}: {told}{commits}")
    folders = Counter("/".join(path.split("/")[:2]) if "/" in path else path for path in code.files)
    for folder, count in cut(folders.most_common(), below, everything):
        add(below, folder, f"{count} file{'s' if count > 1 else ''}")
    if everything:
        for path, changed in code.files.items():
            add(below, path, f"+{changed[0]} -{changed[1]}" if changed else "no lines")


def _draw_data(tree: Tree, found: Comparison, everything: bool) -> None:
    before, after = (commit[:12] or "not known" for commit in found.data_commits)
    below = add(tree, "data", f"{before} -> {after}")
    for table in found.data:
        node = add(below, table.table, _table(table))
        for name in ("added", "changed", "removed"):
            partitions = getattr(table, name)
            if partitions:
                listed = (
                    partitions if everything or len(partitions) <= 8 else (*partitions[:3], "...", *partitions[-3:])
                )
                add(node, name, f"{len(partitions)}: {', '.join(listed)}")
        for name, (was, now) in cut(sorted(table.parts.items()), node, everything):
            add(node, name, f"was {was or 'no part'}, is {now or 'no part'}")


def _table(table: TableChange) -> str:
    if not (table.added or table.changed or table.removed):
        return "the same bytes"
    told = []
    for name, (before, after) in (("accepted", table.rows), ("quarantined", table.quarantined)):
        if before is not None and after is not None:
            told.append(f"{before:,} -> {after:,} rows {name}")
    return ", ".join(told) or "rows are not known"


def _draw_shift(tree: Tree, shift: Shift, everything: bool) -> None:
    below = add(tree, "distribution", f"{shift.events[1]:,} events beside {shift.events[0]:,}; {BY_CUSTOM}")
    add(below, "all events", ", ".join(f"{name} {value:.3g}" for name, value in shift.whole.items()))
    for name, values in cut(list(shift.partitions.items()), below, everything):
        add(below, name, ", ".join(f"{measure} {value:.3g}" for measure, value in values.items()))


def _draw_stages(tree: Tree, found: Comparison, everything: bool) -> None:
    others = [stage for stage in found.stages if stage.change != "same" or stage.because]
    told = f"{sum(stage.change == 'same' for stage in found.stages)} of {len(found.stages)} put out the same bytes"
    below = add(tree, "stages", told if found.stages else "not known")
    for stage in cut(others, below, everything):
        why = f": other {', '.join(stage.because)}" if stage.because else ""
        add(below, stage.name, f"{stage.change}{why}")


def _metric(metric: MetricChange) -> str:
    told = f"{_number(metric.before)} -> {_number(metric.after)}"
    if metric.effect is None or metric.interval is None or metric.p_value is None:
        return told
    low, high = metric.interval
    mark = "more than chance" if metric.p_value < 0.05 else "may be chance"
    return (
        f"{told}: {metric.effect:+.4f} ({low:+.4f} to {high:+.4f}), p = {metric.p_value:.2g} over {metric.users:,} "
        f"users: {mark}"
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _value(value: Any) -> str:
    return "none" if value is None else str(value)
