"""``GET /healthz``, ``/readyz`` and ``/metrics``: whether the server lives, whether it may be asked, how it does."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from pipelines.serving.access import needs
from pipelines.serving.problems import responses
from pipelines.serving.schemas import ModelFacts
from pipelines.serving.service import Service

router = APIRouter()


class Health(BaseModel):
    """The process lives."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether the server may be asked, and what does not work."""

    ready: bool
    model: ModelFacts | None = Field(description="What answers now.")
    draining: bool = Field(description="Whether the server is about to end.")
    trouble: dict[str, str] = Field(description="What does not work, by part; the rest is served.")


@router.get("/healthz", response_model=Health, summary="Whether the process lives")
async def healthz() -> Health:
    """Answers as long as the process can."""
    return Health()


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness}},
    summary="Whether requests should come, and why not",
)
async def readyz(request: Request) -> Response:
    """503 while there is no model or no state, or the server is about to end."""
    service: Service = request.app.state.service
    engine = service.engine
    facts = Readiness(
        ready=service.ready,
        model=ModelFacts.of(engine.provenance) if engine else None,
        draining=service.draining,
        trouble=dict(service.trouble),
    )
    return JSONResponse(facts.model_dump(), status_code=200 if facts.ready else 503)


@router.get(
    "/metrics",
    summary="Prometheus' figures",
    response_class=Response,
    responses=responses(401, 403, 429, 503),
    dependencies=[Depends(needs("read"))],
)
async def metrics(request: Request) -> Response:
    """In Prometheus' text format."""
    service: Service = request.app.state.service
    service.figures.ready.set(service.ready)
    return Response(service.figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
