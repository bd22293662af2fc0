"""A package with as many items as wanted, of drawn vectors and histories, that a real package lends its texts to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.models.base import Histories
from pipelines.models.blend_settings import BlendSettings
from pipelines.models.catalogue import Catalogue
from pipelines.models.features import feature_names
from pipelines.models.lexical import Lexical
from pipelines.models.manifest import SEARCH_FOLDER
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.near_items import NearItems
from pipelines.models.nearest import Nearest
from pipelines.models.popularity import RECENT_DAYS, Popularity
from pipelines.models.ranker import Ranker
from pipelines.models.recommender import Recommender
from pipelines.models.signals import Signals
from pipelines.models.text import TextSimilarity
from pipelines.models.tree_blend import TreeBlend
from pipelines.stages.package import FIXED, OPTIONAL, Index, package

LATE = 3
"""Kinds of product that a shopper buys of."""
PER_SIGNAL = 60
"""As in ``params.yaml``."""
LEARNED_FROM = 200
"""Shoppers whose pairs the blend is fitted on."""


@dataclass(frozen=True)
class Width:
    """How large a shop is.

    Args:
        items: all of which may be recommended.
        users: that the model knows.
        purchases: of each user.
        factors: length of a vector.
        kinds: groups of items that are bought together.
        rounds: trees of the blend.
        exact_items: see :class:`pipelines.params.PackageParams`.
        seed: of every draw.
    """

    items: int
    users: int
    purchases: int = 20
    factors: int = 64
    kinds: int = 1000
    rounds: int = 150
    exact_items: int = 200_000
    seed: int = 7


def write_wide_package(template: Path, width: Width, user_ids: list[str], directory: Path) -> None:
    """Write a package of drawn items into ``directory``, which exists and is empty.

    Args:
        template: a package, whose texts, encoder and heads it has.
        width: how large.
        user_ids: the shop's own ids; one for each user.
        directory: of the new package.
    """
    lent, generator = Recommender.load(template), np.random.default_rng(width.seed)
    shop, kinds, buyers = _shop(lent, width, user_ids, generator)
    signals = _signals(lent, width, kinds, buyers, generator)
    names = feature_names(signals)
    settings = BlendSettings(width.rounds, 0.06, 63, 200, 0.25, 63, width.seed, 2)
    bare = TreeBlend.fit(*_nothing(len(names)), names, settings)
    draft = Ranker(signals, bare, PER_SIGNAL, 1)
    near = NearItems.fit(draft, width.exact_items)
    assert near is not None, "the shop is small enough to be scored as a whole"
    ranker = Ranker(signals, _blend(draft, near, shop.histories, settings, generator), PER_SIGNAL, 1)
    index = Index(Lexical.load(template / SEARCH_FOLDER), Nearest(signals.texts.embeddings), near)
    sources = {name: template / name for name in (*FIXED, *OPTIONAL) if (template / name).is_dir()}
    package(shop, ranker, index, sources, lent.facts, directory)


def _shop(
    lent: Recommender, width: Width, user_ids: list[str], generator: np.random.Generator
) -> tuple[Catalogue, NDArray[np.int64], NDArray[np.int32]]:
    """The catalogue, the kind of each item, ascending, and its buyers."""
    _, first = np.unique(lent.finder.text_index, return_index=True)
    rows = lent.catalogue.items.take(pa.array(np.resize(first, width.items)))
    names = pa.array([f"w{number:07}" for number in range(width.items)])
    items = rows.set_column(rows.schema.get_field_index("item_id"), rows.schema.field("item_id"), names)
    kinds = np.sort(generator.integers(0, width.kinds, width.items))
    buyers = (5 + 20 * generator.pareto(1.2, width.items)).clip(max=50_000).astype(np.int32)
    ends = np.concatenate([[0.0], np.cumsum(buyers, dtype=np.float64)])
    bounds = ends[np.searchsorted(kinds, np.arange(width.kinds + 1))]
    liked = generator.integers(0, width.kinds, (width.users, LATE))
    chosen = np.take_along_axis(liked, generator.integers(0, LATE, (width.users, width.purchases)), axis=1).ravel()
    place = bounds[chosen] + generator.random(len(chosen)) * (bounds[chosen + 1] - bounds[chosen])
    bought = (np.searchsorted(ends, place, side="right") - 1).clip(0, width.items - 1).astype(np.int32)
    histories = Histories.from_events(
        np.repeat(np.arange(width.users, dtype=np.int32), width.purchases),
        bought,
        np.floor(generator.random(len(bought)) * 300),
        np.ones(len(bought), np.float32),
        num_users=width.users,
        num_items=width.items,
        as_of=300.0,
    )
    return Catalogue(items, tuple(user_ids), histories), kinds, buyers


def _signals(
    lent: Recommender,
    width: Width,
    kinds: NDArray[np.int64],
    buyers: NDArray[np.int32],
    generator: np.random.Generator,
) -> Signals:
    """Popularity, the lent texts, and vectors that lie around their kind's, longer where more buy."""
    centres = generator.normal(size=(width.kinds, width.factors)).astype(np.float32)
    vectors = centres[kinds] + np.float32(0.6) * generator.normal(size=(width.items, width.factors)).astype(np.float32)
    vectors *= (0.1 * np.log1p(buyers) / np.linalg.norm(vectors, axis=1)).astype(np.float32)[:, None]
    shares = np.array([0.02, 0.04, 0.08, 0.16, 0.25][: len(RECENT_DAYS)], np.float32)
    recent = np.floor(buyers[:, None] * shares * generator.random((width.items, 1)).astype(np.float32) * 2)
    popularity = Popularity(buyers, buyers // 3, recent.astype(np.float32), np.floor(recent[:, 2] / 2))
    every = np.arange(width.items, dtype=np.int32)
    factorization = MatrixFactorization(every, vectors, width.items, regularization=30.0, alpha=0.5)
    texts = lent.ranker.signals.texts
    index = np.resize(np.arange(len(texts.embeddings), dtype=np.int32), width.items)
    return Signals(popularity, TextSimilarity(texts.embeddings, index), {MatrixFactorization.name: factorization})


def _blend(
    draft: Ranker, near: NearItems, histories: Histories, settings: BlendSettings, generator: np.random.Generator
) -> TreeBlend:
    """Trees on real pairs, whose answers are drawn: likelier where a signal or a purchase speaks for the item."""
    rows = []
    for user in range(min(LEARNED_FROM, histories.num_users)):
        history = histories.take(user, user + 1)
        rows.append(draft.described(history, near.of(history))[1])
    described, names = np.concatenate(rows), list(feature_names(draft.signals))
    share, bought = described[:, names.index("matrix_factorization_share")], described[:, names.index("own_counts")]
    odds = 6 * share + np.log1p(bought) + 0.2 * described[:, names.index("log_buyers")] - 6
    answers = generator.random(len(odds)) < 1 / (1 + np.exp(-odds))
    return TreeBlend.fit(described, answers, names, settings)


def _nothing(features: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows that nothing can be learned from, for a blend that stands in until there are others."""
    return np.zeros((40, features), np.float32), np.arange(40) % 2 == 0
