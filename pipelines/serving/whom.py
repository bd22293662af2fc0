"""From the ids of a request to the shopper that the engine knows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from pipelines.errors import DataError
from pipelines.serving.engine import Engine
from pipelines.serving.memory import Past
from pipelines.serving.problems import RefusedError
from pipelines.serving.service import Service
from pipelines.serving.shopper import Deed, Kind, Shopper
from pipelines.serving.state import Event, Held, StateError

SECONDS_A_DAY = 86_400.0
HOURS_A_DAY = 24
LIKED, DISLIKED = 4, 2
"""Stars from which a rating is a like, and up to which it is a dislike."""


class Identified(Protocol):
    """What a request says of who asks."""

    @property
    def user(self) -> str | None: ...

    @property
    def device(self) -> str | None: ...

    @property
    def session(self) -> str | None: ...


class Visit(Identified, Protocol):
    """And of what they do."""

    @property
    def viewed(self) -> Sequence[str]: ...

    @property
    def cart(self) -> Sequence[str]: ...


def rows_of(engine: Engine, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Dense ids of items by their names, and the names that the catalogue lacks."""
    named = list(dict.fromkeys(ids))
    rows = {name: row for name in named if (row := engine.item_row(name)) is not None}
    return rows, [name for name in named if name not in rows]


async def shopper_of(service: Service, engine: Engine, body: Visit, rows: Mapping[str, int]) -> Shopper:
    """The shopper behind a request: who they are to the model, what they did since it was trained, and this visit.

    While the state cannot be read, it is the shopper as the model knows them.

    Raises:
        RefusedError: an id is none.
    """
    identity = identity_of(service, body)
    past = None if identity is None else await _past(service, identity)
    known = past.profile if past is not None else identity
    deeds = deeds_of(engine, past.events) if past is not None else []
    deeds += [Deed(rows[name], "view") for name in body.viewed if name in rows]
    cart = tuple(rows[name] for name in body.cart if name in rows)
    offers = offers_of(engine, past.held) if past is not None else {}
    return Shopper.of(None if known is None else engine.user_row(known), deeds, cart, offers)


def offers_of(engine: Engine, held: Sequence[Held]) -> dict[int, str]:
    """Dense ids of items that offers are held for now, with the offer's id; an offer for everything names none."""
    now = datetime.now(UTC)
    named = [(item, each.offer_id) for each in held if each.expires > now for item in each.item_ids]
    return {row: offer_id for item, offer_id in named if (row := engine.item_row(item)) is not None}


def deeds_of(engine: Engine, events: Sequence[Event]) -> list[Deed]:
    """What events say to an engine, oldest first; purchases that its model was trained on are left out.

    Ages are in whole hours, so that what was scored for a shopper holds for an hour.
    """
    now, deeds = time.time() / SECONDS_A_DAY, []
    trained_until = engine.recommender.facts.as_of
    for event in events:
        kind = kind_of(event)
        row = None if event.item_id is None or kind is None else engine.item_row(event.item_id)
        days = event.timestamp.timestamp() / SECONDS_A_DAY
        if row is None or kind is None or (kind == "purchase" and days < trained_until):
            continue
        age = max(0.0, int((now - days) * HOURS_A_DAY) / HOURS_A_DAY)
        deeds.append(Deed(row, kind, age, event.quantity or 1.0))
    return deeds


def kind_of(event: Event) -> Kind | None:
    """What an event says of an item; None where it says nothing."""
    if event.event_type == "rating" and event.quantity is not None:
        return "like" if event.quantity >= LIKED else "dislike" if event.quantity <= DISLIKED else None
    kinds: dict[str, Kind] = {
        "view": "view",
        "cart": "cart",
        "purchase": "purchase",
        "like": "like",
        "dislike": "dislike",
    }
    return kinds.get(event.event_type)


def identity_of(service: Service, body: Identified) -> str | None:
    """Who acts, by pseudonym; None where the request names nobody.

    Raises:
        RefusedError: an id is none.
    """
    try:
        return service.identity(body.user, body.device, body.session)
    except DataError as error:
        raise RefusedError(422, "invalid_request", error.message, where="body", mend=error.mend) from None


async def _past(service: Service, identity: str) -> Past | None:
    memory = service.memory
    if memory is None:
        return None
    try:
        at_hand = memory.at_hand(identity)
        if at_hand is not None:
            return at_hand
        return await service.run(lambda: memory.past(identity), instant=False)
    except StateError as error:
        service.trouble["state"] = f"the state cannot be read: {error.reason}"
        return None
