"""``POST /search``: free text in, products out."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from pipelines.serving.access import needs
from pipelines.serving.front import note
from pipelines.serving.problems import RefusedError, responses
from pipelines.serving.schemas import FacetValue, HitFacts, ModelFacts, PriceSpan, SearchAnswer, SearchRequest
from pipelines.serving.searching import Found, Query
from pipelines.serving.service import Service
from pipelines.serving.whom import rows_of, shopper_of

router = APIRouter(dependencies=[Depends(needs("read"))])


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses=responses(401, 403, 408, 413, 422, 429, 503),
    summary="Search the catalogue",
)
async def search(body: SearchRequest, request: Request) -> SearchAnswer:
    """By meaning and by words, misspelt ones set right; filtered, counted by facet, moved by the shopper's taste."""
    service: Service = request.app.state.service
    engine = service.current()
    if not body.query.strip():
        raise RefusedError(422, "invalid_request", "the query is blank", where="body.query", mend="type a word")
    rows, ignored = rows_of(engine, [*body.viewed, *body.cart])
    with service.figures.step("shopper"):
        shopper = await shopper_of(service, engine, body, rows)
    query = Query(body.query, body.offset, body.k, body.filters.filters(), body.correct, body.rules.rules())

    def work() -> Found:
        with service.figures.step("search"):
            return engine.search(query, shopper)

    found = await service.run(work, instant=False)
    based_on = "history" if shopper.known else "session" if shopper.interests else "query"
    service.figures.answered("/search", based_on, len(found.hits))
    note(request, model=found.provenance.version, total=found.total)
    return SearchAnswer(
        request_id=request.scope["request_id"],
        model=ModelFacts.of(found.provenance),
        query=found.corrected or body.query,
        corrected=found.corrected is not None,
        total=found.total,
        taste_weight=found.taste_weight,
        known_user=shopper.user is not None,
        ignored=ignored,
        facets={
            name: [FacetValue(value=value, count=count) for value, count in values]
            for name, values in found.facets.items()
        },
        prices=None if found.prices is None else PriceSpan(least=found.prices[0], most=found.prices[1]),
        results=[
            HitFacts(position=position, **vars(hit.result), relevance=hit.relevance, taste=hit.taste, moved=hit.moved)
            for position, hit in enumerate(found.hits, start=body.offset + 1)
        ],
    )
