"""What a person sees while a DAG runs: one line a task, its time, and a bar where there is something to count."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_MARKS = {"running": "[cyan]>[/]", "success": "[green]+[/]", "failed": "[red]x[/]", "skipped": "[dim]-[/]"}


@dataclass
class _Task:
    name: str
    state: str = "running"
    started: float = field(default_factory=time.time)
    ended: float | None = None
    description: str = ""
    done: int = 0
    total: int | None = None
    note: str = ""

    @property
    def seconds(self) -> float:
        return (self.ended or time.time()) - self.started


class Display:
    """Follows a progress file (see :mod:`pipelines.progress`) and draws it.

    On a terminal the table redraws itself; elsewhere one line is printed when a task ends.

    Args:
        progress: the file that events are appended to; it need not exist yet.
        console: where to draw.
        titles: the line above each DAG's tasks, by DAG id.
    """

    def __init__(self, progress: Path, console: Console, titles: Mapping[str, str] = MappingProxyType({})) -> None:
        self._progress = progress
        self._console = console
        self._offset = 0
        self._partial = ""
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._titles = titles
        self._live: Any = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.update()
        if self._live is not None:
            self._live.stop()

    def update(self) -> None:
        """Read what was appended since the last call."""
        if not self._progress.exists():
            return
        with self._progress.open(encoding="utf-8") as events:
            events.seek(self._offset)
            text = self._partial + events.read()
            self._offset = events.tell()
        *lines, self._partial = text.split("\n")
        for line in lines:
            if line:
                self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        name = event.get("stage")
        if not name:
            return
        dag = event.get("dag") or ""
        if self._live is None and dag not in {known for known, _ in self._tasks}:
            self._console.print(self._title(dag))
        task = self._tasks.setdefault((dag, name), _Task(name, started=event["time"]))
        if event["event"] == "progress":
            task.description, task.done, task.total = event["description"], event["done"], event["total"]
        elif event["event"] == "task":
            task.state = event["state"]
            task.note = event.get("note", "")
            if task.state in ("success", "failed", "skipped"):
                task.ended = event["time"]
                if self._live is None:
                    self._console.print(self._line(task))

    def _line(self, task: _Task) -> str:
        from rich.markup import escape

        mark = _MARKS.get(task.state, " ")
        return f"  {mark} {task.name:<14} {task.seconds:7.1f} s  [dim]{escape(self._detail(task))}[/]"

    @staticmethod
    def _detail(task: _Task) -> str:
        if task.state != "running":
            return task.note
        if not task.total:
            return task.description
        filled = round(20 * task.done / task.total)
        return f"{'━' * filled}{'╌' * (20 - filled)} {task.done:,}/{task.total:,} {task.description}"

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        lines: list[str] = []
        above: str | None = None
        for (dag, _), task in self._tasks.items():
            if dag != above:
                lines.append(self._title(dag))
                above = dag
            lines.append(self._line(task))
        return Group(*(Text.from_markup(line) for line in lines))

    def _title(self, dag: str) -> str:
        return f"[bold]{self._titles.get(dag, dag)}[/]"
