"""What the engine makes of a text: what must hold of results, what is wished of them, and what is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.answers import Asked
from pipelines.serving.engine import Engine
from pipelines.serving.rules import Placed
from pipelines.serving.searching import Filters, Found, Hit, Query
from pipelines.serving.shopper import Shopper
from pipelines.serving.understanding.constraints import Constraint
from pipelines.serving.understanding.conversation import Conversation
from pipelines.serving.understanding.masks import Relaxation, mask, relax, wish
from pipelines.serving.understanding.understand import Understanding, understand
from pipelines.serving.why_found import score_parts

LIKE_WEIGHT = np.float32(1.0)
"""What an item perfectly like the one that results should be like gains, beside a relevance of 0..1."""


@dataclass(frozen=True)
class Read:
    """A query, understood.

    Args:
        understanding: of its text.
        query: for the engine, with what must hold as its mask and what is wished as its wish.
        relaxed: what had to be let go for the mask to leave something.
    """

    understanding: Understanding
    query: Query
    relaxed: Relaxation


@dataclass(frozen=True)
class Conversed:
    """Results of a turn.

    Args:
        found: best first.
        relaxed: what had to be let go.
    """

    found: Found
    relaxed: Relaxation


@dataclass(frozen=True)
class Allowed:
    """What is asked of items beside their words.

    Args:
        mask: bool [num_items], what they must be.
        wished: float32 [num_items], what they gain; None for nothing.
    """

    mask: NDArray[np.bool_]
    wished: NDArray[np.float32] | None


def read(engine: Engine, query: Query) -> Read:
    """Understand a query's text.

    Bounds in money, sizes, brands and what is not wanted must hold; categories, properties and words like ``cheap`` are
    wishes, which bring forward and shut nothing out.
    """
    vocabulary = engine.vocabulary
    understood = understand(query.text, vocabulary, engine.intents(query.text), query.correct)
    relaxed = relax([each for each in understood.constraints if _must_hold(each)], vocabulary)
    filters = query.filters
    if relaxed.kept:
        filters = replace(filters, mask=mask(relaxed.kept, vocabulary))
    wished = wish(understood.constraints, vocabulary)
    text = understood.rest if understood.rest.strip() else query.text
    return Read(understood, replace(query, text=text, filters=filters, wish=wished), relaxed)


def _must_hold(constraint: Constraint) -> bool:
    if constraint.negated or constraint.kind == "brand":
        return True
    return constraint.kind in ("price", "size") and constraint.unit != "share"


def converse(engine: Engine, conversation: Conversation, shopper: Shopper, wanted: Asked) -> Conversed:
    """Results of a conversation: what matches its words, then what else satisfies its constraints.

    Args:
        engine: which answers.
        conversation: after the turn.
        shopper: whose taste counts.
        wanted: how many, under which rules, and whether scores are taken apart.
    """
    vocabulary, count = engine.vocabulary, wanted.count
    asked = [each for each in conversation.constraints if each.kind != "like"]
    relaxed = relax(asked, vocabulary)
    allowed = mask(relaxed.kept, vocabulary)
    wished = _likeness(engine, conversation, allowed, wish(relaxed.kept, vocabulary))
    if conversation.query.strip():
        filters = Filters(mask=allowed)
        query = Query(conversation.query, 0, count, filters, False, wanted.rules, wished, wanted.explain)
        found = engine.search(query, shopper)
    else:
        found = Found([], 0, {}, None, None, 0.0, engine.provenance)
    shown = {hit.result.item_id for hit in found.hits}
    rest = replace(wanted, count=count - len(found.hits))
    more = _others(engine, Allowed(allowed, wished), shopper, shown, rest)
    return Conversed(
        replace(found, hits=[*found.hits, *more], total=max(found.total, len(found.hits) + len(more))), relaxed
    )


def fits(engine: Engine, constraints: Sequence[Constraint], item_ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Of each item, what is asked that it satisfies, in words."""
    rows = engine.catalogue.rows_of(item_ids)
    said = [each for each in constraints if each.kind != "like"]
    kinds = [each for each in said if each.kind == "category" and not each.negated]
    held = [mask([each] if each in kinds else [*kinds, each], engine.vocabulary)[rows] for each in said]
    return [tuple(str(each) for each, holds in zip(said, held, strict=True) if holds[row]) for row in range(len(rows))]


def _likeness(
    engine: Engine, conversation: Conversation, allowed: NDArray[np.bool_], wished: NDArray[np.float32] | None
) -> NDArray[np.float32] | None:
    """The wish with likeness to the item that results should be like, which itself is left out if others are there."""
    row = None if conversation.like is None else engine.item_row(conversation.like)
    if row is None:
        return wished
    texts = engine.recommender.ranker.signals.texts
    alike = texts.embeddings @ texts.embeddings[texts.text_index[row]]
    gained: NDArray[np.float32] = LIKE_WEIGHT * alike[texts.text_index].astype(np.float32)
    if allowed.sum() > 1:
        allowed[row] = False
    return gained if wished is None else np.add(wished, gained, dtype=np.float32)


def _others(engine: Engine, allowed: Allowed, shopper: Shopper, shown: set[str], wanted: Asked) -> list[Hit]:
    """Items that satisfy what is asked and do not match its words: the most wished, then the most bought first."""
    rows = np.flatnonzero(allowed.mask).astype(np.int32)
    if wanted.count < 1 or not len(rows):
        return []
    standing = engine.prepare(shopper).standing
    taste = standing.scores_of(rows, np.zeros(len(rows), np.float32))
    parts: dict[str, tuple[NDArray[np.floating], float]] = {}
    scores = taste
    if allowed.wished is not None:
        parts["wish"] = allowed.wished[rows], 1.0
        scores = taste + allowed.wished[rows]
    best = np.lexsort((rows, -engine.recommender.buyers[rows], -scores))
    seen = set(engine.catalogue.rows_of(sorted(shown)).tolist())
    ranked = (Placed(int(rows[row]), float(scores[row]), "") for row in best.tolist() if int(rows[row]) not in seen)
    placed = engine.bound(wanted.rules).place(
        ranked, (), wanted.count, lambda item: bool(allowed.mask[item]) and item not in seen
    )
    added = engine.contributions(shopper, [each.item for each in placed]) if wanted.explain else {}
    why, hits = ("satisfies what is asked",), []
    for each in placed:
        features = {"relevance": 0.0, "taste": 0.0, "before_taste": each.score}
        result = engine.result(each, why, features, shopper.offers.get(each.item))
        result = replace(result, contributions=added.get(each.item, ()))
        row = int(np.searchsorted(rows, each.item))
        apart = score_parts(parts, row, float(taste[row]), 1.0, each) if wanted.explain else ()
        hits.append(Hit(result, 0.0, 0.0, 0, apart))
    return hits
