"""Search answers: what matches a query, in the order of relevance, popularity, keywords and the shopper's taste."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.models.contributions import Contribution
from pipelines.models.histories import look_up
from pipelines.models.search import places_of
from pipelines.serving.rules import Placed
from pipelines.serving.searching import Found, Hit, Matched, Query, facets_of
from pipelines.serving.shopper import Shopper
from pipelines.serving.why_found import found_by, score_parts

if TYPE_CHECKING:
    from pipelines.serving.engine import Engine

SESSION_WEIGHT = np.float32(0.5)
"""What goes perfectly with the visit gains in taste, beside a chance of 0..1."""
LIKENESS_WEIGHT = np.float32(0.1)
"""The same of what is perfectly like what the shopper bought."""


@dataclass(frozen=True)
class Ordered:
    """Matches with what moved them.

    Args:
        matched: the items.
        taste: float64 [num_matched], what taste added.
        weight: what the best item gains; 0 where nobody's taste counts.
        scores: float64 [num_matched], all in all.
    """

    matched: Matched
    taste: NDArray[np.float64]
    weight: float
    scores: NDArray[np.float64]

    def order(self, scores: NDArray[np.float64]) -> NDArray[np.intp]:
        """Rows, best first; ties by cosine, then id."""
        return np.lexsort((self.matched.items, -self.matched.similarity, -scores))


@dataclass(frozen=True)
class Because:
    """What of the shopper speaks for an item.

    Args:
        reasons: in words, the strongest first.
        contributions: what the ranking's features added; where that was asked for.
    """

    reasons: tuple[str, ...] = ()
    contributions: tuple[Contribution, ...] = ()


def find(engine: Engine, query: Query, shopper: Shopper | None) -> Found:
    """See :meth:`pipelines.serving.engine.Engine.search`.

    The score is the one of :meth:`pipelines.models.recommender.Recommender.find`, where taste is the item's place
    (1 best, 0 last) among what matches: by the shopper's standing, by what goes with the visit, and by likeness to what
    was bought.
    """
    text = engine.matching.corrected(query.text) if query.correct else query.text
    matches = engine.matching.texts(text, query)
    own = np.zeros(0, np.int32) if shopper is None else engine.prepare(shopper).history.items
    every = np.arange(engine.catalogue.num_items, dtype=np.int32)
    shown = engine.bound(query.rules).shown
    passing = query.filters.passes(engine.shelf, every) if query.filters.any else None
    if passing is not None and shown is not None:
        passing &= shown
    ordered = _ordered(
        engine, engine.matching.items(matches, shown if passing is None else passing, own, query.wish), shopper
    )
    hits, total = _page(engine, query, text, ordered, shopper)
    unfiltered = ordered.matched if passing is None else engine.matching.items(matches, shown, own, query.wish)
    facets, prices = facets_of(engine.shelf, unfiltered.items, query.filters)
    corrected = None if text == query.text else text
    return Found(hits, total, facets, prices, corrected, ordered.weight, engine.provenance)


def matching(engine: Engine, query: Query) -> NDArray[np.bool_]:
    """bool [num_items]: items whose text matches a query, that pass its filters and may be shown."""
    text = engine.matching.corrected(query.text) if query.correct else query.text
    every = np.arange(engine.catalogue.num_items, dtype=np.int32)
    found = engine.recommender.finder.items_of_texts.mask(engine.matching.texts(text, query).texts)
    found &= query.filters.passes(engine.shelf, every)
    shown = engine.bound(query.rules).shown
    return found if shown is None else found & shown


def _ordered(engine: Engine, matched: Matched, shopper: Shopper | None) -> Ordered:
    if shopper is None or not (shopper.known or shopper.interests):
        return Ordered(matched, np.zeros(len(matched.items)), 0.0, matched.base)
    weight = engine.recommender.facts.personal_weight
    taste = weight * places_of(_taste(engine, shopper, matched.items), matched.items)
    return Ordered(matched, taste, weight, matched.base + taste)


def _page(engine: Engine, query: Query, text: str, ordered: Ordered, shopper: Shopper | None) -> tuple[list[Hit], int]:
    """The hits of the page that is wanted, and how many there are on all."""
    matched, bound = ordered.matched, engine.bound(query.rules)
    offers = shopper.offers if shopper else {}
    scores, moved = bound.boosted(matched.items, ordered.scores, offers)
    order = ordered.order(scores)
    before = np.empty(len(order), np.int64)
    before[ordered.order(matched.base)] = np.arange(len(order))
    items = matched.items.tolist()
    ranked = (Placed(items[row], float(scores[row]), moved.get(items[row], "")) for row in order.tolist())
    placed = bound.place(ranked, (), len(order) + len(bound.pins), _may_pin(engine, query, matched))
    page = placed[query.first : query.first + query.count]
    whose = shopper if ordered.weight else None
    because = _because(engine, query, whose, [each.item for each in page])
    rows = {item: row for row, item in enumerate(items)}
    hits = []
    for position, (each, why) in enumerate(zip(page, because, strict=True), start=query.first):
        row, offer = rows.get(each.item), offers.get(each.item)
        result = replace(engine.result(each, why.reasons, {}, offer), contributions=why.contributions)
        if row is None:
            hits.append(Hit(result, 0.0, 0.0, 0))
            continue
        relevance, taste = float(matched.relevance[row]), float(ordered.taste[row])
        features = {"relevance": relevance, "taste": taste, "before_taste": float(matched.base[row])}
        result = replace(result, reasons=(*found_by(text, result, relevance), *why.reasons), features=features)
        places = int(before[row]) - position if ordered.weight else 0
        parts = score_parts(matched.parts, row, taste, ordered.weight, each) if query.explain else ()
        hits.append(Hit(result, relevance, taste, places, parts))
    return hits, len(placed)


def _may_pin(engine: Engine, query: Query, matched: Matched) -> Callable[[int], bool]:
    """Of pinned items, those that pass the filters; the request's own, and those of the shop's file that match."""
    texts = engine.recommender.finder.text_index
    said, own = set(texts[matched.items].tolist()), set(query.rules.pin)

    def may(item: int) -> bool:
        if not query.filters.passes(engine.shelf, np.array([item], np.int32))[0]:
            return False
        return int(texts[item]) in said or str(engine.catalogue.item_ids[item]) in own

    return may


def _because(engine: Engine, query: Query, shopper: Shopper | None, items: list[int]) -> list[Because]:
    """What of a shopper speaks for items; nothing where there is none."""
    if shopper is None:
        return [Because() for _ in items]
    parts = engine.contributions(shopper, items) if query.explain else {}
    reasons = engine.because(shopper, items)
    return [Because(why, parts.get(item, ())) for item, why in zip(items, reasons, strict=True)]


def _taste(engine: Engine, shopper: Shopper, items: NDArray[np.int32]) -> NDArray[np.float32]:
    """float32 [num_items]: the standing's scores, what goes with the visit, and likeness to what was bought."""
    prepared, texts = engine.prepare(shopper), engine.recommender.ranker.signals.texts
    scores = prepared.standing.scores_of(items, np.zeros(len(items), np.float32))
    scores = scores + LIKENESS_WEIGHT * (texts.embeddings[texts.text_index[items]] @ prepared.profile(texts))
    affinity = engine.affinity(shopper.interests)
    if len(affinity.items):
        place, hit = look_up(affinity.items, items)
        scores[hit] += SESSION_WEIGHT * affinity.strength[place[hit]]
    return scores
