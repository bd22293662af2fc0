"""Search over a package: what matches, told apart by filters and facets, and moved by the shopper's taste."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.models.recommender import Recommender
from pipelines.models.search import Matches
from pipelines.serving.answers import Provenance, Result, ScorePart
from pipelines.serving.kept import Kept
from pipelines.serving.rules import Rules
from pipelines.serving.shelf import GROUPS, Shelf

KEPT_QUERIES = 2_000
WIDER = 5
"""How many times more texts are looked at where filters take some away."""
MOST_TEXTS = 2_000
LEAST_SHARE, LEAST_RELEVANCE = 0.25, 0.03
"""A text matches if the head holds it this share as relevant as the best and this relevant at all, or if it shares this
share of its words."""
FACET_VALUES = 20


@dataclass(frozen=True)
class Filters:
    """What results must be; an empty filter lets all through.

    Args:
        values: wanted values by group (see :data:`pipelines.serving.shelf.GROUPS`), one of which an item must have.
        categories: of any level.
        least: lowest price, in the shop's currency; None for any.
        most: highest price; None for any.
        mask: bool [num_items], what else an item must be; None for anything.
    """

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    mask: NDArray[np.bool_] | None = None

    @property
    def any(self) -> bool:
        """Whether something may be filtered out."""
        priced = self.least is not None or self.most is not None
        return bool(any(self.values.values()) or self.categories or priced or self.mask is not None)

    def passes(self, shelf: Shelf, items: NDArray[np.int32], without: str = "") -> NDArray[np.bool_]:
        """bool [num_items]: which of int32 [num_items] items pass; the filter of the group ``without`` aside."""
        passing = np.ones(len(items), bool) if self.mask is None else self.mask[items]
        for group, wanted in self.values.items():
            if wanted and group != without:
                passing &= shelf.groups[group].mask(wanted, items)
        if self.categories:
            passing &= shelf.in_category(self.categories, items)
        if without != "price":
            prices = shelf.prices[items]
            if self.least is not None:
                passing &= prices >= self.least
            if self.most is not None:
                passing &= prices <= self.most
        return passing


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Args:
        text: as typed, not blank.
        first: results left out before the first, for paging.
        count: results wanted.
        filters: what they must be.
        correct: set misspelt words right.
        rules: the request's own.
        wish: float32 [num_items], what items gain beside their relevance; None for nothing.
        explain: take scores, and what the ranking's features added to taste, apart.
    """

    text: str
    first: int = 0
    count: int = 10
    filters: Filters = field(default_factory=Filters)
    correct: bool = True
    rules: Rules = field(default_factory=Rules)
    wish: NDArray[np.float32] | None = None
    explain: bool = False


@dataclass(frozen=True)
class Hit:
    """A result of a search.

    Args:
        result: the item.
        relevance: the head's, within 0..1.
        taste: what the shopper's taste added to the score.
        moved: places that taste moved it up (down where negative).
        parts: what its score is made of, the most first; where that was asked for.
    """

    result: Result
    relevance: float
    taste: float
    moved: int
    parts: tuple[ScorePart, ...] = ()


@dataclass(frozen=True)
class Found:
    """The answer to a search.

    Args:
        hits: of the page wanted, best first.
        total: of all pages.
        facets: value and count by group, the most frequent first; each without regard to its own filter.
        prices: the least and the highest price of what matches; None where none is known.
        corrected: what was searched for, where it is not what was typed.
        taste_weight: what the shopper's best item gains; 0 where nobody's taste counts.
        provenance: which model.
    """

    hits: list[Hit]
    total: int
    facets: dict[str, list[tuple[str, int]]]
    prices: tuple[float, float] | None
    corrected: str | None
    taste_weight: float
    provenance: Provenance


@dataclass(frozen=True)
class Matched:
    """Items that match a query, one of each text, in order of relevance.

    Args:
        items: int32 [num_matched].
        relevance: float32 [num_matched], the head's.
        similarity: float32 [num_matched], cosine of query and text.
        base: float64 [num_matched], the score before taste.
        parts: what that is the sum of: float [num_matched] values, and what each counts, by name.
    """

    items: NDArray[np.int32]
    relevance: NDArray[np.float32]
    similarity: NDArray[np.float32]
    base: NDArray[np.float64]
    parts: Mapping[str, tuple[NDArray[np.floating], float]]


class Matching:
    """Finds what matches; answers of queries are kept.

    Args:
        recommender: the package's parts.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        self._kept: Kept[tuple[str, int], Matches] = Kept(KEPT_QUERIES)
        self._corrections: Kept[str, str] = Kept(KEPT_QUERIES)

    def corrected(self, text: str) -> str:
        """The query with misspelt words set right, or as it is."""
        kept = self._corrections.get(text)
        if kept is None:
            kept = self._recommender.finder.correct(text) or text
            self._corrections.put(text, kept)
        return kept

    def texts(self, text: str, query: Query) -> Matches:
        """What matches, among as many texts as the query needs."""
        wide = self._recommender.facts.shortlist * (WIDER if query.filters.any or query.wish is not None else 1)
        wanted = min(max(wide, query.first + query.count), MOST_TEXTS)
        matches = self._kept.get((text, wanted))
        if matches is None:
            found = self._recommender.finder.match(text, wanted)
            near = found.relevance >= max(LEAST_RELEVANCE, LEAST_SHARE * found.relevance.max(initial=0))
            kept = near | (found.keywords >= LEAST_SHARE)
            matches = found.of(kept)
            self._kept.put((text, wanted), matches)
        return matches

    def items(
        self,
        matches: Matches,
        passing: NDArray[np.bool_] | None,
        own: NDArray[np.int32],
        wish: NDArray[np.float32] | None = None,
    ) -> Matched:
        """One item of each text: of those that pass, the most wished for, then the one that the shopper bought most,
        then the most bought.

        Args:
            matches: texts.
            passing: bool [num_items], what may be shown; None for everything.
            own: int32, the shopper's purchases.
            wish: float32 [num_items], what items gain; None for nothing.
        """
        model = self._recommender
        items, rows = model.finder.best_items(matches.texts, model.buyers, own, passing, wish)
        base, parts = model.before_taste(matches, items, rows), model.parts_before_taste(matches, items, rows)
        if wish is not None:
            base = base + wish[items]
            parts["wish"] = wish[items], 1.0
        return Matched(items, matches.relevance[rows], matches.similarity[rows], base, parts)


def facets_of(
    shelf: Shelf, matches: NDArray[np.int32], filters: Filters
) -> tuple[dict[str, list[tuple[str, int]]], tuple[float, float] | None]:
    """Counts by group and the span of prices, each without regard to its own filter.

    Args:
        shelf: of the package.
        matches: int32 [num_matched], an item of each text that matches, filtered or not.
        filters: the query's.
    """
    facets = {}
    for group in GROUPS:
        codes = shelf.groups[group].codes[matches[filters.passes(shelf, matches, group)]]
        values, counts = np.unique(codes[codes >= 0], return_counts=True)
        order = np.lexsort((values, -counts))[:FACET_VALUES]
        facets[group] = [(shelf.groups[group].values[values[row]], int(counts[row])) for row in order]
    prices = shelf.prices[matches[filters.passes(shelf, matches, "price")]]
    prices = prices[~np.isnan(prices)]
    return facets, (float(prices.min()), float(prices.max())) if len(prices) else None
