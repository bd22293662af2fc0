"""What items have in common, counted: categories at each level, brands, prices, sizes, properties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.understanding.prices import in_words
from pipelines.serving.understanding.vocabulary import Ints, Vocabulary

MOST_VALUES = 12
PRICE_BANDS = 4


@dataclass(frozen=True)
class Value:
    """One value and how many of the items have it.

    Args:
        name: of a price band, its bounds in words.
        count: >= 1.
        low: least price of a band.
        high: most.
    """

    name: str
    count: int
    low: float | None = None
    high: float | None = None


Facets = dict[str, tuple[Value, ...]]


def facets(items: NDArray[np.bool_] | Ints, vocabulary: Vocabulary) -> Facets:
    """Count what items have.

    Args:
        items: dense ids, each once, or bool [num_items].
        vocabulary: the shop's.

    Returns:
        By name: ``category_1``, ``category_2``... from the widest level, ``brand``, ``size``, ``attribute``, most
        frequent first, and ``price``, cheapest first. What no item has is left out.
    """
    rows = np.flatnonzero(items) if items.dtype == np.bool_ else np.asarray(items, np.int64)
    found: dict[str, Iterable[Value]] = {}
    paths = np.bincount(vocabulary.path_of_item[rows], minlength=len(vocabulary.paths))
    levels: dict[int, Counter[str]] = {}
    for path in np.flatnonzero(paths).tolist():
        for level, name in enumerate(vocabulary.paths[path], start=1):
            levels.setdefault(level, Counter())[name] += int(paths[path])
    for level in sorted(levels):
        found[f"category_{level}"] = _most(levels[level])
    brands = vocabulary.brand_of_item[rows]
    counts = np.bincount(brands[brands >= 0], minlength=len(vocabulary.brands))
    found["brand"] = _most(Counter(dict(zip(vocabulary.brands, counts.tolist(), strict=True))))
    sizes = np.bincount(vocabulary.size_of_item[rows], minlength=len(vocabulary.size_labels))
    labels = zip(vocabulary.size_labels, sizes.tolist(), strict=True)
    found["size"] = _most(Counter({label: count for label, count in labels if label}))
    found["attribute"] = _most(_attributes(rows, vocabulary))
    found["price"] = _bands(vocabulary.prices.amounts[rows])
    return {name: values for name, each in found.items() if (values := tuple(each))}


def _most(counts: Counter[str]) -> list[Value]:
    ranked = sorted(((count, name) for name, count in counts.items() if count), key=lambda pair: (-pair[0], pair[1]))
    return [Value(name, count) for count, name in ranked[:MOST_VALUES]]


def _attributes(rows: NDArray[np.int64], vocabulary: Vocabulary) -> Counter[str]:
    texts = np.bincount(vocabulary.text_of_item[rows], minlength=vocabulary.num_texts)
    return Counter({name: int(texts[saying].sum()) for name, saying in vocabulary.properties.items()})


def _bands(prices: NDArray[np.float64]) -> list[Value]:
    known = np.sort(prices[~np.isnan(prices)])
    if not len(known):
        return []
    edges = np.unique(known[np.linspace(0, len(known) - 1, PRICE_BANDS + 1).round().astype(int)])
    lows = edges[:-1] if len(edges) > 1 else edges
    highs = edges[1:] if len(edges) > 1 else edges
    starts = np.searchsorted(known, lows)
    ends = np.append(starts[1:], len(known))
    return [
        Value(in_words(float(low), float(high)), int(end - start), float(low), float(high))
        for low, high, start, end in zip(lows, highs, starts, ends, strict=True)
    ]
