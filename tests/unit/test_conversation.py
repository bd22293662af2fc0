"""Conversations that narrow: what a turn changes, what it leaves, and what it says it did not understand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.serving.understanding.constraints import Constraint
from pipelines.serving.understanding.conversation import FORM, MOST_IN_FORCE, Conversation, Turn, withdraw
from pipelines.serving.understanding.masks import mask
from pipelines.serving.understanding.turns import take_turn
from pipelines.serving.understanding.vocabulary import Vocabulary
from tests.understanding_shop import GROCERY, catalogue

SHOP = Vocabulary.of(catalogue(GROCERY, {"d1": {"flavour": "beef"}}))


def left(conversation: Conversation) -> list[str]:
    rows = np.flatnonzero(mask(conversation.constraints, SHOP))
    return [str(SHOP.catalogue.item_ids[row]) for row in rows]


def talk(*lines: str, shown: list[str] | None = None) -> Turn:
    """Say lines one after the other; what is shown is everything that is left, or what is given."""
    turn = Turn(Conversation())
    for line in lines:
        before = shown if shown is not None else left(turn.conversation) if turn.changes else []
        turn = take_turn(turn.conversation, line, before, SHOP)
    return turn


def in_force(turn: Turn) -> list[str]:
    return [str(each) for each in turn.conversation.constraints]


@pytest.mark.parametrize(
    "line", ["something cheaper", "show me cheaper ones", "便宜点的", "有没有更便宜的", "anything less expensive?"]
)
def test_cheaper_is_strictly_cheaper_than_everything_shown(line: str) -> None:
    turn = talk("frozen pizza", line, shown=["p2", "p3"])
    assert left(turn.conversation) == ["p1", "p4"]
    assert [each.said for each in turn.changes] == ["under 7"]
    again = take_turn(turn.conversation, line, ["p1"], SHOP)
    assert left(again.conversation) == ["p4"]
    assert [each.said for each in again.changes] == ["under 3, instead of under 7"]
    last = take_turn(again.conversation, line, ["p4"], SHOP)
    assert last.conversation == again.conversation
    assert [(each.action, each.said) for each in last.changes] == [("none", "nothing cheaper than 2 is left")]


def test_cheaper_than_one_item_than_a_number_and_than_nothing() -> None:
    assert left(talk("pizza", "cheaper than the second one", shown=["p3", "p2"]).conversation) == ["p1", "p4"]
    assert left(talk("pizza", "cheaper than 7", shown=["p3"]).conversation) == ["p1", "p4"]
    assert in_force(talk("pizza", "cheaper", shown=[])) == ["pizza", "cheap"]
    assert left(talk("pizza", "more expensive", shown=["p1"]).conversation) == ["p2", "p3"]
    assert left(talk("披萨", "贵一点", shown=["p1"]).conversation) == ["p2", "p3"]


@pytest.mark.parametrize("line", ["not this brand", "another brand please", "换个牌子", "a different brand"])
def test_not_this_brand_is_the_brand_that_was_shown(line: str) -> None:
    assert in_force(talk("cola", line, shown=["s1"])) == ["cola", "not brand Pepsi"]
    assert in_force(talk("cola by Coke", line, shown=["s2", "s1"])) == ["cola", "not brand Coke"]
    unclear = talk("cola", line, shown=["s1", "s2"])
    assert in_force(unclear) == ["cola"]
    assert [each.why for each in unclear.not_understood] == ["which brand is meant? say “not Pepsi”, “not Coke”"]


def test_same_brand_stays_with_it() -> None:
    assert left(talk("cola", "same brand", shown=["s2"]).conversation) == ["s2"]
    assert left(talk("可乐 cola", "只要这个牌子", shown=["s3"]).conversation) == ["s3"]


@pytest.mark.parametrize(
    "line",
    [
        "more like the second one",
        "similar to #2",
        "like the 2nd",
        "第二个那样的",
        "像第二个一样的",
        "more like number 2",
    ],
)
def test_like_names_the_item_that_was_shown(line: str) -> None:
    turn = talk("pizza", line, shown=["p4", "p3", "p1"])
    assert turn.conversation.like == "p3"
    title = SHOP.catalogue.titles[SHOP.catalogue.item_rows["p3"]]
    assert turn.changes[0].said == f"like \u201c{title}\u201d"
    assert left(turn.conversation) == ["p1", "p2", "p3", "p4"]


def test_pointing_at_what_was_not_shown_is_said() -> None:
    assert [each.why for each in talk("pizza", "more like the ninth one", shown=["p1"]).not_understood] == [
        "only 1 was shown"
    ]
    assert [each.why for each in talk("pizza", "like the first", shown=[]).not_understood] == [
        "nothing has been shown yet"
    ]
    which = talk("pizza", "more like this one", shown=["p1", "p2"])
    assert [each.why for each in which.not_understood] == ["which one is meant? 2 were shown"]
    assert talk("pizza", "more like this one", shown=["p2"]).conversation.like == "p2"
    assert talk("pizza", "more like the last one", shown=["p1", "p2"]).conversation.like == "p2"


def test_what_is_not_meant_is_left_out_with_what_says_the_same() -> None:
    twins = Vocabulary.of(catalogue([*GROCERY, ("p9", *GROCERY[0][1:])]))
    turn = take_turn(take_turn(Conversation(), "pizza", [], twins).conversation, "not the first one", ["p1"], twins)
    rows = np.flatnonzero(mask(turn.conversation.constraints, twins))
    assert [str(twins.catalogue.item_ids[row]) for row in rows] == ["p2", "p3", "p4"]


def test_no_pizza_takes_pizza_back() -> None:
    turn = talk("pizza", "no pizza")
    assert in_force(turn) == ["not pizza"]
    assert turn.changes[0].said == "not pizza, instead of pizza"
    assert in_force(talk("no pizza", "pizza")) == ["pizza"]


def test_one_property_stands_in_place_of_another_where_that_is_said() -> None:
    assert in_force(talk("organic milk", "gluten free instead")) == ["milk", "gluten free"]
    assert in_force(talk("organic milk", "gluten free")) == ["organic", "milk", "gluten free"]
    assert in_force(talk("organic cat treats", "for a dog instead")) == ["organic", "dog treat", "for dog"]


def test_what_nothing_satisfies_does_not_stand_against_what_is_asked_next() -> None:
    turn = talk("organic pizza", "something cheaper", shown=["p1", "p2"])
    assert in_force(turn) == ["organic", "pizza", "under 3"]


def test_word_that_nothing_is_called_narrows_and_is_no_category() -> None:
    wafers = ("v1", "Vanilla wafers", ("Grocery", "Cookies", "Vanilla wafers"), "Rex", "8 oz", 2.0)
    shop = Vocabulary.of(
        catalogue([*GROCERY, wafers, ("i1", "Ice cream", ("Grocery", "Ice cream"), "Rex", "1 pt", 3.0)])
    )
    turn = take_turn(Conversation(), "ice cream under 5", [], shop)
    turn = take_turn(turn.conversation, "vanilla", ["i1"], shop)
    assert (in_force(turn), turn.conversation.words) == (["ice cream", "under 5"], ("vanilla",))
    assert in_force(take_turn(Conversation(), "vanilla wafers", [], shop)) == ["vanilla wafer"]


def test_words_that_no_product_says_are_forgotten_once_something_is_understood() -> None:
    begun = talk("flibbertigibbet")
    assert begun.conversation.words == ("flibbertigibbet",)
    assert talk("flibbertigibbet", "pizza").conversation.query == "pizza"


def test_not_an_item_leaves_it_out() -> None:
    assert left(talk("pizza", "not the second one", shown=["p1", "p2"]).conversation) == ["p1", "p3", "p4"]
    assert left(talk("披萨", "不要第一个", shown=["p3"]).conversation) == ["p1", "p2", "p4"]


@pytest.mark.parametrize("line", ["for a dog instead", "给狗的", "for my puppy"])
def test_for_somebody_else_turns_the_category(line: str) -> None:
    turn = talk("cat treats", line)
    assert left(turn.conversation) == ["d1"]
    assert turn.changes[0].said == "dog treat, instead of cat treat"
    assert turn.conversation.query == "dog treat"


def test_newer_prices_sizes_and_categories_count() -> None:
    assert in_force(talk("pizza under 10", "under 5")) == ["pizza", "under 5"]
    assert in_force(talk("pizza", "10元以下", "cheap")) == ["pizza", "cheap"]
    assert in_force(talk("cola 2L", "12 oz")) == ["cola", "12 oz"]
    subject = talk("gluten free pizza 12 oz without nuts cheap", "dog food")
    assert in_force(subject) == ["not nut", "cheap", "dog food"]
    assert [each.action for each in subject.changes] == ["withdrawn", "withdrawn", "replaced"]


@pytest.mark.parametrize(
    "line", ["forget the price", "any price is fine", "price doesn't matter", "不限价格", "价格无所谓"]
)
def test_a_kind_of_constraint_is_forgotten(line: str) -> None:
    turn = talk("cheap pizza by Rossi", line)
    assert in_force(turn) == ["pizza", "brand Rossi"]
    assert [(each.action, each.said) for each in turn.changes] == [("withdrawn", "withdrawn: cheap")]
    assert [each.action for each in talk("pizza", line).changes] == ["none"]


@pytest.mark.parametrize("line", ["start over", "reset", "forget everything", "重新开始"])
def test_start_over_forgets_everything_and_no_id_comes_again(line: str) -> None:
    turn = talk("cheap pizza", line, "cola")
    assert in_force(turn) == ["cola"]
    assert turn.conversation.constraints[0].id == "c3"
    assert in_force(talk("cheap pizza", f"{line}, cola 2L")) == ["cola", "2l"]


def test_big_packs_and_bigger_ones() -> None:
    assert left(talk("cola", "show me the big pack").conversation) == ["s1"]
    assert left(talk("cola", "bigger", shown=["s2"]).conversation) == ["s1"]
    assert left(talk("cola", "大一点的", shown=["s2"]).conversation) == ["s1"]
    assert left(talk("dog", "smaller than the first one", shown=["d2"]).conversation) == ["d1"]
    assert in_force(talk("cola", "bigger", shown=[])) == ["cola", "big pack"]


def test_words_narrow_and_another_category_replaces_them() -> None:
    turn = talk("spinach pizza", "with cheese")
    assert turn.conversation.query == "spinach cheese pizza"
    assert talk("spinach pizza", "cola").conversation.query == "cola"
    assert talk("牛油果").conversation.words == ("牛油果",)


@pytest.mark.parametrize("line", ["blah blah", " ", "", "\x00", "hmm", "不知道"])
def test_what_is_not_understood_is_said_and_changes_nothing(line: str) -> None:
    before = talk("pizza").conversation
    turn = take_turn(before, line, ["p1"], SHOP)
    assert turn.conversation == before
    assert turn.not_understood


def test_withdrawing_a_constraint_leaves_what_was_before() -> None:
    before = talk("frozen pizza")
    after = take_turn(before.conversation, "without nuts", [], SHOP)
    gone = withdraw(after.conversation, after.conversation.constraints[-1].id)
    assert gone.conversation.constraints == before.conversation.constraints
    assert gone.changes[0].said == "withdrawn: not nut"
    with pytest.raises(DataError, match="no constraint 'c9' is in force"):
        withdraw(before.conversation, "c9")


def test_conversation_goes_to_json_and_back_and_other_json_is_refused() -> None:
    conversation = talk("cheap frozen pizza by Rossi, no nuts", "more like the first", shown=["p1"]).conversation
    plain = json.loads(json.dumps(conversation.as_json()))
    assert plain["form"] == FORM
    assert Conversation.from_json(plain) == conversation
    for bad in (None, [], {}, {**plain, "form": "conversation/0"}, {**plain, "words": 3}, {"form": FORM}):
        with pytest.raises(DataError, match="conversation"):
            Conversation.from_json(bad)


def test_a_conversation_holds_only_so_many_constraints() -> None:
    conversation = Conversation()
    for number in range(MOST_IN_FORCE):
        conversation = conversation.with_constraint(Constraint("item", f"i{number}", negated=True))
    turn = take_turn(conversation, "without nuts", [], SHOP)
    assert turn.conversation == conversation
    assert [each.why for each in turn.not_understood] == ["more than 24 things are asked: withdraw one"]
