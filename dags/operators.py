"""What every task of shoploom's DAGs is made of. A cancelled task takes its whole process group with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from pipelines.artifacts import read_json, write_json
from pipelines.errors import ShoploomError
from pipelines.orchestration.processes import Ended, run_in_group, stop_running
from pipelines.progress import STAGE_VARIABLE
from pipelines.runs.worktrees import run_folder
from pipelines.settings import Settings, child_environment

if TYPE_CHECKING:
    from airflow.sdk import Context


class FunctionOperator(BaseOperator):  # type: ignore[misc]
    """Call a function with the task's context; what it returns goes to XCom.

    Nothing is templated: values from outside reach the function as they are.

    Args:
        function: called with the context. A :class:`ShoploomError` becomes the task's failure, word for word.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, *, function: Callable[[Context], Any], **kwargs: Any) -> None:
        kwargs.setdefault("task_id", function.__name__)
        kwargs.setdefault("doc_md", (function.__doc__ or "").strip() or None)
        super().__init__(**kwargs)
        self.function = function

    def execute(self, context: Context) -> Any:
        """Call the function."""
        try:
            return self.function(context)
        except ShoploomError as error:
            raise AirflowException(str(error)) from error

    def on_kill(self) -> None:
        """Stop what the function waits for, and all that it started."""
        stop_running()


class DvcStageOperator(BaseOperator):  # type: ignore[misc]
    """Run one stage of ``dvc.yaml`` in its run's worktree, and book it.

    Start commit and upstream lock entries come by XCom; the stage runner checks every input against its hash. It runs
    in a process group of its own. What it says goes to ``<home>/runs/<run>/<stage>.log``.

    Args:
        stage: its name, which is the task's id.
        upstream_stages: names of the stages that it reads from.
        graph_sha256: hash of the ``dvc.yaml`` that this task was rendered from; the runner refuses any other.
        start_task: id of the task that returned the start.
    """

    template_fields: Sequence[str] = ()

    def __init__(
        self, *, stage: str, upstream_stages: Sequence[str], graph_sha256: str, start_task: str, **kwargs: Any
    ) -> None:
        kwargs.setdefault("task_id", stage)
        super().__init__(**kwargs)
        self.stage = stage
        self.upstream_stages = tuple(upstream_stages)
        self.graph_sha256 = graph_sha256
        self.start_task = start_task
        self.progress_note = ""
        self.lock_entry: dict[str, Any] = {}

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the stage.

        Returns:
            ``stage``, ``lock_entry`` (what DVC writes to dvc.lock), ``cached``, ``seconds``, ``mlflow_run``.

        Raises:
            AirflowException: the stage failed; the message is its own error text.
        """
        settings = Settings()
        start = returned(context, self.start_task)
        upstream = {name: returned(context, name)["lock_entry"] for name in self.upstream_stages}
        request = {
            "stage": self.stage,
            "start": start["start"]["commit"],
            "run_id": context["run_id"],
            "graph_sha256": self.graph_sha256,
            "upstream": upstream,
        }
        try:
            result = self._run(request, run_folder(settings, context["run_id"]), settings)
        except ShoploomError as error:
            raise AirflowException(str(error)) from error
        try:
            result["mlflow_run"] = self._book(result, start, context["run_id"], settings)
        except ShoploomError as error:
            raise AirflowException(result["error"] or str(error)) from error
        if result["error"]:
            raise AirflowException(result["error"])
        self.lock_entry = result["lock_entry"]
        self.progress_note = "cached" if result["cached"] else ""
        return {name: result[name] for name in ("stage", "lock_entry", "cached", "seconds", "mlflow_run")}

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """What the stage read and wrote, for Airflow's OpenLineage provider, which asks where it has a transport."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        from pipelines.lineage.openlineage import stage_datasets

        inputs, outputs = stage_datasets(Settings(), self.lock_entry)
        return OperatorLineage(inputs=inputs, outputs=outputs)

    def on_kill(self) -> None:
        """Stop the stage's whole process group."""
        stop_running()

    def _run(self, request: Mapping[str, Any], folder: Path, settings: Settings) -> dict[str, Any]:
        """Run the stage runner; its result, or one made of its last words when it was killed."""
        asked, answered = folder / f"{self.stage}.request.json", folder / f"{self.stage}.result.json"
        write_json(request, asked)
        answered.unlink(missing_ok=True)
        runner = "pipelines.runs.stage_runner"
        ended = _end_of(runner, [str(asked), str(answered)], self.stage, folder, settings, capture=False)
        if not answered.exists():
            return {"stage": self.stage, "lock_entry": {}, "cached": False, "seconds": 0.0, "error": _last_words(ended)}
        result: dict[str, Any] = read_json(answered)
        return result

    def _book(self, result: Mapping[str, Any], start: Mapping[str, Any], run_id: str, settings: Settings) -> str:
        from pipelines.registry.books import book_stage
        from pipelines.runs.worktrees import locked, prepare_worktree

        worktree = prepare_worktree(settings, start["start"]["commit"], run_id)
        # Two parallel stages that read the same new data would both insert its dataset row; MLflow fails the second.
        with locked(settings.home / "runs" / ".booking.lock"):
            return book_stage(settings, start["mlflow_run"], self.stage, result, worktree)


def returned(context: Context, task_id: str) -> Any:
    """What another task of this run returned."""
    return context["ti"].xcom_pull(task_ids=task_id)


def run_module(module: str, arguments: Sequence[str], context: Context) -> str:
    """Run ``python -m module arguments...`` in a process group of its own.

    Returns:
        What it printed on standard output.

    Raises:
        AirflowException: it failed; the message is its own error text.
    """
    settings = Settings()
    folder = run_folder(settings, context["run_id"])
    ended = _end_of(module, arguments, str(context["ti"].task_id), folder, settings, capture=True)
    if ended.returncode:
        raise AirflowException(_last_words(ended))
    return ended.output


def _end_of(
    module: str, arguments: Sequence[str], task_id: str, folder: Path, settings: Settings, *, capture: bool
) -> Ended:
    """How ``python -m module arguments...`` ended, its words in ``<task>.log`` of the run's folder."""
    return run_in_group(
        [sys.executable, "-m", module, *arguments],
        environment=child_environment(settings, **{STAGE_VARIABLE: task_id}),
        folder=settings.repository,
        log=folder / f"{task_id}.log",
        capture=capture,
    )


def _last_words(ended: Ended) -> str:
    if ended.returncode < 0:
        return f"stopped by signal {-ended.returncode}\n{ended.errors}".strip()
    return ended.errors or f"ended with status {ended.returncode} and said nothing"
