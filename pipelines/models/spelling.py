"""Misspelt words of a query, set right by the catalogue's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from pipelines.models.words import stem, words

SHORTEST_CORRECTED = 4
TWO_EDITS_FROM = 7
"""Letters from which a word may be two edits away from the one that was meant."""
SHORTEST_PART = 3
"""Letters of each half of a word that is taken for two written together."""


class Speller:
    """Replaces words that neither the catalogue nor a language knows.

    Args:
        counts: how many texts hold each word.
        known: whether a word is one of the language all the same (the encoder's vocabulary has it), so that
            ``healthy`` is not turned into ``heathly``'s neighbour for want of a product that says so.
    """

    def __init__(self, counts: Mapping[str, int], known: Callable[[str], bool]) -> None:
        self._counts = counts
        self._known = known

    @cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(map(stem, self._counts))

    @cached_property
    def _by_length(self) -> dict[int, list[str]]:
        grouped: dict[int, list[str]] = {}
        for word in sorted(self._stems | self._counts.keys()):
            if word.isalpha():
                grouped.setdefault(len(word), []).append(word)
        return grouped

    def correct(self, query: str) -> str | None:
        """The query with misspelt words replaced; None where nothing had to be."""
        before = words(query)
        after = [self._word(word) for word in before]
        return None if before == after else " ".join(after)

    def _word(self, word: str) -> str:
        """The word that was meant: the nearest, of equally near ones that with the same first letter, the commonest."""
        if len(word) < SHORTEST_CORRECTED or not word.isalpha() or not word.isascii():
            return word
        if stem(word) in self._stems or self._known(word):
            return word
        return self._nearest(word) or self._split(word) or word

    def _nearest(self, word: str) -> str | None:
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import extract

        most = 2 if len(word) >= TWO_EDITS_FROM else 1
        near = [other for length in range(len(word) - most, len(word) + most + 1) for other in self._at(length)]
        found = extract(word, near, scorer=OSA.distance, score_cutoff=most, limit=None)
        ranked = sorted((edits, other[0] != word[0], -self._counts.get(other, 0), other) for other, edits, _ in found)
        return ranked[0][-1] if ranked else None

    def _at(self, length: int) -> list[str]:
        return self._by_length.get(length, [])

    def _split(self, word: str) -> str | None:
        """Two words written together: the split whose rarer half is commonest."""
        places = range(SHORTEST_PART, len(word) - SHORTEST_PART + 1)
        halves = [(word[:place], word[place:]) for place in places]
        known = [pair for pair in halves if all(part in self._counts for part in pair)]
        ranked = sorted((-min(self._counts[part] for part in pair), pair) for pair in known)
        return " ".join(ranked[0][1]) if ranked else None
