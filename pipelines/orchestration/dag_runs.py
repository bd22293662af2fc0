"""DAG runs in one child process, to watch while they run: no scheduler, no service."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import ServiceError, StageError
from pipelines.orchestration.airflow import airflow_home, environment
from pipelines.orchestration.databases import close_abandoned, migrate
from pipelines.orchestration.processes import GRACE_SECONDS, last_lines, stop_group, tail
from pipelines.progress import PROGRESS_VARIABLE
from pipelines.settings import Settings

EXECUTOR = "pipelines.orchestration.forked_tasks.ForkedTasks"


@dataclass(frozen=True)
class DagOutcome:
    """How a DAG run ended.

    Args:
        dag_id: which DAG.
        run_id: Airflow's run id; empty when the run could not be made.
        state: ``"success"`` or ``"failed"``.
        tasks: the state of each task, in the order they ran.
        failed_task: the first task that failed.
        error: that task's own error text.
        returned: what each task returned (its XCom), by task.
        log: everything that Airflow and the libraries said.
    """

    dag_id: str
    run_id: str
    state: str
    tasks: dict[str, str] = field(default_factory=dict)
    failed_task: str | None = None
    error: str = ""
    returned: dict[str, Any] = field(default_factory=dict)
    log: Path = Path()

    def raise_for_failure(self) -> DagOutcome:
        """Return this, or raise what went wrong.

        Raises:
            StageError: the DAG run failed; the message is the failed task's own.
        """
        if self.state == "success":
            return self
        where = (
            f"task {self.failed_task!r} of {self.dag_id!r} failed" if self.failed_task else f"{self.dag_id!r} failed"
        )
        raise StageError(f"{where}: {self.error or 'no error text was left'}", mend=f"less {self.log}")


def run_dag_in_one_process(
    dag_id: str,
    conf: Mapping[str, object],
    log_file: Path,
    settings: Settings,
    *,
    progress: Path | None = None,
) -> DagOutcome:
    """Run a DAG to its end in a child process: no scheduler, no service.

    Args:
        dag_id: ``"ingest"`` or ``"train"``.
        conf: the run's parameters, checked against the DAG's schema.
        log_file: everything that Airflow and the libraries say is appended to it.
        settings: places and addresses.
        progress: file that progress events are appended to (see :mod:`pipelines.progress`).

    Raises:
        ServiceError: Airflow's process ended without a result.
    """
    with OneProcess({dag_id: conf}, log_file, settings, progress=progress) as process:
        return process.wait()[0]


class OneProcess:
    """DAG runs in a child process, one after another up to the first that fails, to watch while they run.

    A context manager: leaving it stops the child and everything that the child started.

    Args:
        runs: parameters by DAG id, in the order to run.
        log_file: everything that Airflow and the libraries say is appended to it.
        settings: places and addresses.
        progress: file that progress events are appended to.
        waiting: called once if another run is under way in this state folder, whose end is then waited for.
    """

    def __init__(
        self,
        runs: Mapping[str, Mapping[str, object]],
        log_file: Path,
        settings: Settings,
        *,
        progress: Path | None = None,
        waiting: Callable[[], object] = lambda: None,
    ) -> None:
        self._settings = settings
        self._waiting = waiting
        self._runs = [[dag_id, dict(conf)] for dag_id, conf in runs.items()]
        self._log = log_file
        self._log_start = 0
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._result = Path()
        self._lock: int | None = None

    def __enter__(self) -> OneProcess:
        self._lock = hold_alone(self._settings, self._waiting)
        try:
            self._begin(self._lock)
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def _begin(self, lock: int) -> None:
        _refuse_while_up(self._settings)
        migrate(self._settings)
        close_abandoned(self._settings)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="outcome-", suffix=".json", dir=airflow_home(self._settings))
        os.close(handle)
        self._result = Path(name)
        variables = environment(self._settings) | {"AIRFLOW__CORE__EXECUTOR": EXECUTOR}
        if self._progress:
            variables[PROGRESS_VARIABLE] = str(self._progress)
        command = [
            sys.executable,
            "-m",
            "pipelines.orchestration.one_process",
            json.dumps(self._runs),
            "--result",
            name,
        ]
        with self._log.open("ab") as sink:
            self._log_start = sink.tell()
            self._process = subprocess.Popen(
                command,
                env=variables,
                cwd=self._settings.repository,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                # The lock stays with the child when this process alone is killed: the run goes on.
                pass_fds=[lock],
            )

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            # The child stops its running task's process group first, and needs the time for it.
            stop_group(self._process, grace_seconds=GRACE_SECONDS + 4)
        self._result.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)

    def running(self, wait_seconds: float) -> bool:
        """Whether the child still runs after at most ``wait_seconds``."""
        assert self._process is not None
        try:
            self._process.wait(wait_seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def wait(self) -> list[DagOutcome]:
        """Wait for the end.

        Returns:
            An outcome for each DAG that was run.

        Raises:
            ServiceError: the child ended without a result.
        """
        assert self._process is not None
        code = self._process.wait()
        text = self._result.read_text(encoding="utf-8")
        if not text:
            raise ServiceError(
                f"Airflow's process ended with status {code} and no result: "
                f"{last_lines(tail(self._log, self._log_start))}",
                mend=f"less {self._log}",
            )
        return [DagOutcome(**outcome, log=self._log) for outcome in json.loads(text)]


def hold_alone(settings: Settings, waiting: Callable[[], object] | None = None) -> int:
    """Hold the lock of whoever drives DAG runs in this state folder; it goes with the descriptor, however its holder
    ends.

    Args:
        settings: places.
        waiting: called before the end of another run is waited for; None does not wait.

    Raises:
        ServiceError: a one-process run is under way, or services are just coming up, and nobody is to wait.
    """
    home = airflow_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "one-process.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is None:
            os.close(descriptor)
            raise ServiceError("another run is under way in this state folder", mend="wait until it ends") from None
        try:
            waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def _refuse_while_up(settings: Settings) -> None:
    """A scheduler on the same database would run the same tasks a second time."""
    from pipelines.orchestration.services import running

    if "scheduler" in running(settings):
        raise ServiceError(
            "Airflow's scheduler is up and would run the same tasks a second time",
            mend=f"trigger the DAG at http://127.0.0.1:{settings.airflow_port}, or: shoploom down",
        )
