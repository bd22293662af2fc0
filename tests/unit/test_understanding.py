"""What queries are understood to ask, on catalogues small enough to see every item."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.serving.understanding.amounts import number_of
from pipelines.serving.understanding.constraints import Constraint
from pipelines.serving.understanding.facets import Value, facets
from pipelines.serving.understanding.masks import (
    BAND_WEIGHT,
    KIND_WEIGHT,
    LEVEL_WEIGHT,
    mask,
    price_bounds,
    price_preference,
    relax,
    wish,
)
from pipelines.serving.understanding.reading import fold, needles, tokens
from pipelines.serving.understanding.sizes import read_label
from pipelines.serving.understanding.understand import Understanding, understand
from pipelines.serving.understanding.vocabulary import Vocabulary, heads_of
from tests.understanding_shop import GROCERY, PHONES, catalogue

SHOP = Vocabulary.of(catalogue(GROCERY, {"d1": {"flavour": "beef"}}))
PHONE_SHOP = Vocabulary.of(catalogue(PHONES))


def found(text: str, shop: Vocabulary = SHOP) -> set[str]:
    """Ids of the items that satisfy what is understood."""
    rows = np.flatnonzero(mask(understand(text, shop).constraints, shop))
    return {str(shop.catalogue.item_ids[row]) for row in rows}


def slots(understood: Understanding) -> set[tuple[str, str]]:
    return {(each.kind, str(each)) for each in understood.constraints}


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("frozen pizza", {"p1", "p2", "p3", "p4"}),
        ("冷冻披萨", {"p1", "p2", "p3", "p4"}),
        ("pizza under 7", {"p1", "p4"}),
        ("pizza at most $7", {"p1", "p2", "p4"}),
        ("pizza between 3 and 7", {"p1", "p2"}),
        ("$7 - $3 pizza", {"p1", "p2"}),
        ("7元以下的披萨", {"p1", "p2", "p4"}),
        ("披萨 三到七元", {"p1", "p2"}),
        ("披萨 低于七块", {"p1", "p4"}),
        ("pizza over 7", {"p3"}),
        ("pizza without nuts", {"p1", "p3", "p4"}),
        ("披萨 不要坚果", {"p1", "p3", "p4"}),
        ("pizza, no nuts or cheese", {"p3", "p4"}),
        ("gluten-free pizza", {"p3"}),
        ("cola not Pepsi", {"s2", "s3"}),
        ("Pepsi cola", {"s1"}),
        ("cola pepsi or coke", {"s1", "s2"}),
        ("store brand cola", {"s3"}),
        ("cola 2L", {"s2", "s3"}),
        ("cola 2000 ml", {"s2", "s3"}),
        ("cola 12 oz", {"s1"}),
        ("cola 340g", {"s1"}),
        ("pizza under 11 oz", {"p3"}),
        ("pizza at least 300克", {"p1", "p2"}),
        ("dog food for my dog", {"d1", "d2"}),
        ("treats for a cat", {"c1"}),
        ("beef dog biscuits", {"d1"}),
        ("soup", {"n1"}),
        ("soup under 5", set()),
    ],
)
def test_understand_leaves_the_items_that_are_meant(text: str, items: set[str]) -> None:
    assert found(text) == items


def test_understand_shows_every_slot_on_the_text_it_came_from() -> None:
    text = "Ｃheap frozen PIZZA by Rossi, 12 oz without nuts, under ２０"
    understood = understand(text, SHOP)
    assert {each.kind: each.span.text for each in understood.constraints if each.span} == {
        "price": "under ２０",
        "category": "frozen PIZZA",
        "brand": "Rossi",
        "size": "12 oz",
        "attribute": "nuts",
    }
    for each in understood.constraints:
        assert each.span
        assert text[each.span.start : each.span.end] == each.span.text
    assert understood.rest == "frozen pizza rossi"
    assert ("price", "cheap") in slots(understood)


def test_price_words_are_bands_within_the_category() -> None:
    assert found("cheap pizza") == {"p1", "p4"}
    assert found("premium pizza") == found("高端披萨") == {"p2", "p3"}
    assert found("mid-range pizza") == {"p1", "p2"}
    assert found("pizza, not too expensive") == found("不要太贵的披萨") == {"p1", "p2", "p4"}
    assert found("cheap dog food") == {"d1"}
    cheap = understand("cheap pizza", SHOP).constraints
    assert price_bounds(cheap[0], cheap, SHOP) == (None, 3.0)


def test_price_preference_orders_the_right_kind_and_leaves_other_kinds_out() -> None:
    cheap = price_preference(understand("cheap frozen pizza", SHOP).constraints, SHOP)
    ids = [str(SHOP.catalogue.item_ids[row]) for row in np.argsort(-cheap, kind="stable")]
    assert ids[:3] == ["p4", "p1", "p2"]
    assert cheap[0] == pytest.approx(1 - 1 / 3)
    assert np.flatnonzero(cheap).tolist() == [0, 1, 3]
    assert not price_preference(understand("frozen pizza", SHOP).constraints, SHOP).any()


def test_wish_brings_the_cheap_of_the_right_kind_forward_and_shuts_nothing_out() -> None:
    wished = wish(understand("cheap frozen pizza", SHOP).constraints, SHOP)
    assert wished is not None
    ids = [str(SHOP.catalogue.item_ids[row]) for row in np.argsort(-wished, kind="stable")]
    assert ids[:4] == ["p4", "p1", "p2", "p3"]
    assert wished[3] == pytest.approx(KIND_WEIGHT + BAND_WEIGHT + LEVEL_WEIGHT)
    assert not wished[4:].any()
    properties = wish(understand("gluten free", SHOP).constraints, SHOP)
    assert properties is not None
    assert np.flatnonzero(properties).tolist() == [2]
    assert wish(understand("Rossi under 5 without nuts", SHOP).constraints, SHOP) is None


@pytest.mark.parametrize("text", ["I want to buy a cheap phone", "我想买一款便宜的手机", "便宜的 phone"])
def test_both_languages_put_cheap_phones_of_either_first(text: str) -> None:
    understood = understand(text, PHONE_SHOP)
    assert found(text, PHONE_SHOP) == {"e1", "z1"}
    assert not understood.not_understood
    kind = [each for each in understood.constraints if each.kind == "category"]
    assert mask(kind, PHONE_SHOP).sum() == 4
    cheap = price_preference(understood.constraints, PHONE_SHOP)
    assert [str(PHONE_SHOP.catalogue.item_ids[row]) for row in np.argsort(-cheap)[:2]] == ["z1", "e1"]


def test_a_number_with_a_unit_that_no_size_has_is_no_size() -> None:
    assert understand("5G phone", PHONE_SHOP).rest == "5 g phone"
    assert not [each for each in understand("5G phone", PHONE_SHOP).constraints if each.kind in ("size", "price")]


def test_what_no_product_says_is_told_and_not_guessed() -> None:
    understood = understand("flibbertigibbet pizza, 无麸质 not Fanta, vegan", SHOP)
    told = {each.span.text: each.why for each in understood.not_understood}
    assert told == {
        "flibbertigibbet": "no product says so",
        "Fanta": "no product says so: nothing is left out",
        "vegan": "no product says vegan",
    }
    assert slots(understood) == {("category", "pizza"), ("attribute", "gluten free")}


def test_misspelt_words_are_set_right_and_shown() -> None:
    understood = understand("chiken noodel soup", SHOP)
    assert [(each.span.text, each.to) for each in understood.corrections] == [
        ("chiken", "chicken"),
        ("noodel", "noodle"),
    ]
    assert understood.rest == "chicken noodle soup"
    assert slots(understood) == {("category", "soup")}
    assert not understand("chiken noodel soup", SHOP, correct=False).corrections
    assert not understand("healthy soup", Vocabulary.of(SHOP.catalogue, lambda word: word == "healthy")).corrections


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("milk and pizza", {"milk", "pizza"}),
        ("cola or milk", {"cola", "milk"}),
        ("cola, pizza and dog food", {"cola", "pizza", "dog food"}),
        ("cola, pizza, or milk", {"cola", "pizza", "milk"}),
        ("牛奶和披萨", {"milk", "pizza"}),
        ("milk, pizza", {"pizza"}),
        ("milk and pizza soup", {"soup"}),
        ("soup with pizza and milk", {"soup"}),
        ("milk and not pizza", {"milk"}),
    ],
)
def test_list_of_kinds_is_one_of_them_each(text: str, names: set[str]) -> None:
    understood = understand(text, SHOP)
    assert {each.value for each in understood.constraints if each.kind == "category"} == names
    found = mask(understood.constraints, SHOP)
    kinds = [mask([each], SHOP) for each in understood.constraints if each.kind == "category"]
    assert all((found & kind).any() for kind in kinds)


def test_size_may_be_said_in_words() -> None:
    for line in ("a gallon of milk", "milk, one gallon", "half a dozen pizzas"):
        (size,) = [each for each in understand(line, SHOP).constraints if each.kind == "size"]
        assert size.low == (6 if "dozen" in line else 3785.41)


def test_guess_is_no_correction() -> None:
    assert [each.to for each in understand("spinahc piza", SHOP).corrections] == ["spinach", "pizza"]
    assert understand("winsdom", SHOP).corrections == ()


def test_what_only_has_the_word_in_its_name_is_wished_for_less() -> None:
    assert heads_of("Coffee filters") >= {("coffee", "filter"), ("filter",)}
    assert ("coffee",) not in heads_of("Coffee filters")
    assert ("milk",) in heads_of("Fluid milk white only")
    assert {("beer",), ("ale",)} <= heads_of("Beers/ales")
    shop = Vocabulary.of(catalogue([
        ("f1", "Coffee filters", ("Grocery", "Coffee filters"), "Rex", None, 1.0),
        ("c1", "Ground coffee", ("Grocery", "Ground coffee"), "Rex", None, 5.0),
    ]))  # fmt: skip
    asked = understand("coffee", shop).constraints
    gained = wish(asked, shop)
    assert gained is not None
    assert gained[1] > gained[0] > 0
    assert mask(asked, shop).all()


def test_relax_lets_go_of_what_is_not_wanted_last() -> None:
    asked = understand("pizza without nuts under 8", SHOP).constraints
    among = np.isin(SHOP.catalogue.item_ids, ["p2", "p3"])
    assert [str(each) for each in relax(asked, SHOP, among).dropped] == ["under 8"]


def test_relax_lets_go_of_the_least_and_says_so() -> None:
    asked = understand("organic pizza by Rossi under 5", SHOP).constraints
    assert not mask(asked, SHOP).any()
    relaxed = relax(asked, SHOP)
    assert [str(each) for each in relaxed.dropped] == ["organic"]
    assert str(relaxed) == "nothing satisfies everything; 1 items do without: organic"
    assert relax(relaxed.kept, SHOP).dropped == ()
    nowhere = relax(asked, SHOP, np.zeros(SHOP.num_items, bool))
    assert (nowhere.kept, nowhere.items) == ((), 0)


def test_facets_count_what_items_have() -> None:
    counted = facets(mask(understand("pizza", SHOP).constraints, SHOP), SHOP)
    assert counted["category_3"] == (
        Value("Pizza/premium", 2),
        Value("Pizza/economy", 1),
        Value("Pizza/traditional", 1),
    )
    assert counted["brand"][0] == Value("Rossi", 2)
    assert counted["attribute"][:2] == (Value("frozen", 4), Value("gluten free", 1))
    assert sum(band.count for band in counted["price"]) == 4
    assert (counted["price"][0].low, counted["price"][-1].high) == (2.0, 9.0)
    assert facets(np.zeros(0, np.int32), SHOP) == {}
    assert "price" not in facets(np.array([12]), SHOP)


def test_labels_are_read_with_their_packs() -> None:
    assert read_label("12 pk/12 oz") == pytest.approx((12 * 28.3495, 12 * 29.5735, 12.0))
    assert read_label("6/1 l")[1:] == (1000.0, 6.0)
    assert read_label("1/2 gal")[1] == pytest.approx(3785.41 / 2)
    assert read_label("500 G")[0] == 500.0
    assert read_label("1 dz")[2] == 12.0
    assert np.isnan(read_label("large")).all()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,000", 1000),
        ("9,99", 9.99),
        ("1/2", 0.5),
        ("二十", 20),
        ("一百五十", 150),
        ("三千", 3000),
        ("1.5", 1.5),
        ("两", 2),
    ],
)
def test_numbers_are_read_in_both_languages(text: str, value: float) -> None:
    assert number_of(text) == value


def test_folding_keeps_places_and_words_know_where_they_stood() -> None:
    text = "İstanbul ＣＡＦÉ ﬁne 手机"
    assert len(fold(text)) == len(text)
    assert all(len(text[each.start : each.end]) == len(each.word) for each in tokens(fold(text)))
    assert needles(("智", "能", "手", "机")) == ("智能", "能手", "手机")


def test_constraints_go_to_json_and_back_and_other_json_is_refused() -> None:
    for each in understand("cheap pizza by Rossi, 12 oz, no nuts", SHOP).constraints:
        assert Constraint.from_json(json.loads(json.dumps(each.as_json()))) == each
    for bad in (None, {}, {"kind": "colour"}, {**Constraint("brand", "x").as_json(), "low": "much"}, [1]):
        with pytest.raises(DataError, match="not a constraint"):
            Constraint.from_json(bad)


def test_an_empty_catalogue_understands_nothing_and_fails_at_nothing() -> None:
    empty = Vocabulary.of(catalogue([("x", "?", (), None, None, None)]))
    assert mask(understand("cheap pizza 12 oz without nuts", empty).constraints, empty).shape == (1,)
    assert [each.why for each in understand("pizza", empty).not_understood] == ["no product says so"]
