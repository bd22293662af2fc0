"""What the shop says of its items, as codes: for facets, filters and rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.models.catalogue import Catalogue

GROUPS = ("department", "product_type", "brand", "size")
"""Columns that group items; the first two are the category's levels."""
CATEGORIES = ("department", "product_type")


@dataclass(frozen=True)
class Codes:
    """One column as numbers.

    Args:
        values: the distinct values; the position is the code.
        codes: int32 [num_items], -1 where the item has none.
    """

    values: tuple[str, ...]
    codes: NDArray[np.int32]

    @cached_property
    def by_name(self) -> dict[str, int]:
        """Code of every value, spelt in lower case."""
        return {value.lower(): code for code, value in enumerate(self.values)}

    def of(self, wanted: Sequence[str]) -> frozenset[int]:
        """The codes of these values, however their letters are spelt; those that no item has are left out."""
        return frozenset(self.by_name[name] for value in wanted if (name := value.lower()) in self.by_name)

    def mask(self, wanted: Sequence[str], items: NDArray[np.int32] | None = None) -> NDArray[np.bool_]:
        """bool [num_items]: which of int32 [num_items] items, every one by default, have one of these values."""
        found: NDArray[np.bool_] = np.isin(self.codes if items is None else self.codes[items], list(self.of(wanted)))
        return found


class Shelf:
    """The catalogue's groups and prices.

    Args:
        catalogue: of the package.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.num_items = catalogue.num_items
        self.groups = {name: _codes(catalogue, name) for name in GROUPS}
        self.prices = catalogue.prices
        """float64 [num_items], NaN where unknown."""

    def in_category(self, wanted: Sequence[str], items: NDArray[np.int32] | None = None) -> NDArray[np.bool_]:
        """bool [num_items]: which of int32 [num_items] items, every one by default, are of one of these categories, of
        whatever level."""
        department, kind = (self.groups[name].mask(wanted, items) for name in CATEGORIES)
        return department | kind

    def value(self, group: str, item: int) -> str | None:
        """What an item has in a group, or None."""
        code = int(self.groups[group].codes[item])
        return self.groups[group].values[code] if code >= 0 else None

    def price(self, item: int) -> float | None:
        """What an item costs, or None."""
        price = float(self.prices[item])
        return None if math.isnan(price) else round(price, 2)


def _codes(catalogue: Catalogue, name: str) -> Codes:
    column = catalogue.items[name].combine_chunks().dictionary_encode()
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return Codes(tuple(str(value) for value in column.dictionary.to_pylist()), codes)
