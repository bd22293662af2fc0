"""The end of a run, drawn for a person to read in ten seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pipelines.registry.summary import MODEL_METRICS

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_HEADINGS = ("NDCG@10", "new items", "recall", "MAP", "coverage")


def draw_summary(summary: Mapping[str, Any] | None, console: Console) -> None:
    """Draw what :func:`pipelines.registry.summary.summarise` gathered; None when nothing ran yet."""
    if summary is None:
        console.print("nothing was run yet\n  -> shoploom run")
        return
    console.print()
    for label, text in _facts(summary):
        console.print(f"[dim]{label:>12}[/]  {text}", soft_wrap=True)
    if summary.get("models"):
        console.print(_models(summary["models"]))
    for answer in (summary.get("examples") or {}).values():
        from pipelines.orchestration.ask import draw_results

        draw_results(answer, console)
    for label, text in (summary.get("look") or {}).items():
        console.print(f"[dim]{label:>12}[/]  {text}", soft_wrap=True)


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows, stages = summary["rows"], summary["stages"]
    cached = sum(stage["cached"] for stage in stages.values())
    executed = len(stages) - cached
    seconds = sum(stage["seconds"] for stage in stages.values() if not stage["cached"])
    run, champion, gate = summary["run"], summary["champion"], summary["gate"]
    monitor = summary.get("monitor") or {"retrain": True}
    facts = [
        ("data", _short(summary["data_version"])),
        ("rows", f"{rows['accepted']:,} accepted, {rows['quarantined']:,} quarantined"),
        (
            "stages",
            f"nothing new: all {cached} were cached, none was run"
            if not executed
            else f"{executed} run, {seconds:.0f} s of work, {cached} cached",
        ),
        ("run", _short(run["run_commit"]) + (" (uncommitted changes)" if run.get("code_dirty") else "")),
    ]
    if not monitor["retrain"]:
        facts.append(("monitor", f"not trained again: {monitor['why']}; what follows is of the last run"))
    if gate:
        facts.append(("gate", _verdict(gate)))
        if _guardrails(gate):
            facts.append(("guardrails", _guardrails(gate)))
            facts.append(("verdict", readable(run["verdict"])))
    if str(summary.get("promotion") or "").startswith("awaiting approval"):
        facts.append(("promotion", f"[yellow]{summary['promotion']}[/]"))
    elif not summary.get("promoted") and champion and champion["version"] == run.get("model_version"):
        facts.append(("promotion", f"none: version {champion['version']} is champion already"))
    facts.append(("champion", _champion(champion)))
    return facts


def _verdict(gate: Mapping[str, Any]) -> str:
    color = {"promote": "green", "reject": "red", "inconclusive": "yellow"}[gate["decision"]]
    low, high = gate["interval"]
    tried = f", tried in servers for {gate['serving_seconds']:.0f} s" if gate.get("serving_seconds") else ""
    dry = " (dry run, the champion stays)" if gate.get("mode") == "dry_run" else ""
    return (
        f"[{color}]{gate['decision']}[/]{dry}: {gate['why']} "
        f"[dim](interval {low:+.4f} to {high:+.4f}, {gate['users']:,} users{tried})[/]"
    )


def readable(address: str) -> str:
    """A file's path as a person types it; any other address as it is."""
    parts = urlsplit(address)
    return unquote(parts.path) if parts.scheme == "file" else address


def _guardrails(gate: Mapping[str, Any]) -> str:
    """The guardrails by standing; nothing for a verdict of an older shoploom, which had none."""
    standings: dict[str, list[str]] = {}
    for rail in gate.get("guardrails") or ():
        standings.setdefault(rail["standing"], []).append(rail["name"])
    return "; ".join(f"{', '.join(names)} {standing}" for standing, names in standings.items())


def _champion(champion: Mapping[str, Any] | None) -> str:
    if champion is None:
        return "none yet"
    before = f", before it version {champion['previous']}" if champion.get("previous") else ""
    override = f" [red](let out by an override: {champion['override']})[/]" if champion.get("override") else ""
    return f"version {champion['version']} of run {_short(champion['run_commit'])}{before}{override}"


def _short(commit: str | None) -> str:
    return commit[:12] if commit else "unknown"


def _models(models: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("", no_wrap=True)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    best = max((row["ndcg_at_10"] or 0.0 for row in models.values()), default=0.0)
    for name, row in sorted(models.items(), key=lambda entry: entry[1]["ndcg_at_10"] or 0.0):
        style = "bold" if row["ndcg_at_10"] == best else "dim" if row["kind"] == "baseline" else None
        cells = ("-" if row[column] is None else f"{row[column]:.3f}" for column in MODEL_METRICS)
        table.add_row(name, "" if row["kind"] == "model" else row["kind"], *cells, style=style)
    return table


def draw_ingest(result: Mapping[str, Any], console: Console) -> None:
    """Which data version came of a load."""
    changed = result.get("changed") or ()
    said = f"{len(changed)} partitions are new or changed" if changed else "nothing new, it was there already"
    console.print(f"data version {_short(result.get('commit'))}: {said}")
