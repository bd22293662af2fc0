"""What reserving does within its transaction: functions of a connection, times in microseconds, money in millionths."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from pipelines.errors import DataError
from pipelines.serving.state.errors import ConflictError
from pipelines.serving.state.identities import identities_of
from pipelines.serving.state.offer_records import MILLIONTHS, Offer, OfferRefusedError, Refusal, offer_state
from pipelines.serving.state.records import Row
from pipelines.serving.state.schema import OFFERS, RESERVATIONS, microseconds


def put(connection: Connection, offers: Sequence[Offer]) -> None:
    for offer in offers:
        row = {
            "offer_id": offer.offer_id,
            "kind": offer.kind,
            "item_ids": json.dumps(offer.item_ids),
            "starts": microseconds(offer.starts),
            "ends": microseconds(offer.ends),
            "budget": None if offer.budget is None else round(offer.budget * MILLIONTHS),
            "cap": offer.cap,
            "cap_days": offer.cap_days,
            "audience": None if offer.audience is None else json.dumps(sorted(offer.audience)),
            "cost": round(offer.cost * MILLIONTHS),
            "value": round(offer.value * MILLIONTHS),
        }
        if not connection.execute(update(OFFERS).where(OFFERS.c.offer_id == offer.offer_id).values(row)).rowcount:
            connection.execute(insert(OFFERS).values(row))


def reserve(connection: Connection, asked: tuple[Row, bool]) -> Row:
    row, once = asked
    offer = locked(connection, row["offer_id"])
    before = (
        connection.execute(select(RESERVATIONS).where(RESERVATIONS.c.reservation_id == row["reservation_id"]))
        .mappings()
        .one_or_none()
    )
    if before is not None:
        return _same(dict(before), row)
    if offer is None:
        raise OfferRefusedError(f"there is no offer {row['offer_id']!r}", "unknown")
    now = row["made"]
    reserved = offer["reserved"] - _expire(connection, now, row["offer_id"])
    who = identities_of(connection, row["identity"])
    if once and (held := held_by(connection, who, now, row["offer_id"])):
        return held[-1]
    used = times_used(connection, who, now, row["offer_id"]).get(row["offer_id"], [])
    if reason := refusal({**offer, "reserved": reserved}, who, used, now, row["amount"]):
        raise OfferRefusedError(_SAID[reason].format(offer=row["offer_id"]), reason)
    connection.execute(insert(RESERVATIONS).values(row))
    mine = OFFERS.c.offer_id == row["offer_id"]
    connection.execute(update(OFFERS).where(mine).values(reserved=OFFERS.c.reserved + row["amount"]))
    return row


def end(connection: Connection, asked: tuple[str, str, int | None, int]) -> Row:
    reservation_id, status, amount, now = asked
    mine = RESERVATIONS.c.reservation_id == reservation_id
    offer_id = connection.execute(select(RESERVATIONS.c.offer_id).where(mine)).scalar_one_or_none()
    if offer_id is None:
        raise OfferRefusedError(f"there is no reservation {reservation_id!r}", "unknown")
    locked(connection, offer_id)
    _expire(connection, now, offer_id)
    row = dict(connection.execute(select(RESERVATIONS).where(mine)).mappings().one())
    if row["status"] == status or (status == "released" and row["status"] == "expired"):
        return row
    if row["status"] != "reserved":
        raise OfferRefusedError(f"reservation {reservation_id!r} is {row['status']}", "ended")
    spent = row["amount"] if amount is None else amount
    if not 0 <= spent <= row["amount"]:
        raise DataError(
            f"reservation {reservation_id!r} holds {row['amount'] / MILLIONTHS:g}, not {spent / MILLIONTHS:g}",
            mend="redeem at most what it holds",
        )
    return settle(connection, row, status, spent)


def settle(connection: Connection, row: Row, status: str, spent: int, event_id: str | None = None) -> Row:
    """End a reservation whose offer is locked: what it held is spent, or goes back.

    Args:
        connection: to the database.
        row: the reservation, which is held still.
        status: what becomes of it.
        spent: of what it holds.
        event_id: the purchase that redeemed it; None where none did.
    """
    changed = {"reserved": OFFERS.c.reserved - row["amount"], "spent": OFFERS.c.spent + spent}
    connection.execute(update(OFFERS).where(OFFERS.c.offer_id == row["offer_id"]).values(changed))
    kept = {"status": status, "amount": spent if status == "redeemed" else row["amount"], "event_id": event_id}
    mine = RESERVATIONS.c.reservation_id == row["reservation_id"]
    connection.execute(update(RESERVATIONS).where(mine).values(kept))
    return {**row, **kept}


def expire_all(connection: Connection, now: int) -> int:
    count = 0
    for offer_id in sorted(amounts_over(connection, now)):
        locked(connection, offer_id)
        held = RESERVATIONS.c.offer_id == offer_id, RESERVATIONS.c.status == "reserved", RESERVATIONS.c.expires <= now
        count += connection.execute(select(func.count()).select_from(RESERVATIONS).where(*held)).scalar_one()
        _expire(connection, now, offer_id)
    return count


def locked(connection: Connection, offer_id: str) -> Row | None:
    """An offer's row, which nobody else changes before this transaction ends; None where there is none."""
    query = select(OFFERS).where(OFFERS.c.offer_id == offer_id).with_for_update()
    found = connection.execute(query).mappings().one_or_none()
    return None if found is None else dict(found)


def _expire(connection: Connection, now: int, offer_id: str) -> int:
    """Give back what one offer's reservations held that are over; returns how much (millionths)."""
    over = RESERVATIONS.c.offer_id == offer_id, RESERVATIONS.c.status == "reserved", RESERVATIONS.c.expires <= now
    count, back = connection.execute(select(func.count(), func.sum(RESERVATIONS.c.amount)).where(*over)).one()
    if not count:
        return 0
    connection.execute(update(RESERVATIONS).where(*over).values(status="expired"))
    mine = OFFERS.c.offer_id == offer_id
    connection.execute(update(OFFERS).where(mine).values(reserved=OFFERS.c.reserved - int(back)))
    return int(back)


def amounts_over(connection: Connection, now: int) -> dict[str, int]:
    """Offer -> what its reservations hold that are over."""
    query = (
        select(RESERVATIONS.c.offer_id, func.sum(RESERVATIONS.c.amount))
        .where(RESERVATIONS.c.status == "reserved", RESERVATIONS.c.expires <= now)
        .group_by(RESERVATIONS.c.offer_id)
    )
    return {offer_id: int(amount) for offer_id, amount in connection.execute(query)}


def held_by(connection: Connection, who: Sequence[str], now: int, offer_id: str | None = None) -> list[Row]:
    """What a profile holds now and has not redeemed, that which ends last at the end."""
    held = RESERVATIONS.c.identity.in_(who), RESERVATIONS.c.status == "reserved", RESERVATIONS.c.expires > now
    query = select(RESERVATIONS).where(*held).order_by(RESERVATIONS.c.expires)
    if offer_id is not None:
        query = query.where(RESERVATIONS.c.offer_id == offer_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def times_used(
    connection: Connection, who: Sequence[str], now: int, offer_id: str | None = None
) -> dict[str, list[int]]:
    """Offer -> when a profile took it: what is redeemed, or held now."""
    held = (RESERVATIONS.c.status == "reserved") & (RESERVATIONS.c.expires > now)
    query = select(RESERVATIONS.c.offer_id, RESERVATIONS.c.made).where(
        RESERVATIONS.c.identity.in_(who), held | (RESERVATIONS.c.status == "redeemed")
    )
    if offer_id is not None:
        query = query.where(RESERVATIONS.c.offer_id == offer_id)
    found: dict[str, list[int]] = {}
    for name, made in connection.execute(query):
        found.setdefault(name, []).append(made)
    return found


def had_enough(cap: int | None, cap_days: float | None, used: Sequence[int], now: int) -> bool:
    """Whether a profile took an offer as often as it may."""
    since = 0 if cap_days is None else now - round(cap_days * 86_400_000_000)
    return cap is not None and sum(made > since for made in used) >= cap


def spent_up(connection: Connection, over: Mapping[str, int]) -> list[str]:
    """Offers of whose budget nothing is left.

    Args:
        connection: to the database.
        over: as :func:`amounts_over` tells it; that is left.
    """
    left = OFFERS.c.budget - OFFERS.c.reserved - OFFERS.c.spent
    query = select(OFFERS.c.offer_id, left).where(OFFERS.c.budget.is_not(None), left <= 0)
    return [name for name, amount in connection.execute(query) if amount + over.get(name, 0) <= 0]


def refusal(offer: Mapping[Any, Any], who: Sequence[str], used: Sequence[int], now: int, amount: int) -> Refusal | None:
    """Why a profile cannot have an amount of an offer now; None where it can."""
    if not offer["starts"] <= now < offer["ends"]:
        return "window"
    audience = None if offer["audience"] is None else offer_state(offer).offer.audience
    if audience is not None and audience.isdisjoint(who):
        return "audience"
    if had_enough(offer["cap"], offer["cap_days"], used, now):
        return "cap"
    left = None if offer["budget"] is None else offer["budget"] - offer["reserved"] - offer["spent"]
    return "budget" if left is not None and (left <= 0 or amount > left) else None


_SAID: dict[Refusal, str] = {
    "window": "offer {offer!r} does not run now",
    "audience": "offer {offer!r} is not for this user",
    "cap": "this user has had offer {offer!r} as often as it may",
    "budget": "the budget of offer {offer!r} has not that much left",
}


def _same(stored: Row, sent: Row) -> Row:
    differ = [name for name in ("offer_id", "identity", "amount") if stored[name] != sent[name]]
    if differ:
        there, here = ({name: row[name] for name in differ} for row in (stored, sent))
        raise ConflictError(
            f"reservation {sent['reservation_id']!r} is stored with {there} and was sent with {here}",
            mend="give another reservation an id of its own",
        )
    return stored
