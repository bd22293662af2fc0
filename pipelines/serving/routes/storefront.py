"""``GET /``: a page to try the server in; see ``pipelines/serving/storefront``."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)
FILES = StaticFiles(directory=Path(__file__).parents[1] / "storefront")
HEADERS = {
    # What the page may load and ask: this server alone, and no script or style inside the markup.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """The page; which view of it is shown, the query of its address says."""
    return await _file("index.html", request)


@router.api_route("/storefront/{name}", methods=["GET", "HEAD"])
async def part(name: str, request: Request) -> Response:
    """A script or style of the page."""
    return await _file(name, request)


async def _file(name: str, request: Request) -> Response:
    response = await FILES.get_response(name, request.scope)
    response.headers.update(HEADERS)
    return response
