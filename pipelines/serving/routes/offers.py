"""``/offers``, ``/offers/terms``, ``/reservations``: who gets which offer, on which terms, and what became of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from pipelines.errors import DataError
from pipelines.serving.access import needs
from pipelines.serving.bought import shopping_of
from pipelines.serving.chances import Source
from pipelines.serving.engine import Engine
from pipelines.serving.front import note
from pipelines.serving.offer_schemas import (
    OfferFacts,
    OffersAnswer,
    OffersRequest,
    ReservationAnswer,
    ReservationRequest,
    TermsAnswer,
    TermsFacts,
    TermsRequest,
)
from pipelines.serving.offers import Chosen, Wanted, choose
from pipelines.serving.problems import RefusedError, public, responses
from pipelines.serving.schemas import ModelFacts
from pipelines.serving.service import Service
from pipelines.serving.state import OfferRefusedError, Reservation, StateError
from pipelines.serving.whom import identity_of

router = APIRouter()
MOST_TITLES = 3


@router.post(
    "/offers",
    response_model=OffersAnswer,
    responses=responses(401, 403, 408, 413, 422, 429, 503),
    summary="Give a shopper the offers worth giving",
    dependencies=[Depends(needs("read"))],
)
async def offers(body: OffersRequest, request: Request) -> OffersAnswer:
    """Each is reserved for a while before it is told of, so that no budget is overspent and no cap passed, however many
    ask at once. What a shopper holds is given again, and held once. A shopper who is not known gets what is worth
    giving to somebody who bought nothing yet."""
    service: Service = request.app.state.service
    engine, memory = service.current(), service.remembering()
    identity = identity_of(service, body)
    if identity is None:
        raise _invalid("an offer needs a shopper", "body", "send user, device or session")
    if body.placement == "product" and not body.items:
        raise _invalid("product needs an item", "body.items", "name an item_id of the catalogue")
    wanted = Wanted(datetime.now(UTC), body.k, frozenset(body.items), frozenset(body.cart))

    def work() -> tuple[bool, Source, list[Chosen]]:
        past = memory.past(identity)
        user = engine.user_row(past.profile)
        redeeming, source, wrong = service.chances.now(memory.state)
        service.tell("offers", None if wrong is None else public(str(wrong)), wrong)
        shopping = shopping_of(engine, user, past.events)
        with service.figures.step("offers"):
            chosen = choose(memory.state, redeeming, past.profile, shopping, wanted)
        if not all(each.again for each in chosen):
            memory.forget(past.profile)
        return user is not None, source, chosen

    try:
        known, source, chosen = await service.store(work)
    except StateError as error:
        raise service.lost(error) from None
    for each in chosen:
        service.figures.offers.labels("again" if each.again else "given").inc()
        if not each.again:
            service.figures.offers_expected.inc(each.expected)
    if not chosen:
        service.figures.offers.labels("none").inc()
    provenance = engine.provenance
    service.answered_by(provenance, request.scope["request_id"], "/offers")
    given = [each.offer.offer_id for each in chosen]
    note(request, model=provenance.version, placement=body.placement, chances_from=source, offers=given)
    return OffersAnswer(
        request_id=request.scope["request_id"],
        model=ModelFacts.of(provenance),
        known_user=known,
        chances_from=source,
        offers=[_facts(engine, position, each) for position, each in enumerate(chosen, start=1)],
    )


@router.put(
    "/offers/terms",
    response_model=TermsAnswer,
    responses=responses(401, 403, 408, 413, 422, 429, 503),
    summary="Set offers' terms",
    dependencies=[Depends(needs("admin"))],
)
async def set_terms(body: TermsRequest, request: Request) -> TermsAnswer:
    """New ones are added; of those that are there the terms change, and what is reserved and spent stays."""
    service: Service = request.app.state.service
    state = service.remembering().state
    put = []
    for place, terms in enumerate(body.offers):
        try:
            put.append(terms.offer(state))
        except DataError as error:
            raise _invalid(error.message, f"body.offers.{place}", error.mend) from None
    try:
        await service.store(lambda: state.offers.put(put))
        stored = await service.store(state.offers.all)
    except StateError as error:
        raise service.lost(error) from None
    named = {offer.offer_id for offer in put}
    note(request, offers=sorted(named))
    items, engine = dict.fromkeys(item for offer in put for item in offer.item_ids), service.engine
    return TermsAnswer(
        request_id=request.scope["request_id"],
        total=len(stored),
        ignored=[item for item in items if engine is not None and engine.item_row(item) is None],
        offers=[TermsFacts.of(each) for each in stored if each.offer.offer_id in named],
    )


@router.get(
    "/offers/terms",
    response_model=TermsAnswer,
    responses=responses(401, 403, 422, 429, 503),
    summary="Read offers' terms, and what is left of them",
    dependencies=[Depends(needs("admin"))],
)
async def terms(
    request: Request, offset: Annotated[int, Query(ge=0, le=10**9)] = 0, k: Annotated[int, Query(ge=1, le=1000)] = 100
) -> TermsAnswer:
    """By id; of the audience only how many they are, because nobody's id is stored."""
    service: Service = request.app.state.service
    state = service.remembering().state
    try:
        stored = await service.store(state.offers.all)
    except StateError as error:
        raise service.lost(error) from None
    told = [TermsFacts.of(each) for each in stored[offset : offset + k]]
    return TermsAnswer(request_id=request.scope["request_id"], total=len(stored), offers=told)


@router.post(
    "/reservations",
    response_model=ReservationAnswer,
    responses=responses(401, 403, 404, 408, 409, 413, 422, 429, 503),
    summary="Redeem or release what is held for a shopper",
    dependencies=[Depends(needs("events"))],
)
async def reservations(body: ReservationRequest, request: Request) -> ReservationAnswer:
    """Sending it again is safe. What is over can be released and not redeemed any more."""
    service: Service = request.app.state.service
    memory = service.remembering()
    if body.action == "release" and body.amount is not None:
        raise _invalid("a release has no amount", "body.amount", "leave it out")

    def work() -> Reservation:
        kept = memory.state.offers
        if body.action == "redeem":
            done = kept.redeem(body.reservation_id, body.amount)
        else:
            done = kept.release(body.reservation_id)
        memory.forget(done.identity)
        return done

    try:
        done = await service.store(work)
    except OfferRefusedError as error:
        status, code = (404, "unknown_reservation") if error.reason == "unknown" else (409, "conflict")
        raise RefusedError(
            status, code, error.message, where="body.reservation_id", mend="ask /offers for another"
        ) from None
    except DataError as error:
        raise _invalid(error.message, "body.amount", error.mend) from None
    except StateError as error:
        raise service.lost(error) from None
    service.figures.offers.labels(done.status).inc()
    note(request, offer=done.offer_id, reservation=done.reservation_id, outcome=done.status, amount=done.amount)
    told = {name: value for name, value in vars(done).items() if name != "identity"}
    return ReservationAnswer(request_id=request.scope["request_id"], **told)


def _facts(engine: Engine, position: int, chosen: Chosen) -> OfferFacts:
    offer, held = chosen.offer, chosen.reservation
    return OfferFacts(
        position=position,
        offer_id=offer.offer_id,
        kind=offer.kind,
        item_ids=offer.item_ids,
        title=_title(engine, offer.item_ids),
        cost=offer.cost,
        ends=offer.ends,
        reservation_id=held.reservation_id,
        expires=held.expires,
        again=chosen.again,
        chance=chosen.chance,
        bought_anyway=chosen.anyway,
        expected_value=chosen.expected,
        reasons=(chosen.reason,),
    )


def _title(engine: Engine, items: tuple[str, ...]) -> str:
    """What an offer is for, in words."""
    if not items:
        return "everything"
    rows = [engine.item_row(item) for item in items[:MOST_TITLES]]
    named = [item if row is None else engine.catalogue.titles[row] for item, row in zip(items, rows, strict=False)]
    more = len(items) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _invalid(reason: str, where: str, mend: str) -> RefusedError:
    return RefusedError(422, "invalid_request", reason, where=where, mend=mend)
