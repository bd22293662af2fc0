"""Recommendations: a shopper's shortlist and what goes with the visit, arranged, under the shop's rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.models.diversity import debiased, diversified
from pipelines.models.recommender import POOL
from pipelines.models.signals import most
from pipelines.serving.affinity import Affinity
from pipelines.serving.answers import Answer, Asked
from pipelines.serving.neighbours import Near
from pipelines.serving.preparing import Prepared
from pipelines.serving.rules import Placed
from pipelines.serving.shopper import Shopper
from pipelines.serving.standing import Passing, Standing

if TYPE_CHECKING:
    from pipelines.serving.engine import Engine

SESSION_WEIGHT = np.float32(0.5)
"""What an item gains that goes perfectly with what the session is about, beside a chance of 0..1."""
FIRST_NEW = 1_000
"""New items that are put in order at first; all are, where these do not fill their share."""
JUST_BOUGHT_DAYS = 1.0
"""What was bought less than this ago is not recommended."""


def recommend(engine: Engine, shopper: Shopper, asked: Asked) -> Answer:
    """Items for a placement.

    Args:
        engine: which answers.
        shopper: whom for.
        asked: what for, and how many.
    """
    prepared = engine.prepare(shopper)
    about = dict(shopper.interests)
    if asked.placement == "product":
        about |= dict.fromkeys(asked.items, 1.0)
    in_cart = asked.placement == "cart"
    if in_cart:
        about |= dict.fromkeys(shopper.cart, 1.0)
    affinity = engine.affinity(about, shopper.cart if in_cart else ())
    ranked = _arranged(engine, _ranked(prepared, affinity), asked.count)
    return _answer(engine, shopper, prepared, affinity, asked, ranked)


def near(engine: Engine, found: Near, because: str, shopper: Shopper, asked: Asked) -> Answer:
    """Neighbours of an item, those first that the shopper would rather buy among equally near ones.

    Args:
        engine: which answers.
        found: the neighbours.
        because: why, in words.
        shopper: whom for.
        asked: how many, under which rules.
    """
    prepared = engine.prepare(shopper)
    chance = prepared.standing.scores_of(found.items, np.zeros(len(found.items), np.float32))
    reasons = dict.fromkeys(found.items.tolist(), because)
    affinity = Affinity(found.items, found.strength, reasons)
    ranked = Standing.of(found.items, found.strength + np.float32(0.1) * chance)
    return _answer(engine, shopper, prepared, affinity, asked, ranked, rest=False)


def _ranked(prepared: Prepared, affinity: Affinity) -> Standing:
    """The shortlist and what goes with the session, in order."""
    standing = prepared.standing
    if not len(affinity.items):
        return standing
    both = np.sort(np.concatenate([standing.items, affinity.items]))
    items = both[np.diff(both, prepend=-1) > 0]
    scores = np.zeros(len(items), np.float32)
    scores[np.searchsorted(items, standing.items)] = standing.scores
    scores[np.searchsorted(items, affinity.items)] += SESSION_WEIGHT * affinity.strength
    return Standing.of(items, scores)


def _arranged(engine: Engine, ranked: Standing, count: int) -> Standing:
    """As the package has it: less of what everybody buys, less of the same (:mod:`pipelines.models.diversity`)."""
    facts, model = engine.recommender.facts, engine.recommender
    if facts.popularity_debias:
        scores = debiased(ranked.scores, model.buyers[ranked.items], facts.popularity_debias)
        ranked = Standing.of(ranked.items, scores)
    if not facts.diversity:
        return ranked
    pool = int(np.count_nonzero(ranked.scores[: POOL * count] > 0))
    vectors = model.finder.embeddings[model.finder.text_index[ranked.items[:pool]]]
    order = diversified(ranked.scores[:pool], vectors, pool, facts.diversity)
    order = np.concatenate([order, np.arange(pool, len(ranked.items))])
    return Standing(ranked.items[order], ranked.scores[order])


def _answer(
    engine: Engine,
    shopper: Shopper,
    prepared: Prepared,
    affinity: Affinity,
    asked: Asked,
    ranked: Standing,
    rest: bool = True,
) -> Answer:
    bound = engine.bound(asked.rules)
    hidden = _hidden(shopper, prepared, asked)
    scores, moved = bound.boosted(ranked.items, ranked.scores, shopper.offers)
    if moved:
        ranked = Standing.of(ranked.items, scores)
    passing = partial(_within, engine, asked) if asked.categories or asked.brands else None

    def fits(item: int) -> bool:
        return item not in hidden and (passing is None or bool(passing(np.array([item], np.int32))[0]))

    def stream() -> Iterator[Placed]:
        for standing in (ranked, engine.rest) if rest else (ranked,):
            for item, score in standing.in_order(passing):
                if item not in hidden:
                    yield Placed(item, score, moved.get(item, ""))

    cold = _new(engine, prepared, passing) if bound.rules.min_new_share else ()
    new = (each for each in cold if each.item not in hidden)
    placed = bound.place(stream(), new, asked.count, fits)
    reasons = engine.reasons(prepared, affinity, [each.item for each in placed])
    known = _features(prepared, affinity, [each.item for each in placed])
    results = [
        engine.result(each, why, features, shopper.offers.get(each.item))
        for each, why, features in zip(placed, reasons, known, strict=True)
    ]
    if asked.explain:
        parts = engine.contributions(shopper, [each.item for each in placed])
        results = [
            replace(result, contributions=parts.get(each.item, ()))
            for result, each in zip(results, placed, strict=True)
        ]
    return Answer(results, _based_on(shopper, asked), engine.provenance)


def _features(prepared: Prepared, affinity: Affinity, items: Sequence[int]) -> list[dict[str, float]]:
    """What put items into an answer: the ranking's chance, 0 off the shortlist, and what goes with the visit."""
    rows = np.array(items, np.int32)
    chances = prepared.standing.scores_of(rows, np.zeros(len(rows), np.float32)).tolist()
    strength = dict(zip(affinity.items.tolist(), affinity.strength.tolist(), strict=True))
    return [{"chance": chance, "visit": strength.get(item, 0.0)} for item, chance in zip(items, chances, strict=True)]


def _based_on(shopper: Shopper, asked: Asked) -> str:
    parts = [
        name
        for name, there in (
            ("history", shopper.known),
            ("session", bool(shopper.interests)),
            ("context", bool(asked.categories or asked.brands)),
        )
        if there
    ]
    return "+".join(parts) or "popularity"


def _hidden(shopper: Shopper, prepared: Prepared, asked: Asked) -> set[int]:
    """Items that this answer may not hold: disliked, in the cart, asked about, just bought."""
    hidden = {*shopper.disliked, *shopper.cart, *asked.items}
    hidden.update(deed.item for deed in shopper.purchases if deed.age_days < JUST_BOUGHT_DAYS)
    if asked.new_only:
        hidden.update(prepared.history.items.tolist())
    return hidden


def _within(engine: Engine, asked: Asked, items: NDArray[np.int32]) -> NDArray[np.bool_]:
    """bool [num_items]: which of int32 [num_items] items are of the context."""
    mask = np.ones(len(items), bool)
    if asked.categories:
        mask &= engine.shelf.in_category(asked.categories, items)
    if asked.brands:
        mask &= engine.shelf.groups["brand"].mask(asked.brands, items)
    return mask


def _new(engine: Engine, prepared: Prepared, passing: Passing | None) -> Iterator[Placed]:
    """Items that hardly anybody bought yet, best first for this shopper, by what is known of them."""
    signals = engine.recommender.ranker.signals
    model = signals.chosen.get("cold_start", signals.texts)
    items, scores = engine.cold, model.score(prepared.history, engine.cold)[0]
    if passing is not None:
        wanted = passing(items)
        items, scores = items[wanted], scores[wanted]
    first = most(scores, FIRST_NEW)
    for row in first.tolist():
        yield Placed(int(items[row]), float(scores[row]), "new")
    for row in np.lexsort((items, -scores))[len(first) :].tolist():
        yield Placed(int(items[row]), float(scores[row]), "new")
