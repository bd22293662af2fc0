"""Judgements: how well, people said, a product answers a query; they train the encoder and its head, and measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.models.text_pairs import hashed_share
from pipelines.models.two_tower import PairBatch

if TYPE_CHECKING:
    import pyarrow as pa

GRADES = 4
"""The highest grade."""
TOP = 10
"""Places that are looked at."""
PRODUCTS_A_QUERY = 4
"""Judged products of a query in a batch."""

Tokenizer = Callable[[Sequence[str]], list[NDArray[np.int32]]]


@dataclass(frozen=True)
class Judged:
    """Graded pairs, ordered by query and text; a pair occurs once.

    Args:
        queries: distinct, in lower case with single spaces.
        query_index: int64 [num_pairs], rows of ``queries``, ascending.
        texts: int64 [num_pairs], the text of the product.
        grades: float32 [num_pairs], 0 (does not answer) to 4.
    """

    queries: list[str]
    query_index: NDArray[np.int64]
    texts: NDArray[np.int64]
    grades: NDArray[np.float32]

    @classmethod
    def of(cls, judgements: pa.Table, item_ids: Sequence[str], text_index: NDArray[np.int32]) -> Judged:
        """Gather judgements by query and text; a text that several products share gets the mean of their grades.

        Args:
            judgements: in the judgements schema; products that are not in the catalogue are left out.
            item_ids: of the catalogue.
            text_index: int32 [num_items], the text of each.
        """
        place = {item_id: row for row, item_id in enumerate(item_ids)}
        graded: dict[tuple[str, int], list[int]] = {}
        for row in judgements.select(["query", "item_id", "grade"]).to_pylist():
            query = " ".join(row["query"].lower().split())
            if query and row["item_id"] in place:
                graded.setdefault((query, int(text_index[place[row["item_id"]]])), []).append(row["grade"])
        pairs = sorted(graded)
        queries = sorted({query for query, _ in pairs})
        rows = {query: row for row, query in enumerate(queries)}
        return cls(
            queries,
            np.array([rows[query] for query, _ in pairs], np.int64),
            np.array([text for _, text in pairs], np.int64),
            np.array([np.mean(graded[pair]) for pair in pairs], np.float32),
        )

    @property
    def gains(self) -> NDArray[np.float32]:
        """float32 [num_pairs], ``2^grade - 1``: what a pair is worth. Source: Burges et al. 2005."""
        return np.exp2(self.grades) - np.float32(1)

    def of_queries(self, kept: NDArray[np.bool_]) -> Judged:
        """The pairs of some queries.

        Args:
            kept: bool [num_queries].
        """
        pairs = kept[self.query_index]
        numbers = np.cumsum(kept) - 1
        return Judged(
            [query for query, keep in zip(self.queries, kept, strict=True) if keep],
            numbers[self.query_index[pairs]],
            self.texts[pairs],
            self.grades[pairs],
        )

    def split(self, held_out: float, calibration: float) -> tuple[Judged, Judged, Judged]:
        """Divide by query, by its hash alone: for training, for the relevance head, and held out.

        Args:
            held_out: share of queries kept for measuring.
            calibration: share of queries kept for the head.
        """
        shares = np.array([hashed_share(query) for query in self.queries], np.float64)
        measured, head = shares < held_out, (shares >= held_out) & (shares < held_out + calibration)
        return self.of_queries(~(measured | head)), self.of_queries(head), self.of_queries(measured)

    def ndcg(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """NDCG@10 of each query over its judged products, float64 [num_queries]; NaN where none is worth anything.

        Args:
            scores: [num_pairs], higher is better; ties by text.

        Source: Järvelin and Kekäläinen 2002, with the gain of :attr:`gains`.
        """
        discounts = 1.0 / np.log2(np.arange(2, TOP + 2))
        gains = self.gains.astype(np.float64)
        found = np.full(len(self.queries), np.nan)
        for query in range(len(self.queries)):
            mine = np.flatnonzero(self.query_index == query)
            ranked = gains[mine[np.argsort(-scores[mine], kind="stable")]][:TOP]
            ideal = np.sort(gains[mine])[::-1][:TOP]
            if ideal[0] > 0:
                found[query] = (ranked * discounts[: len(ranked)]).sum() / (ideal * discounts[: len(ideal)]).sum()
        return found


def judged_batches(
    judged: Judged, texts: Sequence[str], tokenizer: Tokenizer, *, steps: int, products: int, seed: int
) -> list[PairBatch]:
    """Draw batches: in each, queries with some of their judged products, of which one at least is worth something.

    The softmax of a query should be what its products are worth, as shares; the products of the other queries are
    worth nothing to it. A product that is drawn for two queries is no negative of either.

    Args:
        judged: the pairs to train on.
        texts: the catalogue's.
        tokenizer: texts to token ids, ``TextEncoder.tokenize``.
        steps: batches wanted.
        products: of a batch.
        seed: of the draw.

    Returns:
        ``steps`` batches; none where no query has a product that is worth something.

    Source: Cao et al. 2007 (the listwise softmax loss).
    """
    generator = np.random.default_rng(seed)
    gains = judged.gains
    pairs = [np.flatnonzero(judged.query_index == query) for query in range(len(judged.queries))]
    useful = [query for query, mine in enumerate(pairs) if gains[mine].any()]
    count = min(max(products // PRODUCTS_A_QUERY, 1), len(useful))
    if not count:
        return []
    return [
        _batch(judged, [pairs[query] for query in chosen], texts, tokenizer, generator)
        for chosen in (generator.choice(useful, count, replace=False) for _ in range(steps))
    ]


def _batch(
    judged: Judged,
    pairs: Sequence[NDArray[np.int64]],
    texts: Sequence[str],
    tokenizer: Tokenizer,
    generator: np.random.Generator,
) -> PairBatch:
    """One batch of queries, each given by its pairs."""
    gains = judged.gains
    drawn = []
    for mine in pairs:
        worthy = generator.choice(mine[gains[mine] > 0])
        others = generator.choice(mine, PRODUCTS_A_QUERY - 1, replace=len(mine) < PRODUCTS_A_QUERY - 1)
        drawn.append(np.concatenate([[worthy], others]))
    chosen = np.concatenate(drawn)
    owner = np.repeat(np.arange(len(pairs)), PRODUCTS_A_QUERY)
    own = owner[None, :] == np.arange(len(pairs))[:, None]
    targets = np.where(own, gains[chosen], 0).astype(np.float32)
    targets /= targets.sum(1, keepdims=True)
    listed = judged.texts[chosen]
    judged_by = np.stack([np.isin(listed, judged.texts[mine]) for mine in pairs])
    return PairBatch(
        tokenizer([judged.queries[judged.query_index[mine[0]]] for mine in pairs]),
        tokenizer([texts[text] for text in listed]),
        judged_by & ~own,
        np.ones(len(pairs), np.float32),
        targets,
    )
