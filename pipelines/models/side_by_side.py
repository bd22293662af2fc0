"""Chunks of users worked on side by side, in threads: what costs time in them is NumPy's, which lets others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipelines.models.matrix_factorization import blas

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")
CHUNKS_AT_ONCE = 2
"""Bounds memory; changes no result."""


def side_by_side(work: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[Result]:
    """What is made of every chunk, in the order of the chunks.

    BLAS works in one thread meanwhile, here and in the threads: its own would wait for each other's.

    Args:
        work: safe to call from several threads.
        chunks: all are taken at once.
    """
    with blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(CHUNKS_AT_ONCE) as pool:
        yield from pool.map(work, chunks)
