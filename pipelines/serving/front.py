"""What stands before every route: a request id, limits on bodies, one log line and one measurement a request.

Plain ASGI, because it is on the path of every request.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.ports import is_loopback
from pipelines.serving.figures import Figures
from pipelines.serving.logs import log
from pipelines.serving.problems import Problem, answer

MOST_BYTES = 1_000_000
"""Of a body."""
MOST_DISCARDED = 1_000
"""Pieces of a body that is too long, some 64 kB each, that are read before it is refused."""
SECONDS_FOR_A_BODY = 10.0
_READING = ("GET", "HEAD", "OPTIONS")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def note(request: Request, **facts: object) -> None:
    """Add facts to the request's line in the log."""
    request.scope.setdefault("facts", {}).update(facts)


PROBES = ("/healthz", "/readyz", "/metrics")
"""Asked every second by machines; they are counted and not logged."""


class _TooLargeError(Exception):
    """A body is longer than is read."""


class _TooSlowError(Exception):
    """A body did not come in time."""


class _ForeignError(Exception):
    """A browser sends what the page of another site told it to."""


class _MisnamedError(Exception):
    """This machine is asked under the name of another site, as a page does that had its name point here."""


class Front:
    """See the module.

    Args:
        app: what answers.
        figures: where requests are counted.
        local: whether this machine alone may ask, and without a key: then only under its own names.
    """

    def __init__(self, app: ASGIApp, figures: Figures, local: bool) -> None:
        self._app = app
        self._figures = figures
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, begun = time.perf_counter(), 500, False
        broken: list[Exception] = []
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope["request_id"] = request_id

        async def named(message: Message) -> None:
            nonlocal status, begun
            if broken and not begun:
                # The framework makes an answer of its own of whatever goes wrong while it reads a body.
                return
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        failure: BaseException | None = None
        try:
            if headers.get(b"sec-fetch-site") == b"cross-site" and scope["method"] not in _READING:
                raise _ForeignError
            if self._local and not _names_this_machine(headers.get(b"host", b"localhost")):
                raise _MisnamedError
            if int(headers.get(b"content-length", b"0")) > MOST_BYTES:
                raise _TooLargeError
            await self._app(scope, _bounded(receive, broken), named)
            if broken and not begun:
                raise broken.pop()
        except Exception as error:
            failure = error
            if not begun:
                broken.clear()
                if isinstance(error, _TooLargeError):
                    await _discard(receive)
                refused, told = _refusal(error)
                await answer(request_id, refused, told)(scope, receive, named)
        finally:
            self._note(scope, status, time.perf_counter() - started, failure or scope.get("failure"))

    def _note(self, scope: Scope, status: int, seconds: float, failure: BaseException | None) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._figures.requests.labels(route, str(status)).observe(seconds)
        facts = {
            "request_id": scope["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 3),
            **scope.get("facts", {}),
        }
        if route in PROBES and failure is None:
            return
        if status >= 500:
            log().error("request", **facts, exc_info=failure)
        else:
            log().info("request", **facts)


def _bounded(receive: Receive, broken: list[Exception]) -> Receive:
    """``receive`` that refuses a body that is too long or does not come, and notes in ``broken`` that it did."""
    read, ended = 0, False

    def refuse(error: Exception) -> Exception:
        broken.append(error)
        return error

    async def bounded() -> Message:
        nonlocal read, ended
        if ended:
            return await receive()
        try:
            async with asyncio.timeout(SECONDS_FOR_A_BODY):
                message = await receive()
        except TimeoutError:
            raise refuse(_TooSlowError()) from None
        read += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        if read > MOST_BYTES:
            raise refuse(_TooLargeError())
        return message

    return bounded


async def _discard(receive: Receive) -> None:
    """Read what is still sent, within limits: many clients read an answer only when they have sent everything."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SECONDS_FOR_A_BODY):
            for _ in range(MOST_DISCARDED):
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


@lru_cache(maxsize=256)
def _names_this_machine(host: bytes) -> bool:
    """Whether a ``Host`` header, with or without a port, is ``localhost`` or a loopback address."""
    try:
        return is_loopback(urlsplit(f"//{host.decode('latin-1')}").hostname or "")
    except ValueError:
        return False


def _refusal(error: Exception) -> tuple[int, Problem]:
    if isinstance(error, _TooLargeError):
        most = f"{MOST_BYTES:,} bytes"
        return 413, Problem(code="too_large", reason=f"a body may hold {most}", where="body", mend="send less at once")
    if isinstance(error, _TooSlowError):
        waited = f"{SECONDS_FOR_A_BODY:.0f} s"
        return 408, Problem(code="too_slow", reason=f"the body did not come within {waited}", where="body")
    if isinstance(error, _ForeignError):
        reason = "a page of another site may not send anything here"
        return 403, Problem(code="forbidden", reason=reason, where="header.sec-fetch-site", mend="ask from your server")
    if isinstance(error, _MisnamedError):
        reason = "without keys this server answers to localhost and loopback addresses alone"
        mend = "ask http://127.0.0.1; a proxy sends this name as Host"
        return 403, Problem(code="forbidden", reason=reason, where="header.host", mend=mend)
    if isinstance(error, ClientDisconnect):
        return 400, Problem(code="cut_short", reason="the body ended before it was complete", where="body")
    return 500, Problem(code="internal", reason="this is the server's fault", mend="the log names this request_id")
