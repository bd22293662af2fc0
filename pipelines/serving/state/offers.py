"""Offers and what is reserved of them, so that no budget is overspent and no cap is passed, however many ask at once.

A reservation takes its amount out of the offer's budget until it is redeemed (the amount is spent), released or
expired (it is back). Each change locks the offer's row first: on SQLite there is one writer, on PostgreSQL the row.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any
from uuid import uuid4

import numpy as np
from sqlalchemy import func, select

from pipelines.errors import DataError
from pipelines.serving.state import reservations
from pipelines.serving.state.core import Core
from pipelines.serving.state.errors import in_our_words
from pipelines.serving.state.identities import identities_of
from pipelines.serving.state.offer_records import (
    MILLIONTHS,
    MOST_MONEY,
    Held,
    Offer,
    OfferRefusedError,
    OfferState,
    Reservation,
    offer_state,
    reservation,
)
from pipelines.serving.state.records import check_id, check_identity
from pipelines.serving.state.reservations import amounts_over, had_enough, held_by, spent_up, times_used
from pipelines.serving.state.schema import OFFERS, RESERVATIONS, moment
from pipelines.serving.state.terms import Open, Terms
from pipelines.serving.state.writer import one_by_one

ELSEWHERE_SECONDS = 1.0
"""How long terms are kept that another server may change; on SQLite there is no other."""


class Offers:
    """The tables of offers and reservations.

    Args:
        core: what the state stands on.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._terms: tuple[float, Terms] | None = None
        self._edition = 0
        self._keeps = ELSEWHERE_SECONDS if core.database.file is None else math.inf

    def put(self, offers: Sequence[Offer]) -> None:
        """Store offers; of those that are known the terms change, what is reserved and spent stays."""
        try:
            self._core.writer.submit(_PUT, list(offers), len(offers)).result()
        finally:
            self._edition += 1
            self._terms = None

    def all(self) -> list[OfferState]:
        """Every offer, by id. Reservations that are over count until the offer is next asked for."""
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            rows = [dict(row) for row in connection.execute(select(OFFERS).order_by(OFFERS.c.offer_id)).mappings()]
        return [offer_state(row) for row in rows]

    def open_for(self, profile: str) -> Open:
        """Offers whose window, audience, cap and budget would let a profile have them now, or that it holds."""
        now, terms = self._core.now(), self._current()
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            who = identities_of(connection, profile)
            gone = spent_up(connection, amounts_over(connection, now))
            used = times_used(connection, who, now)
            holds = {row["offer_id"] for row in held_by(connection, who, now)}
        running = (terms.starts <= now) & (now < terms.ends)
        can = running.copy()
        can[[terms.rows[name] for name in gone if name in terms.rows]] = False
        for row in {*terms.limited, *(terms.rows[name] for name in used if name in terms.rows)}:
            offer = terms.offers[row]
            if offer.audience is not None and offer.audience.isdisjoint(who):
                can[row] = False
            if had_enough(offer.cap, offer.cap_days, used.get(offer.offer_id, []), now):
                can[row] = False
        held = np.zeros(len(can), bool)
        held[[terms.rows[name] for name in holds if name in terms.rows]] = True
        rows = np.flatnonzero(running & (can | held))
        return Open(terms, rows, held[rows])

    def _current(self) -> Terms:
        """The terms as they were last put here, and by other servers a moment ago at most."""
        kept, edition = self._terms, self._edition
        if kept is not None and time.monotonic() < kept[0]:
            return kept[1]
        terms = Terms.of([state.offer for state in self.all()])
        if edition == self._edition:
            self._terms = time.monotonic() + self._keeps, terms
        return terms

    def held_by(self, profile: str) -> list[Held]:
        """Offers that a profile holds now and has not redeemed."""
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            rows = held_by(connection, identities_of(connection, profile), self._core.now())
            named = select(OFFERS.c.offer_id, OFFERS.c.item_ids)
            wanted = named.where(OFFERS.c.offer_id.in_({row["offer_id"] for row in rows}))
            items = {name: tuple(json.loads(ids)) for name, ids in connection.execute(wanted)} if rows else {}
        return [Held(row["offer_id"], items[row["offer_id"]], moment(row["expires"])) for row in rows]

    def record_of(self, profile: str) -> tuple[int, int]:
        """How many offers a profile was given, and how many of them it redeemed."""
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            mine = RESERVATIONS.c.identity.in_(identities_of(connection, profile))
            counts = select(RESERVATIONS.c.status, func.count()).where(mine).group_by(RESERVATIONS.c.status)
            found = {status: int(count) for status, count in connection.execute(counts)}
        return sum(found.values()), found.get("redeemed", 0)

    def outcomes(self) -> tuple[int, int]:
        """How many reservations were redeemed, and how many are over in one way or another."""
        counts = select(RESERVATIONS.c.status, func.count()).group_by(RESERVATIONS.c.status)
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            found = {status: int(count) for status, count in connection.execute(counts)}
        return found.get("redeemed", 0), sum(count for status, count in found.items() if status != "reserved")

    def reserve(
        self,
        offer_id: str,
        profile: str,
        amount: float,
        *,
        holds: timedelta = timedelta(minutes=15),
        reservation_id: str | None = None,
        once: bool = False,
    ) -> Reservation:
        """Hold a part of an offer's budget. Returns when that is durable.

        Args:
            offer_id: of which.
            profile: for whom, as ``identities.profile_of`` gives it.
            amount: what its redemption may cost at most.
            holds: how long.
            reservation_id: the sender's own; the same again gives the same reservation.
            once: give what the profile holds of the offer already, where it does, and hold no more.

        Raises:
            OfferRefusedError: there is no such offer now for this profile, or its budget has not that much left.
            ConflictError: the id is another reservation's.
            DataError: the amount is none.
        """
        return reservation(self._reserving(offer_id, profile, amount, holds, reservation_id, once).result())

    def reserve_each(
        self, asked: Sequence[tuple[str, float]], profile: str, holds: timedelta
    ) -> list[Reservation | None]:
        """Hold a part of each of some offers, once, within as few flushes to the disk as can be.

        Args:
            asked: offers and amounts.
            profile: for whom.
            holds: how long.

        Returns:
            For each what is held; None where it cannot be had.
        """
        under_way = [self._reserving(name, profile, amount, holds, None, True) for name, amount in asked]
        found: list[Reservation | None] = []
        for each in under_way:
            try:
                found.append(reservation(each.result()))
            except OfferRefusedError:
                found.append(None)
        return found

    def _reserving(
        self, offer_id: str, profile: str, amount: float, holds: timedelta, reservation_id: str | None, once: bool
    ) -> Future[Any]:
        check_id("reservation_id", reservation_id)
        check_identity("profile", profile)
        if not 0 <= amount <= MOST_MONEY:
            raise DataError(f"the amount is {amount}", mend="give what the offer may cost, 0 or more")
        now = self._core.now()
        row = {
            "reservation_id": reservation_id or uuid4().hex,
            "offer_id": offer_id,
            "identity": profile,
            "amount": round(amount * MILLIONTHS),
            "status": "reserved",
            "made": now,
            "expires": now + holds // timedelta(microseconds=1),
        }
        return self._core.writer.submit(_RESERVE, (row, once))

    def redeem(self, reservation_id: str, amount: float | None = None) -> Reservation:
        """Spend a reservation; what it held over the amount goes back. Again is no error. Returns when it is durable.

        Args:
            reservation_id: as ``reserve`` gave it.
            amount: what it did cost, at most what is held; None: all of that.

        Raises:
            OfferRefusedError: there is no such reservation, or it was released or is over.
            DataError: more than it holds.
        """
        return self._end(reservation_id, "redeemed", None if amount is None else round(amount * MILLIONTHS))

    def release(self, reservation_id: str) -> Reservation:
        """Give a reservation back. Again is no error. Returns when it is durable.

        Raises:
            OfferRefusedError: there is no such reservation, or it was redeemed.
        """
        return self._end(reservation_id, "released", 0)

    def expire(self) -> int:
        """Give back what all reservations held that are over; returns how many there were."""
        return int(self._core.writer.submit(_EXPIRE, self._core.now()).result())

    def _end(self, reservation_id: str, status: str, amount: int | None) -> Reservation:
        asked = (reservation_id, status, amount, self._core.now())
        return reservation(self._core.writer.submit(_END, asked).result())


_PUT = one_by_one(reservations.put)
_RESERVE = one_by_one(reservations.reserve)
_END = one_by_one(reservations.end)
_EXPIRE = one_by_one(reservations.expire_all)
