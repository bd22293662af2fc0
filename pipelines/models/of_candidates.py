"""What a model makes of the candidates alone, kept while it is asked about the very same ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")
FEW = 4096
"""What is made of this many candidates or fewer is not kept: it would take the place of what cost more."""


class OfCandidates(Generic[Value]):
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._kept: tuple[NDArray[np.int32], Value] | None = None

    def of(self, candidates: NDArray[np.int32], make: Callable[[NDArray[np.int32]], Value]) -> Value:
        """What is made of these candidates.

        Args:
            candidates: int32 [num_candidates], which nobody changes afterwards.
            make: the same every time; not kept, so that a model that keeps this is no circle of references.
        """
        kept = self._kept
        if kept is not None and kept[0] is candidates:
            return kept[1]
        made = make(candidates)
        if len(candidates) > FEW:
            self._kept = candidates, made
        return made
