"""``POST /search``: free text in, products out."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, Request

from pipelines.serving.access import needs
from pipelines.serving.asking import Read, fits, read
from pipelines.serving.asking import search as search_for
from pipelines.serving.direct import Direct
from pipelines.serving.front import note
from pipelines.serving.problems import RefusedError, responses
from pipelines.serving.schemas import FacetValue, ModelFacts, PriceSpan, SearchRequest
from pipelines.serving.searching import Found, Query
from pipelines.serving.service import Service
from pipelines.serving.understood import FittingFacts, UnderstoodAnswer, UnderstoodFacts
from pipelines.serving.whom import rows_of, shopper_of

router = APIRouter(dependencies=[Depends(needs("read"))], route_class=Direct)


@router.post(
    "/search",
    response_model=UnderstoodAnswer,
    responses=responses(401, 403, 408, 413, 422, 429, 503),
    summary="Search the catalogue",
)
async def search(body: SearchRequest, request: Request) -> UnderstoodAnswer:
    """By meaning and by words, misspelt ones set right; filtered by what the text asks and by the request, counted by
    facet, moved by the shopper's taste."""
    service: Service = request.app.state.service
    engine = service.current()
    if not body.query.strip():
        raise RefusedError(422, "invalid_request", "the query is blank", where="body.query", mend="type a word")
    rows, ignored = rows_of(engine, [*body.viewed, *body.cart])
    with service.figures.step("shopper"):
        shopper = await shopper_of(service, engine, body, rows)
    filters, rules = body.filters.filters(), body.rules.rules()
    asked = Query(body.query, body.offset, body.k, filters, body.correct, rules, explain=body.explain)

    def work() -> tuple[Read | None, Found]:
        with service.figures.step("understand"):
            taken = read(engine, asked) if body.understand else None
        with service.figures.step("search"):
            return search_for(engine, taken, shopper) if taken else (None, engine.search(asked, shopper))

    def intents_of() -> dict[str, float]:
        if not body.understand:
            return {}
        with service.figures.step("intents"):
            return engine.intents(body.query)

    (taken, found), intents = await asyncio.gather(
        service.run(work, instant=False), service.run(intents_of, instant=not body.understand)
    )
    constraints = taken.understanding.constraints if taken else ()
    fitting = fits(engine, constraints, [hit.result.item_id for hit in found.hits])
    based_on = "history" if shopper.known else "session" if shopper.interests else "query"
    service.figures.answered("/search", based_on, len(found.hits))
    shown = [hit.result for hit in found.hits]
    service.answered_by(found.provenance, request.scope["request_id"], "/search")
    service.shown.keep(request.scope["request_id"], found.provenance.version, "search", shown, body.offset + 1)
    note(request, model=found.provenance.version, total=found.total)
    corrected = found.corrected is not None or bool(taken and taken.understanding.corrections)
    return UnderstoodAnswer(
        request_id=request.scope["request_id"],
        model=ModelFacts.of(found.provenance),
        query=found.corrected or (taken.query.text if taken else body.query),
        corrected=corrected,
        total=found.total,
        taste_weight=found.taste_weight,
        known_user=shopper.user is not None,
        ignored=ignored,
        facets={
            name: [FacetValue(value=value, count=count) for value, count in values]
            for name, values in found.facets.items()
        },
        prices=None if found.prices is None else PriceSpan(least=found.prices[0], most=found.prices[1]),
        results=FittingFacts.of_hits(found.hits, fitting, body.offset),
        understood=UnderstoodFacts.of(taken.understanding, taken.relaxed, engine.vocabulary, intents)
        if taken
        else None,
    )
