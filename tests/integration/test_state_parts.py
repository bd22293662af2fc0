"""Exposures, sessions, keys, offers and what goes back: the same on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from pipelines.errors import ConfigError, DataError
from pipelines.pseudonyms import KeyRing, key_of
from pipelines.serving.memory import Memory
from pipelines.serving.state import ConflictError, Event, Exposure, Offer, OfferRefusedError, Session, State, answered
from pipelines.serving.state.answered import Answered
from pipelines.tables import EVENTS
from tests.state_database import RING, an_event
from tests.state_database import state as state
from tests.state_database import url as url

ANN, BOB = RING.pseudonym("ann"), RING.pseudonym("bob")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time


def an_offer(offer_id: str = "tea", **fields: object) -> Offer:
    given = {"kind": "coupon", "item_ids": ("tea",), "starts": NOW - timedelta(days=1), "ends": NOW + timedelta(days=9)}
    return Offer(offer_id, **{**given, **fields})  # type: ignore[arg-type]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(url: str, clock: Clock) -> State:
    return State.open(url, RING, clock=clock)


def test_state_knows_who_did_something_was_linked_or_given_an_offer(timed: State) -> None:
    phone, carol, dave = timed.device("phone"), timed.account("carol"), timed.account("dave")
    everybody = [ANN, BOB, phone, carol, dave]
    assert not any(map(timed.knows, everybody))
    timed.events.append([an_event("e1", identity=ANN, timestamp=NOW)])
    assert list(map(timed.knows, everybody)) == [True, False, False, False, False]
    timed.offers.put([an_offer()])
    timed.offers.reserve("tea", BOB, 1.0)
    timed.identities.link(phone, carol)
    assert list(map(timed.knows, everybody)) == [True, True, True, True, False]


def test_who_has_no_past_is_told_without_reading_it_and_told_anew_once_there_is_one(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(state, alone=True)
    phone = state.device("phone")
    monkeypatch.setattr(state.events, "of", lambda *_: pytest.fail("the past was read"))
    for who in (ANN, phone):
        told = memory.at_hand(who)
        assert told is not None
        assert (told.profile, told.events, told.held) == (who, (), ())
    monkeypatch.setattr(state, "knows", lambda _: pytest.fail("it was looked up again"))
    assert memory.at_hand(ANN) == memory.past(ANN)
    monkeypatch.undo()
    memory.append([an_event("e1", identity=ANN), an_event("e2", identity=phone)])
    assert memory.at_hand(ANN) is None
    assert [event.event_id for event in memory.past(ANN).events] == ["e1"]
    memory.link(phone, ANN, True)
    assert memory.at_hand(phone) is None
    assert {event.event_id for event in memory.past(phone).events} == {"e1", "e2"}
    assert Memory(state, alone=False).at_hand(BOB) is None


def test_exposures_come_back_with_what_the_ranking_knew(state: State) -> None:
    shown = Exposure("r1", 0, ANN, "milk", "home", "7", NOW, {"popularity": 0.1 + 0.2, "als": -1e-300}, "visit")
    other = replace(shown, position=1, item_id="tea", features={})
    state.exposures.append([shown, other])
    state.exposures.append([replace(shown, item_id="other"), shown])
    assert state.exposures.between(NOW, NOW + timedelta(microseconds=1)) == [shown, other]
    assert state.exposures.between(NOW - timedelta(days=1), NOW) == []
    with pytest.raises(DataError, match="a feature of 'milk' is no finite number"):
        state.exposures.append([replace(shown, position=2, features={"als": float("inf")})])


def test_answers_are_found_by_request_and_forgotten_oldest_first(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [
        Answered(f"r{place % 3}", "/search", "7", "e" * 40, NOW + timedelta(days=place, microseconds=1))
        for place in range(6)
    ]
    state.answers.append(given[:4])
    state.answers.append(given[4:])
    assert state.answers.of("r1") == [given[1], given[4]]
    assert state.answers.of("r9") == []
    monkeypatch.setattr(answered, "FORGOTTEN_AT_ONCE", 2)
    until = NOW + timedelta(days=3)
    assert [state.answers.forget(until) for _ in range(3)] == [2, 1, 0]
    assert [state.answers.of(f"r{place}") for place in range(3)] == [[given[3]], [given[4]], [given[5]]]


def test_session_is_stored_over_the_revision_it_was_made_from(state: State) -> None:
    assert state.sessions.get("s") is None
    first = state.sessions.put(Session("s", "conversation/1", {"constraints": ["cheap\0", "日本"]}, ANN))
    assert (
        state.sessions.get("s") == first == Session("s", "conversation/1", {"constraints": ["cheap\0", "日本"]}, ANN, 1)
    )
    second = state.sessions.put(replace(first, state={"constraints": []}))
    assert state.sessions.get("s") == second
    with pytest.raises(ConflictError, match="stored in revision 2, and revision 1 was sent"):
        state.sessions.put(first)
    with pytest.raises(ConflictError, match="revision 0 was sent"):
        state.sessions.put(replace(first, revision=0))
    with pytest.raises(DataError, match="no JSON"):
        state.sessions.put(replace(second, state={"price": float("nan")}))
    with pytest.raises(DataError, match="characters"):
        state.sessions.put(replace(second, state={"said": "x" * 300_000}))
    assert state.sessions.forget(datetime.now(UTC) + timedelta(days=1)) == 1
    assert state.sessions.get("s") is None


def test_only_one_of_many_turns_at_once_is_stored(state: State) -> None:
    session = state.sessions.put(Session("s", "conversation/1", {}))
    lost: list[int] = []

    def turn(number: int) -> None:
        try:
            state.sessions.put(replace(session, state={"turn": number}))
        except ConflictError:
            lost.append(number)

    _at_once(turn, range(12))
    assert len(lost) == 11
    stored = state.sessions.get("s")
    assert stored is not None
    assert stored.revision == 2


def test_key_opens_what_its_token_says_until_it_is_revoked(state: State, url: str) -> None:
    made, token = state.keys.make("the app", ["read", "events"], 30)
    assert state.keys.check(token) == made
    assert state.keys.all() == [made]
    for wrong in (token[:-1], token + "x", token.replace("sl_", "xx_"), "", "sl_", "é\0", "sl_\0_x", "x" * 10_000):
        assert state.keys.check(wrong) is None
    with create_engine(url.replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
        stored = str(connection.execute(text("SELECT * FROM api_keys")).all())
    assert made.key_id in stored
    assert token.partition("_")[2].partition("_")[2] not in stored
    state.keys.revoke(made.key_id)
    assert state.keys.check(token) is None
    with pytest.raises(DataError, match="no key 'ffff'"):
        state.keys.revoke("ffff")
    with pytest.raises(DataError, match=r"no scope 'red'\n.*'read'"):
        state.keys.make("x", ["red"])


def test_key_is_not_known_to_a_server_with_another_key_ring_file(state: State, url: str) -> None:
    _, token = state.keys.make("the app", ["read"])
    later = State.open(url, KeyRing((*RING.secrets, b"l" * 32)))
    assert later.keys.check(token) is not None
    later.close()


def test_requests_at_once_never_overspend_a_budget(state: State, url: str) -> None:
    now = datetime.now(UTC)
    window = {"starts": now - timedelta(hours=1), "ends": now + timedelta(hours=1)}
    state.offers.put([an_offer(budget=10.0, **window)])
    other = State.open(url, RING)
    refused: list[str] = []
    held: list[str] = []

    def take(number: int) -> None:
        one = (state, other)[number % 2]
        try:
            held.append(one.offers.reserve("tea", RING.pseudonym(str(number)), 0.3).reservation_id)
        except OfferRefusedError as error:
            refused.append(error.reason)

    _at_once(take, range(60))
    assert len(held) == 33
    assert refused == ["budget"] * 27
    (left,) = state.offers.all()
    assert (left.reserved, left.spent) == (9.9, 0.0)
    for number, name in enumerate(held):
        (state.offers.redeem if number % 3 else state.offers.release)(name)
    (left,) = state.offers.all()
    assert (left.reserved, left.spent) == (0.0, 6.6)
    other.close()


def test_requests_at_once_never_pass_a_cap(state: State) -> None:
    now = datetime.now(UTC)
    state.offers.put([an_offer(cap=2, starts=now - timedelta(hours=1), ends=now + timedelta(hours=1))])
    refused: list[str] = []

    def take(_: int) -> None:
        try:
            state.offers.reserve("tea", ANN, 1.0)
        except OfferRefusedError as error:
            refused.append(error.reason)

    _at_once(take, range(10))
    assert refused == ["cap"] * 8


def test_expired_reservation_goes_back(timed: State, clock: Clock) -> None:
    timed.offers.put([an_offer(budget=1.0)])
    held = timed.offers.reserve("tea", ANN, 1.0, holds=timedelta(minutes=1))
    assert timed.offers.open_for(BOB).offers == []
    with pytest.raises(OfferRefusedError, match="not that much left"):
        timed.offers.reserve("tea", BOB, 1.0)
    clock.time += timedelta(minutes=1)
    assert len(timed.offers.open_for(BOB).offers) == 1
    other = timed.offers.reserve("tea", BOB, 0.75)
    with pytest.raises(OfferRefusedError, match="is expired"):
        timed.offers.redeem(held.reservation_id)
    assert timed.offers.release(held.reservation_id).status == "expired"
    assert timed.offers.redeem(other.reservation_id, 0.5) == timed.offers.redeem(other.reservation_id)
    (left,) = timed.offers.all()
    assert (left.reserved, left.spent, left.left) == (0.0, 0.5, 0.5)
    timed.offers.reserve("tea", ANN, 0.5)
    clock.time += timedelta(hours=1)
    assert timed.offers.expire() == 1
    assert timed.offers.all()[0].left == 0.5
    timed.close()


def test_purchase_redeems_what_is_held_for_its_item_once_and_within_its_time(timed: State, clock: Clock) -> None:
    timed.offers.put(
        [an_offer("tea", cost=2.0, budget=10.0), an_offer("dear", cost=3.0), an_offer("all", item_ids=(), cost=9.0)]
    )
    phone = timed.device("phone")
    timed.identities.link(phone, ANN)
    before = an_event("before", identity=phone, item_id="tea", timestamp=clock.time - timedelta(seconds=1))
    for name, cost in (("tea", 2.0), ("dear", 3.0), ("all", 9.0)):
        timed.offers.reserve(name, ANN, cost)

    def bought(event_id: str, item_id: str = "tea", who: str = phone, event_type: str = "purchase") -> Event:
        return an_event(event_id, identity=who, item_id=item_id, event_type=event_type, timestamp=clock.time)

    asked = [before, bought("look", event_type="view"), bought("bob's", who=BOB), bought("one"), bought("two")]
    receipts = timed.events.append(asked)
    assert [each.offer for each in receipts] == [None, None, None, "dear", "tea"]
    assert timed.events.append(asked) == receipts
    assert [each.offer for each in timed.events.append([bought("milk", "milk"), bought("three")])] == ["all", None]
    assert {each.offer.offer_id: (each.reserved, each.spent) for each in timed.offers.all()} == {
        "tea": (0, 2.0), "dear": (0, 3.0), "all": (0, 9.0)
    }  # fmt: skip
    assert timed.offers.record_of(ANN) == (3, 3)
    timed.offers.reserve("tea", ANN, 2.0)
    clock.time += timedelta(minutes=15)
    assert [each.offer for each in timed.events.append([bought("too late")])] == [None]


def test_refused_request_redeems_nothing(timed: State, clock: Clock) -> None:
    timed.offers.put([an_offer("tea", cost=2.0)])
    timed.offers.reserve("tea", ANN, 2.0)
    timed.events.append([an_event("known", item_id="milk", timestamp=clock.time)])
    with pytest.raises(ConflictError):
        timed.events.append([an_event(name, item_id="tea", timestamp=clock.time) for name in ("new", "known")])
    assert [each.offer_id for each in timed.offers.held_by(ANN)] == ["tea"]


def test_purchases_at_once_redeem_each_reservation_once(state: State, url: str) -> None:
    now = datetime.now(UTC)
    state.offers.put([an_offer("tea", cost=1.0, starts=now - timedelta(days=1), ends=now + timedelta(days=1))])
    held = [state.offers.reserve("tea", ANN, 1.0) for _ in range(3)]
    other = State.open(url, RING)
    found: list[str | None] = []

    def buy(place: int) -> None:
        mine = an_event(f"at once {place}", item_id="tea", timestamp=datetime.now(UTC))
        found.extend(each.offer for each in (state, other)[place % 2].events.append([mine]))

    buyers = [threading.Thread(target=buy, args=(place,)) for place in range(8)]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()
    other.close()
    assert sorted(map(str, found)) == ["None"] * 5 + ["tea"] * len(held)
    (offer,) = state.offers.all()
    assert (offer.reserved, offer.spent) == (0, 3.0)


def test_offers_keep_their_window_audience_and_cap(timed: State, clock: Clock) -> None:
    phone = timed.device("phone")
    timed.identities.link(phone, ANN)
    timed.offers.put([an_offer("late", starts=NOW + timedelta(days=1)), an_offer("bobs", audience=frozenset({BOB}))])
    timed.offers.put([an_offer("phones", audience=frozenset({phone})), an_offer("weekly", cap=1, cap_days=7.0)])
    assert [offer.offer_id for offer in timed.offers.open_for(ANN).offers] == ["phones", "weekly"]
    assert [offer.offer_id for offer in timed.offers.open_for(BOB).offers] == ["bobs", "weekly"]
    held = timed.offers.reserve("weekly", phone, 1.0)
    timed.offers.redeem(held.reservation_id)
    assert [offer.offer_id for offer in timed.offers.open_for(ANN).offers] == ["phones"]
    clock.time += timedelta(days=8)
    assert [offer.offer_id for offer in timed.offers.open_for(ANN).offers] == ["late", "phones", "weekly"]
    for offer_id, reason in (("gone", "unknown"), ("bobs", "audience")):
        with pytest.raises(OfferRefusedError) as caught:
            timed.offers.reserve(offer_id, ANN, 1.0)
        assert caught.value.reason == reason
    timed.close()


def test_reservation_by_its_own_id_is_made_once(timed: State) -> None:
    timed.offers.put([an_offer(budget=5.0)])
    first = timed.offers.reserve("tea", ANN, 2.0, reservation_id="basket-1")
    assert timed.offers.reserve("tea", ANN, 2.0, reservation_id="basket-1") == first
    assert timed.offers.all()[0].reserved == 2.0
    with pytest.raises(ConflictError, match="basket-1"):
        timed.offers.reserve("tea", BOB, 2.0, reservation_id="basket-1")
    with pytest.raises(DataError, match="holds 2, not 3"):
        timed.offers.redeem("basket-1", 3.0)
    timed.close()


def test_changed_terms_keep_what_is_spent(timed: State) -> None:
    timed.offers.put([an_offer(budget=5.0)])
    timed.offers.redeem(timed.offers.reserve("tea", ANN, 2.0).reservation_id)
    timed.offers.put([an_offer(budget=1.0)])
    assert timed.offers.all()[0].left == -1.0
    assert timed.offers.open_for(BOB).offers == []
    timed.close()


def test_landed_gives_the_platforms_rows_and_the_same_for_ever(timed: State, clock: Clock) -> None:
    phone = timed.device("phone")
    ahead = NOW + timedelta(minutes=4)
    timed.events.append(
        [an_event("e1", timestamp=NOW - timedelta(days=2), quantity=2.0), an_event("e2", timestamp=ahead)]
    )
    timed.events.append([an_event("e3", identity=phone, device=phone, timestamp=NOW, event_type="view", channel="app")])
    until = NOW + timedelta(hours=1)
    before = timed.events.landed(NOW, until)
    assert before.schema.equals(EVENTS.schema)
    assert key_of(before.schema) == RING.ids[-1]
    assert before["event_id"].to_pylist() == ["e1", "e2", "e3"]
    assert before["user_id"].to_pylist() == [ANN, ANN, phone]
    assert before["timestamp"].to_pylist() == [NOW - timedelta(days=2), NOW, NOW]
    clock.time = until
    timed.identities.link(phone, BOB)
    timed.events.append([an_event("e4", timestamp=NOW)])
    assert timed.events.landed(NOW, until).equals(before)
    assert timed.events.landed(until, until + timedelta(hours=1))["event_id"].to_pylist() == ["e4"]
    timed.close()


def test_clock_set_back_brings_no_event_into_an_interval_that_is_over(timed: State, clock: Clock) -> None:
    (first,) = timed.events.append([an_event("e1", timestamp=NOW)])
    clock.time -= timedelta(hours=3)
    (second,) = timed.events.append([an_event("e2", timestamp=clock.time)])
    assert second.received == first.received == NOW
    assert timed.events.landed(NOW - timedelta(days=1), NOW).num_rows == 0
    assert timed.events.landed(NOW, NOW + timedelta(days=1)).num_rows == 2
    timed.close()


def test_open_follows_the_key_ring_to_its_newest_key(timed: State, url: str, clock: Clock) -> None:
    phone = timed.device("phone")
    timed.identities.link(phone, ANN)
    timed.events.append([an_event("e1", identity=phone, device=phone, timestamp=NOW)])
    timed.offers.put([an_offer(audience=frozenset({ANN}), cap=1)])
    timed.offers.reserve("tea", ANN, 1.0)
    timed.close()
    later = State.open(url, RING.rotated(), clock=clock)
    ann = later.account("ann")
    assert ann != ANN
    assert [event.event_id for event in later.events.of(ann)] == ["e1"]
    assert later.identities.profile_of(later.device("phone")) == ann
    with pytest.raises(OfferRefusedError, match="as often"):
        later.offers.reserve("tea", ann, 1.0)
    later.close()
    with pytest.raises(ConfigError, match="the key ring here has only"):
        State.open(url, KeyRing((b"z" * 32,)))


def _at_once(call: object, numbers: range) -> None:
    threads = [threading.Thread(target=call, args=(number,)) for number in numbers]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
