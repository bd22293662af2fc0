"""Queries understood and conversations over HTTP, on the tiny champion: milk and bread of five prices."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import ModelError
from pipelines.models.intent import fit_intent
from pipelines.models.intent_templates import INTENTS, templates
from pipelines.models.manifest import INTENT_FOLDER, verify, write_manifest
from pipelines.models.multilingual import MultilingualEncoder, MultilingualIndex
from pipelines.params import EmbedMultilingualParams
from pipelines.pseudonyms import open_ring
from pipelines.serving.engine import Engine
from pipelines.serving.golden import check
from pipelines.serving.state import State
from pipelines.settings import Settings
from tests.integration import test_serving
from tests.serving_shop import Served, served, with_champion

shop, settings, server = test_serving.shop, test_serving.settings, test_serving.server


def searched(server: Served, query: str, **body: Any) -> dict[str, Any]:
    status, answer = server.ask("/search", {"query": query, "k": 50, **body})
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def said(server: Served, text: str, before: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
    named = {} if before is None else {"conversation": before["conversation"]}
    status, answer = server.ask("/converse", {"text": text, **named, **body})
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def prices(answer: dict[str, Any]) -> list[float]:
    return [result["price"] for result in answer["results"]]


def in_force(answer: dict[str, Any]) -> list[str]:
    return [("not " if each["negated"] else "") + each["value"] for each in answer["constraints"]]


def test_search_shows_what_it_understood_and_keeps_to_it(server: Served) -> None:
    answer = searched(server, "cheese under 3 without large")
    understood = answer["understood"]
    slots = {slot["kind"]: slot for slot in understood["slots"]}
    assert (slots["category"]["text"], slots["price"]["text"], slots["price"]["bounds"]) == (
        "cheese",
        "under 3",
        [None, 3],
    )
    assert slots["attribute"]["negated"]
    assert understood["looked_for"] == answer["query"] == "cheese"
    assert answer["results"]
    assert all(price < 3 for price in prices(answer))
    assert not any("large" in result["title"] for result in answer["results"])
    assert "under 3" in answer["results"][0]["fits"]
    plain = searched(server, "cheese under 3", understand=False)
    assert plain["understood"] is None
    assert max(prices(plain)) > 3


@pytest.mark.parametrize("query", ["cheap cheese", "便宜的奶酪"])
def test_search_puts_cheap_ones_of_the_right_kind_first(server: Served, query: str) -> None:
    answer = searched(server, query)
    right = [result for result in answer["results"] if result["category"][-1] == "cheese"]
    assert answer["results"][: len(right)] == right
    cheap = [result for result in right if "cheap" in result["fits"]]
    assert cheap == right[: len(cheap)] != []
    assert cheap[0]["price"] == min(result["price"] for result in right)


def test_search_says_what_it_did_not_understand_and_what_it_let_go(server: Served) -> None:
    answer = searched(server, "flibbertigibbet cheese under 0.5")
    assert answer["understood"]["not_understood"] == [{"text": "flibbertigibbet", "why": "no product says so"}]
    assert answer["understood"]["let_go"] == ["under 0.5"]
    assert answer["results"]
    assert searched(server, "cheeze")["understood"]["corrections"] == {"cheeze": "cheese"}


def test_search_lets_go_of_what_nothing_that_matches_has(server: Served) -> None:
    assert searched(server, "cheese under 2")["understood"]["let_go"] == []
    answer = searched(server, "cheese under 2", filters={"price_from": 3})
    assert answer["understood"]["let_go"] == ["under 2"]
    assert answer["results"]
    assert min(prices(answer)) >= 3, "a filter of the request is kept to"
    assert searched(server, "cheese under 2", filters={"brand": ["nobody's"]})["total"] == 0


def test_conversation_in_which_nothing_is_asked_gives_what_is_recommended(server: Served) -> None:
    begun = said(server, "cheese", user="u03")
    over = said(server, "start over", begun, user="u03")
    assert over["constraints"] == []
    recommended = server.ask("/recommend", {"user": "u03"})[1]["results"]
    assert [each["item_id"] for each in over["results"]] == [each["item_id"] for each in recommended]
    assert over["results"][0]["reasons"] == recommended[0]["reasons"]


def test_conversation_narrows_and_every_constraint_can_be_withdrawn(server: Served) -> None:
    first = said(server, "cheese")
    assert (first["turn"], in_force(first)) == (1, ["cheese"])
    assert {result["category"][-1] for result in first["results"]} == {"cheese"}
    dear = [result["item_id"] for result in first["results"] if result["price"] >= 3]
    second = said(server, "something cheaper", first, shown=dear)
    assert (second["turn"], second["changes"][0]["action"]) == (2, "added")
    assert second["results"]
    assert max(prices(second)) < 3
    assert {result["category"][-1] for result in second["results"]} == {"cheese"}
    third = said(server, "", second, withdraw=[second["constraints"][1]["id"]])
    assert in_force(third) == ["cheese"]
    assert third["changes"][0]["action"] == "withdrawn"
    assert [result["item_id"] for result in third["results"]] == [result["item_id"] for result in first["results"]]


@pytest.mark.parametrize("text", ["cheese", "something under 3"])
def test_conversation_takes_scores_apart_as_a_search_does(server: Served, text: str) -> None:
    plain = said(server, text, user="u01")
    assert all(result["score_parts"] == result["contributions"] == [] for result in plain["results"])
    answer = said(server, text, user="u01", explain=True, k=50)
    assert [result["item_id"] for result in answer["results"]][: len(plain["results"])] == [
        result["item_id"] for result in plain["results"]
    ]
    for result in answer["results"]:
        assert sum(part["added"] for part in result["score_parts"]) == pytest.approx(result["score"], abs=1e-5)
        assert all(part["words"] for part in result["score_parts"])
    assert any(result["contributions"] for result in answer["results"])


def test_conversation_knows_what_it_showed(server: Served) -> None:
    first = said(server, "milk", k=5)
    shown = [result["item_id"] for result in first["results"]]
    liked = said(server, "more like the second one", first)
    assert [each["value"] for each in liked["constraints"] if each["kind"] == "like"] == [shown[1]]
    assert shown[1] not in {result["item_id"] for result in liked["results"]}
    without = said(server, "第一个不要, not the first one", liked)
    assert liked["results"][0]["item_id"] not in {result["item_id"] for result in without["results"]}


def test_conversation_says_what_it_did_not_understand_and_changes_nothing(server: Served) -> None:
    first = said(server, "cheese under 4")
    second = said(server, "flibber flobber", first)
    assert second["constraints"] == first["constraints"]
    assert second["changes"] == []
    assert second["not_understood"] == [{"text": "flibber flobber", "why": "no product says so"}]
    assert [result["item_id"] for result in second["results"]] == [result["item_id"] for result in first["results"]]


def test_conversation_lets_go_of_what_nothing_satisfies_and_says_so(server: Served) -> None:
    answer = said(server, "cheese under 0.5")
    assert answer["results"]
    assert answer["let_go"] == [each["id"] for each in answer["constraints"] if each["kind"] == "price"]
    assert in_force(said(server, "start over", answer)) == []


def test_conversation_goes_on_for_a_known_user(server: Served) -> None:
    first = said(server, "bread by own", user="u01")
    again = said(server, "under 4", first, user="u01")
    assert in_force(again) == ["bread", "own", "under 4"]
    assert again["known_user"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"conversation": "0" * 32, "text": "milk"}, 404, "unknown_conversation"),
        ({"conversation": "nobody", "text": "milk"}, 422, "invalid_request"),
        ({"text": "milk", "withdraw": ["c9"]}, 404, "unknown_constraint"),
        ({"text": "x" * 10_001}, 422, "invalid_request"),
        ({"text": "milk", "k": 0}, 422, "invalid_request"),
        ({"text": "\ud83d"}, 422, "invalid_request"),
        ({"colour": "red"}, 422, "invalid_request"),
    ],
)
def test_bad_turn_is_refused_in_the_one_shape(server: Served, body: dict[str, Any], status: int, code: str) -> None:
    found, problem = server.ask("/converse", body)
    assert (found, problem["code"]) == (status, code)


@pytest.mark.parametrize("text", ["", "\x00\x1f", "x" * 10_000, "🍕 пицца مرحبا 手机", "1" * 9_999, "not " * 2_000])
def test_any_text_is_answered(server: Served, text: str) -> None:
    assert said(server, text)["not_understood"]
    if text.strip():
        assert server.ask("/search", {"query": text})[0] == 200


def test_of_two_turns_at_once_none_is_lost_silently(server: Served) -> None:
    first = said(server, "cheese")
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(server.ask, "/converse", {"conversation": first["conversation"], "text": f"under {price}"})
            for price in (2, 3, 4, 5)
        ]
        statuses = [each.result()[0] for each in asked]
    assert set(statuses) <= {200, 409}
    last = said(server, "blah", first)
    assert last["turn"] == statuses.count(200) + 2


def test_exposures_of_searches_and_conversations_keep_what_ranked_the_items(server: Served, settings: Settings) -> None:
    page = searched(server, "milk", k=3, offset=1)
    answers = {page["request_id"]: ("search", page["results"])}
    turn = said(server, "cheap milk", k=3)
    answers[turn["request_id"]] = ("converse", turn["results"])
    told = [
        {"event_id": f"{request}-{result['item_id']}", "type": "exposure", "user": "u09", "request_id": request,
         "item_id": result["item_id"]}
        for request, (_, results) in answers.items()
        for result in results
    ]  # fmt: skip
    assert server.ask("/events", {"events": told})[0] == 200
    state = State.open(settings.serving_state, open_ring(settings.home))
    kept = [
        each for each in state.exposures.between(test_serving.EARLY, test_serving.LATE) if each.request_id in answers
    ]
    state.close()
    for request, (placement, results) in answers.items():
        mine = sorted((each for each in kept if each.request_id == request), key=lambda each: each.position)
        assert [(each.item_id, each.placement, each.position + 1) for each in mine] == [
            (result["item_id"], placement, result["position"]) for result in results
        ]
        assert [each.features["relevance"] for each in mine] == [result["relevance"] for result in results]


def test_intents_come_with_their_probabilities_where_the_package_tells_them(
    shop: Path, mlflow_home: Path, server: Served, tmp_path: Path
) -> None:
    package = shutil.copytree(shop / "data/package", tmp_path / "package")
    facts = verify(package)
    params = EmbedMultilingualParams()
    encoder = MultilingualEncoder(params.weights, params.weights_sha256)
    texts = [templates("en", intent)[0] for intent in INTENTS]
    head = fit_intent(encoder, encoder.encode_queries(texts), np.arange(len(INTENTS), dtype=np.int64), 10.0)
    (package / INTENT_FOLDER).mkdir()
    head.save(package / INTENT_FOLDER)
    write_manifest(package, facts)
    (tmp_path / "shop").mkdir()
    with served(with_champion(package, mlflow_home, tmp_path / "shop"), tmp_path) as other:
        told = searched(other, texts[0])["understood"]["intents"]
        assert searched(other, texts[0], understand=False)["understood"] is None
    assert list(told) == list(INTENTS)
    assert sum(told.values()) == pytest.approx(1, abs=1e-3)
    assert max(told, key=lambda name: told[name]) == INTENTS[0]
    assert searched(server, texts[0])["understood"]["intents"] == {}
    engine = Engine.load(package)
    assert engine.intents("   ") == {}
    vectors, texts_of = np.eye(1, encoder.embedding_size, dtype=np.float32), np.zeros(1, np.int32)
    unreadable = MultilingualIndex(vectors, texts_of, vectors[0], params.weights, "0" * 64, 0.3)
    engine.recommender.finder.multilingual = unreadable
    with pytest.raises(ModelError, match="has SHA-256"):
        check(engine)
    # Thousands of letters would keep the encoder busy for seconds.
    assert engine.intents(f"  {texts[0]} " + "z" * 9_000) == engine.intents(f"{texts[0]} " + "z" * 500)
