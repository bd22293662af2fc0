"""Whatever is typed is read; constraints mean the same in any order, and go without a trace."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.serving.understanding.facets import facets
from pipelines.serving.understanding.masks import mask, price_preference, relax
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
