"""Routes on the shortest way answer as the framework's own do."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from pipelines.serving import problems
from pipelines.serving.direct import Direct
from pipelines.serving.problems import RefusedError
from pipelines.serving.schemas import RecommendAnswer, RecommendRequest, RulesBody

JSON = "application/json"
DEEP = b'{"items": ' + b"[" * 100_000
BODIES = (
    b'{"user": "7", "k": 3}', b"{}", b'{"k": "3"}', b'{"k": 3.0}', b'{"k": 0}', b'{"k": NaN}', b'{"user": 7}',
    b'{"user": "\\ud800"}', b'{"more": 1}', b'{"rules": {"boost": {"a": -1}}}', b"[1]", b"null", b'{"k":', b"", b"\xff",
    b'\xef\xbb\xbf{"k": 3}', '{"user": "7"}'.encode("utf-16"), b'{"user": "refused"}', DEEP,
)  # fmt: skip
KINDS = (JSON, None, "text/plain", "application/json; charset=utf-8", "application/vnd.shop+json", "APPLICATION/JSON")


def _guard(request: Request) -> None:
    if request.headers.get("x-wrong"):
        raise RefusedError(403, "forbidden", "this key may not")


async def _awaited_guard(request: Request) -> None:
    _guard(request)


async def _echo(body: RecommendRequest, request: Request) -> RecommendAnswer:
    if body.user == "refused":
        raise RefusedError(404, "unknown_item", "no such item", headers={"Retry-After": "2"})
    facts = {"version": "1", "run": request.method, "override": None}
    said = [body.model_dump_json()]
    return RecommendAnswer.model_validate(
        {"request_id": "r", "model": facts, "based_on": "", "known_user": True, "ignored": said, "results": []}
    )


def _client(route: type[APIRoute]) -> TestClient:
    app = FastAPI()
    problems.install(app)
    router = APIRouter(route_class=route, dependencies=[Depends(_awaited_guard)])
    router.post("/echo", response_model=RecommendAnswer)(_echo)
    app.include_router(router)
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("kind", KINDS)
def test_direct_route_answers_byte_for_byte_as_the_framework(kind: str | None) -> None:
    direct, usual = _client(Direct), _client(APIRoute)
    for body in BODIES:
        for more in ({}, {"x-wrong": "1"}):
            headers = {**({"content-type": kind} if kind else {}), **more}
            ours, theirs = (client.post("/echo", content=body, headers=headers) for client in (direct, usual))
            assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content), body[:40]
            assert sorted(ours.headers.items()) == sorted(theirs.headers.items())


def test_direct_route_is_documented_as_the_framework_does() -> None:
    assert _client(Direct).get("/openapi.json").json() == _client(APIRoute).get("/openapi.json").json()


def test_defaults_of_a_body_are_shared_and_rules_are_told_from_none() -> None:
    first, second = (RecommendRequest.model_validate({"user": user}) for user in "12")
    assert first.rules is second.rules
    assert RulesBody.model_validate({}).rules() is first.rules.rules()
    assert RulesBody.model_validate({"per_brand": 2}).rules().per_brand == 2
