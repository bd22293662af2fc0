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
        """Wait for the end of a task, if one runs."""
        busy = {worker.line: worker for worker in self._workers if worker.task is not None}
        for line in wait(list(busy)) if busy else ():
            assert isinstance(line, Connection)
            self._end(busy[line])

    def end(self) -> None:
        """Wait for the end of all tasks."""
        while any(worker.task is not None for worker in self._workers):
            self.sync()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
            worker.line.close()
        sys.exit(128 + signal.SIGTERM)

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        for workload in workload_items:
            worker = next((one for one in self._workers if one.task is None), None) or self._fork()
            worker.task = workload
            worker.line.send(workload)
            self.queued_tasks.pop(workload.ti.key, None)
            self.running.add(workload.ti.key)

    def _fork(self) -> _Worker:
        forking = multiprocessing.get_context("fork")
        here, there = forking.Pipe()
        process = forking.Process(target=_work, args=(there,), daemon=True)
        process.start()
        there.close()
        worker = _Worker(process, here)
        self._workers.append(worker)
        return worker

    def _end(self, worker: _Worker) -> None:
        workload, worker.task = worker.task, None
        assert workload is not None
        key, listener = workload.ti.key, task_listener()
        try:
            failed_task, error = worker.line.recv()
        except (EOFError, ConnectionResetError):
            self._workers.remove(worker)
            worker.process.join()
            status = worker.process.exitcode
            listener.failed(workload.ti.task_id, f"its process ended with status {status} and said nothing")
            _set_failed(workload)
            self.fail(key)
            return
        if failed_task is None:
            self.success(key)
        else:
            listener.keep(failed_task, error)
            self.fail(key)


def _work(line: Connection) -> None:
    """In a fork: run what comes, and tell what failed, until the other end is closed."""
    die_with_parent()
    listener = task_listener()
    while True:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            workload = line.recv()
        except EOFError:
            return
        listener.forget()
        _run(workload)
        line.send((listener.failed_task, listener.error))


def _run(workload: ExecuteTask) -> None:
    from airflow.sdk.api.datamodels._generated import TaskInstance
    from airflow.sdk.execution_time.supervisor import run_task_in_process

    one = workload.ti
    os.environ[DAG_VARIABLE] = one.dag_id
    task = importlib.import_module(f"dags.{one.dag_id}").dag.task_dict[one.task_id]
    known = {name: getattr(one, name) for name in ("id", "dag_id", "task_id", "run_id", "try_number", "map_index")}
    run_task_in_process(TaskInstance(**known, dag_version_id=one.dag_version_id), task)


def _set_failed(workload: ExecuteTask) -> None:
    """Have Airflow know that a task failed whose process is gone."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    with create_session() as session:
        instance = session.get(TaskInstance, workload.ti.id)
        if instance is not None:
            instance.set_state(TaskInstanceState.FAILED, session=session)
