"""An executor for a run that no service serves: tasks that are ready run at once, in forks of this process.

``DAG.test`` without an executor runs one task after another. Airflow's ``LocalExecutor`` asks an API server, which
takes longer to come up than most stages run; a fork has Airflow and the DAGs in memory and asks the API in itself.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, ClassVar

from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads.task import ExecuteTask

from pipelines.orchestration.task_listener import task_listener
from pipelines.progress import DAG_VARIABLE
from pipelines.runs.commands import die_with_parent


@dataclass
class _Worker:
    """A fork, which runs one task after another.

    Args:
        process: the fork.
        line: takes tasks to it, and brings what failed back.
        task: that it runs; None while it waits.
    """

    process: BaseProcess
    line: Connection
    task: ExecuteTask | None = None


class ForkedTasks(BaseExecutor):  # type: ignore[misc]
    """Runs up to ``core.parallelism`` tasks at once; :meth:`sync` returns when one of them ends.

    A fork is made when a task finds none waiting, and serves later tasks too: what Airflow and MLflow make at first use
    is made once. It ends with this process, whatever ends that. SIGTERM is handed on to every fork, which stops its
    task as Airflow stops one; this process starts nothing more, waits for them, and exits.
    """

    is_local = True
    _workers: ClassVar[list[_Worker]] = []
    """Airflow makes an executor for each DAG run; forks go on from one to the next."""

    def start(self) -> None:
        """Be ready for SIGTERM; forks are made as tasks come."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop())

    def sync(self) -> None:
        """Wait for the end of a task, if one runs, and start what waits for its place."""
        busy = {worker.line: worker for worker in self._workers if worker.task is not None}
        for line in wait(list(busy)) if busy else ():
            assert isinstance(line, Connection)
            self._end(busy[line])
        self.trigger_tasks(self.parallelism - len(self.running))

    def end(self) -> None:
        """Wait for the end of all tasks."""
        while any(worker.task is not None for worker in self._workers):
            self.sync()

    def send_callback(self, request: Any) -> None:
        """Nobody processes callbacks aside: a task's own are called where it runs."""

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
            worker.line.close()
        sys.exit(128 + signal.SIGTERM)

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        for workload in workload_items:
            self.queued_tasks.pop(workload.ti.key, None)
            self.running.add(workload.ti.key)
            self._give(workload)

    def _give(self, workload: ExecuteTask) -> None:
        worker = next((one for one in self._workers if one.task is None), None) or self._fork()
        try:
            worker.line.send(workload)
        except OSError:
            # It died while it waited.
            self._forget(worker)
            self._give(workload)
        else:
            worker.task = workload

    def _fork(self) -> _Worker:
        forking = multiprocessing.get_context("fork")
        here, there = forking.Pipe()
        ours = [here, *(worker.line for worker in self._workers)]
        process = forking.Process(target=_work, args=(there, ours), daemon=True)
        process.start()
        there.close()
        worker = _Worker(process, here)
        self._workers.append(worker)
        return worker

    def _forget(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.line.close()
        worker.process.join()

    def _end(self, worker: _Worker) -> None:
        workload, worker.task = worker.task, None
        assert workload is not None
        key, listener = workload.ti.key, task_listener()
        try:
            failed_task, error = worker.line.recv()
        except (EOFError, OSError):
            self._forget(worker)
            status = worker.process.exitcode
            failed_task, error = workload.ti.task_id, f"its process ended with status {status} and said nothing"
        if failed_task is None:
            self.success(key)
            return
        if _set_failed(workload):
            listener.failed(failed_task, error)
            _call_back(workload, error)
        else:
            listener.keep(failed_task, error)
        self.fail(key)


def _work(line: Connection, ours: Sequence[Connection]) -> None:
    """In a fork: run what comes, and tell what failed, until the other end is closed.

    Args:
        line: where tasks come from.
        ours: the parent's ends of every line, which would stay open with this process.
    """
    die_with_parent()
    for end in ours:
        end.close()
    while True:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            workload = line.recv()
            line.send(_failure_of(workload))
        except (EOFError, OSError):
            return


def _failure_of(workload: ExecuteTask) -> tuple[str | None, str]:
    """Run a task: the one that failed, and its error's text; nothing where none did."""
    from airflow.sdk.api.datamodels._generated import TaskInstance
    from airflow.sdk.execution_time.supervisor import run_task_in_process

    one, listener = workload.ti, task_listener()
    listener.forget()
    os.environ[DAG_VARIABLE] = one.dag_id
    try:
        known = {name: getattr(one, name) for name in ("id", "dag_id", "task_id", "run_id", "try_number", "map_index")}
        run_task_in_process(TaskInstance(**known, dag_version_id=one.dag_version_id), _task_of(workload))
    except Exception as error:
        traceback.print_exc()
        return one.task_id, str(error) or type(error).__name__
    return listener.failed_task, listener.error


def _task_of(workload: ExecuteTask) -> Any:
    return importlib.import_module(f"dags.{workload.ti.dag_id}").dag.task_dict[workload.ti.task_id]


def _set_failed(workload: ExecuteTask) -> bool:
    """Have Airflow know that a task failed which could not say so itself; whether it did not know."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import State, TaskInstanceState

    # DAG.test holds the session of this thread.
    with create_session(scoped=False) as session:
        instance = session.get(TaskInstance, workload.ti.id)
        if instance is None or instance.state not in State.unfinished:
            return False
        instance.set_state(TaskInstanceState.FAILED, session=session)
        return True


@dataclass(frozen=True)
class _Gone:
    """What callbacks ask of a task whose process is gone."""

    dag_id: str
    task_id: str
    run_id: str
    try_number: int

    def xcom_pull(self, task_ids: str) -> Any:
        """What a task of the run returned."""
        return returned_by(self.dag_id, self.run_id).get(task_ids)


def returned_by(dag_id: str, run_id: str) -> dict[str, Any]:
    """What each task of a run returned."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        found = session.scalars(
            select(XComModel).where(
                XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == "return_value"
            )
        )
        return {one.task_id: XComModel.deserialize_value(one) for one in found}


def _call_back(workload: ExecuteTask, error: str) -> None:
    """Do what is done after a task's failure."""
    one = workload.ti
    gone = _Gone(one.dag_id, one.task_id, one.run_id, one.try_number)
    for callback in _task_of(workload).on_failure_callback or ():
        try:
            callback({"ti": gone, "task_instance": gone, "run_id": one.run_id, "exception": error})
        except Exception:
            traceback.print_exc()
