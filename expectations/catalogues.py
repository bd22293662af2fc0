"""What a catalogue looks like, in some 30 kB, and how far the next one lies from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from expectations.distances import Distance, jensen_shannon
from expectations.profiles import FORMAT, Categories
from expectations.sketches import LogHistogram, Sample, hashes_of, pack, unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

GARBLED = "[\u00c2\u00c3\u00e2][\u0080-\u00bf\u20ac\u2122]|\ufffd"
"""Letters that are left when UTF-8 was read as Latin-1 or Windows-1252, or lost."""
COLUMNS = ("title", "description", "category", "brand", "price", "image")


@dataclass(frozen=True)
class CatalogueProfile:
    """A catalogue's accepted items.

    Args:
        rows: items.
        nulls: empty fields of each of ``COLUMNS``.
        categories: items of each first category.
        garbled: items with a title, brand or description whose letters were damaged.
        title_length: mean, in characters.
        prices: of the items that have one.
        items: a sample of their ids.
        titles: uint64 [len(items.hashes)], a hash of each sampled item's title.
        paths: uint64 [len(items.hashes)], a hash of each sampled item's category.
    """

    rows: int
    nulls: Mapping[str, int]
    categories: Mapping[str, int]
    garbled: int
    title_length: float
    prices: LogHistogram
    items: Sample
    titles: NDArray[np.uint64]
    paths: NDArray[np.uint64]

    def to_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("rows", "garbled", "title_length")}
        counts = {name: dict(getattr(self, name)) for name in ("nulls", "categories")}
        hashes = {name: pack(getattr(self, name)) for name in ("titles", "paths")}
        kept = {"prices": self.prices.to_json(), "items": self.items.to_json()}
        return {"format": FORMAT, **plain, **counts, **hashes, **kept}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError, KeyError or TypeError: it is none, or of another format.
        """
        if kept["format"] != FORMAT:
            raise ValueError("another format")
        plain = ("rows", "garbled", "title_length", "nulls", "categories")
        return cls(
            **{name: kept[name] for name in plain},
            prices=LogHistogram.from_json(kept["prices"]),
            items=Sample.from_json(kept["items"]),
            titles=unpack(kept["titles"], np.uint64),
            paths=unpack(kept["paths"], np.uint64),
        )


def catalogue_profile(items: pa.Table) -> CatalogueProfile:
    """Profile accepted items, in the items schema."""
    ids = hashes_of(items["item_id"])
    chosen = Sample.of(ids)
    order = np.argsort(ids)
    places = order[np.searchsorted(ids[order], chosen.hashes)] if len(ids) else np.zeros(0, np.int64)
    sampled = items.take(pa.array(places))
    path = pa.chunked_array([pc.binary_join(sampled["category"].combine_chunks(), "\x1f")], pa.string())
    garbled = np.zeros(items.num_rows, bool)
    for column in ("title", "brand", "description"):
        found = pc.fill_null(pc.match_substring_regex(items[column], GARBLED), False)
        garbled |= found.to_numpy().astype(bool)
    return CatalogueProfile(
        rows=items.num_rows,
        nulls={column: items[column].null_count for column in COLUMNS},
        categories=Categories(items).count(items["item_id"]),
        garbled=int(garbled.sum()),
        title_length=float(pc.mean(pc.utf8_length(items["title"])).as_py() or 0.0),
        prices=LogHistogram.of(items["price"].to_numpy()),
        items=chosen,
        titles=hashes_of(sampled["title"]),
        paths=hashes_of(path),
    )


def _gone(found: CatalogueProfile, before: CatalogueProfile) -> Distance:
    share = 1.0 - before.items.share_in([found.items]) if before.rows else 0.0
    return Distance(share, f"{share:.1%} of the items before are gone; {found.rows:,} beside {before.rows:,}")


def _retitled(found: CatalogueProfile, before: CatalogueProfile) -> Distance:
    share = _changed(found, before, "titles")
    return Distance(share, f"{share:.1%} of the items have another title")


def _recategorised(found: CatalogueProfile, before: CatalogueProfile) -> Distance:
    share = _changed(found, before, "paths")
    return Distance(share, f"{share:.1%} of the items have another category")


def _changed(found: CatalogueProfile, before: CatalogueProfile, what: str) -> float:
    """Share of the items sampled in both whose hash is another."""
    common, own, other = np.intersect1d(found.items.hashes, before.items.hashes, return_indices=True)
    return float(np.mean(getattr(found, what)[own] != getattr(before, what)[other])) if len(common) else 0.0


def _nulls(found: CatalogueProfile, before: CatalogueProfile) -> Distance:
    worst = Distance(0.0)
    for column in COLUMNS:
        share, usual = (part.nulls.get(column, 0) / max(part.rows, 1) for part in (found, before))
        if abs(share - usual) > worst.value:
            worst = Distance(abs(share - usual), f"{column}: {share:.1%} beside {usual:.1%}")
    return worst


def _garbled(found: CatalogueProfile, before: CatalogueProfile) -> Distance:
    share, usual = (part.garbled / max(part.rows, 1) for part in (found, before))
    return Distance(max(share - usual, 0.0), f"{found.garbled:,} items hold damaged letters, before {before.garbled:,}")


def _titles(found: CatalogueProfile, before: CatalogueProfile) -> Distance:
    ratio = (found.title_length + 1) / (before.title_length + 1)
    lengths = f"{found.title_length:.0f} characters beside {before.title_length:.0f}"
    return Distance(abs(float(np.log(ratio))), lengths)


def _categories(found: CatalogueProfile, before: CatalogueProfile) -> Distance:
    new = found.categories.keys() - before.categories.keys()
    named = f"; new is {min(new)}" if new else ""
    return Distance(
        jensen_shannon(found.categories, before.categories),
        f"{len(found.categories)} beside {len(before.categories)}{named}",
    )


CATALOGUE_MEASURES: Mapping[str, Callable[[CatalogueProfile, CatalogueProfile], Distance]] = {
    "items_gone": _gone,
    "items_retitled": _retitled,
    "items_recategorised": _recategorised,
    "item_nulls": _nulls,
    "garbled_titles": _garbled,
    "title_length": _titles,
    "item_categories": _categories,
}
"""Every question about a catalogue, by name."""
