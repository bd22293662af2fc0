"""The HTTP application: routes, failures in one shape, and what stands before every route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from pipelines.serving import problems
from pipelines.serving.front import Front
from pipelines.serving.routes import (
    converse,
    events,
    households,
    identities,
    items,
    offers,
    operate,
    recommend,
    search,
    stock,
    storefront,
)
from pipelines.serving.service import Service

DESCRIPTION = "Search and recommendation that react within one request. Errors have one shape: `Problem`."


def create_app(service: Service, life: Callable[[], AbstractAsyncContextManager[None]] | None = None) -> FastAPI:
    """Put the application together.

    Args:
        service: what the routes share.
        life: entered before the first request and left after the last, as what watches the champion is.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if life is None:
            yield
            return
        async with life():
            yield

    app = FastAPIOffline(
        title="shoploom", version=version("shoploom"), description=DESCRIPTION, lifespan=lifespan, redoc_url=None
    )
    app.state.service = service
    problems.install(app)
    for routes in (
        search,
        converse,
        recommend,
        items,
        offers,
        events,
        identities,
        stock,
        households,
        operate,
        storefront,
    ):
        app.include_router(routes.router)
    app.add_middleware(Front, figures=service.figures, local=not service.access.required)
    return app
