"""Tell somebody that a task failed: a program or a web address, whichever is set.

Set as Airflow's ``on_failure_callback``. A notifier that fails itself is reported on standard error and changes
nothing: the task has failed already.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from typing import IO, Any
from urllib.parse import urlsplit

from pipelines.errors import ConfigError
from pipelines.settings import Settings

SECONDS_ALLOWED = 20


def task_failed(context: Mapping[str, Any]) -> None:
    """Airflow's callback for a failed task.

    Args:
        context: the task's context.
    """
    try:
        notify(describe(context), Settings())
    except Exception as error:
        print(f"the notifier failed: {error}", file=sys.stderr)


def describe(context: Mapping[str, Any]) -> dict[str, object]:
    """The failure as JSON-ready values: DAG, task, run, try, error and log address."""
    instance = context["task_instance"]
    return {
        "event": "task_failed",
        "dag": instance.dag_id,
        "task": instance.task_id,
        "run": instance.run_id,
        "try": instance.try_number,
        "error": str(context.get("exception") or ""),
        "log_url": getattr(instance, "log_url", None),
    }


def notify(failure: Mapping[str, object], settings: Settings) -> None:
    """Send ``failure`` to the configured command (JSON on standard input) and web address (JSON by POST).

    A command that fails does not keep the web address from being told.

    Raises:
        ConfigError: the address is not http or https.
        OSError: the address or program cannot be reached.
        subprocess.SubprocessError: the program failed or took more than 20 seconds.
    """
    body = json.dumps(failure).encode()
    try:
        if settings.notify_command:
            subprocess.run(shlex.split(settings.notify_command), input=body, timeout=SECONDS_ALLOWED, check=True)
    finally:
        if settings.notify_webhook:
            _post(settings.notify_webhook, body)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead to an address that nobody configured."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        return None


def _post(address: str, body: bytes) -> None:
    if urlsplit(address).scheme not in ("http", "https"):
        raise ConfigError(f"{address!r} is not a web address", mend="export SHOPLOOM_NOTIFY_WEBHOOK=https://...")
    request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"}, method="POST")
    urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS_ALLOWED).close()
