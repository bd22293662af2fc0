"""Why a search result is where it is: the query's words, the shopper's history, and what its score is the sum of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.models.contributions import ITEM_WORDS
from pipelines.models.words import stem, words
from pipelines.serving.answers import Result, ScorePart

if TYPE_CHECKING:
    from pipelines.serving.rules import Placed

WORDS = {
    "relevance": "how well its text answers the query",
    "popularity": ITEM_WORDS,
    "keywords": "words of the query that it says",
    "wish": "what the query asks of kind, price and size",
    "taste": "your taste",
}


def found_by(query: str, result: Result, relevance: float) -> tuple[str, ...]:
    """The query's words that an item's title, brand or category says, if any, and how well its text answers."""
    told = " ".join((result.title, result.brand or "", *result.category))
    said = {stem(word) for word in words(told)}
    shared = [word for word in dict.fromkeys(words(query)) if stem(word) in said]
    return (*([f"says {', '.join(shared)}"] if shared else []), f"relevance {relevance:.2f}")


def score_parts(
    parts: Mapping[str, tuple[NDArray[np.floating], float]], row: int, taste: float, weight: float, placed: Placed
) -> tuple[ScorePart, ...]:
    """What the score of a result is the sum of, the most first; what adds nothing is left out.

    Args:
        parts: see :class:`pipelines.serving.searching.Matched`.
        row: of the item there.
        taste: what it added.
        weight: what taste adds at most; 0 where nobody's counts.
        placed: the item, after the rules.
    """

    def told() -> Iterator[ScorePart]:
        total = taste
        for name, (values, counts) in parts.items():
            value = float(values[row])
            total += counts * value
            yield ScorePart(name, value, counts * value, WORDS[name])
        if weight:
            yield ScorePart("taste", taste / weight, taste, WORDS["taste"])
        if placed.rule:
            yield ScorePart("rule", placed.score / total if total else 0.0, placed.score - total, placed.rule)

    return tuple(sorted((part for part in told() if part.added), key=lambda part: -abs(part.added)))
