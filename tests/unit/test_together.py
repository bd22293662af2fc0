"""Several threads' questions computed together: each gets its own rows, and its own error."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from pipelines.models.together import Together


class Lengths:
    """The length of each text; the first computation begins and waits to be told."""

    def __init__(self) -> None:
        self.began, self.go_on = Event(), Event()
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.calls.append(list(texts))
        self.began.set()
        assert self.go_on.wait(30)
        if "wrong" in texts:
            raise ValueError("wrong")
        return np.array([[len(text)] for text in texts], np.float32)


def waiting(together: Together, count: int) -> bool:
    """Whether so many are waiting; they come at their own pace."""
    until = Event()
    for _ in range(3000):
        if len(together._waiting) == count:
            return True
        until.wait(0.01)
    return False


def test_together_computes_at_once_what_came_meanwhile() -> None:
    lengths = Lengths()
    together = Together(lengths)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(together.of, ["a"])
        assert lengths.began.wait(30)
        others = [threads.submit(together.of, ["b" * size, "c"]) for size in range(2, 8)]
        assert waiting(together, 6)
        lengths.go_on.set()
        assert first.result(30).tolist() == [[1]]
        assert [one.result(30).tolist() for one in others] == [[[size], [1]] for size in range(2, 8)]
    assert len(lengths.calls) == 2
    assert sorted(lengths.calls[1]) == sorted([text for size in range(2, 8) for text in ("b" * size, "c")])


def test_together_lets_what_is_wrong_with_one_be_its_own() -> None:
    lengths = Lengths()
    together = Together(lengths)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(together.of, ["a"])
        assert lengths.began.wait(30)
        right, wrong, other = (threads.submit(together.of, [text]) for text in ("right", "wrong", "other"))
        assert waiting(together, 3)
        lengths.go_on.set()
        assert [one.result(30).tolist() for one in (first, right, other)] == [[[1]], [[5]], [[5]]]
        with pytest.raises(ValueError, match="wrong"):
            wrong.result(30)
    assert together.of(["again"]).tolist() == [[5]]
