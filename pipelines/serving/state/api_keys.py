"""API keys: who may ask for what.

A token is ``sl_<key id>_<secret>``. Stored is the secret's HMAC under a key that is derived from the state folder's key
ring, which is not in the database: whoever reads the database can neither use a key nor try guesses. A secret has 256
random bits, so the hash can be a fast one.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, insert, select, update

from pipelines.errors import DataError, near_names
from pipelines.pseudonyms import KeyRing
from pipelines.serving.state.core import Core
from pipelines.serving.state.errors import in_our_words
from pipelines.serving.state.records import check_id
from pipelines.serving.state.schema import KEYS, moment
from pipelines.serving.state.writer import one_by_one

SCOPES = ("read", "events", "admin")
"""Ask for results; send events, identities and sessions; manage keys and offers."""

_PREFIX = "sl"
_LONGEST_TOKEN = 256


@dataclass(frozen=True)
class ApiKey:
    """A key as the database knows it, without its secret.

    Args:
        key_id: its public name, also in the token.
        label: whom it was made for.
        scopes: of ``SCOPES``.
        requests_per_minute: what the HTTP layer lets it ask.
        made: when.
        revoked: since when it is refused; None while it is good.
    """

    key_id: str
    label: str
    scopes: frozenset[str]
    requests_per_minute: int
    made: datetime
    revoked: datetime | None = None


class ApiKeys:
    """The table of keys.

    Args:
        core: what the state stands on.
        ring: the state folder's; its first key stays on it for ever.
    """

    def __init__(self, core: Core, ring: KeyRing) -> None:
        self._core = core
        self._pepper = hmac.digest(ring.secrets[0], b"shoploom api keys", "sha256")

    def make(self, label: str, scopes: Iterable[str], requests_per_minute: int = 600) -> tuple[ApiKey, str]:
        """Make a key. Returns when it is durable.

        Returns:
            The key, and its token, which is shown this once and stored nowhere.

        Raises:
            DataError: the label is none, there is no such scope, or the rate is under 1.
        """
        check_id("label", label)
        wanted = frozenset(scopes)
        if unknown := sorted(wanted - {*SCOPES}):
            known = near_names(unknown[0], SCOPES) or f"scopes are {', '.join(SCOPES)}"
            raise DataError(f"there is no scope {unknown[0]!r}", mend=known)
        if not wanted or not 1 <= requests_per_minute <= 1_000_000:
            raise DataError("a key needs a scope, and 1 to 1,000,000 requests a minute", mend="name --scope read")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        made = self._core.now()
        row = {
            "key_id": key_id,
            "label": label,
            "scopes": " ".join(sorted(wanted)),
            "digest": self._digest(secret),
            "requests_per_minute": requests_per_minute,
            "made": made,
        }
        self._core.writer.submit(_MAKE, row).result()
        return ApiKey(key_id, label, wanted, requests_per_minute, moment(made)), f"{_PREFIX}_{key_id}_{secret}"

    def check(self, token: str) -> ApiKey | None:
        """The key of a token; None where it is no key's, or a revoked one's. Takes as long for either.

        Raises:
            StateError: the database cannot be read.
        """
        prefix, _, rest = token[:_LONGEST_TOKEN].encode("ascii", "replace").decode().partition("_")
        key_id, _, secret = rest.partition("_")
        query = select(KEYS).where(KEYS.c.key_id == key_id.replace("\0", "?"))
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            row = connection.execute(query).mappings().one_or_none()
        same = hmac.compare_digest(self._digest(secret), row["digest"] if row else "0" * 64)
        good = same and row is not None and row["revoked"] is None and prefix == _PREFIX
        return _key(row) if good and row is not None else None

    def revoke(self, key_id: str) -> None:
        """Refuse a key from now on. Returns when that is durable.

        Raises:
            DataError: there is no such key.
        """
        self._core.writer.submit(_REVOKE, (key_id, self._core.now())).result()

    def all(self) -> list[ApiKey]:
        """Every key, the revoked ones too, oldest first."""
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            rows = connection.execute(select(KEYS).order_by(KEYS.c.made, KEYS.c.key_id)).mappings()
            return [_key(row) for row in rows]

    def _digest(self, secret: str) -> str:
        return hmac.digest(self._pepper, secret.encode(), "sha256").hex()


def _make(connection: Connection, row: dict[str, object]) -> None:
    connection.execute(insert(KEYS).values(row))


def _revoke(connection: Connection, named: tuple[str, int]) -> None:
    key_id, now = named
    known = connection.execute(select(KEYS.c.key_id)).scalars().all()
    if key_id not in known:
        raise DataError(f"there is no key {key_id!r}", mend=near_names(key_id, known))
    connection.execute(update(KEYS).where(KEYS.c.key_id == key_id, KEYS.c.revoked.is_(None)).values(revoked=now))


def _key(row: RowMapping) -> ApiKey:
    revoked = row["revoked"]
    return ApiKey(
        row["key_id"],
        row["label"],
        frozenset(row["scopes"].split()),
        row["requests_per_minute"],
        moment(row["made"]),
        None if revoked is None else moment(revoked),
    )


_MAKE = one_by_one(_make)
_REVOKE = one_by_one(_revoke)
