"""What many threads ask for at once, computed together: an encoder takes little longer over a few short texts than over
one, because its weights are read once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass
class _Asked:
    """What one thread asks for, and what came of it."""

    texts: list[str]
    rows: Floats | None = None
    error: BaseException | None = None

    @property
    def answered(self) -> bool:
        return self.rows is not None or self.error is not None


class Together:
    """One computation at a time, of everything that was asked for since the one before began.

    Args:
        compute: gives the float32 row of each of some texts; a row must not depend on the other texts.
    """

    def __init__(self, compute: Callable[[Sequence[str]], Floats]) -> None:
        self._compute = compute
        self._waiting: list[_Asked] = []
        self._turn, self._entering = Lock(), Lock()

    def of(self, texts: Sequence[str]) -> Floats:
        """Rows of texts, float32 [num_texts, size].

        Raises:
            Exception: whatever the computation raised.
        """
        asked = _Asked(list(texts))
        with self._entering:
            self._waiting.append(asked)
        with self._turn:
            if not asked.answered:
                with self._entering:
                    taken, self._waiting = self._waiting, []
                self._answer(taken)
        if asked.rows is None:
            assert asked.error is not None
            raise asked.error
        return asked.rows

    def _answer(self, taken: Sequence[_Asked]) -> None:
        try:
            rows = self._compute([text for asked in taken for text in asked.texts])
        except Exception as error:
            if len(taken) == 1:
                taken[0].error = error
                return
            # What is wrong with one is no fault of the others.
            for asked in taken:
                self._answer([asked])
            return
        except BaseException as error:
            for asked in taken:
                asked.error = error
            raise
        ends = np.cumsum([len(asked.texts) for asked in taken])
        for asked, own in zip(taken, np.split(rows, ends[:-1]), strict=True):
            asked.rows = own
