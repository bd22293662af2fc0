"""What goes wrong, in one fixed shape, :class:`Problem`; no trace and no path leaves the server."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from pipelines.errors import ShoploomError

MOST_ECHOED = 200
"""Characters of a request's own words that a refusal repeats."""
_FOLDERS = re.compile(r"(?:/[\w.+~-]+)+/")


def public(reason: str) -> str:
    """A reason without the folders in it: what leaves the server says nothing of where it runs."""
    return _FOLDERS.sub("", " ".join(reason.split()))


class Problem(BaseModel):
    """Why a request was not answered."""

    code: str = Field(description="What went wrong, for programs.", examples=["invalid_request"])
    reason: str = Field(description="What went wrong, in words.")
    where: str = Field(default="", description="The part of the request, such as body.items.0.")
    mend: str = Field(default="", description="What to do about it.")
    request_id: str = Field(default="", description="Of this request, as in the log.")


class RefusedError(Exception):
    """A request that cannot be answered.

    Args:
        status: of HTTP, 4xx or 503.
        code: for programs.
        reason: in words, without a path.
        where: the part of the request.
        mend: what to do about it.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        reason: str,
        *,
        where: str = "",
        mend: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers
        self.problem = Problem(code=code, reason=reason, where=where, mend=mend)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of these statuses."""
    return {status: {"model": Problem} for status in statuses}


def answer(request_id: str, status: int, problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem as HTTP."""
    told = problem.model_copy(update={"request_id": request_id})
    return JSONResponse(told.model_dump(), status_code=status, headers=headers)


def install(app: FastAPI) -> None:
    """Answer every kind of failure in the fixed shape."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return answer(_id(request), error.status, error.problem, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:MOST_ECHOED]
        problem = Problem(
            code="invalid_request", reason=str(first["msg"]), where=where, mend="see /docs for what may be asked"
        )
        return answer(_id(request), 422, problem)

    @app.exception_handler(HTTPException)
    async def refused_by_routing(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        problem = Problem(code=code, reason=str(error.detail), mend="see /docs for what may be asked")
        return answer(_id(request), error.status_code, problem, dict(error.headers or {}))

    @app.exception_handler(ShoploomError)
    async def failed(request: Request, error: ShoploomError) -> JSONResponse:
        # The message may name a path, so it goes to the log and not to the shopper.
        request.scope["failure"] = error
        problem = Problem(code="cannot_answer", reason="this cannot be answered now", mend="the log says why")
        return answer(_id(request), 503, problem)


def _id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))
