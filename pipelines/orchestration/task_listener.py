"""What the tasks of a DAG run tell while they run: their states as progress events, and the first failure's text."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from pipelines.progress import STAGE_VARIABLE, report


class TaskListener:
    """What Airflow's hooks tell (see :func:`task_listener`): reports each task's state, keeps the first failure."""

    def __init__(self) -> None:
        self.failed_task: str | None = None
        self.error = ""

    def forget(self) -> None:
        """Begin another DAG run."""
        self.failed_task, self.error = None, ""

    def tell(self, task_id: str, state: str, note: str = "") -> None:
        """Report one change of state."""
        os.environ[STAGE_VARIABLE] = task_id
        report("task", state=state, note=note)

    def failed(self, task_id: str, error: object) -> None:
        """Report a failure, and keep it if it is the first."""
        text = str(error or "")
        self.keep(task_id, text)
        lines = text.strip().splitlines()
        self.tell(task_id, "failed", lines[0] if lines else "")

    def keep(self, task_id: str, error: str) -> None:
        """Keep a failure that was reported already, if it is the first."""
        if self.failed_task is None:
            self.failed_task, self.error = task_id, error


@cache
def task_listener() -> TaskListener:
    """This process's listener, which Airflow tells of every task that it runs here."""
    from airflow.listeners import hookimpl
    from airflow.sdk.listener import get_listener_manager

    listener = TaskListener()

    class Hooks:
        @staticmethod
        @hookimpl  # type: ignore[untyped-decorator]
        def on_task_instance_running(previous_state: object, task_instance: Any) -> None:
            listener.tell(task_instance.task_id, "running")

        @staticmethod
        @hookimpl  # type: ignore[untyped-decorator]
        def on_task_instance_success(previous_state: object, task_instance: Any) -> None:
            listener.tell(task_instance.task_id, "success", note_of(task_instance))

        @staticmethod
        @hookimpl  # type: ignore[untyped-decorator]
        def on_task_instance_skipped(previous_state: object, task_instance: Any) -> None:
            listener.tell(task_instance.task_id, "skipped")

        @staticmethod
        @hookimpl  # type: ignore[untyped-decorator]
        def on_task_instance_failed(previous_state: object, task_instance: Any, error: object) -> None:
            listener.failed(task_instance.task_id, error)

    get_listener_manager().add_listener(Hooks())
    return listener


def note_of(instance: Any) -> str:
    """A few words beside a finished task: what it says of itself, ``cached`` for an unchanged stage."""
    return str(getattr(instance.task, "progress_note", ""))
