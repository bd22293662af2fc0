"""Routes on the shortest way: a JSON body, checked, to its function, and the answer written out.

The framework's way does more for every request than such a route needs: stacks of contexts, a plan of dependencies, a
second check of the answer. Whatever is not plainly right goes that way, and is refused there in the fixed shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON = "application/json"


class Direct(APIRoute):
    """A route whose function takes ``body``, a model, and ``request``, and gives a model.

    What guards it are dependencies that take the request and give nothing.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        super().__init__(path, endpoint, **settings)
        assert self.body_field is not None
        self._framework: ASGIApp = self.app
        self._guards = [each.dependency for each in self.dependencies if each.dependency is not None]
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        content = await _body(request)
        body = self._read(request, content)
        if body is None:
            await self._framework(scope, _again(content, receive), send)
            return
        for guard in self._guards:
            await guard(request)
        answer: BaseModel = await self.endpoint(body=body, request=request)
        written = self.response_model.__pydantic_serializer__.to_json(answer)
        await Response(written, media_type=JSON)(scope, receive, send)

    def _read(self, request: Request, content: bytes) -> Any:
        """The body; None where it is not plainly right."""
        if request.headers.get("content-type") != JSON:
            return None
        try:
            told = json.loads(content)
        except (ValueError, RecursionError):
            return None
        assert self.body_field is not None
        found, wrong = self.body_field.validate(told, loc=("body",))
        return None if wrong else found


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except Exception as error:
        # As the framework does.
        raise HTTPException(400, "There was an error parsing the body") from error


def _again(content: bytes, receive: Receive) -> Receive:
    """``receive`` from before the body was read."""
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
