"""The server's state: the same behaviour on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, inspect, text

from pipelines.errors import ConfigError, DataError
from pipelines.serving.state import ConflictError, State, StateError
from pipelines.serving.state.database import Database
from pipelines.serving.state.migrate import MIGRATIONS
from pipelines.serving.state.schema import HEAD, METADATA
from tests.state_database import RING, an_event
from tests.state_database import state as state
from tests.state_database import url as url


def test_migrations_make_the_tables_that_the_code_uses(state: State, url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    with Database(url).snapshot() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert set(inspect(connection).get_table_names()) == {*METADATA.tables, "alembic_version"}


def test_open_brings_an_older_schema_up_to_date_and_keeps_what_is_there(url: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with Database(url).transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        row = "INSERT INTO offers (offer_id, kind, item_ids, starts, ends) VALUES ('tea', 'coupon', '[\"tea\"]', 0, 1)"
        connection.execute(text(row))
    state = State.open(url, RING)
    (found,) = state.offers.all()
    assert (found.offer.offer_id, found.offer.cost, found.offer.value) == ("tea", 0.0, 0.0)
    state.close()


def test_open_refuses_a_schema_from_the_future(state: State, url: str) -> None:
    with Database(url).transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StateError, match="schema 9999, newer than the 0005") as caught:
        State.open(url, RING)
    assert caught.value.reason == "newer"


def test_open_refuses_somebody_elses_database(url: str) -> None:
    with Database(url).transaction() as connection:
        connection.execute(text("CREATE TABLE customers (name TEXT)"))
    with pytest.raises(StateError, match="other tables: customers"):
        State.open(url, RING)


@pytest.mark.parametrize("address", ["mysql://h/d", "sqlite://", "not an address", "sqlite:///:memory:"])
def test_open_refuses_an_address_that_cannot_keep_anything(address: str) -> None:
    with pytest.raises(ConfigError, match="state"):
        State.open(address, RING)


def test_open_again_finds_everything(url: str) -> None:
    event = an_event("e1", query="milk, 日本", device=RING.pseudonym("phone"), position=0)
    first = State.open(url, RING)
    (receipt,) = first.events.append([event])
    first.close()
    again = State.open(url, RING)
    assert again.events.of(event.identity) == [event]
    assert again.events.append([event]) == [receipt]
    again.close()


def test_append_gives_the_same_receipt_when_an_event_comes_again(state: State) -> None:
    event = an_event("e1")
    first = state.events.append([event, an_event("e2"), event])
    assert [receipt.repeated for receipt in first] == [False, False, True]
    assert state.events.append([event]) == [first[0]] == [first[2]]
    assert [found.event_id for found in state.events.of(event.identity)] == ["e1", "e2"]


def test_append_takes_an_event_without_a_time_again_whenever_it_comes(state: State) -> None:
    first = an_event("e1", undated=True)
    (receipt,) = state.events.append([first])
    later = replace(first, timestamp=first.timestamp + timedelta(seconds=2))
    assert state.events.append([later, later]) == [receipt, receipt]
    assert state.events.of(first.identity) == [first]
    with pytest.raises(ConflictError, match="price"):
        state.events.append([replace(later, price=99.0)])


def test_append_refuses_other_content_under_a_known_id_and_names_both(state: State) -> None:
    event = an_event("e1")
    state.events.append([event])
    with pytest.raises(ConflictError, match=r"'e1' is stored with \{'item_id': 'milk'\} .* \{'item_id': 'tea'\}"):
        state.events.append([an_event("e2"), replace(event, item_id="tea")])
    assert [found.event_id for found in state.events.of(event.identity)] == ["e1"]


def test_append_refuses_a_conflict_within_one_request(state: State) -> None:
    event = an_event("e1")
    with pytest.raises(ConflictError, match="e1"):
        state.events.append([event, replace(event, price=3.0)])
    assert state.events.of(event.identity) == []


@pytest.mark.parametrize("days", [-1, 8])
def test_append_refuses_times_far_from_now(state: State, days: int) -> None:
    with pytest.raises(DataError, match="event 'e1' happen"):
        state.events.append([an_event("e1", timestamp=datetime.now(UTC) - timedelta(days=days))])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"event_type": "buy"}, "event_type is 'buy'"),
        ({"item_id": None}, "no item_id"),
        ({"item_id": "a\0b"}, "control character"),
        ({"item_id": "x" * 257}, "257 characters"),
        ({"event_type": "search"}, "no query"),
        ({"query": "\ud800"}, "no text"),
        ({"quantity": 0.0}, "quantity is 0"),
        ({"price": float("nan")}, "price is nan"),
        ({"identity": "ann@example.org"}, "no pseudonym"),
        ({"timestamp": datetime(2026, 1, 1)}, "no time zone"),
        ({"position": -1}, "position is -1"),
    ],
)
def test_event_refuses_what_the_tables_would(fields: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        an_event("e1", **fields)


def test_append_from_many_threads_stores_each_event_once(state: State) -> None:
    events = [an_event(f"e{number}") for number in range(200)]
    receipts: list[dict[str, datetime]] = []

    def send(offset: int) -> None:
        mine = [*events[offset:], *events[:offset]]
        receipts.append(
            {receipt.event_id: receipt.received for event in mine for receipt in state.events.append([event])}
        )

    threads = [threading.Thread(target=send, args=(25 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(state.events.of(events[0].identity, limit=1_000)) == 200
    assert receipts == [receipts[0]] * 8


def test_two_servers_on_one_database_agree(url: str, state: State) -> None:
    other = State.open(url, RING)
    events = [an_event(f"e{number}") for number in range(60)]
    waiting = [one.events.submit([event]) for event in events for one in (state, other)]
    receipts = [future.result() for future in waiting]
    assert receipts[::2] == receipts[1::2]
    other.close()


def test_of_follows_links_and_unlinking_restores_what_was_before(state: State) -> None:
    phone, ann, bob = state.device("phone"), state.account("ann"), state.account("bob")
    state.events.append([an_event("1", identity=phone), an_event("2", identity=ann), an_event("3", identity=bob)])

    def seen() -> list[tuple[str, list[str]]]:
        return [
            (state.identities.profile_of(who), [e.event_id for e in state.events.of(who)]) for who in (phone, ann, bob)
        ]

    alone = seen()
    state.identities.link(phone, ann)
    linked = seen()
    assert linked == [(ann, ["1"]), (ann, ["1", "2"]), (bob, ["3"])]
    state.identities.link(phone, ann)
    assert seen() == linked
    state.identities.link(phone, bob)
    assert seen() == [(bob, ["1"]), (ann, ["2"]), (bob, ["1", "3"])]
    state.identities.unlink(phone, bob)
    assert seen() == linked
    state.identities.unlink(phone, ann)
    assert seen() == alone
    with pytest.raises(DataError, match="not linked"):
        state.identities.unlink(phone, ann)


def test_nothing_is_stored_of_raw_ids(state: State, url: str) -> None:
    state.events.append([an_event("e1", identity=state.account("ann@example.org"), device=state.device("IMEI-4711"))])
    assert state.account("ann@example.org") == RING.pseudonym("ann@example.org")
    with create_engine(url.replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
        rows = str(connection.execute(text("SELECT * FROM events")).all())
    assert "e1" in rows
    assert "ann@" not in rows
    assert "4711" not in rows
