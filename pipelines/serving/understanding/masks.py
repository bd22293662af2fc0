"""Which items satisfy constraints, how well they suit a wish about prices, and what to let go where none is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.understanding.constraints import Constraint
from pipelines.serving.understanding.reading import fold
from pipelines.serving.understanding.shares import Ordered
from pipelines.serving.understanding.sizes import within
from pipelines.serving.understanding.vocabulary import Ints, Vocabulary, Words

Mask = NDArray[np.bool_]
EASE = {"attribute": 0, "size": 1, "price": 2, "brand": 3, "category": 4, "like": 5, "item": 5}
"""What is let go first where something must be."""
HARDEST = 6
"""What is not wanted goes last: there may be a reason to keep away from nuts, whatever the price."""
MOST_TRIED, FEW = 2, 12
"""Constraints of which every choice is tried, of no more than ``FEW``; more go one by one, the easiest first."""
KIND_WEIGHT, PROPERTY_WEIGHT, BAND_WEIGHT, LEVEL_WEIGHT = (np.float32(weight) for weight in (0.5, 0.2, 0.5, 0.5))
"""What a wish is worth beside a relevance of 0..1."""
ASIDE_WEIGHT = np.float32(0.25)
"""What is taken off again where an item only has the category's word in its name."""
ROUNDING = 1e-6
"""Shares are kept in single precision."""


@dataclass(frozen=True)
class Relaxation:
    """What was let go so that something is found.

    Args:
        kept: what the items satisfy.
        dropped: what they need not; empty where nothing had to be.
        items: how many there are.
    """

    kept: tuple[Constraint, ...]
    dropped: tuple[Constraint, ...]
    items: int

    def __str__(self) -> str:
        if not self.dropped:
            return f"{self.items} items satisfy everything"
        return f"nothing satisfies everything; {self.items} items do without: {', '.join(map(str, self.dropped))}"


def mask(constraints: Sequence[Constraint], vocabulary: Vocabulary) -> Mask:
    """bool [num_items]: items that satisfy all constraints; of several wanted brands, or categories, one is enough.

    What is asked as a share of the prices or sizes is so within the wanted categories, or each item's own without one.
    The order of the constraints does not matter.
    """
    allowed = _categories(constraints, vocabulary)
    there_is_a_kind = any(each.kind == "category" and not each.negated for each in constraints)
    kind = allowed.copy() if there_is_a_kind else None
    wanted = [each for each in constraints if each.kind == "brand" and not each.negated]
    if wanted:
        allowed &= np.any([_brand(each, vocabulary) for each in wanted], axis=0)
    for each in constraints:
        if each.kind == "brand" and each.negated:
            allowed &= ~_brand(each, vocabulary)
        elif each.kind == "attribute":
            allowed &= _texts(each, vocabulary) ^ each.negated
        elif each.kind == "item":
            allowed &= _item(each, vocabulary) ^ each.negated
        elif each.kind == "price":
            allowed &= _price(each, kind, vocabulary) ^ each.negated
        elif each.kind == "size":
            allowed &= _size(each, kind, vocabulary) ^ each.negated
    return allowed


def category_mask(constraints: Sequence[Constraint], vocabulary: Vocabulary) -> Mask | None:
    """bool [num_items]: items of the wanted categories; None where none is wanted."""
    wanted = [each for each in constraints if each.kind == "category" and not each.negated]
    return _categories(wanted, vocabulary) if wanted else None


def price_preference(constraints: Sequence[Constraint], vocabulary: Vocabulary) -> NDArray[np.float32]:
    """float32 [num_items], within 0..1: how well an item's price suits what was said of prices.

    ``cheap`` gives 1 to the cheapest of the category and 0 to the dearest, ``premium`` the other way round, a band in
    the middle 1 to the middle; bounds in money give 1 inside them. Items of other categories, and those without a known
    price, get 0, and so do all where nothing was said of prices.
    """
    said = [each for each in constraints if each.kind == "price" and not each.negated]
    worth = np.ones(vocabulary.num_items, np.float32) if said else np.zeros(vocabulary.num_items, np.float32)
    kind = category_mask(constraints, vocabulary)
    for each in said:
        if each.unit == "money":
            fit = _price(each, None, vocabulary).astype(np.float32)
        else:
            shares = _price_shares(kind, vocabulary)
            low, high = each.low or 0.0, 1.0 if each.high is None else each.high
            aim = 0.0 if each.low is None else 1.0 if each.high is None else (low + high) / 2
            fit = 1 - np.abs(shares - np.float32(aim)) / np.float32(max(aim, 1 - aim))
        worth *= np.nan_to_num(fit, nan=0.0)
    return worth if kind is None else np.where(kind, worth, np.float32(0))


def wish(constraints: Sequence[Constraint], vocabulary: Vocabulary) -> NDArray[np.float32] | None:
    """float32 [num_items], >= 0: what items gain, beside a relevance of 0..1, that are as a text wishes.

    The right category gains (one that only has the word in its name, as coffee filters do, half as much), and in it the
    price or size that words like ``cheap`` or ``family size`` mean, and every property that an item's text says. None
    where the text wishes nothing.
    """
    wanted = [each for each in constraints if not each.negated]
    kind = category_mask(constraints, vocabulary)
    inside = np.ones(vocabulary.num_items, bool) if kind is None else kind
    gained = np.zeros(vocabulary.num_items, np.float32)
    bands = [each for each in wanted if each.kind in ("price", "size") and each.unit == "share"]
    properties = [each for each in wanted if each.kind == "attribute"]
    if kind is None and not bands and not properties:
        return None
    if kind is not None:
        gained[kind] += KIND_WEIGHT
        itself = _kind_itself(wanted, vocabulary)
        if itself.any():
            gained[kind & ~itself] -= ASIDE_WEIGHT
    for each in properties:
        gained[_texts(each, vocabulary)] += PROPERTY_WEIGHT
    for each in bands:
        fit = _price(each, kind, vocabulary) if each.kind == "price" else _size(each, kind, vocabulary)
        gained[fit & inside] += BAND_WEIGHT
    levels = [each for each in constraints if each.kind == "category" or (each in bands and each.kind == "price")]
    return gained + LEVEL_WEIGHT * price_preference(levels, vocabulary)


def _kind_itself(wanted: Sequence[Constraint], vocabulary: Vocabulary) -> Mask:
    """bool [num_items]: items that are what a wanted category is, and do not only have its name in theirs."""
    asked = [each for each in wanted if each.kind == "category"]
    return vocabulary.items_of_paths.mask(_paths(asked, vocabulary.heads))


def price_bounds(
    constraint: Constraint, constraints: Sequence[Constraint], vocabulary: Vocabulary
) -> tuple[float | None, float | None]:
    """Bounds in money of a price; of a share, those within the wanted categories, ``None, None`` without one."""
    if constraint.unit == "money":
        return constraint.low, constraint.high
    kind = category_mask(constraints, vocabulary)
    if kind is None:
        return None, None
    inside = vocabulary.prices.amounts[kind & _price(constraint, kind, vocabulary)]
    if not len(inside):
        return None, None
    return (
        None if constraint.low is None else float(inside.min()),
        None if constraint.high is None else float(inside.max()),
    )


def relax(constraints: Sequence[Constraint], vocabulary: Vocabulary, among: Mask | None = None) -> Relaxation:
    """Let go as few constraints as it takes to find something; of equally many those that leave the better kind.

    Args:
        constraints: all that is asked.
        vocabulary: the shop's.
        among: bool [num_items], items that may be found; all by default.
    """
    everything = tuple(constraints)
    tried = MOST_TRIED if len(everything) <= FEW else 1
    for count in range(min(len(everything), tried) + 1):
        choices = []
        for dropped in combinations(everything, count):
            kept = tuple(each for each in everything if each not in dropped)
            left = _left(kept, vocabulary, among)
            if left:
                ease = sorted(map(_ease, dropped), reverse=True)
                choices.append((ease, -left, kept, dropped))
        if choices:
            _, items, kept, dropped = min(choices, key=lambda choice: choice[:2])
            return Relaxation(kept, dropped, -items)
    kept = tuple(sorted(everything, key=_ease))
    while kept and not _left(kept, vocabulary, among):
        kept = kept[1:]
    dropped = tuple(each for each in everything if each not in kept)
    return Relaxation(tuple(each for each in everything if each in kept), dropped, _left(kept, vocabulary, among))


def _ease(constraint: Constraint) -> int:
    return HARDEST if constraint.negated else EASE[constraint.kind]


def _left(constraints: Sequence[Constraint], vocabulary: Vocabulary, among: Mask | None) -> int:
    left = mask(constraints, vocabulary)
    return int((left if among is None else left & among).sum())


def _categories(constraints: Sequence[Constraint], vocabulary: Vocabulary) -> Mask:
    asked = [each for each in constraints if each.kind == "category"]
    wanted = [each for each in asked if not each.negated]
    refused = [each for each in asked if each.negated]
    items = vocabulary.items_of_paths
    allowed = items.mask(_paths(wanted, vocabulary.kinds)) if wanted else np.ones(vocabulary.num_items, bool)
    if refused:
        allowed[items.of(_paths(refused, vocabulary.kinds))[0]] = False
    return allowed


def _paths(asked: Iterable[Constraint], named: Mapping[Words, Ints]) -> Ints:
    """The category paths that some constraints name."""
    found = [named[term] for each in asked for term in each.terms if term in named]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int32)


def _brand(constraint: Constraint, vocabulary: Vocabulary) -> Mask:
    folded = fold(constraint.value)
    codes = [code for code, brand in enumerate(vocabulary.brands) if brand and fold(brand) == folded]
    found: Mask = np.isin(vocabulary.brand_of_item, codes)
    return found


def _texts(constraint: Constraint, vocabulary: Vocabulary) -> Mask:
    """Items whose text says all words of one alternative."""
    found = np.zeros(vocabulary.num_texts, bool)
    for term in constraint.terms:
        said = np.zeros(vocabulary.num_texts, np.int16)
        for word in term:
            said[vocabulary.texts_saying.get(word, [])] += 1
        found |= said == len(term)
    return vocabulary.items_of_texts.mask(np.flatnonzero(found))


def _item(constraint: Constraint, vocabulary: Vocabulary) -> Mask:
    """The item, and what says the same of itself: a shopper cannot tell them apart."""
    row = vocabulary.catalogue.item_rows.get(constraint.value)
    if row is None:
        return np.zeros(vocabulary.num_items, bool)
    found: Mask = vocabulary.text_of_item == vocabulary.text_of_item[row]
    return found


def _price(constraint: Constraint, kind: Mask | None, vocabulary: Vocabulary) -> Mask:
    if constraint.unit == "money":
        return within(vocabulary.prices.amounts, constraint)
    return within(_price_shares(kind, vocabulary).astype(np.float64), constraint, tolerance=ROUNDING)


def _price_shares(kind: Mask | None, vocabulary: Vocabulary) -> NDArray[np.float32]:
    return vocabulary.price_shares if kind is None else vocabulary.prices.shares(kind)


def _size(constraint: Constraint, kind: Mask | None, vocabulary: Vocabulary) -> Mask:
    if constraint.unit != "share":
        return vocabulary.sizes.fit(constraint)
    among = np.ones(vocabulary.num_items, bool) if kind is None else kind
    return within(_told(vocabulary.contents, among).shares(among).astype(np.float64), constraint, tolerance=ROUNDING)


def _told(contents: tuple[Ordered, Ordered], among: Mask) -> Ordered:
    """By weight or volume, or by pieces: what more of these items tell."""
    return max(contents, key=lambda ordered: int(among[ordered.order].sum()))
