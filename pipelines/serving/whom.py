"""From the ids of a request to the shopper that the engine knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pipelines.serving.engine import Engine
from pipelines.serving.service import Service
from pipelines.serving.shopper import Deed, Shopper


class Visit(Protocol):
    """What a request says of who asks."""

    @property
    def user(self) -> str | None: ...

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
    """The shopper behind a request."""
    deeds = [Deed(rows[name], "view") for name in body.viewed if name in rows]
    cart = tuple(rows[name] for name in body.cart if name in rows)
    return Shopper.of(service.user_row(engine, body.user), deeds, cart)
