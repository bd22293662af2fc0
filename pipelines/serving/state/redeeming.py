"""What purchases redeem, within the transaction that stores them: functions of a connection, times in microseconds.

A purchase redeems one reservation that its shopper holds since before it, of an offer that names its item, or else of
one for everything; of several the one that costs most.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, select

from pipelines.serving.state.identities import accounts_of, members_of
from pipelines.serving.state.records import Row
from pipelines.serving.state.reservations import held_by, locked, settle
from pipelines.serving.state.schema import RESERVATIONS

_CHUNK = 500


def redeem_bought(connection: Connection, purchases: Sequence[Row], now: int) -> dict[str, str]:
    """Redeem what is held for what was bought, all of what each holds.

    Args:
        connection: to the database.
        purchases: rows of events, just stored.
        now: what is over by then is redeemed no more.

    Returns:
        Event id -> offer id, of the purchases that redeemed one.
    """
    if not purchases or not _anything_held(connection, now):
        return {}
    profiles = accounts_of(connection, sorted({row["identity"] for row in purchases}))
    members = members_of(connection, set(profiles.values()))
    # In one order, whoever locks; what is held is read again once nobody else can change it.
    wanted = sorted({row["offer_id"] for row in _held(connection, members, now)})
    items = {name: _items(connection, name) for name in wanted}
    held = [row for row in _held(connection, members, now) if row["offer_id"] in items]
    redeemed = {}
    for purchase in purchases:
        fitting = [
            (bool(items[row["offer_id"]]), row["amount"], row["reservation_id"], row)
            for row in held
            if members[row["identity"]] == profiles[purchase["identity"]]
            and row["made"] <= purchase["happened"]
            and (not items[row["offer_id"]] or purchase["item_id"] in items[row["offer_id"]])
        ]
        if fitting:
            *_, best = max(fitting, key=lambda each: each[:3])
            held.remove(best)
            settle(connection, best, "redeemed", best["amount"], purchase["event_id"])
            redeemed[purchase["event_id"]] = best["offer_id"]
    return redeemed


def redeemed_by(connection: Connection, event_ids: Sequence[str]) -> dict[str, str]:
    """Event id -> offer id, of these events that redeemed one."""
    found: dict[str, str] = {}
    for start in range(0, len(event_ids), _CHUNK):
        mine = RESERVATIONS.c.event_id.in_(event_ids[start : start + _CHUNK])
        query = select(RESERVATIONS.c.event_id, RESERVATIONS.c.offer_id).where(mine)
        found.update((event_id, offer_id) for event_id, offer_id in connection.execute(query))
    return found


def _anything_held(connection: Connection, now: int) -> bool:
    held = RESERVATIONS.c.status == "reserved", RESERVATIONS.c.expires > now
    return connection.execute(select(RESERVATIONS.c.reservation_id).where(*held).limit(1)).first() is not None


def _held(connection: Connection, members: Collection[str], now: int) -> list[Row]:
    who = sorted(members)
    chunks = (who[start : start + _CHUNK] for start in range(0, len(who), _CHUNK))
    return [row for chunk in chunks for row in held_by(connection, chunk, now)]


def _items(connection: Connection, offer_id: str) -> frozenset[str]:
    offer = locked(connection, offer_id)
    return frozenset(json.loads(offer["item_ids"]) if offer else ())
