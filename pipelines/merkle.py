"""A Merkle tree over sorted hashes: a short proof that a name is among millions, or that it is not.

    leaf   SHA-256(00, name)         sorted, so that a name that is missing lies between two neighbours
    node   SHA-256(01, left, right)  a last node without a neighbour rises as it is (RFC 6962)
    root   SHA-256(02, number of leaves as 8 bytes, top node)

The leaves lie in one file, the upper levels in another, both as bare 32-byte hashes, so that both can be mapped into
memory. The lowest levels are not kept: the few hashes of them that a proof needs are made again.
``infra/verify_proof.py`` checks a proof without this package.
"""

from __future__ import annotations

import hashlib
import mmap
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import DataError

WIDTH = 32
"""Bytes of a hash."""


@dataclass(frozen=True)
class Neighbour:
    """A leaf and the way from it to the top: the other child of every node above it that has two, lowest first."""

    index: int
    leaf: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Proof:
    """That a name is in a set, or is not.

    Args:
        name: whose.
        present: whether it is in.
        count: leaves of the tree.
        root: of the tree, hexadecimal.
        leaves: the name's own leaf, or the one or two between which it would lie.
    """

    name: str
    present: bool
    count: int
    root: str
    leaves: tuple[Neighbour, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"format": 1, **asdict(self)}


def leaf_of(name: str) -> bytes:
    """The hash of a name."""
    return hashlib.sha256(b"\x00" + name.encode()).digest()


def write_levels(leaves: Path, levels: Path, skipped: int) -> tuple[int, str]:
    """Build the tree over a file of sorted leaves.

    Args:
        leaves: 32-byte hashes, strictly ascending.
        levels: gets the levels from ``skipped`` up to the top, lowest first.
        skipped: levels above the leaves that are not kept.

    Returns:
        How many leaves there are, and the root, hexadecimal.

    Raises:
        DataError: the file is empty or no whole number of hashes.
    """
    count = _count(leaves)
    with ExitStack() as stack:
        below: mmap.mmap | bytes = _mapped(stack, leaves)
        out = stack.enter_context(levels.open("wb"))
        block = WIDTH << skipped
        level = b"".join(_top(below[at : at + block]) for at in range(0, count * WIDTH, block))
        out.write(level)
        while len(level) > WIDTH:
            level = _above(level)
            out.write(level)
    return count, _root(count, level)


def _top(level: bytes) -> bytes:
    while len(level) > WIDTH:
        level = _above(level)
    return level


def _above(level: bytes) -> bytes:
    """The level over one: a node for each two, a lone last one as it is."""
    sha256 = hashlib.sha256
    even = len(level) - len(level) % (2 * WIDTH)
    pairs = [sha256(b"\x01" + level[at : at + 2 * WIDTH]).digest() for at in range(0, even, 2 * WIDTH)]
    return b"".join(pairs) + level[even:]


def _root(count: int, top: bytes) -> str:
    return hashlib.sha256(b"\x02" + count.to_bytes(8, "big") + top).hexdigest()


class Tree:
    """A tree in its two files, mapped into memory.

    Args:
        leaves: as :func:`write_levels` read it.
        levels: as it wrote it.
        skipped: as it was given.

    Raises:
        DataError: a file has not the size that the other asks for.
    """

    def __init__(self, leaves: Path, levels: Path, skipped: int) -> None:
        self.count = _count(leaves)
        self._skipped = skipped
        self._stack = ExitStack()
        self._leaves = _mapped(self._stack, leaves)
        self._levels = _mapped(self._stack, levels)
        self._starts = _starts(self.count, skipped)
        if len(self._levels) != self._starts[-1] * WIDTH:
            raise DataError(f"{levels} is not the tree over {leaves}", mend="shoploom train makes both again")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> bytes:
        if index >= self.count:
            raise IndexError(index)
        return self._leaves[index * WIDTH : (index + 1) * WIDTH]

    @property
    def root(self) -> str:
        """Hexadecimal."""
        return _root(self.count, self._levels[-WIDTH:])

    def prove(self, name: str) -> Proof:
        """Whether a name is in, and the proof of it.

        Raises:
            DataError: the files are damaged where the proof comes from: it does not lead to the root.
        """
        wanted = leaf_of(name)
        place = bisect_left(self, wanted)
        present = place < self.count and self[place] == wanted
        around: Sequence[int] = [place] if present else [i for i in (place - 1, place) if 0 <= i < self.count]
        neighbours = tuple(Neighbour(i, self[i].hex(), tuple(node.hex() for node in self._path(i))) for i in around)
        if any(self._follow(neighbour) != self._levels[-WIDTH:] for neighbour in neighbours):
            raise DataError("the tree over the training events is damaged", mend="shoploom train makes it again")
        return Proof(name, present, self.count, self.root, neighbours)

    def close(self) -> None:
        """Let go of the files."""
        self._stack.close()

    def _follow(self, neighbour: Neighbour) -> bytes:
        """The top node that a leaf and its path give."""
        node, index, count = bytes.fromhex(neighbour.leaf), neighbour.index, self.count
        path = iter(neighbour.path)
        while count > 1:
            if index ^ 1 < count:
                other = bytes.fromhex(next(path))
                node = hashlib.sha256(b"\x01" + (other + node if index & 1 else node + other)).digest()
            index, count = index // 2, (count + 1) // 2
        return node

    def _path(self, index: int) -> list[bytes]:
        size = 1 << self._skipped
        first = index // size * size
        level = self._leaves[first * WIDTH : (first + size) * WIDTH]
        path, at = [], index - first
        while len(level) > WIDTH:
            other = level[(at ^ 1) * WIDTH : ((at ^ 1) + 1) * WIDTH]
            path += [other] if other else []
            level, at = _above(level), at // 2
        at = index // size
        for start, end in zip(self._starts, self._starts[1:], strict=False):
            if start + (at ^ 1) < end:
                path.append(self._levels[(start + (at ^ 1)) * WIDTH : (start + (at ^ 1) + 1) * WIDTH])
            at //= 2
        return path

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _starts(count: int, skipped: int) -> list[int]:
    """Where each kept level starts, in hashes, and where the last one ends."""
    size = -(-count // (1 << skipped))
    starts = [0, size]
    while size > 1:
        size = (size + 1) // 2
        starts.append(starts[-1] + size)
    return starts


def _count(leaves: Path) -> int:
    size = leaves.stat().st_size
    if size == 0 or size % WIDTH:
        raise DataError(f"{leaves} holds no whole number of hashes", mend="shoploom train makes it again")
    return size // WIDTH


def _mapped(stack: ExitStack, path: Path) -> mmap.mmap:
    stream = stack.enter_context(path.open("rb"))
    return stack.enter_context(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
