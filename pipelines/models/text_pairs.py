"""Queries and text pairs made from a shop's own data, for want of a search log.

An *attribute query* asks for a product by some of its attributes, in any order: its type, or some words of it, and
perhaps its category, brand or size. A product text answers it when it has the same values. A second kind of pair
are two texts often bought in the same session.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.errors import DataError

ATTRIBUTES = ("department", "product_type", "brand", "size")


@dataclass(frozen=True)
class TextTable:
    """The distinct product texts and their attributes; row ``i`` of everything belongs to text ``i``.

    Args:
        texts: sorted, distinct.
        text_index: int32 [num_items].
        codes: for each of ``ATTRIBUTES`` int32 [num_texts]: equal numbers, equal values; -1 where missing.
        values: for each of ``ATTRIBUTES`` the values that the codes count.
        categories: the middle of each text's category path, ``""`` where there is none.
    """

    texts: list[str]
    text_index: NDArray[np.int32]
    codes: dict[str, NDArray[np.int32]]
    values: dict[str, list[str]]
    categories: list[str]

    @classmethod
    def of(cls, items: pa.Table, texts: list[str], text_index: NDArray[np.int32]) -> TextTable:
        """Gather the attributes of each text from the first item that has it.

        Args:
            items: the prepared items.
            texts: the distinct texts.
            text_index: int32 [num_items], the text of each item.
        """
        first = np.unique(text_index, return_index=True)[1]
        codes, values = {}, {}
        for name in ATTRIBUTES:
            column = [value or "" for value in items.column(name).take(pa.array(first)).to_pylist()]
            values[name] = sorted(set(column) - {""})
            place = {value: code for code, value in enumerate(values[name])}
            codes[name] = np.array([place.get(value, -1) for value in column], np.int32)
        paths = items.column("category").take(pa.array(first)).to_pylist()
        categories = [path[-2] if path and len(path) >= 3 else "" for path in paths]
        return cls(texts, text_index, codes, values, categories)

    def value(self, name: str, text: int) -> str:
        """The value of one attribute of one text, ``""`` where missing."""
        code = self.codes[name][text]
        return self.values[name][code] if code >= 0 else ""


@dataclass(frozen=True)
class Query:
    """An attribute query.

    Args:
        words: what a person would type.
        wanted: attribute name and code of each attribute that an answer must have.
    """

    words: str
    wanted: tuple[tuple[str, int], ...]

    def answers(self, table: TextTable) -> NDArray[np.bool_]:
        """bool [num_texts]: the texts that have every wanted attribute."""
        return answers(self, table.codes)


def answers(query: Query, codes: dict[str, NDArray[np.int32]]) -> NDArray[np.bool_]:
    """bool [n]: which of ``n`` texts, given by their codes, have every attribute that the query wants."""
    matched: NDArray[np.bool_] = np.ones(len(codes["product_type"]), np.bool_)
    for name, code in query.wanted:
        matched &= codes[name] == code
    return matched


def hashed_share(value: str) -> float:
    """The place of a product type or a query in 0..1, from its hash."""
    digest = hashlib.sha256(value.casefold().encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_by_type(table: TextTable, held_out: float, calibration: float) -> tuple[NDArray[np.int64], ...]:
    """Divide the texts by product type, so that no type is in two parts.

    A type's place follows from its hash alone, so that new types move no other. Where few types leave a part empty, it
    gets the type that is next to it.

    Args:
        table: the texts, of three product types at least; those without a type are in no part.
        held_out: share of types kept for measuring.
        calibration: share of types kept for the relevance head.

    Returns:
        Positions of the texts for training, for calibration and held out, int64; none is empty.

    Raises:
        DataError: there are fewer than three product types.
    """
    shares = np.array([hashed_share(value) for value in table.values["product_type"]])
    if len(shares) < 3:
        raise DataError(f"{len(shares)} product types cannot be divided into three parts", mend="land more items")
    measure = int(np.clip(np.count_nonzero(shares < held_out), 1, len(shares) - 2))
    head = int(np.count_nonzero(shares < held_out + calibration))
    head = int(np.clip(head, measure + 1, len(shares) - 1))
    place = np.argsort(np.argsort(shares, kind="stable"), kind="stable")[table.codes["product_type"]]
    typed = table.codes["product_type"] >= 0
    return (
        np.flatnonzero(typed & (place >= head)),
        np.flatnonzero(typed & (place >= measure) & (place < head)),
        np.flatnonzero(typed & (place < measure)),
    )


def words_of(value: str) -> list[str]:
    """The words of an attribute value as a person types them: lower case, no punctuation but what is in numbers."""
    return re.findall(r"\d+(?:[./]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*", value.lower())


def attribute_query(table: TextTable, text: int, generator: np.random.Generator) -> Query:
    """Ask for one text by its product type and, each by chance, its brand, size and category.

    Of a type of three words or more one word may be forgotten; the parts come in any order.
    """
    words = words_of(table.value("product_type", text))
    if len(words) >= 3 and generator.random() < 0.3:
        words.pop(int(generator.integers(len(words))))
    parts = [" ".join(words)]
    wanted = [("product_type", int(table.codes["product_type"][text]))]
    for name, chance in (("brand", 0.4), ("size", 0.5)):
        if table.codes[name][text] >= 0 and generator.random() < chance:
            parts.append(" ".join(words_of(table.value(name, text))))
            wanted.append((name, int(table.codes[name][text])))
    if table.categories[text] and generator.random() < 0.2:
        parts.append(" ".join(words_of(table.categories[text])))
    order = generator.permutation(len(parts))
    return Query(" ".join(parts[place] for place in order if parts[place]), tuple(wanted))


def queries_by_type(
    table: TextTable, texts: NDArray[np.int64], per_type: int, generator: np.random.Generator
) -> list[Query]:
    """Up to ``per_type`` different queries for every product type among ``texts``.

    Args:
        table: the texts.
        texts: int64, the texts to ask for.
        per_type: queries drawn of each type; equal ones count once.
        generator: what to draw from.
    """
    queries = []
    types = table.codes["product_type"][texts]
    for code in np.unique(types):
        members = texts[types == code]
        drawn = (attribute_query(table, int(generator.choice(members)), generator) for _ in range(per_type))
        queries += list({query.words: query for query in drawn if query.words}.values())
    return queries


def bought_together(
    sessions: NDArray[np.int32],
    texts: NDArray[np.int32],
    table: TextTable,
    *,
    min_count: int,
    limit: int,
) -> NDArray[np.int32]:
    """Pairs of texts of different product types that share sessions more often than chance.

    Args:
        sessions: int32 [num_events].
        texts: int32 [num_events], the text bought.
        table: the texts.
        min_count: sessions that a pair must share.
        limit: pairs kept, those of the highest lift.

    Returns:
        int32 [num_pairs, 2], highest lift first.
    """
    from scipy import sparse

    counts = np.bincount(texts, minlength=len(table.texts))
    frequent = counts[texts] >= 2 * min_count
    shape = (int(sessions.max(initial=0)) + 1, len(table.texts))
    ones = np.ones(int(frequent.sum()), np.float32)
    baskets = sparse.csr_matrix((ones, (sessions[frequent], texts[frequent])), shape)
    baskets.data[:] = 1
    together = sparse.triu(baskets.T @ baskets, 1).tocoo()
    types = table.codes["product_type"]
    kept = (together.data >= min_count) & (types[together.row] != types[together.col])
    first, second, count = together.row[kept], together.col[kept], together.data[kept]
    totals = np.asarray(baskets.sum(0)).ravel()
    lift = count / (totals[first] * totals[second])
    order = np.lexsort((second, first, -lift))[:limit]
    return np.stack([first[order], second[order]], 1).astype(np.int32)


def excluded_negatives(queries: Sequence[Query | int], texts: NDArray[np.int64], table: TextTable) -> NDArray[np.bool_]:
    """Which products of a batch are no negatives of which query.

    Args:
        queries: n attribute queries, or texts that stand as queries.
        texts: int64 [m], first the product of each query, then others.
        table: the texts.

    Returns:
        bool [n, m], false where ``i == j``.
    """
    codes = {name: column[texts] for name, column in table.codes.items()}
    rows = [
        answers(query, codes)
        if isinstance(query, Query)
        else (texts == query) | (codes["product_type"] == table.codes["product_type"][query])
        for query in queries
    ]
    excluded: NDArray[np.bool_] = np.stack(rows) | (texts[: len(queries), None] == texts[None, :])
    np.fill_diagonal(excluded, False)
    return excluded
