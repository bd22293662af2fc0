"""Offers over HTTP: who gets which, on which terms, and what becomes of it; the same on SQLite and PostgreSQL."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipelines.lineage.signed_file import envelope_path, signed_file
from pipelines.models.propensity import Propensity
from pipelines.models.recommender import Recommender
from pipelines.serving.chances import AT_FIRST, model_path
from pipelines.settings import Settings
from tests.integration import test_package_and_evaluate as tiny
from tests.serving_shop import RUN, Served, served, with_champion
from tests.state_database import new_database

shop = tiny.shop
NUMBERS = count(1)
MODEL = Propensity((1.0, 1.0, 0.0, 0.0, 0.0, 0.0), -3.0, (0.0,) * 6, (9.0,) * 6, 1000, 50)


@pytest.fixture(scope="module")
def settings(shop: Path, mlflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A registry whose champion is the tiny shop's package."""
    return with_champion(shop / "data/package", mlflow_home, tmp_path_factory.mktemp("offers"))


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def server(
    request: pytest.FixtureRequest, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server whose state is in either database."""
    with pytest.MonkeyPatch.context() as environment:
        if request.param == "postgresql":
            environment.setenv("SHOPLOOM_STATE_URL", new_database(request.getfixturevalue("postgresql")))
        with served(settings, tmp_path_factory.mktemp("serve")) as server:
            yield server


def terms(item: str = "i001", **fields: Any) -> dict[str, Any]:
    """A new offer that runs now."""
    now = datetime.now(UTC)
    given = {"starts": (now - timedelta(days=1)).isoformat(), "ends": (now + timedelta(days=1)).isoformat()}
    return {"offer_id": f"o{next(NUMBERS)}", "item_ids": [item], "cost": 0.5, "value": 20, **given, **fields}


def set_terms(server: Served, *offers: dict[str, Any]) -> dict[str, Any]:
    """Set terms; only these run from here on."""
    status, before = server.ask("/offers/terms?k=1000")
    assert status == 200, before
    over = [
        {name: value for name, value in each.items() if name not in ("audience", "reserved", "spent", "left")}
        | {"starts": "2020-01-01T00:00:00Z", "ends": datetime.now(UTC).isoformat()}
        for each in before["offers"]
        if each["offer_id"] not in {offer["offer_id"] for offer in offers}
    ]
    status, answer = put(server, {"offers": [*over, *offers] or [terms("i001") | {"users": ["nobody"]}]})
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def put(server: Served, body: Any) -> tuple[int, Any]:
    return server.ask("/offers/terms", body, method="PUT")


def given(server: Served, **body: Any) -> dict[str, Any]:
    status, answer = server.ask("/offers", body)
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def stored(server: Served, offer_id: str) -> dict[str, Any]:
    (found,) = [each for each in server.ask("/offers/terms?k=1000")[1]["offers"] if each["offer_id"] == offer_id]
    assert isinstance(found, dict)
    return found


def test_offer_is_given_with_its_reservation_reason_and_expected_value(server: Served) -> None:
    mine = terms("i001", budget=10, kind="campaign")
    set_terms(server, mine)
    answer = given(server, user="never seen", placement="home")
    assert answer["model"] == {"version": "1", "run": RUN, "override": None}
    assert (answer["known_user"], answer["chances_from"]) == (False, "redemptions")
    (offer,) = answer["offers"]
    assert (offer["offer_id"], offer["kind"], offer["item_ids"], offer["again"]) == (
        mine["offer_id"],
        "campaign",
        ["i001"],
        False,
    )
    assert offer["bought_anyway"] == 0
    assert offer["chance"] == pytest.approx(AT_FIRST)
    assert offer["expected_value"] == pytest.approx(AT_FIRST * (20 - 0.5))
    assert offer["reasons"] == [
        "5.0% likely to be used, its items 0% likely to be bought without it: expected to bring 0.98"
    ]
    assert offer["title"]
    held = datetime.fromisoformat(offer["expires"]) - datetime.now(UTC)
    assert timedelta(minutes=14) < held <= timedelta(minutes=15)
    assert stored(server, mine["offer_id"])["left"] == 9.5
    again = given(server, user="never seen")["offers"][0]
    assert (again["reservation_id"], again["again"]) == (offer["reservation_id"], True)
    assert stored(server, mine["offer_id"])["left"] == 9.5


def test_what_a_household_buys_anyway_is_counted_from_its_history_and_since(server: Served, shop: Path) -> None:
    catalogue = Recommender.load(shop / "data/package").catalogue
    row = catalogue.user_ids.index("u01")
    history = catalogue.histories.take(row, row + 1)
    item, lines = Counter(history.items.tolist()).most_common(1)[0]
    often, never = terms(catalogue.item_ids[item]), terms("launched today")
    set_terms(server, often, never)
    before = {each["offer_id"]: each for each in given(server, user="u01", k=5)["offers"]}
    rate = lines / float(catalogue.histories.ages.max())
    assert before[often["offer_id"]]["bought_anyway"] == pytest.approx(1 - math.exp(-rate), rel=0.01)
    assert before[never["offer_id"]]["bought_anyway"] == 0
    event = {"event_id": f"bought-{next(NUMBERS)}", "type": "purchase", "user": "u01", "item_id": "launched today"}
    assert server.ask("/events", {"events": [event]})[0] == 200
    after = {each["offer_id"]: each for each in given(server, user="u01", k=5)["offers"]}
    assert after[never["offer_id"]]["bought_anyway"] == pytest.approx(1 - math.exp(-rate / lines), rel=0.01)
    assert after[never["offer_id"]]["expected_value"] < before[never["offer_id"]]["expected_value"]


def test_offer_that_is_held_is_told_with_its_items_and_moves_them_where_a_rule_says_so(server: Served) -> None:
    set_terms(server)
    plain = server.ask("/recommend", {"user": "holder"})[1]["results"]
    assert {result["offer"] for result in plain} == {None}
    item = plain[4]["item_id"]
    mine = terms(item)
    set_terms(server, mine)
    held = given(server, user="holder")["offers"][0]
    offers = {each["item_id"]: each["offer"] for each in server.ask("/recommend", {"user": "holder"})[1]["results"]}
    assert {name for name, offer in offers.items() if offer} == {item}
    assert offers[item] == mine["offer_id"]
    first = server.ask("/recommend", {"user": "holder", "rules": {"offer_boost": 100}})[1]["results"][0]
    assert (first["item_id"], first["rule"]) == (item, f"offer {mine['offer_id']}")
    found = server.ask("/search", {"user": "holder", "query": first["title"], "rules": {"offer_boost": 2}})[1]
    (hit,) = [each for each in found["results"] if each["item_id"] == item]
    assert (hit["offer"], hit["rule"]) == (mine["offer_id"], f"offer {mine['offer_id']}")
    body = {"reservation_id": held["reservation_id"], "action": "release"}
    assert server.ask("/reservations", body)[0] == 200
    assert {each["offer"] for each in server.ask("/recommend", {"user": "holder"})[1]["results"]} == {None}


def test_requests_at_once_never_overspend_a_budget_nor_pass_a_cap(server: Served) -> None:
    few, capped = terms("i001", budget=6, value=30), terms("i002", cap=1, budget=5)
    set_terms(server, few, capped)
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda number: given(server, user=f"crowd {number % 25}"), range(50)))
    offers = [each for answer in answers for each in answer["offers"]]
    held = {each["reservation_id"]: each["offer_id"] for each in offers}
    assert list(held.values()).count(few["offer_id"]) == 12
    assert list(held.values()).count(capped["offer_id"]) == 10
    assert [stored(server, each["offer_id"])["left"] for each in (few, capped)] == [0, 0]
    with ThreadPoolExecutor(16) as clients:
        asked = [{"reservation_id": name, "action": "redeem"} for name in held for _ in range(2)]
        ended = list(clients.map(lambda body: server.ask("/reservations", body), asked))
    assert {status for status, _ in ended} == {200}
    assert [stored(server, each["offer_id"])["spent"] for each in (few, capped)] == [6, 5]
    assert given(server, user="too late")["offers"] == []


def test_reservation_is_redeemed_or_released_once_however_often_it_is_sent(server: Served) -> None:
    mine = terms(budget=1)
    set_terms(server, mine)
    first = given(server, device="phone 1")["offers"][0]["reservation_id"]
    second = given(server, session="visit 1")["offers"][0]["reservation_id"]
    assert given(server, user="third")["offers"] == []
    redeem, release = ({"reservation_id": first, "action": action} for action in ("redeem", "release"))
    for _ in range(2):
        status, told = server.ask("/reservations", {**redeem, "amount": 0.2})
        assert (status, told["status"], told["amount"]) == (200, "redeemed", 0.2)
    status, problem = server.ask("/reservations", release)
    assert (status, problem["code"]) == (409, "conflict")
    for _ in range(2):
        status, told = server.ask("/reservations", {"reservation_id": second, "action": "release"})
        assert (status, told["status"]) == (200, "released")
    assert stored(server, mine["offer_id"]) | {"reserved": 0, "spent": 0.2, "left": 0.8} == stored(
        server, mine["offer_id"]
    )
    assert given(server, user="third")["offers"]


def test_purchase_redeems_the_offer_that_is_held_for_it(server: Served) -> None:
    mine = terms("i003", budget=10, cost=2)
    set_terms(server, mine)
    body = {"device": "buyer's phone", "cart": ["i003"]}
    assert given(server, **body)["offers"] == []
    offer = given(server, device="buyer's phone")["offers"][0]
    # What is held stays told of when its item is put into the cart, and is used by buying it.
    assert [each["reservation_id"] for each in given(server, **body)["offers"]] == [offer["reservation_id"]]
    event = {"event_id": f"used-{next(NUMBERS)}", "type": "purchase", "device": "buyer's phone", "item_id": "i003"}
    for repeated in (False, True):
        status, told = server.ask("/events", {"events": [event]})
        assert status == 200, told
        assert [(each["offer"], each["repeated"]) for each in told["receipts"]] == [(mine["offer_id"], repeated)]
    left = {"reserved": 0, "spent": 2, "left": 8}
    assert stored(server, mine["offer_id"]) | left == stored(server, mine["offer_id"])
    status, ended = server.ask("/reservations", {"reservation_id": offer["reservation_id"], "action": "redeem"})
    assert (status, ended["status"], ended["amount"]) == (200, "redeemed", 2)
    assert server.said(route="/events", redeemed=[mine["offer_id"]])
    found = server.ask("/recommend", {"device": "buyer's phone", "k": 200})[1]["results"]
    assert {each["offer"] for each in found} == {None}


def test_terms_keep_window_audience_and_cap_and_are_read_back(server: Served) -> None:
    late = terms(starts=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    anns, phones = terms(users=["ann"], value=40), terms(devices=["ann's phone"])
    once = terms("i002", cap=1, cap_days=7)
    answer = set_terms(server, late, anns, phones, once)
    told = {each["offer_id"]: each for each in answer["offers"]}
    assert told[anns["offer_id"]]["audience"] == 1
    assert (told[once["offer_id"]]["cap"], told[once["offer_id"]]["cap_days"]) == (1, 7)
    assert told[late["offer_id"]]["left"] is None

    def ids(**who: Any) -> set[str]:
        return {each["offer_id"] for each in given(server, k=9, **who)["offers"]}

    assert ids(user="ann") == {anns["offer_id"], once["offer_id"]}
    assert ids(user="bob") == {once["offer_id"]}
    assert server.ask("/identities", {"device": "ann's phone", "user": "ann"})[0] == 200
    assert ids(user="ann") == {anns["offer_id"], phones["offer_id"], once["offer_id"]}
    (mine,) = [each for each in given(server, user="bob")["offers"] if each["offer_id"] == once["offer_id"]]
    assert server.ask("/reservations", {"reservation_id": mine["reservation_id"], "action": "redeem"})[0] == 200
    assert ids(user="bob") == set()
    page = server.ask("/offers/terms?offset=1&k=2")[1]
    assert len(page["offers"]) == 2
    assert page["total"] > 3


def test_fitted_model_is_taken_up_while_serving_and_one_that_does_not_verify_is_told(
    server: Served, settings: Settings
) -> None:
    set_terms(server, terms("i001"))
    path = model_path(settings.home)

    def refused(says: str, still: str) -> None:
        assert given(server, user="modelled")["chances_from"] == still
        ready, facts = server.ask("/readyz")
        assert ready == 200
        told = facts["trouble"]["offers"]
        assert says in told
        assert told.endswith("-> shoploom offers fit")
        assert "/" not in told
        assert server.said(event="offers", level="error", reason=told)

    try:
        MODEL.save(path)
        refused("offers.json is not signed: offers.dsse.json is missing, or an older shoploom", "redemptions")
        with signed_file(settings, path) as temporary:
            MODEL.save(temporary)
        assert given(server, user="modelled")["chances_from"] == "model"
        assert "offers" not in server.ask("/readyz")[1]["trouble"]
        path.write_bytes(path.read_bytes().replace(b"1000", b"1001"))
        refused("offers.json is not what key", "model")
        envelope_path(path).unlink()
        refused("offers.json is not signed", "model")
    finally:
        path.unlink()
        envelope_path(path).unlink(missing_ok=True)
    assert given(server, user="modelled")["chances_from"] == "redemptions"
    assert "offers" not in server.ask("/readyz")[1]["trouble"]


def test_what_is_sold_out_is_in_no_answer_until_it_is_back(server: Served) -> None:
    def shown(**more: Any) -> list[str]:
        found = server.ask("/recommend", {"user": "u02", **more})[1]["results"]
        return [result["item_id"] for result in found]

    def searched() -> list[tuple[str, str]]:
        found = server.ask("/search", {"query": "small milk", "k": 50})[1]["results"]
        return [(result["item_id"], result["title"]) for result in found]

    first, before = shown(), searched()
    gone = first[0]
    gone_title = before[0][1]
    for _ in range(2):
        status, answer = server.ask("/stock", {"out_of_stock": [gone, "launched later"]}, method="PUT")
        assert (status, answer["total"], answer["ignored"]) == (200, 2, ["launched later"])
    assert gone not in shown()
    assert gone not in shown(rules={"per_brand": 50})
    assert gone in shown(rules={"in_stock": False})
    assert server.ask("/stock", {"out_of_stock": [before[0][0]]}, method="PUT")[0] == 200
    after = searched()
    assert before[0][0] not in dict(after)
    assert gone_title in dict(after).values(), "an item of the same text takes the place"
    assert server.ask("/stock", {"in_stock": [before[0][0]]}, method="PUT")[0] == 200
    page = server.ask("/stock?k=1&offset=1")[1]
    assert (page["total"], page["out_of_stock"]) == (2, sorted([gone, "launched later"])[1:])
    status, problem = server.ask("/stock", {"out_of_stock": ["a"], "in_stock": ["a"]}, method="PUT")
    assert (status, problem["code"]) == (422, "invalid_request")
    assert server.ask("/stock", {"in_stock": [gone, "launched later"]}, method="PUT")[1]["total"] == 0
    assert shown() == first


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "where"),
    [
        ("/offers", {}, 422, "invalid_request", "body"),
        ("/offers", {"user": "a", "k": 0}, 422, "invalid_request", "body.k"),
        ("/offers", {"user": "a", "placement": "product"}, 422, "invalid_request", "body.items"),
        ("/offers", {"user": "a\0"}, 422, "invalid_request", "body"),
        (
            "/reservations",
            {"reservation_id": "none", "action": "redeem"},
            404,
            "unknown_reservation",
            "body.reservation_id",
        ),
        ("/reservations", {"reservation_id": "none", "action": "steal"}, 422, "invalid_request", "body.action"),
        (
            "/reservations",
            {"reservation_id": "none", "action": "release", "amount": 1},
            422,
            "invalid_request",
            "body.amount",
        ),
    ],
)
def test_offer_that_cannot_be_is_refused(
    server: Served, path: str, body: Any, status: int, code: str, where: str
) -> None:
    found, problem = server.ask(path, body)
    assert (found, problem["code"], problem["where"]) == (status, code, where), problem


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"ends": "2020-01-01T00:00:00Z"}, "body.offers.0"),
        ({"starts": "0001-01-01T00:00:00+14:00"}, "body.offers.0"),
        ({"starts": "2020-01-01T00:00:00"}, "body.offers.0.starts"),
        ({"budget": -1}, "body.offers.0.budget"),
        ({"cost": 1e10}, "body.offers.0.cost"),
        ({"offer_id": "a\0b"}, "body.offers.0"),
        ({"users": ["\0"]}, "body.offers.0"),
    ],
)
def test_terms_that_cannot_be_are_refused(server: Served, wrong: dict[str, Any], where: str) -> None:
    status, problem = put(server, {"offers": [terms() | wrong]})
    assert (status, problem["code"], problem["where"]) == (422, "invalid_request", where), problem


def test_redeeming_more_than_is_held_is_refused(server: Served) -> None:
    set_terms(server, terms())
    held = given(server, user="greedy")["offers"][0]
    body = {"reservation_id": held["reservation_id"], "action": "redeem", "amount": 0.6}
    status, problem = server.ask("/reservations", body)
    assert (status, problem["where"]) == (422, "body.amount")
    assert "holds 0.5" in problem["reason"]


def test_log_and_metrics_tell_of_offers_and_nothing_raw_of_a_shopper(server: Served) -> None:
    mine = terms()
    set_terms(server, mine)
    status, _ = server.ask("/offers", {"user": "carol@shop.example"}, {"X-Request-ID": "offers-1"})
    assert status == 200
    line = server.said(request_id="offers-1")
    assert (line["route"], line["offers"], line["placement"]) == ("/offers", [mine["offer_id"]], "home")
    figures = server.ask("/metrics")[1]
    for outcome in ("given", "again", "redeemed", "released", "none"):
        assert f'shoploom_offers_total{{outcome="{outcome}"}}' in figures
    assert "shoploom_offers_expected_value_total" in figures
    assert "carol" not in server.log.read_text()
