"""Who may ask for what: API keys with scopes and rates, where the server can be reached from other machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request

from pipelines.serving.front import note
from pipelines.serving.kept import Kept
from pipelines.serving.problems import RefusedError
from pipelines.serving.state import StateError
from pipelines.serving.state.api_keys import ApiKey

if TYPE_CHECKING:
    from pipelines.serving.service import Service

SECONDS_TRUSTED = 5.0
"""How long a key that was found good is not looked up again: as long as a revoked one may still be used. While the
state does not answer, one that was found good before stays so."""
MOST_KEYS = 10_000


@dataclass
class Bucket:
    """What a key may still ask: filled at its rate, a minute's worth at most.

    Args:
        level: requests left.
        filled: when, seconds of a clock that only runs forward.
    """

    level: float
    filled: float

    def take(self, per_minute: int, now: float) -> float:
        """Take one request; 0 where it may be asked, else the seconds to wait."""
        self.level = min(float(per_minute), self.level + (now - self.filled) * per_minute / 60)
        self.filled = now
        if self.level >= 1:
            self.level -= 1
            return 0.0
        return (1 - self.level) * 60 / per_minute


class Access:
    """Guards routes by keys.

    Args:
        required: whether a request without a key is refused; on loopback it is not.
    """

    def __init__(self, required: bool) -> None:
        self.required = required
        self._good: Kept[str, tuple[ApiKey, float]] = Kept(MOST_KEYS)
        self._buckets: Kept[str, Bucket] = Kept(MOST_KEYS)

    async def check(self, service: Service, request: Request, scope: str) -> None:
        """Let a request pass, or refuse it.

        Raises:
            RefusedError: there is no key or a wrong one (401), it lacks the scope (403) or asks too often (429).
        """
        token = _token(request)
        if token is None:
            if not self.required:
                return
            raise _unknown("an API key is needed")
        key = await self._key(service, token)
        if key is None:
            raise _unknown("this API key is not known")
        if scope not in key.scopes and "admin" not in key.scopes:
            reason = f"this API key may not do that: it lacks the scope {scope}"
            raise RefusedError(403, "forbidden", reason, where="header.authorization", mend="ask for a key that may")
        now = time.monotonic()
        bucket = self._buckets.get(key.key_id)
        if bucket is None:
            bucket = Bucket(float(key.requests_per_minute), now)
            self._buckets.put(key.key_id, bucket)
        wait = bucket.take(key.requests_per_minute, now)
        if wait:
            reason = f"this API key may ask {key.requests_per_minute} times a minute"
            headers = {"Retry-After": str(int(wait) + 1)}
            raise RefusedError(429, "too_often", reason, where="header.authorization", mend="wait", headers=headers)
        note(request, key=key.key_id)

    async def _key(self, service: Service, token: str) -> ApiKey | None:
        kept = self._good.get(token)
        if kept is not None and kept[1] > time.monotonic():
            return kept[0]
        memory = service.remembering()
        try:
            key = await service.run(lambda: memory.state.keys.check(token), instant=False)
        except StateError as error:
            refused = service.lost(error)
            if kept is None:
                raise refused from None
            return kept[0]
        if key is not None:
            self._good.put(token, (key, time.monotonic() + SECONDS_TRUSTED))
        return key


def _token(request: Request) -> str | None:
    """The key of a request: ``Authorization: Bearer``, or ``X-API-Key``."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key") or None


def _unknown(reason: str) -> RefusedError:
    headers = {"WWW-Authenticate": "Bearer"}
    mend = "send Authorization: Bearer KEY; shoploom api-keys make"
    return RefusedError(401, "unauthorized", reason, where="header.authorization", mend=mend, headers=headers)


def needs(scope: str) -> Callable[[Request], Coroutine[None, None, None]]:
    """A dependency that lets requests with a scope pass."""

    async def check(request: Request) -> None:
        service: Service = request.app.state.service
        await service.access.check(service, request, scope)

    return check
