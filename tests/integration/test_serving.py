"""`shoploom serve` as a shop meets it: a real server process and a real registry with a tiny champion."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import RunError
from pipelines.lineage.ask import lineage_of
from pipelines.lineage.audit import read
from pipelines.lineage.promotions import roll_back_version
from pipelines.lineage.served import ServedLineage
from pipelines.models.base import Histories
from pipelines.models.fused import Fused
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.recommender import Recommender
from pipelines.models.text import TextSimilarity
from pipelines.pseudonyms import open_ring
from pipelines.serving import preparing
from pipelines.serving.answers import Asked, Provenance
from pipelines.serving.around import Around
from pipelines.serving.engine import Engine
from pipelines.serving.hits import matching
from pipelines.serving.neighbours import Neighbours
from pipelines.serving.rules import Rules
from pipelines.serving.searching import Filters, Query
from pipelines.serving.shopper import Deed, Shopper
from pipelines.serving.state import State
from pipelines.settings import Settings
from tests.integration import test_package_and_evaluate as tiny
from tests.serving_shop import RUN, Served, registered, served, with_champion
from tests.wide_shop import Width, write_wide_package

shop = tiny.shop
NUMBERS = count(1)
EARLY, LATE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def settings(shop: Path, mlflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A registry whose champion is the tiny shop's package."""
    return with_champion(shop / "data/package", mlflow_home, tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="module")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(settings, tmp_path_factory.mktemp("serve")) as server:
        yield server


def recommended(server: Served, **body: Any) -> dict[str, Any]:
    status, answer = server.ask("/recommend", body)
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [result["item_id"] for result in answer["results"]]


def test_server_names_the_model_and_its_run_in_every_answer(server: Served) -> None:
    assert recommended(server, user="u01")["model"] == {"version": "1", "run": RUN, "override": None}
    assert server.ask("/readyz")[1]["model"] == {"version": "1", "run": RUN, "override": None}
    assert server.ask("/healthz") == (200, {"status": "ok"})


def test_known_user_gets_what_the_packaged_model_recommends(server: Served, shop: Path) -> None:
    expected = [item.item_id for item in Recommender.load(shop / "data/package").recommend("u01", 10)]
    answer = recommended(server, user="u01", k=10)
    assert ids(answer) == expected
    assert answer["known_user"]
    assert answer["based_on"] == "history"
    assert all(result["reasons"] for result in answer["results"])


@pytest.mark.parametrize(("popularity_debias", "diversity"), [(0.5, 0.0), (0.0, 0.3), (0.25, 0.5)])
def test_server_arranges_a_list_as_the_packaged_model_does(
    shop: Path, popularity_debias: float, diversity: float
) -> None:
    model = Recommender.load(shop / "data/package")
    plain = [one.item_id for one in model.recommend("u01", 10)]
    model.facts = replace(model.facts, popularity_debias=popularity_debias, diversity=diversity)
    expected = [one.item_id for one in model.recommend("u01", 10)]
    answer = Engine(model, Provenance(), Rules(), {}).recommend(
        Shopper(model.catalogue.user_ids.index("u01")), Asked(count=10)
    )
    assert [result.item_id for result in answer.results] == expected != plain


@pytest.fixture(scope="module")
def wide(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a catalogue that is too large to be scored as a whole."""
    folder = tmp_path_factory.mktemp("wide")
    width = Width(items=4000, users=100, kinds=40, rounds=20, exact_items=1000)
    write_wide_package(shop / "data/package", width, [f"w{user}" for user in range(100)], folder)
    return folder


def test_large_catalogue_is_answered_as_if_all_of_it_were_scored(wide: Path) -> None:
    near, exact = (Engine(Recommender.load(wide), Provenance(), Rules(), {}) for _ in range(2))
    assert near.recommender.near_items is not None
    exact.recommender.near_items = None
    exact = Engine(exact.recommender, Provenance(), Rules(), {})
    visits = [Shopper(user) for user in range(25)]
    visits += [Shopper(user, (Deed(7 * user + 1, "purchase"),)) for user in range(25)]
    found, same = [], 0
    for shopper in [Shopper(), *visits]:
        asked = near.recommender.near_items.of(near.prepare(shopper).history)
        assert len(asked) < 500
        answers = [engine.recommend(shopper, Asked(count=10)).results for engine in (near, exact)]
        ids, wanted = ([result.item_id for result in answer] for answer in answers)
        found.append(len(set(ids) & set(wanted)) / 10)
        same += answers[0] == answers[1]
    assert sum(found) / len(found) >= 0.98
    assert same >= 0.9 * len(found)


@pytest.mark.parametrize("large", [False, True])
def test_who_was_scored_ahead_is_answered_from_what_is_kept(
    shop: Path, wide: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = wide if large else shop / "data/package"
    ahead, asked = (Engine(Recommender.load(package), Provenance(), Rules(), {}) for _ in range(2))
    users = ahead.catalogue.histories.num_users
    assert ahead.warm(lambda: True) == users

    def told(engine: Engine) -> list[list[tuple[str, tuple[str, ...]]]]:
        answers = (engine.recommend(Shopper(user), Asked(count=10)) for user in range(users))
        return [[(result.item_id, result.reasons) for result in answer.results] for answer in answers]

    expected = told(asked)
    for name in ("explain", "standings"):
        monkeypatch.setattr(preparing, name, lambda *_: pytest.fail("it was not kept"))
    assert told(ahead) == expected


@pytest.mark.parametrize("behaviour", [False, True])
def test_what_is_like_an_item_of_a_large_catalogue_is_found_without_comparing_all(wide: Path, behaviour: bool) -> None:
    model = Recommender.load(wide)
    # So that likeness by behaviour can be told, each item has a text of its own.
    texts = TextSimilarity(_unit_rows(4000, 24), np.arange(4000, dtype=np.int32))
    model.finder.embeddings, model.finder.text_index = texts.embeddings, texts.text_index
    signals = replace(model.ranker.signals, texts=texts)
    if behaviour:
        vectors = signals.chosen[MatrixFactorization.name].item_vectors(np.arange(4000, dtype=np.int32))
        fused = Fused(vectors, np.ones(64), 30.0, 0.5)
        signals = replace(signals, chosen={**signals.chosen, Fused.name: fused})
    assert model.near_items is not None
    around = Around(model, model.near_items)
    near, exact = Neighbours(signals, model.catalogue.histories, around), Neighbours(signals, model.catalogue.histories)
    shares = []
    for item in range(0, 4000, 100):
        found, wanted = near.similar(item), exact.similar(item)
        assert len(around.of(item, 400, 100)) <= 500
        assert item not in found.items
        shares.append(len(set(found.items[:10]) & set(wanted.items[:10])) / 10)
    assert np.mean(shares) >= (0.75 if behaviour else 1)
    if not behaviour:
        np.testing.assert_allclose(near.similar(7).strength[:10], exact.similar(7).strength[:10], rtol=1e-5)


def test_what_was_bought_together_once_comes_after_what_was_again_and_again(wide: Path) -> None:
    model, baskets = Recommender.load(wide), [[0, 1]] * 3 + [[0, 2]] + [[0]] * 36 + [[1]] * 37
    items = np.array([item for basket in baskets for item in basket], np.int32)
    days = np.array([day for day, basket in enumerate(baskets) for _ in basket], np.float32)
    ones, whole = np.ones(len(items), np.float32), np.array([0, len(items)])
    one_shopper = Histories(whole, items, days, ones, model.catalogue.num_items)
    together = Neighbours(model.ranker.signals, one_shopper).together(0)
    assert together.items.tolist() == [1, 2]
    assert together.strength[1] > 0


def _unit_rows(rows: int, size: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(3).normal(size=(rows, size)).astype(np.float32)
    unit: NDArray[np.float32] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def test_stranger_is_served_by_popularity_then_context_then_visit(server: Served) -> None:
    nobody = recommended(server, user="never seen")
    assert (nobody["based_on"], nobody["known_user"]) == ("popularity", False)
    within = recommended(server, context={"categories": ["milk"]})
    assert within["based_on"] == "context"
    assert {result["category"][0] for result in within["results"]} == {"milk"}
    visit = recommended(server, viewed=["i002"])
    assert visit["based_on"] == "session"
    assert ids(visit) != ids(nobody)
    assert any("cheese" in reason for result in visit["results"] for reason in result["reasons"])


@pytest.mark.parametrize("placement", ["similar", "bought-together", "product"])
def test_what_goes_with_an_item_is_not_the_item(server: Served, placement: str) -> None:
    answer = recommended(server, placement=placement, items=["i002"], user="u01")
    assert answer["results"]
    assert "i002" not in ids(answer)


def test_cart_is_not_recommended_again(server: Served) -> None:
    first = ids(recommended(server, placement="cart", cart=["i001"]))[:3]
    assert not {"i001", *first} & set(ids(recommended(server, placement="cart", cart=["i001", *first])))


def test_cart_brings_what_is_bought_with_it_and_nothing_instead_of_it(server: Served) -> None:
    said = {}
    for placement in ("home", "cart"):
        answer = recommended(server, placement=placement, cart=["i001"], k=30)
        reasons = [reason for result in answer["results"] for reason in result["reasons"]]
        said[placement] = {reason.split()[0] for reason in reasons if reason.startswith(("like ", "bought with "))}
    assert said == {"home": {"like", "bought"}, "cart": {"bought"}}


def test_ranking_is_taken_apart_where_that_is_asked_for(server: Served, shop: Path) -> None:
    assert recommended(server, user="u06")["results"][0]["contributions"] == []
    answer = recommended(server, user="u06", explain=True)
    expected = Recommender.load(shop / "data/package").recommend("u06", 10)
    for result, one in zip(answer["results"], expected, strict=True):
        told = {part["feature"]: part["log_odds"] for part in result["contributions"]}
        assert told == pytest.approx({part.feature: part.log_odds for part in one.contributions}, abs=1e-5)


def test_rules_of_a_request_exclude_pin_boost_and_cap(server: Served) -> None:
    plain = ids(recommended(server, user="u01", k=5))
    ruled = recommended(server, user="u01", k=5, rules={"exclude": plain[:1], "pin": ["i058"]})
    assert ids(ruled)[0] == "i058"
    assert ruled["results"][0]["rule"] == "pinned"
    assert plain[0] not in ids(ruled)
    boosted = recommended(server, user="u01", k=5, rules={"boost": {plain[4]: 1000}})
    assert ids(boosted)[0] == plain[4]
    assert boosted["results"][0]["rule"] == f"boost {plain[4]}"
    capped = recommended(server, user="u01", k=7, rules={"per_category": 1})
    kinds = [result["category"][-1] for result in capped["results"]]
    assert len(set(kinds)) == len(kinds)


def test_pinned_and_new_items_keep_to_what_the_answer_may_hold(server: Served, shop: Path) -> None:
    model = Engine.load(shop / "data/package", rules=Rules(pin=("i058", "i002")))
    row, other = (model.catalogue.item_rows[name] for name in ("i058", "i002"))
    named = [each.item_id for each in model.recommend(Shopper(disliked=frozenset({row})), Asked()).results]
    assert (named[0], "i058" in named) == ("i002", False)
    about = model.similar(row, Shopper(), Asked(placement="product", items=(row,)))
    assert "i058" not in [each.item_id for each in about.results]
    assert "i058" not in [each.item_id for each in model.recommend(Shopper(cart=(row,)), Asked()).results]
    (kind,) = {model.catalogue.categories[other][-1]}
    within = recommended(server, context={"categories": [kind]}, rules={"pin": ["i058"], "min_new_share": 1}, k=200)
    assert {result["category"][-1] for result in within["results"]} == {kind}
    # A pin of the shop's file comes first where it matches, one of the request wherever the filters let it.
    title = model.catalogue.titles[other]
    names = model.catalogue.item_ids
    far = next(str(names[item]) for item in (~matching(model, Query(title))).nonzero()[0])
    pinning = Engine.load(shop / "data/package", rules=Rules(pin=(far, "i002")))
    found = [hit.result for hit in pinning.search(Query(title)).hits]
    assert (found[0].item_id, found[0].rule, found[1].rule) == ("i002", "pinned", None)
    asked = Query(title, rules=Rules(pin=(far,)))
    assert [hit.result.rule for hit in model.search(asked).hits[:2]].count("pinned") >= 1
    assert far in [hit.result.item_id for hit in model.search(asked).hits]
    dear = replace(asked, filters=Filters(least=1e6))
    assert far not in [hit.result.item_id for hit in model.search(dear).hits]


def test_share_of_new_items_is_kept(server: Served) -> None:
    answer = recommended(server, user="u01", k=4, rules={"min_new_share": 0.25})
    assert [result["rule"] for result in answer["results"]].count("new") == 1


def test_unknown_ids_are_told_and_change_nothing(server: Served) -> None:
    answer = recommended(server, user="u01", viewed=["no such item"])
    assert answer["ignored"] == ["no such item"]
    assert ids(answer) == ids(recommended(server, user="u01"))


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "where"),
    [
        ("/recommend", {"k": 0}, 422, "invalid_request", "body.k"),
        ("/recommend", {"colour": "red"}, 422, "invalid_request", "body.colour"),
        ("/recommend", {"user": "x" * 257}, 422, "invalid_request", "body.user"),
        ("/recommend", {"placement": "similar", "items": ["none"]}, 404, "unknown_item", "body.items"),
        ("/recommend", {"placement": "similar"}, 422, "invalid_request", "body.items"),
        ("/recommend", b"{", 422, "invalid_request", "body.1"),
        ("/recommend", b"\xff\xfe", 422, "invalid_request", "body.0"),
        ("/recommend", b"[" + b" " * 1_000_001 + b"]", 413, "too_large", "body"),
        ("/recommend", None, 405, "method_not_allowed", ""),
        ("/nothing", {}, 404, "not_found", ""),
    ],
)
def test_bad_request_is_answered_in_one_shape(
    server: Served, path: str, body: Any, status: int, code: str, where: str
) -> None:
    found, problem = server.ask(path, body, {"X-Request-ID": "asked-1"})
    assert found == status
    assert problem.keys() == {"code", "reason", "where", "mend", "request_id"}
    assert (problem["code"], problem["where"], problem["request_id"]) == (code, where, "asked-1")
    assert "/" not in problem["reason"]


def test_catalogue_tells_of_items_by_id(server: Served) -> None:
    status, answer = server.ask("/items", {"items": ["i002", "none", "i001"]})
    assert (status, answer["ignored"]) == (200, ["none"])
    assert [item["item_id"] for item in answer["items"]] == ["i002", "i001"]
    first = answer["items"][0]
    assert (first["title"], first["price"], first["attributes"]) == ("cheese large", 3.0, {"colour": "red"})
    assert first["category"] == ["milk", "cheese"]
    assert server.ask("/stock", {"out_of_stock": ["i002"]}, method="PUT")[0] == 200
    told = server.ask("/items", {"items": ["i002", "i001"]})[1]["items"]
    assert server.ask("/stock", {"in_stock": ["i002"]}, method="PUT")[0] == 200
    assert [item["in_stock"] for item in told] == [False, True]
    assert first["in_stock"]


def test_households_are_told_by_pseudonym_and_a_device_can_be_linked_with_one(
    server: Served, settings: Settings
) -> None:
    status, answer = server.ask("/households")
    households = answer["households"]
    assert (status, len({each["categories"][0] for each in households})) == (200, len(households))
    ring = open_ring(settings.home)
    users = {ring.pseudonym(f"u{number:02}"): f"u{number:02}" for number in range(40)}
    link = {"device": "a tried one", "household": households[0]["household"]}
    assert not recommended(server, device="a tried one")["known_user"]
    assert server.ask("/identities", link)[1]["linked"]
    mine = recommended(server, device="a tried one")
    assert mine["known_user"]
    assert ids(mine) == ids(recommended(server, user=users[households[0]["household"]]))
    assert not server.ask("/identities", {**link, "action": "unlink"})[1]["linked"]
    assert not recommended(server, device="a tried one")["known_user"]
    status, problem = server.ask("/identities", {**link, "household": "0" * 32})
    assert (status, problem["code"]) == (404, "unknown_household")
    for body in ({"device": "a tried one"}, {**link, "user": "u01"}):
        assert server.ask("/identities", body)[1]["code"] == "invalid_request"


def test_log_and_metrics_tell_of_a_request(server: Served) -> None:
    server.ask("/recommend", {"user": "u01"}, {"X-Request-ID": "logged-1"})
    line = server.said(request_id="logged-1")
    assert (line["route"], line["status"], line["model"]) == ("/recommend", 200, "1")
    figures = server.ask("/metrics")[1]
    for name in ("request_seconds_bucket", "step_seconds_count", "model_info", "model_age_seconds", "cold_share"):
        assert f"shoploom_{name}" in figures
    assert f'shoploom_model_info{{run="{RUN}",version="1"}} 1.0' in figures


def searched(server: Served, **body: Any) -> dict[str, Any]:
    status, answer = server.ask("/search", body)
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def test_search_without_a_shopper_is_the_packaged_models(server: Served, shop: Path) -> None:
    expected = [item.item_id for item in Recommender.load(shop / "data/package").search("cold milk", 3)]
    answer = searched(server, query="cold milk", k=3, understand=False)
    assert ids(answer)[: len(expected)] == expected
    assert (answer["taste_weight"], answer["corrected"], answer["model"]["version"]) == (0, False, "1")


def test_search_sets_misspelt_words_right_and_says_so(server: Served) -> None:
    answer = searched(server, query="cheeze")
    assert (answer["query"], answer["corrected"]) == ("cheese", True)
    assert not searched(server, query="cheeze", correct=False)["corrected"]


def test_search_is_moved_by_taste_and_says_by_how_much(server: Served) -> None:
    plain, mine = searched(server, query="small"), searched(server, query="small", user="u01")
    assert mine["known_user"]
    assert mine["taste_weight"] > 0
    assert max(result["taste"] for result in mine["results"]) == pytest.approx(mine["taste_weight"])
    for position, result in enumerate(mine["results"]):
        if result["item_id"] in ids(plain):
            assert result["moved"] == ids(plain).index(result["item_id"]) - position


def test_search_result_tells_the_words_history_and_parts_of_its_score(server: Served, shop: Path) -> None:
    plain = searched(server, query="small milk", user="u01", k=20)
    assert all(result["score_parts"] == result["contributions"] == [] for result in plain["results"])
    answer = searched(server, query="small milk", user="u01", k=20, explain=True, rules={"boost": {"MILK": 1.5}})
    assert answer["model"] == {"version": "1", "run": RUN, "override": None}
    for result in answer["results"]:
        assert sum(part["added"] for part in result["score_parts"]) == pytest.approx(result["score"], abs=1e-5)
        assert all(part["words"] for part in result["score_parts"])
    moved = [result for result in answer["results"] if result["rule"]]
    assert moved
    for result in moved:
        (rule,) = [part for part in result["score_parts"] if part["feature"] == "rule"]
        assert (rule["words"], rule["value"]) == ("boost MILK", pytest.approx(1.5))
        assert "milk" in result["reasons"][0]
    ranking = [part for result in answer["results"] for part in result["contributions"]]
    assert {part["feature"] for part in ranking} <= set(
        Recommender.load(shop / "data/package").ranker.blend.feature_names
    )
    assert ranking
    assert any("bought" in reason for result in answer["results"] for reason in result["reasons"])


def test_facets_count_what_filters_leave_but_for_their_own(server: Served) -> None:
    every = searched(server, query="small milk", k=50)
    counts = {facet["value"]: facet["count"] for facet in every["facets"]["product_type"]}
    assert sum(counts.values()) == every["total"] == len(every["results"])
    only = searched(server, query="small milk", k=50, filters={"product_type": ["MILK"]})
    assert {result["category"][-1] for result in only["results"]} == {"milk"}
    assert {facet["value"] for facet in only["facets"]["product_type"]} >= set(counts)
    assert sum(facet["count"] for facet in only["facets"]["department"]) == only["total"]
    assert searched(server, query="small milk", filters={"brand": ["nobody's"]})["total"] == 0
    assert searched(server, query="small milk", filters={"price_from": 5, "price_to": 1})["total"] == 0


def test_pages_of_a_search_follow_each_other(server: Served) -> None:
    whole = searched(server, query="small", k=6)
    pages = [searched(server, query="small", k=2, offset=offset) for offset in (0, 2, 4)]
    assert [name for page in pages for name in ids(page)] == ids(whole)
    assert pages[2]["results"][0]["position"] == 5
    assert searched(server, query="small", offset=900)["results"] == []


@pytest.mark.parametrize(
    "query",
    ["\0milk", "x" * 10_000, "milk " * 2_000, "牛奶 milk молоко", "'; DROP TABLE events; --", "🥛", "\u202emilk"],
)
def test_strange_query_is_answered(server: Served, query: str) -> None:
    assert searched(server, query=query)["total"] >= 0


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"query": ""}, "body.query"),
        ({"query": " \t"}, "body.query"),
        ({"query": "x" * 10_001}, "body.query"),
        ({"query": "milk", "filters": {"colour": ["red"]}}, "body.filters.colour"),
        ({"query": "milk", "filters": {"price_to": -1}}, "body.filters.price_to"),
        ({"query": "milk", "k": 201}, "body.k"),
    ],
)
def test_search_that_cannot_be_is_refused(server: Served, body: Any, where: str) -> None:
    status, problem = server.ask("/search", body)
    assert (status, problem["code"], problem["where"]) == (422, "invalid_request", where)


def event(**about: Any) -> dict[str, Any]:
    return {"event_id": f"event-{next(NUMBERS)}", "type": "view", **about}


def told(server: Served, *events: dict[str, Any]) -> dict[str, Any]:
    status, answer = server.ask("/events", {"events": list(events)})
    assert status == 200, answer
    acknowledged: dict[str, Any] = answer
    return acknowledged


def test_event_shapes_the_very_next_recommendation(server: Served) -> None:
    before = recommended(server, user="new shopper")
    assert before["based_on"] == "popularity"
    told(server, event(user="new shopper", item_id="i002"))
    after = recommended(server, user="new shopper")
    assert after["based_on"] == "session"
    assert ids(after) != ids(before)
    assert ids(after) == ids(recommended(server, viewed=["i002"]))


def test_purchase_is_folded_in_and_not_recommended_at_once(server: Served) -> None:
    first = ids(recommended(server, user="u02"))
    told(server, event(user="u02", type="purchase", item_id=first[0], quantity=2))
    after = recommended(server, user="u02")
    assert first[0] not in ids(after)
    assert after["based_on"] == "history+session"


def test_dislike_hides_an_item_until_a_like_takes_it_back(server: Served) -> None:
    first = ids(recommended(server, user="u03"))[0]
    told(server, event(user="u03", type="dislike", item_id=first))
    assert first not in ids(recommended(server, user="u03"))
    told(server, event(user="u03", type="like", item_id=first))
    assert first in ids(recommended(server, user="u03"))


def test_what_was_done_on_a_linked_device_shapes_the_account_and_unlinking_restores_it(server: Served) -> None:
    told(server, event(device="phone", item_id="i002"))
    plain = ids(recommended(server, user="u04"))
    link = {"device": "phone", "user": "u04"}
    assert server.ask("/identities", link)[1]["linked"]
    joined = recommended(server, user="u04")
    assert ids(joined) != plain
    assert ids(recommended(server, device="phone")) == ids(joined)
    assert not server.ask("/identities", {**link, "action": "unlink"})[1]["linked"]
    assert ids(recommended(server, user="u04")) == plain
    assert not recommended(server, device="phone")["known_user"]
    assert server.ask("/identities", {**link, "action": "unlink"})[0] == 404


def test_event_that_comes_again_is_acknowledged_and_another_of_its_id_refused(server: Served) -> None:
    one = event(user="u05", item_id="i001", timestamp=datetime.now(UTC).isoformat())
    assert [receipt["repeated"] for receipt in told(server, one)["receipts"]] == [False]
    assert [receipt["repeated"] for receipt in told(server, one, one)["receipts"]] == [True, True]
    status, problem = server.ask("/events", {"events": [{**one, "item_id": "i002"}]})
    assert (status, problem["code"]) == (409, "conflict")
    undated = event(user="u05", item_id="i001")
    assert [told(server, undated)["receipts"][0]["repeated"] for _ in range(2)] == [False, True]


def test_exposure_is_kept_with_what_ranked_the_item_then(server: Served, settings: Settings) -> None:
    answer = recommended(server, user="u07", k=3)
    seen = {"user": "u07", "type": "exposure", "request_id": answer["request_id"]}
    told(
        server,
        *(event(item_id=result["item_id"], position=place, **seen) for place, result in enumerate(answer["results"])),
    )
    told(server, event(user="u07", item_id="i001"))
    state = State.open(settings.serving_state, open_ring(settings.home))
    kept = [each for each in state.exposures.between(EARLY, LATE) if each.request_id == answer["request_id"]]
    state.close()
    assert [each.item_id for each in kept] == ids(answer)
    assert [each.features["score"] for each in kept] == [result["score"] for result in answer["results"]]
    assert {each.model_version for each in kept} == {"1"}


def test_answer_leads_to_the_model_that_gave_it(server: Served, settings: Settings) -> None:
    answers = {
        "/recommend": recommended(server, user="u07", k=3),
        "/search": server.ask("/search", {"query": "milk"})[1],
        "/converse": server.ask("/converse", {"text": "milk"})[1],
    }
    told(server, event(user="u07", item_id=ids(answers["/recommend"])[0], position=0, type="exposure",
                       request_id=answers["/recommend"]["request_id"]))  # fmt: skip
    for route, answer in answers.items():
        found = traced(settings, answer["request_id"])
        assert [(one.route, one.version, one.run_commit) for one in found.answers] == [(route, "1", RUN)]
        assert found.answers[0].answered == pytest.approx(time.time(), abs=60)
        assert [model.version.version for model in found.models] == ["1"]
        assert "only the registry is shown" in found.missing[0].what
        seen = ids(answer)[:1] if route == "/recommend" else []
        assert [item.item_id for item in found.items] == seen
    with pytest.raises(RunError, match="has no answer 'never'"):
        lineage_of(settings, "served:never")


def traced(settings: Settings, request_id: str) -> ServedLineage:
    """The lineage of an answer, once it is recorded: that takes a second."""
    deadline = time.monotonic() + 20
    while True:
        try:
            found = lineage_of(settings, f"served:{request_id}")
            assert isinstance(found, ServedLineage)
            if found.answers[0].run_commit:
                return found
        except RunError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_event_of_an_item_unknown_here_is_kept_and_told(server: Served) -> None:
    assert told(server, event(session="s", item_id="launched today"))["ignored"] == ["launched today"]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"item_id": "i001"}, "body.events.0"),
        ({"user": "u01"}, "body.events.0"),
        ({"user": "u01", "item_id": "i001", "type": "stare"}, "body.events.0.type"),
        ({"user": "u01", "item_id": "i001", "quantity": 0}, "body.events.0.quantity"),
        ({"user": "u01", "item_id": "i\0001"}, "body.events.0"),
        ({"user": "u01", "item_id": "i001", "timestamp": "2017-01-01T00:00:00"}, "body.events.0.timestamp"),
        ({"user": "u01", "item_id": "i001", "timestamp": "2999-01-01T00:00:00Z"}, "body.events"),
        ({"user": "u01", "item_id": "i001", "timestamp": "0001-01-01T00:00:00+14:00"}, "body.events.0"),
        ({"user": "u01", "type": "search"}, "body.events.0"),
        ({"user": "u01", "item_id": "i001", "colour": "red"}, "body.events.0.colour"),
    ],
)
def test_event_that_cannot_be_is_refused(server: Served, wrong: dict[str, Any], where: str) -> None:
    status, problem = server.ask("/events", {"events": [event(**wrong)]})
    assert (status, problem["code"], problem["where"]) == (422, "invalid_request", where), problem
    assert "/" not in problem["reason"]


def test_nothing_raw_of_a_shopper_is_in_the_log_or_the_state(server: Served, settings: Settings) -> None:
    told(server, event(user="alice@shop.example", item_id="i001"))
    for path in (server.log, *(settings.home / "serving").iterdir()):
        assert b"alice" not in path.read_bytes()


def test_alias_moved_to_what_is_not_signed_is_a_request_that_is_refused(
    server: Served, settings: Settings, shop: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(shop / "data/package", tmp_path / "package")
    (other / "manifest.json").write_text((other / "manifest.json").read_text() + "\n")
    version = registered(settings, other, tmp_path, "unsigned", signed=False)
    why = server.said(event="champion", level="error")["reason"]
    assert why.startswith(f"version {version} is not served: version {version} does not verify: statements: ")
    ready, facts = server.ask("/readyz")
    assert (ready, facts["model"]["version"], facts["trouble"]["champion"]) == (200, "1", why)
    roll_back_version(settings)
    said = [
        (entry.action, entry.subject) for entry in read(settings) if entry.action in ("load", "refusal", "rollback")
    ]
    assert said == [("load", "version 1"), ("refusal", f"version {version}"), ("rollback", "version 1")]
