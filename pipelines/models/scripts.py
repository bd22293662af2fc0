"""Which texts an encoder can read: the share of their tokens that its vocabulary knows as more than letters."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_PIECES = 1000
"""Vocabulary pieces that a script other than Latin must have to count as known; MiniLM has 488 Chinese characters."""
UNKNOWN = ("[UNK]", "<unk>")


@lru_cache(maxsize=4096)
def script_of(character: str) -> str:
    """The first word of a letter's Unicode name (``LATIN``, ``CJK``, ``CYRILLIC``); ``""`` for what is no letter."""
    return unicodedata.name(character, "?").split()[0] if character.isalpha() else ""


class Reader:
    """Knows of a tokenizer which scripts it only spells out letter by letter, or does not have at all.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        counts = Counter(_script_of_piece(piece) for piece in tokenizer.get_vocab())
        self.known = {"", "LATIN"} | {script for script, count in counts.items() if count >= MIN_PIECES}
        """Scripts that are read; numbers and punctuation are."""

    def unread_share(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The share of each text's tokens that are unknown, or of a script that is not read.

        Args:
            texts: any number.

        Returns:
            float32 [num_texts], within 0..1; 0 for a text without tokens.
        """
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return np.array([self._unread(encoding.tokens, encoding.attention_mask) for encoding in encodings], np.float32)

    def _unread(self, padded: list[str], mask: list[int]) -> float:
        tokens = [token for token, kept in zip(padded, mask, strict=True) if kept]
        unread = sum(token in UNKNOWN or _script_of_piece(token) not in self.known for token in tokens)
        return unread / max(len(tokens), 1)


def _script_of_piece(piece: str) -> str:
    word = piece.removeprefix("##").removeprefix("\u2581")
    return script_of(word[0]) if word else ""
