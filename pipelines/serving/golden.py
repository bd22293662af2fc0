"""The golden request set: what a new model is asked before anybody else asks it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipelines.errors import ModelError
from pipelines.serving.answers import Answer, Asked
from pipelines.serving.asking import read
from pipelines.serving.engine import Engine
from pipelines.serving.searching import Query
from pipelines.serving.shopper import Deed, Shopper

USERS = 8
"""Known users who are asked for, evenly spread."""
PLACES = 10
ASKED = {"users": 60, "items": 20, "searches": 40}
"""How many different ones the set over HTTP names at most."""


def check(engine: Engine) -> int:
    """Ask for known users, for new ones with and without a visit, and for what goes with an item.

    Returns:
        How many requests were answered well.

    Raises:
        ModelError: an answer is empty, out of order, not finite or holds an item twice; the message says to what.
    """
    asked = Asked(count=PLACES)
    known = engine.catalogue.histories.num_users
    users: list[int | None] = [*range(0, known, max(1, known // USERS)), None]
    popular = int(engine.popular[0])
    visit = Shopper.of(None, [Deed(popular, "view")])
    answers = {f"recommend to user row {user}": engine.recommend(Shopper(user), asked) for user in users}
    answers["recommend to a new visitor"] = engine.recommend(visit, asked)
    for name, answer in answers.items():
        _hold(answer, name)
    _orderly(engine.similar(popular, Shopper(), asked), "similar items")
    _orderly(engine.bought_together(popular, Shopper(), asked), "bought together")
    title = engine.catalogue.titles[popular]
    engine.intents(title)
    if (foreign := engine.recommender.finder.multilingual) is not None:
        foreign.encoder.tokenize([title])
    found = engine.search(read(engine, Query(title)).query, Shopper(0) if known else None)
    if not found.hits:
        raise ModelError(f"golden request failed: a search for {title!r} gave nothing", mend="shoploom rollback")
    return len(answers) + 3


def requests(engine: Engine) -> list[tuple[str, dict[str, Any]]]:
    """The set as paths and bodies of HTTP, each another question, so that no answer is at hand from the one before.

    Users are named as the package knows them.
    """
    users = _spread(engine.catalogue.user_ids, ASKED["users"])
    items = _spread(engine.catalogue.item_ids[engine.popular].tolist(), ASKED["items"])
    titles = _spread(sorted({engine.catalogue.titles[item] for item in engine.popular}), ASKED["searches"])
    asked: list[tuple[str, dict[str, Any]]] = [("/recommend", {"user": user, "k": PLACES}) for user in users]
    asked += [("/recommend", {"viewed": [item], "k": PLACES}) for item in items]
    asked += [("/search", {"query": title, "k": PLACES}) for title in titles]
    for placement in ("similar", "bought-together"):
        asked += [("/recommend", {"placement": placement, "items": [item], "k": PLACES}) for item in items]
    return asked


def _spread(values: Sequence[str], count: int) -> list[str]:
    """At most ``count`` of them, evenly."""
    step = max(1, -(-len(values) // count))
    return [str(value) for value in values[::step]]


def _hold(answer: Answer, name: str) -> None:
    if not answer.results:
        raise ModelError(f"golden request failed: {name} gave nothing", mend="shoploom rollback")
    _orderly(answer, name)


def _orderly(answer: Answer, name: str) -> None:
    scores = [result.score for result in answer.results]
    names = [result.item_id for result in answer.results]
    if not all(map(math.isfinite, scores)):
        raise ModelError(f"golden request failed: {name} has a score that is no number", mend="shoploom rollback")
    if len(set(names)) < len(names):
        raise ModelError(f"golden request failed: {name} holds an item twice", mend="shoploom rollback")
    free = [result.score for result in answer.results if result.rule is None]
    if free != sorted(free, reverse=True):
        raise ModelError(f"golden request failed: {name} is out of order", mend="shoploom rollback")
