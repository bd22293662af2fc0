"""What the text encoder and its head are trained on where nobody judged: batches of pairs, and pairs with labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.models.text_pairs import Query, TextTable, attribute_query, excluded_negatives
from pipelines.models.two_tower import PairBatch
from pipelines.params import TrainBertParams

Floats = NDArray[np.float32]
HARD_POOL = 20
"""Of how many nearest texts that do not answer a query its hard negative is drawn."""


@dataclass(frozen=True)
class LabelledPairs:
    """Queries with products that answer them and products of the same department that do not.

    Args:
        queries: int64 [num_pairs], position in the list of queries.
        texts: int64 [num_pairs].
        labels: float32 [num_pairs], 1 where the text answers the query; between 0 and 1 where people judged so.
    """

    queries: NDArray[np.int64]
    texts: NDArray[np.int64]
    labels: Floats

    def of(self, kept: NDArray[np.bool_]) -> LabelledPairs:
        """Some of the pairs.

        Args:
            kept: bool [num_pairs].
        """
        return LabelledPairs(self.queries[kept], self.texts[kept], self.labels[kept])


@dataclass(frozen=True)
class Index:
    """The encoder as it is before training, and the catalogue in its space: what hard negatives are mined from.

    Args:
        tokenize: texts to token ids, ``TextEncoder.tokenize``.
        encode: texts to vectors, ``TextEncoder.encode``.
        vectors: float32 [num_texts, embedding_size], L2-normalised.
    """

    tokenize: Callable[[Sequence[str]], list[NDArray[np.int32]]]
    encode: Callable[[Sequence[str]], Floats]
    vectors: Floats


@dataclass(frozen=True)
class _Drawn:
    """One step's pairs before they are tokens: what is asked, the words of it, and the text that answers."""

    queries: list[Query | int]
    words: list[str]
    products: NDArray[np.int64]


def training_batches(
    table: TextTable,
    texts: NDArray[np.int64],
    together: NDArray[np.int32],
    params: TrainBertParams,
    index: Index,
    seed: int,
) -> list[PairBatch]:
    """Draw the batches: attribute queries, then pairs bought together; beside their products, hard negatives.

    A third of the products asked for come from anywhere, a third from one department and a third from one of its
    product types (:func:`draw_near_misses`), so that many of a batch's other products are near misses: another size,
    another brand, a neighbouring type. A hard negative is a text that the untrained encoder puts near a query that it
    does not answer.

    Args:
        table: the catalogue's texts.
        texts: int64, the texts that may be asked for.
        together: int32 [num_pairs, 2], texts bought together.
        params: section ``train_bert``.
        index: the untrained encoder's.
        seed: of the draw.

    Source of the hard negatives: Xiong et al. 2021 (ANCE), mined once.
    """
    generator = np.random.default_rng(seed)
    bought = min(int(params.batch_size * params.bought_share), len(together))
    attribute = params.batch_size - bought
    weights = np.repeat(np.array([1.0, params.bought_weight], np.float32), [attribute, bought])
    drawn = [_draw(table, texts, together, (attribute, bought), generator) for _ in range(params.steps)]
    mined = hard_negatives(table, texts, drawn, min(params.hard_negatives, attribute), index, seed)
    return [
        PairBatch(
            index.tokenize(step.words),
            index.tokenize([table.texts[text] for text in products]),
            excluded_negatives(step.queries, products, table),
            weights,
        )
        for step, hard in zip(drawn, mined, strict=True)
        for products in [np.concatenate([step.products, hard])]
    ]


def _draw(
    table: TextTable,
    texts: NDArray[np.int64],
    together: NDArray[np.int32],
    sizes: tuple[int, int],
    generator: np.random.Generator,
) -> _Drawn:
    """One step: as many attribute queries and pairs bought together as ``sizes`` says."""
    attribute, bought = sizes
    products = draw_near_misses(table, texts, attribute, generator)
    queries: list[Query | int] = [attribute_query(table, int(text), generator) for text in products]
    pairs = together[generator.choice(len(together), bought, replace=False)] if bought else together[:0]
    pairs = generator.permuted(pairs, axis=1)
    queries += [int(text) for text in pairs[:, 0]]
    words = [query.words if isinstance(query, Query) else table.texts[query] for query in queries]
    return _Drawn(queries, words, np.concatenate([products, pairs[:, 1].astype(np.int64)]))


def hard_negatives(
    table: TextTable, texts: NDArray[np.int64], drawn: Sequence[_Drawn], count: int, index: Index, seed: int
) -> list[NDArray[np.int64]]:
    """For the first ``count`` queries of every step one of the nearest texts that do not answer it.

    Args:
        table: the catalogue's texts.
        texts: int64, the texts that may be trained on.
        drawn: the steps.
        count: hard negatives of a step, at most its attribute queries.
        index: the untrained encoder's.
        seed: of the draw.

    Returns:
        int64 [count] for each step.
    """
    if not count:
        return [np.zeros(0, np.int64)] * len(drawn)
    generator = np.random.default_rng(seed)
    asked = index.encode([words for step in drawn for words in step.words[:count]])
    found = []
    for number, step in enumerate(drawn):
        near = asked[number * count : (number + 1) * count] @ index.vectors[texts].T
        chosen = np.zeros(count, np.int64)
        for row, query in enumerate(step.queries[:count]):
            answering = query.answers(table)[texts] if isinstance(query, Query) else texts == query
            near[row, answering] = -np.inf
            pool = min(HARD_POOL, len(texts))
            chosen[row] = generator.choice(np.sort(np.argpartition(-near[row], pool - 1)[:pool]))
        found.append(texts[chosen])
    return found


def draw_near_misses(
    table: TextTable, texts: NDArray[np.int64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw ``count`` texts: a third from anywhere, a third of one department, a third of one of its product types.

    Args:
        table: the catalogue's texts.
        texts: int64, what to draw from.
        count: texts wanted.
        generator: what to draw from.

    Returns:
        int64 [count]; a text may occur twice when its group is small.
    """
    anywhere = generator.choice(texts, count - 2 * (count // 3))
    first = anywhere[0]
    department = texts[table.codes["department"][texts] == table.codes["department"][first]]
    kind = texts[table.codes["product_type"][texts] == table.codes["product_type"][first]]
    near = [generator.choice(group, count // 3) for group in (department, kind)]
    return np.concatenate([anywhere, *near])


def labelled_pairs(
    table: TextTable, queries: list[Query], per_query: int, generator: np.random.Generator
) -> LabelledPairs:
    """For each query up to ``per_query`` texts that answer it, and as many of the same department that do not.

    Where nothing else is in the department, those that do not answer come from the whole catalogue.

    Args:
        table: the catalogue's texts.
        queries: attribute queries.
        per_query: the most texts of each label.
        generator: what to draw from.
    """
    rows = []
    for position, query in enumerate(queries):
        answering = query.answers(table)
        fitting = np.flatnonzero(answering)
        departments = np.unique(table.codes["department"][fitting])
        near = np.isin(table.codes["department"], departments) & ~answering
        others = np.flatnonzero(near if near.any() else ~answering)
        count = min(per_query, len(fitting), len(others))
        for group, label in ((fitting, 1.0), (others, 0.0)):
            rows += [(position, int(text), label) for text in generator.choice(group, count, replace=False)]
    columns = np.array(rows, np.float64).reshape(-1, 3)
    return LabelledPairs(
        columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), columns[:, 2].astype(np.float32)
    )
