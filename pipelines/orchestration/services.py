"""Long-lived services on loopback: Airflow's scheduler, DAG processor and API server, MLflow's server, and our own.

Each leads a process group of its own; ``<home>/services/<name>.json`` says which process it is (its id and the time it
started, so that a later process of the same id is never mistaken for it), and ``<name>.log`` what it said.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pipelines.artifacts import write_json
from pipelines.errors import ServiceError
from pipelines.orchestration.airflow import ADMIN, environment, password_file, write_private
from pipelines.orchestration.dag_runs import hold_alone
from pipelines.orchestration.databases import close_abandoned, migrate
from pipelines.orchestration.processes import last_lines, tail
from pipelines.ports import cannot_listen, holder
from pipelines.settings import Settings, sqlite_file

LOOPBACK = "127.0.0.1"
SECONDS_TO_START = 120.0
SECONDS_TO_STOP = 30.0


@dataclass(frozen=True)
class Record:
    """A process that was started.

    Args:
        name: which service.
        pid: its process id, which is its process group's too.
        started: when that process started, seconds since the epoch, as the system says.
        address: where it answers; empty for a service without a port.
        log: what it said.
        log_start: how long the log was when it was started, in bytes.
    """

    name: str
    pid: int
    started: float
    address: str
    log: str
    log_start: int = 0


@dataclass(frozen=True)
class _Service:
    name: str
    command: tuple[str, ...]
    healthy: Callable[[Settings], bool]
    port: int | None = None
    port_variable: str = ""

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}" if self.port else ""


@dataclass(frozen=True)
class Up:
    """What is up.

    Args:
        services: each service's record, by name.
        user: the name to log in to Airflow with.
        password_file: where its password is.
    """

    services: dict[str, Record]
    user: str
    password_file: Path

    def lines(self) -> list[str]:
        """What a person needs to know, one fact a line."""
        airflow, serve = self.services["api_server"].address, self.services["serve"].address
        mlflow = self.services.get("mlflow")
        lines = [f"Airflow  {airflow}  user {self.user}, password in {self.password_file}"]
        lines += [f"MLflow   {mlflow.address}"] if mlflow else []
        return [*lines, f"answers  {serve}  {serve}/docs shows its routes"]


def up(settings: Settings) -> Up:
    """Start what is not up yet, and wait until all of it answers.

    Raises:
        ServiceError: a port is taken (named, with who asks for it and who holds it), or a service ended or did not
            answer within two minutes; what was started is stopped again, and the message holds its last words. Or a
            run is under way in this state folder: a scheduler would run its tasks a second time.
    """
    if "scheduler" in running(settings):
        return _up(settings)
    lock = hold_alone(settings)
    try:
        return _up(settings)
    finally:
        os.close(lock)


def _up(settings: Settings) -> Up:
    already = running(settings)
    missing = [service for service in _services(settings) if service.name not in already]
    for service in missing:
        _check_port(service)
    migrate(settings)
    if "scheduler" not in already:
        close_abandoned(settings)
    _write_password(settings)
    try:
        # MLflow first: it loads its stores with the first questions, and two of these at once can break it for good.
        for first in (True, False):
            together = [service for service in missing if (service.name == "mlflow") is first]
            _await_health([(service, _start(service, settings)) for service in together], settings)
    except BaseException:
        down(settings, only={service.name for service in missing})
        raise
    return Up(running(settings), ADMIN, password_file(settings))


def down(settings: Settings, *, only: Collection[str] | None = None) -> list[str]:
    """Stop the services that :func:`up` started, each with all that it started, and nothing else.

    Args:
        settings: places.
        only: names to stop; all by default.

    Returns:
        Names of the services that were stopped.
    """
    chosen = {name: record for name, record in running(settings).items() if only is None or name in only}
    everyone = [process for record in chosen.values() for process in _terminate(record)]
    _, alive = psutil.wait_procs(everyone, timeout=SECONDS_TO_STOP)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    for name in chosen:
        _record_path(settings, name).unlink(missing_ok=True)
    return list(chosen)


def running(settings: Settings) -> dict[str, Record]:
    """The services that run now, by name; records of processes that ended are removed."""
    folder = settings.home / "services"
    found: dict[str, Record] = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        record = _read_record(path)
        if record is not None and _process(record) is not None:
            found[record.name] = record
        else:
            path.unlink(missing_ok=True)
    return found


def with_running_mlflow(settings: Settings) -> Settings:
    """The settings to ask MLflow with: its own server while it is up, so that one process alone writes SQLite."""
    server = running(settings).get("mlflow")
    return settings.model_copy(update={"tracking_url": server.address}) if server else settings


def _services(settings: Settings) -> list[_Service]:
    airflow = (sys.executable, "-m", "airflow")
    api = _Service(
        "api_server",
        (*airflow, "api-server", "--host", LOOPBACK, "--port", str(settings.airflow_port), "--workers", "1"),
        lambda s: _airflow_says_healthy(s, "metadatabase"),
        settings.airflow_port,
        "SHOPLOOM_AIRFLOW_PORT",
    )
    services = [
        api,
        _Service(
            "scheduler",
            (*airflow, "scheduler", "--skip-serve-logs"),
            lambda s: _airflow_says_healthy(s, "scheduler"),
        ),
        _Service("dag_processor", (*airflow, "dag-processor"), lambda s: _airflow_says_healthy(s, "dag_processor")),
    ]
    serve = _Service(
        "serve",
        (sys.executable, "-m", "pipelines.cli", "serve", "--port", str(settings.serve_port)),
        lambda s: "ok" in _get(f"http://{LOOPBACK}:{s.serve_port}/healthz"),
        settings.serve_port,
        "SHOPLOOM_SERVE_PORT",
    )
    if settings.tracking_url:
        return [*services, serve]
    mlflow = _Service(
        "mlflow",
        (
            *(sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(settings.mlflow_port)),
            *("--workers", "1", "--default-artifact-root", settings.artifacts, "--no-serve-artifacts"),
        ),
        _mlflow_answers,
        settings.mlflow_port,
        "SHOPLOOM_MLFLOW_PORT",
    )
    return [mlflow, *services, serve]


def _environment(service: _Service, settings: Settings) -> dict[str, str]:
    if service.name == "mlflow":
        # The address may hold a password, so it goes by environment and not by the command line.
        return environment(settings, MLFLOW_BACKEND_STORE_URI=settings.tracking)
    tracking = settings.tracking_url or f"http://{LOOPBACK}:{settings.mlflow_port}"
    return environment(settings, SHOPLOOM_TRACKING_URL=tracking)


def _start(service: _Service, settings: Settings) -> Record:
    folder = settings.home / "services"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{service.name}.log"
    books = sqlite_file(settings.tracking) if service.name == "mlflow" else None
    if books is not None:
        books.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        log_start = sink.tell()
        process = subprocess.Popen(
            service.command,
            env=_environment(service, settings),
            cwd=settings.repository,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    started = psutil.Process(process.pid).create_time()
    record = Record(service.name, process.pid, started, service.address, str(log), log_start)
    write_json(asdict(record), _record_path(settings, service.name))
    return record


def _await_health(services: Iterable[tuple[_Service, Record]], settings: Settings) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    for service, record in services:
        while not service.healthy(settings):
            if _process(record) is None:
                raise _failed(record, "ended")
            if time.monotonic() > deadline:
                raise _failed(record, f"did not answer within {SECONDS_TO_START:.0f} s")
            time.sleep(0.25)


def _failed(record: Record, how: str) -> ServiceError:
    said = last_lines(tail(Path(record.log), record.log_start), 8)
    return ServiceError(f"{record.name} {how}: {said or 'it said nothing'}", mend=f"less {record.log}")


def _check_port(service: _Service) -> None:
    """Refuse a port that is taken, before anything is started."""
    if service.port is None:
        return
    if cannot_listen(LOOPBACK, service.port):
        raise ServiceError(
            f"port {service.port}, for which {service.name} asks, is taken{holder(service.port)}",
            mend=f"export {service.port_variable}=<another port>",
        )


def _mlflow_answers(settings: Settings) -> bool:
    """Whether MLflow is up and answers a question to each of its stores, one after the other."""
    root = f"http://{LOOPBACK}:{settings.mlflow_port}"
    questions = ("experiments/search?max_results=1", "registered-models/search?max_results=1")
    return _get(f"{root}/health") == "OK" and all(_get(f"{root}/api/2.0/mlflow/{each}") for each in questions)


def _airflow_says_healthy(settings: Settings, component: str) -> bool:
    text = _get(f"http://{LOOPBACK}:{settings.airflow_port}/api/v2/monitor/health")
    try:
        status: Mapping[str, Any] = json.loads(text).get(component) or {}
    except ValueError:
        return False
    return status.get("status") == "healthy"


def _get(address: str) -> str:
    """The body of an answer with status 200; else the empty string."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError):
        return ""


def _write_password(settings: Settings) -> None:
    path = password_file(settings)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, json.dumps({ADMIN: secrets.token_urlsafe(12)}) + "\n")


def _record_path(settings: Settings, name: str) -> Path:
    return settings.home / "services" / f"{name}.json"


def _read_record(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _process(record: Record) -> psutil.Process | None:
    """The recorded process, if it still runs and is the same one."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.started) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _terminate(record: Record) -> list[psutil.Process]:
    """Ask a service to end; gives all the processes that are to end with it."""
    process = _process(record)
    if process is None:
        return []
    family = [process]
    with contextlib.suppress(psutil.Error):
        family += process.children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(record.pid, signal.SIGTERM)
    return family
