"""Which key the identities are hashed with, and turning to a newer one when the state folder's ring has got one."""

from __future__ import annotations

import json

from sqlalchemy import Column, Connection, String, Table, insert, select, update
from sqlalchemy.schema import MetaData

from pipelines.errors import ConfigError
from pipelines.pseudonyms import KeyRing
from pipelines.serving.state.schema import (
    EVENTS,
    EXPOSURES,
    FACTS,
    LINKS,
    OFFERS,
    RESERVATIONS,
    SESSIONS,
    inserted_once,
)

_NAME = "user_key"
_WHERE = (
    EVENTS.c.identity,
    EVENTS.c.device,
    EXPOSURES.c.identity,
    SESSIONS.c.identity,
    LINKS.c.device,
    LINKS.c.account,
    RESERVATIONS.c.identity,
)
"""Every column that holds identities; those of an offer's audience are within its JSON."""


def user_key(connection: Connection) -> str:
    """The id of the key that the identities are hashed with; empty in a database without any."""
    found = connection.execute(select(FACTS.c.value).where(FACTS.c.name == _NAME)).scalar_one_or_none()
    return str(found or "")


def bring_to(connection: Connection, ring: KeyRing) -> None:
    """Know everybody by the pseudonyms of the ring's newest key, within the connection's transaction.

    Raises:
        ConfigError: the database was written under a key that is not on the ring.
    """
    stored = user_key(connection)
    if stored == ring.ids[-1]:
        return
    if not stored:
        connection.execute(inserted_once(connection, FACTS).values(name=_NAME, value=ring.ids[-1]))
        return
    if stored not in ring.ids:
        raise ConfigError(
            f"the state knows users by key {stored}, and the key ring here has only {', '.join(ring.ids)}",
            mend="copy the folder keys of the state folder from where the state was made",
        )
    later = ring.after(stored)
    names = {name for column in _WHERE for name in connection.execute(select(column).distinct()).scalars() if name}
    if names:
        renamed = Table(
            "renamed",
            MetaData(),
            Column("old", String(32), primary_key=True),
            Column("new", String(32)),
            prefixes=["TEMPORARY"],
        )
        renamed.create(connection)
        connection.execute(insert(renamed), [{"old": name, "new": later.pseudonym(name)} for name in sorted(names)])
        for column in _WHERE:
            new = select(renamed.c.new).where(renamed.c.old == column).scalar_subquery()
            connection.execute(update(column.table).where(column.is_not(None)).values({column.name: new}))
        renamed.drop(connection)
    for offer_id, audience in connection.execute(
        select(OFFERS.c.offer_id, OFFERS.c.audience).where(OFFERS.c.audience.is_not(None))
    ).all():
        members = json.dumps(sorted(later.pseudonym(name) for name in json.loads(audience)))
        connection.execute(update(OFFERS).where(OFFERS.c.offer_id == offer_id).values(audience=members))
    connection.execute(update(FACTS).where(FACTS.c.name == _NAME).values(value=ring.ids[-1]))
