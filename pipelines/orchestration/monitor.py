"""The monitor's decisions, drawn for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipelines.params import MONITOR_LIMITS

if TYPE_CHECKING:
    from rich.console import Console


def draw_decisions(decisions: Sequence[Mapping[str, Any]], console: Console) -> None:
    """A block for each decision, newest first: what was decided, and what each window measured."""
    from rich.markup import escape

    if not decisions:
        console.print("nothing was decided yet\n  -> shoploom run")
    for decision in decisions:
        when = datetime.fromtimestamp(decision["when"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        said = "[green]train[/]" if decision["retrain"] else "[yellow]wait[/]"
        champion = f"champion {decision['champion']}" if decision["champion"] else "no champion"
        console.print(
            f"{when}  {said}: {decision['why']} [dim](data {decision['data_version'][:12]}, {champion})[/]",
            soft_wrap=True,
        )
        if decision.get("unmeasured"):
            reason = escape(decision["unmeasured"].splitlines()[0])
            console.print(f"  [yellow]the champion's quality was not measured: {reason}[/]", soft_wrap=True)
        for window in decision["windows"]:
            console.print(f"  {window['partition']}  {_measures(window)}", soft_wrap=True)


def _measures(window: Mapping[str, Any]) -> str:
    """The measures that have a limit, those over it in red."""
    shown = []
    for name in MONITOR_LIMITS:
        value = window["measures"].get(name)
        if value is not None:
            text = f"{name.replace('_', ' ')} {value:.3f}"
            shown.append(f"[red]{text}[/]" if name in window["breached"] else f"[dim]{text}[/]")
    return "  ".join(shown) or "[dim]nothing to compare with[/]"
