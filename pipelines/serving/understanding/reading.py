"""From text to words that know where they stood, so that everything understood can be shown on what was typed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from pipelines.models.words import stem

MOST_CHARACTERS = 600
"""Characters of one text that are read; what comes after is said to be not understood."""
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Letters of scripts that write no spaces between words."""
_TOKEN = re.compile(rf"\d+(?:\.\d+)?|[{UNSPACED}]|[^\W\d_{UNSPACED}]+")
_UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")


@dataclass(frozen=True)
class Span:
    """A piece of what was typed.

    Args:
        text: as it was typed.
        start: of its first character.
        end: after its last character.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Token:
    """A word, a number, or one letter of a script without spaces.

    Args:
        stem: without a plural ending.
        word: folded, as written.
        start: in the text.
        end: in the text.
    """

    stem: str
    word: str
    start: int
    end: int


def fold(text: str) -> str:
    """The text in one case and width, of the same length, so that places in it are places in the text."""
    if text.isascii():
        return text.lower()
    return "".join(map(_letter, text))


_stem = lru_cache(65_536)(stem)


@lru_cache(65_536)
def _letter(letter: str) -> str:
    if letter == "’":
        return "'"
    form = unicodedata.normalize("NFKC", letter).casefold()
    return form if len(form) == 1 else letter


def tokens(folded: str) -> list[Token]:
    """The words of a folded text, in order."""
    found = _TOKEN.finditer(folded)
    return [Token(stem(match.group()), match.group(), match.start(), match.end()) for match in found]


def stems(text: str) -> tuple[str, ...]:
    """The stems of any text's words, in order."""
    return tuple(map(_stem, _TOKEN.findall(fold(text))))


def is_unspaced(word: str) -> bool:
    """Whether a word is a letter of a script without spaces."""
    return len(word) == 1 and _UNSPACED_LETTER.match(word) is not None


def needles(words: Iterable[str]) -> tuple[str, ...]:
    """What a text must hold to say these words: words, and pairs of neighbouring letters in unspaced scripts."""
    words = list(words)
    if not any(map(is_unspaced, words)):
        return tuple(dict.fromkeys(words))
    found: list[str] = []
    run: list[str] = []
    for word in [*words, ""]:
        if word and is_unspaced(word):
            run.append(word)
            continue
        found += run if len(run) == 1 else ["".join(pair) for pair in pairwise(run)]
        run = []
        if word:
            found.append(word)
    return tuple(dict.fromkeys(found))


def said_in(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Everything that :func:`needles` may look for in a text, and its words as they are written."""
    written = _TOKEN.findall(fold(text))
    words = [_stem(word) for word in written]
    # Scripts without spaces are none of ASCII, and without them the needles are the words.
    return frozenset(words if text.isascii() else [*needles(words), *words]), frozenset(written)


def spelt(words: Iterable[str]) -> str:
    """Words as one text: spaces between words, none between letters of unspaced scripts."""
    text = ""
    for word in words:
        joined = is_unspaced(word) and bool(text) and is_unspaced(text[-1])
        text = f"{text}{word}" if joined or not text else f"{text} {word}"
    return text


def span(text: str, start: int, end: int) -> Span:
    """The piece of ``text`` between two places."""
    return Span(text[start:end], start, end)
