"""Small summaries of many values that can be compared and added up without the values themselves."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

KEPT = 1024
"""Hashes that a :class:`Sample` holds at most."""
STEP = float(np.log(1.05))
"""Width of a bin of a :class:`LogHistogram`: quantiles are exact to 2.5%."""


@dataclass(frozen=True)
class Sample:
    """The distinct values whose hashes are smallest: the same values are chosen wherever they occur.

    Args:
        hashes: uint64 [at most KEPT], ascending, distinct.
        distinct: how many distinct values there were.

    Source: Bar-Yossef et al. 2002, "Counting distinct elements in a data stream" (the k minimum values).
    """

    hashes: NDArray[np.uint64]
    distinct: int

    @classmethod
    def of(cls, hashes: NDArray[np.uint64]) -> Self:
        """Sample hashes (uint64 [n], repeats allowed)."""
        distinct = np.unique(hashes)
        return cls(distinct[:KEPT], len(distinct))

    @property
    def complete_below(self) -> int:
        """Every value with a hash up to this one is in the sample."""
        return int(self.hashes[-1]) if self.distinct > len(self.hashes) else 2**64 - 1

    def share_in(self, others: Iterable[Sample]) -> float:
        """Share of the values that any of ``others`` holds too, told from the hashes that all samples cover."""
        known = list(others)
        limit = np.uint64(min([self.complete_below, *(other.complete_below for other in known)]))
        own = self.hashes[: np.searchsorted(self.hashes, limit, side="right")]
        if not len(own):
            return 0.0
        held = np.zeros(len(own), bool)
        for other in known:
            if len(other.hashes):
                places = np.minimum(np.searchsorted(other.hashes, own), len(other.hashes) - 1)
                held |= other.hashes[places] == own
        return float(held.mean())

    def to_json(self) -> dict[str, Any]:
        return {"hashes": pack(self.hashes), "distinct": self.distinct}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        return cls(unpack(kept["hashes"], np.uint64), int(kept["distinct"]))


@dataclass(frozen=True)
class LogHistogram:
    """Counts of positive numbers in bins of equal ratio.

    Args:
        first: number of the first bin; bin ``b`` holds ``exp(b * STEP)`` and its neighbourhood.
        counts: int64 [bins].
        lowest: the smallest number; 0 where there is none.
        highest: the largest.
    """

    first: int
    counts: NDArray[np.int64]
    lowest: float
    highest: float

    @classmethod
    def of(cls, numbers: NDArray[np.float64]) -> Self:
        """Count numbers; what is not finite or not over 0 is left out."""
        kept = numbers[np.isfinite(numbers) & (numbers > 0)]
        if not len(kept):
            return cls(0, np.zeros(0, np.int64), 0.0, 0.0)
        bins = np.rint(np.log(kept) / STEP).astype(np.int64)
        first = int(bins.min())
        return cls(first, np.bincount(bins - first).astype(np.int64), float(kept.min()), float(kept.max()))

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """The number below which ``share`` of all lie; 0 where there is none."""
        if not self.total:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self.counts), share * self.total))
        value = float(np.exp((self.first + min(place, len(self.counts) - 1)) * STEP))
        return min(max(value, self.lowest), self.highest)

    @classmethod
    def sum(cls, parts: Iterable[LogHistogram]) -> Self:
        """All numbers of several histograms."""
        full = [part for part in parts if part.total]
        if not full:
            return cls(0, np.zeros(0, np.int64), 0.0, 0.0)
        first = min(part.first for part in full)
        counts = np.zeros(max(part.first + len(part.counts) for part in full) - first, np.int64)
        for part in full:
            counts[part.first - first : part.first - first + len(part.counts)] += part.counts
        return cls(first, counts, min(part.lowest for part in full), max(part.highest for part in full))

    def to_json(self) -> dict[str, Any]:
        return {"first": self.first, "counts": self.counts.tolist(), "lowest": self.lowest, "highest": self.highest}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        counts = np.asarray(kept["counts"], np.int64)
        return cls(int(kept["first"]), counts, float(kept["lowest"]), float(kept["highest"]))


def hashes_of(values: pa.ChunkedArray) -> NDArray[np.uint64]:
    """A stable hash of every text of a column; 0 for a null. uint64 [num_rows]."""
    encoded = values.combine_chunks().dictionary_encode()
    names = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    distinct = pd.util.hash_array(names, categorize=False) if len(names) else np.zeros(0, np.uint64)
    table = np.append(distinct.astype(np.uint64), np.uint64(0))
    hashes: NDArray[np.uint64] = table[encoded.indices.fill_null(len(names)).to_numpy()]
    return hashes


def mixed(*columns: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One hash of several columns' hashes, row by row (uint64 [num_rows]; the finalizer of SplitMix64)."""
    result = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        result = (result ^ column) + np.uint64(0x9E3779B97F4A7C15)
        result = (result ^ (result >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        result = (result ^ (result >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        result ^= result >> np.uint64(31)
    return result


def pack(array: NDArray[Any]) -> str:
    """An array's bytes as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def unpack(text: str, kind: type[Any]) -> NDArray[Any]:
    """The inverse of :func:`pack`."""
    return np.frombuffer(base64.b64decode(text), kind)
