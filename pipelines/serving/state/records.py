"""What goes into the state and comes out of it."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import DataError, near_names
from pipelines.pseudonyms import LONGEST_ID
from pipelines.tables import EVENT_TYPES

LONGEST_QUERY = 10_000
"""Characters of a query."""

_PSEUDONYM = re.compile("[0-9a-f]{32}")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def check_id(name: str, value: str | None) -> None:
    """Refuse an id that the tables' contract or a database would refuse.

    Raises:
        DataError: it is empty, too long, or holds control characters or half a surrogate pair.
    """
    if value is None:
        return
    if not value or len(value) > LONGEST_ID:
        raise DataError(f"{name} has {len(value)} characters", mend=f"send 1 to {LONGEST_ID}")
    if not value.isprintable() and any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
        raise DataError(f"{name} holds a control character: {value!a:.60}", mend="send printable characters")


def check_identity(name: str, value: str | None) -> None:
    """Refuse what is no pseudonym: nothing of the state holds a raw user or device id.

    Raises:
        DataError: it is not 32 hexadecimal digits.
    """
    if value is not None and not _PSEUDONYM.fullmatch(value):
        raise DataError(f"{name} is no pseudonym", mend="name users by State.account and devices by State.device")


def check_time(name: str, value: datetime) -> None:
    """Refuse a time that has no place in the tables.

    Raises:
        DataError: it has no time zone or lies before 1970.
    """
    if value.tzinfo is None:
        raise DataError(f"{name} has no time zone: {value}", mend="send it as 2026-11-24T21:35:00Z")
    if value < _EARLIEST:
        raise DataError(f"{name} is {value}, before 1970", mend="send the time at which it happened")


@dataclass(frozen=True)
class Event:
    """Something a shopper did.

    Args:
        event_id: the sender's own; sending it again is safe.
        identity: who, as ``State.account`` or ``State.device`` name them.
        event_type: one of ``pipelines.tables.EVENT_TYPES``.
        timestamp: when it happened, aware.
        item_id: what with; a search alone has none.
        quantity: over 0; the stars of a rating.
        price: of one unit, 0 or more, in the shop's currency.
        session_id: the visit it belongs to.
        device: the device it happened on, as ``State.device`` names it.
        channel: ``web``, ``app``, ``store``: the shop's own words.
        query: what was searched for.
        request_id: of the answer that the item was seen in.
        placement: where it was seen: ``home``, ``cart``.
        position: its place there, from 0.
        undated: the sender told no time, and ``timestamp`` is when it came: sent again, it comes at another.

    Raises:
        DataError: a field that the tables' contract would refuse; the message names it.
    """

    event_id: str
    identity: str
    event_type: str
    timestamp: datetime
    item_id: str | None = None
    quantity: float | None = None
    price: float | None = None
    session_id: str | None = None
    device: str | None = None
    channel: str | None = None
    query: str | None = None
    request_id: str | None = None
    placement: str | None = None
    position: int | None = None
    undated: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("event_id", "item_id", "session_id", "channel", "request_id", "placement"):
            check_id(name, getattr(self, name))
        for name in ("identity", "device"):
            check_identity(name, getattr(self, name))
        if self.event_type not in EVENT_TYPES:
            known = near_names(self.event_type, EVENT_TYPES) or f"send one of {', '.join(EVENT_TYPES)}"
            raise DataError(f"event_type is {self.event_type!a:.60}", mend=known)
        check_time("timestamp", self.timestamp)
        if self.event_type == "search":
            if not self.query:
                raise DataError("a search has no query", mend="send query")
        elif self.item_id is None:
            raise DataError(f"a {self.event_type} has no item_id", mend="send item_id")
        for name, value in (("quantity", self.quantity), ("price", self.price)):
            if value is not None and (not math.isfinite(value) or value < 0 or (name == "quantity" and value == 0)):
                raise DataError(f"{name} is {value}", mend="send a finite number, 0 or more; a quantity over 0")
        if self.query is not None and len(self.query) > LONGEST_QUERY:
            raise DataError(f"query has {len(self.query)} characters", mend=f"send at most {LONGEST_QUERY}")
        if self.query is not None and ("\0" in self.query or not _encodable(self.query)):
            raise DataError("query is no text", mend="send UTF-8 without NUL")
        if self.position is not None and not 0 <= self.position < 1_000_000:
            raise DataError(f"position is {self.position}", mend="count places from 0")


@dataclass(frozen=True)
class Receipt:
    """An event is durable.

    Args:
        event_id: the sender's.
        received: when it was first accepted, by the server's clock, which never runs backwards here.
        offer: the offer that this purchase redeemed, because it was held for the item; None where none was.
        repeated: it was there already, with the same content.
    """

    event_id: str
    received: datetime
    offer: str | None = None
    repeated: bool = field(default=False, compare=False)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Row = dict[str, Any]
"""Column name -> value, as SQLAlchemy takes and gives them."""
