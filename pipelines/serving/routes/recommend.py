"""``POST /recommend``: items for a placement, for whoever asks."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Depends, Request

from pipelines.serving.access import needs
from pipelines.serving.answers import Answer, Asked, Placement
from pipelines.serving.direct import Direct
from pipelines.serving.front import note
from pipelines.serving.problems import RefusedError, responses
from pipelines.serving.schemas import ModelFacts, RecommendAnswer, RecommendRequest, results_of
from pipelines.serving.service import Service
from pipelines.serving.whom import rows_of, shopper_of

router = APIRouter(dependencies=[Depends(needs("read"))], route_class=Direct)
OF_ONE_ITEM = ("similar", "bought-together")


@router.post(
    "/recommend",
    response_model=RecommendAnswer,
    responses=responses(401, 403, 404, 408, 413, 422, 429, 503),
    summary="Recommend items for a placement",
)
async def recommend(body: RecommendRequest, request: Request) -> RecommendAnswer:
    """From the shopper's history, visit and cart; for someone unknown from the visit, then the context, then
    popularity. An id that is not known is no error: the shopper is then a new one."""
    service: Service = request.app.state.service
    engine = service.current()
    rows, ignored = rows_of(engine, [*body.items, *body.viewed, *body.cart])
    items = tuple(rows[name] for name in body.items if name in rows)
    if body.placement in ("product", *OF_ONE_ITEM) and not items:
        raise RefusedError(
            404 if body.items else 422,
            "unknown_item" if body.items else "invalid_request",
            "the catalogue has none of these items" if body.items else f"{body.placement} needs an item",
            where="body.items",
            mend="name an item_id of the catalogue",
        )
    with service.figures.step("shopper"):
        shopper = await shopper_of(service, engine, body, rows)
    asked = Asked(
        placement=cast(Placement, body.placement if body.placement not in OF_ONE_ITEM else "product"),
        count=body.k,
        items=items,
        categories=tuple(body.context.categories),
        brands=tuple(body.context.brands),
        new_only=body.new_only,
        rules=body.rules.rules(),
        explain=body.explain,
    )

    def work() -> Answer:
        with service.figures.step("rank"):
            if body.placement == "similar":
                return engine.similar(items[0], shopper, asked)
            if body.placement == "bought-together":
                return engine.bought_together(items[0], shopper, asked)
            return engine.recommend(shopper, asked)

    answer = await service.run(work, not body.explain and engine.instant(shopper, items))
    request_id = request.scope["request_id"]
    service.answered_by(answer.provenance, request_id, "/recommend")
    service.shown.keep(request_id, answer.provenance.version, body.placement, answer.results)
    service.figures.answered("/recommend", answer.based_on, len(answer.results))
    note(request, model=answer.provenance.version, based_on=answer.based_on)
    return RecommendAnswer(
        request_id=request_id,
        model=ModelFacts.of(answer.provenance),
        based_on=answer.based_on,
        known_user=shopper.user is not None,
        ignored=ignored,
        results=results_of(answer.results),
    )
