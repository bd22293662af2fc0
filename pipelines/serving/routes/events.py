"""``POST /events``: what shoppers did, acknowledged once it is durable."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Depends, Request

from pipelines.errors import DataError
from pipelines.serving.access import needs
from pipelines.serving.direct import Direct
from pipelines.serving.front import note
from pipelines.serving.memory import Memory
from pipelines.serving.problems import RefusedError, responses
from pipelines.serving.schemas import EventBody, EventReceipt, EventsAnswer, EventsRequest
from pipelines.serving.service import Service
from pipelines.serving.state import ConflictError, Event, StateError

router = APIRouter(dependencies=[Depends(needs("events"))], route_class=Direct)
CLICKS = ("view", "cart", "purchase")


@router.post(
    "/events",
    response_model=EventsAnswer,
    responses=responses(401, 403, 408, 409, 413, 422, 429, 503),
    summary="Tell what shoppers did",
)
async def events(body: EventsRequest, request: Request) -> EventsAnswer:
    """All events of a request are stored or none. An event that comes again is acknowledged again; one with the id of
    another is refused. The next request of the shopper knows them. A purchase redeems the offer that is held for it."""
    service: Service = request.app.state.service
    memory = service.remembering()
    now = datetime.now(UTC)
    told = [_event(memory, each, now, place) for place, each in enumerate(body.events)]
    with service.figures.step("store"):
        try:
            exposures = service.shown.exposures(told)
            receipts = await service.store(lambda: memory.append(told))
            if exposures:
                await service.store(lambda: memory.state.exposures.append(exposures))
        except ConflictError as error:
            raise RefusedError(409, "conflict", error.message, where="body.events", mend=error.mend) from None
        except DataError as error:
            raise RefusedError(422, "invalid_request", error.message, where="body.events", mend=error.mend) from None
        except StateError as error:
            raise service.lost(error) from None
    for event, receipt in zip(told, receipts, strict=True):
        if not receipt.repeated:
            clicked = event.event_type in CLICKS and event.request_id is not None
            service.figures.happened(event.event_type, clicked)
            if receipt.offer is not None:
                service.figures.offers.labels("redeemed").inc()
    redeemed = [receipt.offer for receipt in receipts if receipt.offer is not None]
    note(request, events=len(told), **({"redeemed": redeemed} if redeemed else {}))
    engine, named = service.engine, dict.fromkeys(event.item_id for event in told if event.item_id)
    return EventsAnswer(
        request_id=request.scope["request_id"],
        receipts=[EventReceipt(**vars(receipt)) for receipt in receipts],
        ignored=[name for name in named if engine is not None and engine.item_row(name) is None],
    )


def _event(memory: Memory, body: EventBody, now: datetime, place: int) -> Event:
    where = f"body.events.{place}"
    try:
        identity = memory.identity(body.user, body.device, body.session)
        if identity is None:
            raise DataError("an event needs a shopper", mend="send user, device or session")
        device = memory.state.device(body.device) if body.device is not None else None
        kept = body.model_dump(exclude={"type", "user", "device", "session", "timestamp"})
        timestamp = body.timestamp.astimezone(UTC) if body.timestamp is not None else now
        return Event(
            **kept,
            undated=body.timestamp is None,
            identity=identity,
            device=device,
            session_id=body.session,
            event_type=body.type,
            timestamp=timestamp,
        )
    except (DataError, OverflowError) as error:
        reason = error.message if isinstance(error, DataError) else "the timestamp is out of range"
        raise RefusedError(422, "invalid_request", reason, where=where, mend=getattr(error, "mend", "")) from None
