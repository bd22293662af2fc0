"""The intent head: what it reaches on phrasings that nobody looked at while its templates were written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.artifacts import read_json, write_json
from pipelines.errors import ModelError
from pipelines.models.intent import IntentHead, fit_intent
from pipelines.models.intent_templates import (
    INTENTS,
    LANGUAGES,
    OUT_OF_SCOPE,
    SEARCH,
    named,
    templates,
    training_phrasings,
)
from pipelines.models.multilingual import MultilingualEncoder, loaded
from pipelines.params import EmbedMultilingualParams, TrainIntentParams
from tests.files import edited_json
from tests.phrasings import phrasings

CHINESE = re.compile("[\u4e00-\u9fff]")


TAUGHT = (
    "red wines|vitamins|greeting cards|charcoal|hair coloring|cigarettes|cut flowers|analgesics|magazines|fuel|"
    "gift wrap|hand soap|potting soil|cat food|sunscreen|nail polish|motor oil|popcorn|canned tuna|bath towels"
)
UNSEEN = (
    "wine|aspirin|gift cards|firewood|hair color|tobacco|roses|cough syrup|newspapers|propane|party supplies|"
    "shaving foam|lawn seeds|bird seed|tanning lotion|mascara|windshield washer|pretzels|sardines|greek yogurt"
)


@pytest.fixture(scope="module")
def encoder() -> MultilingualEncoder:
    params = EmbedMultilingualParams()
    return loaded(params.weights, params.weights_sha256, TrainIntentParams().layers)


@pytest.fixture(scope="module")
def filled() -> tuple[list[str], list[int]]:
    return training_phrasings(TrainIntentParams().copies, 7)


@pytest.fixture(scope="module")
def vectors(encoder: MultilingualEncoder, filled: tuple[list[str], list[int]]) -> NDArray[np.float32]:
    return encoder.encode_queries(filled[0])


@pytest.fixture(scope="module")
def head(encoder: MultilingualEncoder, filled: tuple[list[str], list[int]], vectors: NDArray[np.float32]) -> IntentHead:
    return fit_intent(encoder, vectors, np.array(filled[1], np.int64), TrainIntentParams().strength)


def test_templates_cover_every_intent_in_both_languages() -> None:
    for language in LANGUAGES:
        for intent in INTENTS:
            assert len(templates(language, intent)) >= 25
            words = [re.sub("{.}", "", text) for text in templates(language, intent)]
            assert all(bool(CHINESE.search(text)) == (language == "zh") for text in words if text)


def test_training_phrasings_are_distinct_filled_and_the_same_again() -> None:
    texts, labels = training_phrasings(2, 0)
    assert len(set(texts)) == len(texts) == len(labels)
    assert not any("{" in text for text in texts)
    assert (texts, labels) == training_phrasings(2, 0)
    assert set(labels) == set(range(len(INTENTS)))


def test_test_phrasings_are_as_many_as_promised_and_none_is_trained_on() -> None:
    trained = set(training_phrasings(40, 1)[0])
    for intent, lines in phrasings("test").items():
        assert len(lines) == len(set(lines))
        for chinese in (False, True):
            assert sum(bool(CHINESE.search(line)) == chinese for line in lines) >= 12
        assert len(lines) >= (200 if intent == OUT_OF_SCOPE else 30)
        assert not trained & set(lines)


def test_intent_head_tells_intents_and_what_is_out_of_scope(head: IntentHead, encoder: MultilingualEncoder) -> None:
    from sklearn.metrics import f1_score, roc_auc_score

    written = phrasings("test")
    labels = np.repeat(np.arange(len(INTENTS)), [len(written[intent]) for intent in INTENTS])
    vectors = encoder.encode_queries([line for intent in INTENTS for line in written[intent]])
    shares = head.probabilities(vectors)
    outside = INTENTS.index(OUT_OF_SCOPE)
    assert np.allclose(shares.sum(1), 1, atol=1e-5)
    assert roc_auc_score(labels == outside, shares[:, outside]) >= 0.95
    assert f1_score(labels, shares.argmax(1), average="macro") >= 0.90


def test_what_the_shop_sells_is_searched_for_by_its_bare_name(
    head: IntentHead,
    encoder: MultilingualEncoder,
    filled: tuple[list[str], list[int]],
    vectors: NDArray[np.float32],
) -> None:
    texts, labels = named(*filled, TAUGHT.split("|"))
    every = np.concatenate([vectors, encoder.encode_queries(texts[len(vectors) :])])
    taught = fit_intent(encoder, every, np.array(labels, np.int64), TrainIntentParams().strength)
    asked = encoder.encode_queries(UNSEEN.split("|"))
    outside, searched = INTENTS.index(OUT_OF_SCOPE), INTENTS.index(SEARCH)
    before, after = head.probabilities(asked).argmax(1), taught.probabilities(asked).argmax(1)
    assert (after == outside).mean() <= 0.25 < (before == outside).mean()
    assert (after == searched).mean() >= 0.6


def test_a_name_that_is_a_phrasing_already_stays_what_it_is_there() -> None:
    texts, labels = named(["weekly deals", "milk"], [3, 1], ["weekly deals", "tea", "tea"])
    assert (texts, labels) == (["weekly deals", "milk", "tea"], [3, 1, INTENTS.index(SEARCH)])


def test_intent_head_answers_as_before_when_read_back(
    head: IntentHead, encoder: MultilingualEncoder, tmp_path: Path
) -> None:
    head.save(tmp_path)
    again = IntentHead.load(tmp_path)
    vectors = encoder.encode_queries(["which is better, butter or margarine", "clearance items"])
    assert np.array_equal(again.probabilities(vectors), head.probabilities(vectors))
    assert again.of("which is better, butter or margarine").name == "compare"
    assert again.of("今天有什么打折").name == "deal"


def test_intent_head_of_the_version_before_stands_on_all_layers(
    filled: tuple[list[str], list[int]], tmp_path: Path
) -> None:
    params = EmbedMultilingualParams()
    whole = MultilingualEncoder(params.weights, params.weights_sha256)
    before = fit_intent(whole, whole.encode_queries(filled[0]), np.array(filled[1], np.int64), 10.0)
    before.save(tmp_path)
    facts = read_json(tmp_path / "intent.json")
    del facts["layers"]
    write_json({**facts, "format_version": 1}, tmp_path / "intent.json")
    again = IntentHead.load(tmp_path)
    again.save(tmp_path)
    assert again.encoder.num_layers == IntentHead.load(tmp_path).encoder.num_layers == whole.num_layers
    assert again.of("today's specials in the bakery") == before.of("today's specials in the bakery")


def test_intent_head_refuses_a_blank_query_a_missing_file_and_another_version(head: IntentHead, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="blank"):
        head.of("  ")
    with pytest.raises(ModelError, match="does not exist"):
        IntentHead.load(tmp_path)
    head.save(tmp_path)
    with edited_json(tmp_path / "intent.json", format_version=99), pytest.raises(ModelError, match="version 2"):
        IntentHead.load(tmp_path)
    with edited_json(tmp_path / "intent.json", intents=["browse"]), pytest.raises(ModelError, match="other intents"):
        IntentHead.load(tmp_path)
    with edited_json(tmp_path / "intent.json", weights_sha256="0" * 64), pytest.raises(ModelError, match="has SHA-256"):
        IntentHead.load(tmp_path).of("milk")
    with edited_json(tmp_path / "intent.json", layers="six"), pytest.raises(ModelError, match="number of layers"):
        IntentHead.load(tmp_path)
    with edited_json(tmp_path / "intent.json", layers=99), pytest.raises(ModelError, match="has 12 layers, not 99"):
        IntentHead.load(tmp_path).of("milk")


def test_intent_head_is_not_fitted_when_an_intent_has_no_phrasing(encoder: MultilingualEncoder) -> None:
    with pytest.raises(ModelError, match="no training phrasing"):
        fit_intent(encoder, np.eye(3, 384, dtype=np.float32), np.arange(3), 1.0)
