"""A tiny champion in a real registry, and a real server process that serves it on loopback."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.artifacts import write_json
from pipelines.lineage.promotions import promote_version
from pipelines.lineage.release import Made, sign_release
from pipelines.registry.books import RunStart, open_run
from pipelines.registry.gate_verdict import Verdict
from pipelines.registry.package import RunInfo, register
from pipelines.registry.promotion import champion, promote
from pipelines.settings import Settings, child_environment
from tests.processes import free_port
from tests.repositories import ROOT, new_repository

PROMOTE = ("promote", "own_counts", 0.1, (0.05, 0.15), 0.001, 40, "because")
REJECT = ("reject", *PROMOTE[1:])
RUN = "e" * 40


def registered(
    settings: Settings, package: Path, folder: Path, name: str = "run", *, signed: bool = True, override: str = ""
) -> str:
    """Register a package, sign it, and point the alias at it; returns its version.

    With the reason of an override the gate refuses it, and it is let out all the same.
    """
    write_json({"models": {"rank": {"kind": "model", "ndcg_at_10": 0.5}}}, folder / "metrics.json")
    parent = open_run(settings, RunStart(name, "c" * 40))
    made = register(settings, package, folder, RunInfo(parent, RUN, "d" * 40))
    before = champion(settings)
    verdict = Verdict(*(REJECT if override else PROMOTE), champion_version=before.version if before else None)
    if signed:
        whole = Made(made.version, made.digest, package, RUN, "c" * 40, "d" * 40, name, "none")
        sign_release(settings, whole, {}, (verdict.as_dict(), {}))
    if override:
        promote_version(settings, made.version, override)
    else:
        promote(settings, made.version, verdict)
    return made.version


def place(mlflow_home: Path, folder: Path) -> Settings:
    """A repository and a state folder with an empty registry, under ``folder``."""
    home = shutil.copytree(mlflow_home, folder / "home")
    settings = new_repository(folder / "repository", configured=True, home=home)
    shutil.copy(ROOT / "requirements.lock", settings.repository)
    return settings


def with_champion(package: Path, mlflow_home: Path, folder: Path) -> Settings:
    """What :func:`place` makes, with a package as champion."""
    settings = place(mlflow_home, folder)
    (folder / "evaluate").mkdir()
    registered(settings, package, folder / "evaluate")
    return settings


@dataclass(frozen=True)
class Served:
    """A server process.

    Args:
        address: where it answers.
        process: its process.
        log: what it says.
    """

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> tuple[int, Any]:
        """Status and body of an answer; POST where there is a body and no other method is named."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, {"Content-Type": "application/json", **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, _read(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, _read(error.read())

    def said(self, seconds: float = 30, **facts: Any) -> dict[str, Any]:
        """The first line of the log that holds these facts; a line may come a moment after the answer."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.log.read_text().splitlines(keepends=True):
                told = json.loads(line) if line.endswith("\n") else {}
                if told.items() >= facts.items():
                    return told
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def wait(self, seconds: float = 60) -> None:
        """Until the server is ready."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.ask("/readyz")[0] == 200:
                    return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode()


@contextmanager
def served(settings: Settings, folder: Path, *arguments: str, ready: bool = True) -> Iterator[Served]:
    """`shoploom serve` in a process of its own, ended politely."""
    port, log = free_port(), folder / "serve.log"
    command = [str(Path(sys.executable).parent / "shoploom"), "serve", "--port", str(port), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=child_environment(settings), stdout=output, stderr=output)
    try:
        server = Served(f"http://127.0.0.1:{port}", process, log)
        if ready:
            server.wait()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
