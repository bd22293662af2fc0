"""The notifier: a real program and a real web server are told of a failure."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from pipelines.orchestration.notify import notify, task_failed
from pipelines.settings import Settings

FAILURE = {"event": "task_failed", "dag": "train", "task": "embed", "error": "no space; rm -rf / $(touch x)"}


class Listener(HTTPServer):
    bodies: list[bytes]
    status = 200


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener(("127.0.0.1", 0), Handler)
    server.bodies = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_notify_gives_the_failure_to_the_command_without_a_shell(tmp_path: Path) -> None:
    sink = tmp_path / "with space; touch y"
    notify(FAILURE, Settings(notify_command=f"{shutil.which('tee')} '{sink}'"))
    assert json.loads(sink.read_text(encoding="utf-8")) == FAILURE
    assert [path.name for path in tmp_path.iterdir()] == [sink.name]


def test_notify_posts_the_failure(listener: Listener) -> None:
    notify(FAILURE, Settings(notify_webhook=f"http://127.0.0.1:{listener.server_port}/hook"))
    assert [json.loads(body) for body in listener.bodies] == [FAILURE]


@pytest.mark.parametrize("command", ["false", "/no/such/program", "unbalanced '"])
def test_notify_posts_the_failure_also_when_the_command_fails(command: str, listener: Listener) -> None:
    address = f"http://127.0.0.1:{listener.server_port}/hook"
    with pytest.raises((OSError, ValueError, subprocess.SubprocessError)):
        notify(FAILURE, Settings(notify_command=command, notify_webhook=address))
    assert [json.loads(body) for body in listener.bodies] == [FAILURE]


def test_notify_follows_no_redirect(listener: Listener) -> None:
    listener.status = 302
    with pytest.raises(OSError, match="302"):
        notify(FAILURE, Settings(notify_webhook=f"http://127.0.0.1:{listener.server_port}/hook"))
    assert len(listener.bodies) == 1


def test_notify_refuses_what_is_no_web_address() -> None:
    with pytest.raises(ConfigError, match="is not a web address"):
        notify(FAILURE, Settings(notify_webhook="file:///etc/passwd"))


def test_task_failed_survives_a_notifier_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @dataclass
    class Instance:
        dag_id: str = "train"
        task_id: str = "embed"
        run_id: str = "r"
        try_number: int = 1

    monkeypatch.setenv("SHOPLOOM_NOTIFY_COMMAND", "/no/such/program")
    task_failed({"task_instance": Instance(), "exception": ValueError("x")})
    assert "/no/such/program" in capsys.readouterr().err
