"""From text to the words that keyword search knows: case, accents of form, plurals, scripts without spaces."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
"""Letters of scripts that write no spaces between words."""
SHORTEST_PLURAL = 4


def words(text: str) -> list[str]:
    """The words of a text, in order: NFKC, case folded; each letter of Chinese or Japanese is a word."""
    found: list[str] = []
    for run in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        found += _UNSPACED.sub(lambda letter: f" {letter.group()} ", run).split()
    return found


def stem(word: str) -> str:
    """A word without its plural ending; other words, and numbers, as they are.

    Source: Harman 1991, "How effective is suffixing?" (the S stemmer).
    """
    if len(word) < SHORTEST_PLURAL or not word.isascii() or not word.isalpha():
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return f"{word[:-3]}y"
    if word.endswith(("shes", "ches", "sses", "xes", "zes", "toes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def terms(text: str) -> list[str]:
    """The stems of a text's words, in order."""
    return [stem(word) for word in words(text)]
