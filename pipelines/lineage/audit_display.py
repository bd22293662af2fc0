"""``shoploom audit``: entries chosen and drawn, and what ``verify`` found."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

from pipelines.errors import ConfigError, near_names
from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.lineage.audit_check import Report


def list_entries(
    settings: Settings, action: str = "", since: date | None = None, run: str = ""
) -> list[dict[str, Any]]:
    """The log's entries, oldest first; git's copies where the log is lost.

    Args:
        settings: the state folder and the repository.
        action: only of this action; all by default.
        since: only from this day on, UTC.
        run: only of the Airflow run whose id holds this text.

    Raises:
        ConfigError: there is no such action.
    """
    from pipelines.lineage.anchors import entries
    from pipelines.lineage.audit import ACTIONS

    if action and action not in ACTIONS:
        raise ConfigError(
            f"there is no action {action!r}", mend=near_names(action, ACTIONS) or f"actions: {', '.join(ACTIONS)}"
        )
    return [
        asdict(entry)
        for entry in entries(settings)
        if (not action or entry.action == action)
        and (since is None or entry.time[:10] >= since.isoformat())
        and run in entry.run
    ]


def draw_entries(entries: list[dict[str, Any]], console: Console) -> None:
    """One line an entry."""
    from rich.markup import escape

    for entry in entries:
        facts = "  ".join(f"{name}={_short(value)}" for name, value in entry["details"].items())
        head = f"{entry['sequence']:>4} {entry['time'][:19]}Z {entry['action']:<9}"
        line = f"{entry['subject']}  [dim]{escape(facts)}  {escape(entry['actor'])}[/]"
        console.print(f"{head} {line}", soft_wrap=True)
    if not entries:
        console.print("no such entry")


def draw_report(report: Report, console: Console) -> None:
    """Each finding on a line, or that there is none."""
    from rich.markup import escape

    for finding in report.findings:
        console.print(f"[red]x[/] {finding.kind:<10} {escape(finding.message)}", soft_wrap=True)
    held = ", ".join(f"{count} in {place}" for place, count in report.anchored.items())
    if not report.findings:
        console.print(f"[green]+[/] {report.entries} entries, whole; held to {held} (newest {report.head[:12]})")
    for place, why in report.unasked.items():
        console.print(f"[yellow]![/] {place} was not asked: {escape(why)}", soft_wrap=True)


def _short(value: object) -> str:
    text = str(value)
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= 60 else f"{plain[:59]}…"
