"""Keyword search: BM25 over the catalogue's distinct texts, by the library ``bm25s``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import read_json, write_json
from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN
from pipelines.models.files import model_errors
from pipelines.models.words import terms, words

INDEX_FOLDER = "bm25"
WORDS_FILE = "words.json"


class Lexical:
    """Scores every text by the words that it shares with a query.

    Args:
        index: of ``bm25s``.
        counts: how many texts hold each word, as it is written (``berries``, not ``berry``).
    """

    def __init__(self, index: Any, counts: dict[str, int]) -> None:
        self._index = index
        self.counts = counts
        self.terms = frozenset(term for term in index.vocab_dict if term)
        """Every stem that some text holds."""

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Self:
        """Index texts; equal texts give equal bytes.

        Raises:
            ModelError: no text holds a word.
        """
        from bm25s import BM25
        from bm25s.tokenization import Tokenized

        stems = [terms(text) for text in texts]
        vocabulary = {term: number for number, term in enumerate(sorted({term for row in stems for term in row}))}
        if not vocabulary:
            raise ModelError("no product text holds a word", mend="give the items a title")
        index = BM25()
        index.index(Tokenized([[vocabulary[term] for term in row] for row in stems], vocabulary), show_progress=False)
        counts: dict[str, int] = {}
        for text in texts:
            for word in set(words(text)):
                counts[word] = counts.get(word, 0) + 1
        return cls(index, dict(sorted(counts.items())))

    @property
    def num_texts(self) -> int:
        return int(self._index.scores["num_docs"])

    def score(self, query: str) -> NDArray[np.float32]:
        """float32 [num_texts]: BM25, >= 0; 0 where no word is shared."""
        known = [term for term in terms(query) if term in self.terms]
        if not known:
            return np.zeros(self.num_texts, np.float32)
        return np.asarray(self._index.get_scores(known), np.float32)

    def save(self, directory: Path) -> None:
        """Write the index into ``directory``, which exists."""
        self._index.save(directory / INDEX_FOLDER, show_progress=False)
        write_json(self.counts, directory / WORDS_FILE)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: a file is missing or unreadable, or holds what is not a table of words.
        """
        from bm25s import BM25

        with model_errors():
            counts = read_json(directory / WORDS_FILE)
        try:
            index = BM25.load(directory / INDEX_FOLDER, allow_pickle=False, show_progress=False)
            return cls(index, {str(word): int(count) for word, count in counts.items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{directory} holds no readable index of words: {error}", mend=MADE_AGAIN) from error
