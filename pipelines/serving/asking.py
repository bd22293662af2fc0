"""What the engine makes of a text: what must hold of results, what is wished of them, and what is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.engine import Engine
from pipelines.serving.rules import Placed, Rules
from pipelines.serving.searching import Filters, Found, Hit, Query
from pipelines.serving.shopper import Shopper
from pipelines.serving.understanding.constraints import Constraint
from pipelines.serving.understanding.conversation import Conversation
from pipelines.serving.understanding.masks import Relaxation, mask, relax, wish
from pipelines.serving.understanding.understand import Understanding, understand

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


def converse(engine: Engine, conversation: Conversation, shopper: Shopper, count: int, rules: Rules) -> Conversed:
    """Results of a conversation: what matches its words, then what else satisfies its constraints.

    Args:
        engine: which answers.
        conversation: after the turn.
        shopper: whose taste counts.
        count: results wanted.
        rules: the request's own.
    """
    vocabulary = engine.vocabulary
    asked = [each for each in conversation.constraints if each.kind != "like"]
    relaxed = relax(asked, vocabulary)
    allowed = mask(relaxed.kept, vocabulary)
    wished = _likeness(engine, conversation, allowed, wish(relaxed.kept, vocabulary))
    if conversation.query.strip():
        filters = Filters(mask=allowed)
        found = engine.search(Query(conversation.query, 0, count, filters, False, rules, wished), shopper)
    else:
        found = Found([], 0, {}, None, None, 0.0, engine.provenance)
    more = _others(
        engine, allowed, wished, shopper, count - len(found.hits), {hit.result.item_id for hit in found.hits}, rules
    )
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


def _others(
    engine: Engine,
    allowed: NDArray[np.bool_],
    wished: NDArray[np.float32] | None,
    shopper: Shopper,
    count: int,
    shown: set[str],
    rules: Rules,
) -> list[Hit]:
    """Items that satisfy what is asked and do not match its words: the most wished, then the most bought first."""
    rows = np.flatnonzero(allowed).astype(np.int32)
    if count < 1 or not len(rows):
        return []
    standing = engine.prepare(shopper).standing
    scores = standing.scores_of(rows, np.zeros(len(rows), np.float32))
    if wished is not None:
        scores = scores + wished[rows]
    best = np.lexsort((rows, -engine.recommender.buyers[rows], -scores))
    seen = set(engine.catalogue.rows_of(sorted(shown)).tolist())
    ranked = (Placed(int(rows[row]), float(scores[row]), "") for row in best.tolist() if int(rows[row]) not in seen)
    placed = engine.bound(rules).place(ranked, (), count)
    why = ("satisfies what is asked",)
    hits = []
    for each in placed:
        if allowed[each.item]:
            features = {"relevance": 0.0, "taste": 0.0, "before_taste": each.score}
            result = replace(engine.result(each, why), features=features, offer=shopper.offers.get(each.item))
            hits.append(Hit(result, 0.0, 0.0, 0))
    return hits
