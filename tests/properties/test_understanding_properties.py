"""Whatever is typed is read; constraints mean the same in any order, and go without a trace."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.serving.understanding.conversation import MOST_IN_FORCE, Conversation, withdraw
from pipelines.serving.understanding.facets import facets
from pipelines.serving.understanding.masks import mask, price_preference, relax
from pipelines.serving.understanding.turns import take_turn
from pipelines.serving.understanding.understand import understand
from pipelines.serving.understanding.vocabulary import Vocabulary
from tests.understanding_shop import GROCERY, catalogue

SHOP = Vocabulary.of(catalogue(GROCERY, {"d1": {"flavour": "beef"}}))
PIECES = (
    *("cheap", "premium", "frozen", "pizza", "milk", "for a dog", "without", "nuts", "not", "Pepsi", "or", "under"),
    *("over", "between", "and", "12", "20", "oz", "2L", "1/2 gal", "$", "€5", "gluten free", "-", ",", ".", "flibber"),
    *("便宜", "的", "冷冻", "披萨", "不要", "坚果", "二十元", "以下", "至少", "500克"),
    *("\x00", "\n", "ﬁ", "Ａ", "\ud800", "🍕", "العربية", "пицца"),
)
TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.characters().map(lambda letter: letter * 10_000),
    st.sampled_from(PIECES).map(lambda piece: piece * 3_000),
)


@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_any_text_is_read_and_every_span_is_of_it(text: str) -> None:
    understood = understand(text, SHOP)
    assert understood.text == text
    spans = [each.span for each in understood.constraints]
    for span in [*spans, *(each.span for each in (*understood.corrections, *understood.not_understood))]:
        assert span
        assert text[span.start : span.end] == span.text
    allowed = mask(understood.constraints, SHOP)
    assert allowed.shape == (SHOP.num_items,)
    assert understand(text, SHOP) == understood
    preference = price_preference(understood.constraints, SHOP)
    assert ((preference >= 0) & (preference <= 1)).all()
    facets(allowed, SHOP)


@given(texts=st.lists(TEXTS, max_size=3), data=st.data())
@settings(max_examples=40, deadline=None)
def test_constraints_leave_the_same_items_in_any_order_and_less_the_more_there_are(
    texts: list[str], data: st.DataObject
) -> None:
    asked = [each for text in texts for each in understand(text, SHOP).constraints]
    allowed = mask(asked, SHOP)
    np.testing.assert_array_equal(mask(data.draw(st.permutations(asked)), SHOP), allowed)
    relaxed = relax(asked, SHOP)
    if allowed.any():
        assert relaxed.dropped == ()
    assert relaxed.items == mask(relaxed.kept, SHOP).sum() > 0
    for each in asked:
        if each.negated or each.kind in ("attribute", "item"):
            rest = [other for other in asked if other is not each]
            assert not (allowed & ~mask(rest, SHOP)).any()


LINES = st.one_of(
    TEXTS,
    st.sampled_from(["something cheaper", "bigger", "smaller", "more expensive", "not this brand", "same brand"]),
    st.sampled_from(
        ["more like the second one", "not the first one", "cheaper than the second one", "show me the big pack"]
    ),
    st.sampled_from(["for a dog instead", "under 10", "forget the price", "start over", "cola", "pizza without nuts"]),
    st.sampled_from(["便宜点的", "换个牌子", "第三个那样的", "给猫的", "organic"]),
)
SHOWN = st.lists(st.sampled_from([row[0] for row in GROCERY] + ["unknown"]), max_size=5, unique=True)


@given(turns=st.lists(st.tuples(LINES, SHOWN), max_size=6))
@settings(max_examples=80, deadline=None)
def test_any_conversation_goes_on_survives_json_and_forgets_without_a_trace(turns: list[tuple[str, list[str]]]) -> None:
    conversation = Conversation()
    for line, shown in turns:
        turn = take_turn(conversation, line, shown, SHOP)
        assert turn.changes or turn.not_understood
        assert take_turn(conversation, line, shown, SHOP) == turn
        after = turn.conversation
        assert Conversation.from_json(json.loads(json.dumps(after.as_json()))) == after
        ids = [each.id for each in after.constraints]
        assert len(set(ids)) == len(ids) <= MOST_IN_FORCE
        assert after.next_id >= conversation.next_id
        for each in after.constraints:
            rest = [other for other in after.constraints if other is not each]
            taken = withdraw(after, each.id).conversation
            np.testing.assert_array_equal(mask(taken.constraints, SHOP), mask(rest, SHOP))
        conversation = after


@given(line=st.sampled_from(["something cheaper", "便宜点的", "cheaper please"]), start=TEXTS, shown=SHOWN)
@example(line="something cheaper", start="0克", shown=["p1"])
@settings(max_examples=60, deadline=None)
def test_cheaper_is_cheaper_than_all_that_was_shown(line: str, start: str, shown: list[str]) -> None:
    before = take_turn(Conversation(), start, [], SHOP).conversation
    turn = take_turn(before, line, shown, SHOP)
    rows = [SHOP.catalogue.item_rows[item] for item in shown if item in SHOP.catalogue.item_rows]
    prices = SHOP.prices.amounts[rows]
    if turn.conversation != before and not np.isnan(prices).all():
        # What no item satisfies is let go, as an answer lets it go.
        left = mask(relax(turn.conversation.constraints, SHOP).kept, SHOP)
        assert left.any()
        assert SHOP.prices.amounts[left].max() < np.nanmin(prices)
