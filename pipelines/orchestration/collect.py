"""``shoploom gc``: what no kept run, the champion or its predecessor needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


def collect(settings: Settings, *, keep: int, refused_days: int, dry_run: bool) -> dict[str, Any]:
    """Remove old runs and what only they used.

    Args:
        settings: places and addresses.
        keep: how many of the newest runs stay.
        refused_days: how long the Data Docs of a refused load stay.
        dry_run: list, and remove nothing.

    Returns:
        ``removed``, ``lines`` (one for each run, worktree and folder, and one for the objects together) and ``bytes``.
    """
    from pipelines.registry.promotion import champion, previous_champion
    from pipelines.runs import gc

    holders = (champion(settings), previous_champion(settings))
    kept = [holder.run for holder in holders if holder]
    garbage = gc.plan(settings, keep, kept, refused_seconds=refused_days * gc.DAY)
    freed = garbage.bytes if dry_run else gc.collect(settings, garbage)
    return {"removed": not dry_run, "lines": garbage.lines(), "bytes": freed}


def draw_collected(result: dict[str, Any], console: Console) -> None:
    """One line each of what went, or may go."""
    console.print("removed:" if result["removed"] else "may go:")
    for line in result["lines"]:
        console.print(f"  {line}", soft_wrap=True, markup=False)
