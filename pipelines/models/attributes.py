"""What is known of an item before anybody buys it: its groups, by category, brand and attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN

MIN_MEAN_SIZE = 2.0
"""Items that an attribute's groups hold on average; one of more groups, a serial number for instance, says nothing."""


@dataclass(frozen=True)
class Attributes:
    """The groups that each item belongs to.

    Args:
        groups: int32 [num_items] by kind of group, the group's number; 0 where the item has none.
    """

    groups: Mapping[str, NDArray[np.int32]]

    def check(self, num_items: int) -> None:
        """Refuse groups of other items.

        Raises:
            ModelError: the message names the kind of group.
        """
        for name, codes in self.groups.items():
            if len(codes) != num_items:
                raise ModelError(f"{len(codes)} items have a {name}, and there are {num_items}", mend=MADE_AGAIN)

    @classmethod
    def of_items(cls, items: pa.Table, attributes: Sequence[Mapping[str, str]]) -> Attributes:
        """Group the items of a catalogue.

        Kinds are the levels of the category path, the brand, every attribute, and the brand and the
        attributes within each of the two deepest levels: who makes snacks is another than who makes soap.

        Args:
            items: with ``category`` (a path, or None) and ``brand``.
            attributes: of each item, by name.
        """
        paths = [tuple(path or ()) for path in items["category"].to_pylist()]
        depth = min(max((len(path) for path in paths), default=0), 3)
        levels = {
            f"category_{level}": [" / ".join(path[:level]) if path else None for path in paths]
            for level in range(1, depth + 1)
        }
        names = sorted({name for row in attributes for name in row})
        facts: dict[str, list[str | None]] = {"brand": items["brand"].to_pylist()}
        facts |= {f"attribute_{name}": [row.get(name) for row in attributes] for name in names}
        deepest = list(levels)[-2:]
        crossed = {
            f"{level}_{fact}": [_both(left, right) for left, right in zip(levels[level], values, strict=True)]
            for level in deepest
            for fact, values in facts.items()
        }
        every = {**levels, **facts, **crossed}
        return cls({name: codes for name, values in every.items() if _says_something(codes := _codes(values))})


def _both(left: str | None, right: str | None) -> str | None:
    return None if left is None or right is None else f"{left}\n{right}"


def _codes(values: Sequence[str | None]) -> NDArray[np.int32]:
    """Numbers from 1 in the order of the names; 0 for None."""
    numbers = {name: place for place, name in enumerate(sorted({value for value in values if value}), start=1)}
    return np.array([numbers.get(value, 0) if value else 0 for value in values], np.int32)


def _says_something(codes: NDArray[np.int32]) -> bool:
    groups = len(np.unique(codes))
    return groups > 1 and len(codes) >= MIN_MEAN_SIZE * groups
