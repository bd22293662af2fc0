"""Numbers and how they are compared, in English and Chinese: ``under 1,000``, ``at least``, ``二十``, ``以下``."""

from __future__ import annotations

import re
from typing import Literal

Comparison = Literal["below", "most", "above", "least", "about"]

BEFORE: dict[str, Comparison] = {
    **dict.fromkeys(
        ("under", "below", "less than", "lower than", "cheaper than", "smaller than", "lighter than", "<",
         "低于", "少于", "小于"), "below"
    ),
    **dict.fromkeys(
        ("at most", "up to", "no more than", "not more than", "not over", "maximum", "max", "within", "<=", "≤",
         "不超过", "最多", "不高于"), "most"
    ),
    **dict.fromkeys(
        ("over", "above", "more than", "greater than", "larger than", "bigger than", ">",
         "高于", "超过", "大于", "多于"), "above"
    ),
    **dict.fromkeys(
        ("at least", "no less than", "not less than", "not under", "minimum", "min", "starting at", ">=", "≥",
         "至少", "最少", "不低于", "不少于"), "least"
    ),
    **dict.fromkeys(("about", "around", "roughly", "approximately", "approx", "~", "大约", "大概", "约"), "about"),
}  # fmt: skip
AFTER: dict[str, Comparison] = {
    **dict.fromkeys(("以下", "以内", "之内", "之下", "or less", "or under", "max", "at most"), "most"),
    **dict.fromkeys(("以上", "之上", "起", "or more", "and up", "or over", "at least"), "least"),
    **dict.fromkeys(("左右", "上下"), "about"),
}
ABOUT = 0.2
"""How far from a number ``about`` reaches, as a share of it."""
CHINESE_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "俩": 2}
CHINESE_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10_000}
NUMBER = r"(?:\d{1,9}(?:,\d{3}(?!\d))*(?:[.,]\d{1,3}(?!\d))?|[零〇一二两三四五六七八九十百千万]{1,9})"
FRACTION = r"(?:[1-9]\s?/\s?[2-9](?!\d))"


def one_of(words: dict[str, Comparison]) -> str:
    """A pattern of alternatives, the longest first; words of letters stand by themselves."""
    patterns = []
    for word in sorted(words, key=len, reverse=True):
        edge = r"\b" if word[0].isascii() and word[0].isalpha() else ""
        patterns.append(f"{edge}{re.escape(word)}{edge}")
    return "|".join(patterns)


def number_of(text: str) -> float:
    """The value of what ``NUMBER`` or ``FRACTION`` matched.

    A comma before three digits parts thousands, before fewer it parts decimals.
    """
    text = text.replace(" ", "")
    if "/" in text:
        above, _, below = text.partition("/")
        return float(above) / float(below)
    if text[0] in CHINESE_DIGITS or text[0] in CHINESE_UNITS:
        return _chinese(text)
    text = re.sub(r",(?=\d{3}(?!\d))", "", text)
    return float(text.replace(",", "."))


def _chinese(text: str) -> float:
    total, section, digit = 0, 0, 0
    for letter in text:
        if letter in CHINESE_DIGITS:
            digit = digit * 10 + CHINESE_DIGITS[letter]
        elif letter == "万":
            total, section, digit = (total + section + digit) * 10_000 or 10_000, 0, 0
        else:
            section, digit = section + (digit or 1) * CHINESE_UNITS[letter], 0
    return float(total + section + digit)


def limits(comparison: Comparison | None, value: float) -> tuple[float | None, float | None, bool]:
    """``low, high, open``: the bounds that a comparison with a number sets; open ones leave the number itself out."""
    if comparison in ("below", "most"):
        return None, value, comparison == "below"
    if comparison in ("above", "least"):
        return value, None, comparison == "above"
    reach = ABOUT if comparison == "about" else 0.0
    return round(value * (1 - reach), 4), round(value * (1 + reach), 4), False
