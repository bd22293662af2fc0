"""What the engine makes of a text: what must hold of results, what is wished of them, and what is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.answers import Asked
from pipelines.serving.engine import Engine
from pipelines.serving.hits import matching
from pipelines.serving.rules import Placed
from pipelines.serving.searching import Filters, Found, Hit, Query
from pipelines.serving.shopper import Shopper
from pipelines.serving.understanding.constraints import Constraint
from pipelines.serving.understanding.conversation import Conversation
from pipelines.serving.understanding.masks import Relaxation, category_mask, mask, relax, wish
from pipelines.serving.understanding.understand import Understanding, understand
from pipelines.serving.understanding.vocabulary import Vocabulary
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
    understood = understand(query.text, vocabulary, query.correct)
    must = [each for each in understood.constraints if _must_hold(each)]
    relaxed = relax(must, vocabulary)
    within = relax(must, vocabulary, category_mask(understood.constraints, vocabulary))
    if within.items and all(each.kind in ("price", "size") for each in within.dropped):
        # Six rolls of something else are no answer to six rolls of paper towels.
        relaxed = within
    wished = wish(understood.constraints, vocabulary)
    text = understood.rest if understood.rest.strip() else query.text
    # Words that were not set right here are not guessed at again.
    asked = replace(query, text=text, filters=_kept(query.filters, relaxed, vocabulary), wish=wished, correct=False)
    return Read(understood, asked, relaxed)


def _kept(filters: Filters, relaxed: Relaxation, vocabulary: Vocabulary) -> Filters:
    return replace(filters, mask=mask(relaxed.kept, vocabulary) if relaxed.kept else None)


def search(engine: Engine, taken: Read, shopper: Shopper | None) -> tuple[Read, Found]:
    """Search for what was understood.

    Where nothing that matches the words has what must hold, as little of that is let go as it takes; the filters of
    the request stay.

    Returns:
        What was understood, with everything that was let go; what was found.
    """
    found = engine.search(taken.query, shopper)
    if found.total or not taken.relaxed.kept:
        return taken, found
    free = replace(taken.query, filters=replace(taken.query.filters, mask=None))
    relaxed = relax(taken.relaxed.kept, engine.vocabulary, matching(engine, free))
    if not relaxed.items:
        return taken, found
    everything = replace(relaxed, dropped=(*taken.relaxed.dropped, *relaxed.dropped))
    filters = _kept(free.filters, relaxed, engine.vocabulary)
    freed = replace(taken, query=replace(free, filters=filters), relaxed=everything)
    return freed, engine.search(freed.query, shopper)


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
    if not conversation.constraints and not conversation.query.strip():
        return Conversed(_unasked(engine, shopper, wanted), relax((), vocabulary))
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
    if not conversation.constraints:
        return Conversed(found, relaxed)
    shown = {hit.result.item_id for hit in found.hits}
    rest = replace(wanted, count=count - len(found.hits))
    hits = [*found.hits, *_others(engine, Allowed(allowed, wished), shopper, shown, rest)]
    texts = np.zeros(len(engine.recommender.finder.embeddings), bool)
    may = engine.bound(wanted.rules).shown
    texts[engine.recommender.finder.text_index[allowed if may is None else allowed & may]] = True
    return Conversed(replace(found, hits=hits, total=max(found.total, len(hits), int(texts.sum()))), relaxed)


def _unasked(engine: Engine, shopper: Shopper, wanted: Asked) -> Found:
    """Where nothing is asked any more: what is recommended."""
    answer = engine.recommend(shopper, wanted)
    hits = [Hit(result, 0.0, 0.0, 0) for result in answer.results]
    return Found(hits, len(hits), {}, None, None, 0.0, answer.provenance)


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
    """The wish with likeness to the item that results should be like, which itself is left out if others are there, and
    so is what says the same."""
    row = None if conversation.like is None else engine.item_row(conversation.like)
    if row is None:
        return wished
    texts = engine.recommender.ranker.signals.texts
    alike = texts.embeddings @ texts.embeddings[texts.text_index[row]]
    gained: NDArray[np.float32] = LIKE_WEIGHT * alike[texts.text_index].astype(np.float32)
    others = allowed & (texts.text_index != texts.text_index[row])
    if others.any():
        allowed &= others
    return gained if wished is None else np.add(wished, gained, dtype=np.float32)


def _others(engine: Engine, allowed: Allowed, shopper: Shopper, shown: set[str], wanted: Asked) -> list[Hit]:
    """Items that satisfy what is asked and do not match its words: the most wished, then the most bought first.

    One of each text, as a search gives them.
    """
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
    texts = engine.recommender.finder.text_index
    said = set(texts[engine.catalogue.rows_of(sorted(shown))].tolist())
    best = best[np.sort(np.unique(texts[rows[best]], return_index=True)[1])]
    ranked = (
        Placed(int(rows[row]), float(scores[row]), "") for row in best.tolist() if int(texts[rows[row]]) not in said
    )
    placed = engine.bound(wanted.rules).place(
        ranked, (), wanted.count, lambda item: bool(allowed.mask[item]) and int(texts[item]) not in said
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
