"""Prices as people speak of them: ``under 20``, ``between 5 and 10``, ``20元以下``, ``cheap``, ``不要太贵``."""

from __future__ import annotations

import re

from pipelines.serving.understanding.amounts import AFTER, BEFORE, NUMBER, limits, number_of, one_of
from pipelines.serving.understanding.constraints import Constraint
from pipelines.serving.understanding.reading import span

CHEAP, MIDDLING, DEAR = (None, 1 / 3), (1 / 3, 2 / 3), (2 / 3, None)
NOT_CHEAP, NOT_DEAR = (1 / 3, None), (None, 2 / 3)
"""Bands: shares of the priced items of the category, from the cheapest."""
LEVELS: dict[str, tuple[str, tuple[float | None, float | None]]] = {
    **dict.fromkeys(
        ("cheap", "cheapest", "inexpensive", "budget", "affordable", "low price", "low priced", "low-priced",
         "low cost", "low-cost", "economical", "bargain", "good value", "便宜", "廉价", "实惠", "平价", "低价", "经济",
         "划算", "性价比高", "物美价廉"), ("cheap", CHEAP)
    ),
    **dict.fromkeys(
        ("premium", "luxury", "luxurious", "expensive", "pricey", "high end", "high-end", "highend", "upscale",
         "top shelf", "deluxe", "高端", "高档", "豪华", "昂贵", "贵", "高级", "奢侈", "奢华"), ("premium", DEAR)
    ),
    **dict.fromkeys(
        ("mid range", "mid-range", "midrange", "moderately priced", "medium priced", "average price", "中档", "中端",
         "中等价位"), ("mid-range", MIDDLING)
    ),
}  # fmt: skip
OPPOSITES = {"cheap": ("not cheap", NOT_CHEAP), "premium": ("not expensive", NOT_DEAR), "mid-range": None}
CURRENCY = r"(?:[$€£¥￥]|\b(?:usd|eur|gbp|rmb|cny)\b)"
AFTER_CURRENCY = (
    r"(?:[$€£¥￥元块]|\b(?:dollars?|bucks?|euros?|pounds?|yuan|usd|eur|gbp|rmb|cny)\b|人民币|美元|美金|欧元)"
)
_NOT_MONEY = (
    r"(?!\s{0,2}(?:%|percent|°|(?:min|mins|minutes?|hours?|hrs?|days?|weeks?|months?|years?|yrs?|people|persons?|servings?|"
    r"calories|cal|kcal|inch|inches|in|ft|feet|cm|mm|m|w|watts?|v|volts?|hz|gb|tb|mb|mah|mp|k|kg|g|gr|gm|mg|lbs?|oz|"
    r"ounces?|ml|cl|l|liters?|litres?|gal|gallons?|qt|pt|ct|count|pk|packs?|pcs?|pieces?|rolls?|items?|stars?|"
    r"dozen|th|st|nd|rd)\b|[年月日天岁个人包瓶盒片只斤克升号]|毫升|千克|公斤|小时|分钟))"
)
_EDGE = r"(?<!\d)(?<!\d[.,/])"
_RANGE = re.compile(
    rf"(?P<cue>\bbetween\b|\bfrom\b|介于|从)?\s{{0,3}}(?P<mark>{CURRENCY})?\s{{0,2}}{_EDGE}(?P<low>{NUMBER})\s{{0,2}}"
    rf"{AFTER_CURRENCY}?\s{{0,2}}(?:\band\b|\bto\b|-|–|~|到|至|和)\s{{0,2}}{CURRENCY}?\s{{0,2}}(?P<high>{NUMBER})(?![\d])"
    rf"{_NOT_MONEY}\s{{0,2}}(?P<money>{AFTER_CURRENCY})?(?P<among>之间)?"
)
_ONE = re.compile(
    rf"(?:(?P<before>{one_of(BEFORE)})\s{{0,3}})?(?P<mark>{CURRENCY})?\s{{0,2}}{_EDGE}(?P<number>{NUMBER})(?!\d)"
    rf"{_NOT_MONEY}(?:\s{{0,2}}(?P<money>{AFTER_CURRENCY}))?(?:\s{{0,2}}(?P<after>{one_of(AFTER)}))?"
)
_WORDS = "|".join(
    rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word) for word in sorted(LEVELS, key=len, reverse=True)
)
_LEVEL = re.compile(
    rf"(?P<not>\b(?:not|isn't|nothing|non|no)\s+(?:(?:too|very|so|that|overly)\s+)?|(?:不要|别|不)(?:太|很|那么)?)?(?P<level>{_WORDS})"
)


def asked_prices(text: str, folded: str) -> list[Constraint]:
    """The prices that a text asks for.

    Args:
        text: as it was typed.
        folded: the same, folded, with what was understood otherwise blanked out.
    """
    found = []
    for match in _RANGE.finditer(folded):
        if any(match[name] for name in ("cue", "mark", "money", "among")):
            low, high = sorted((number_of(match["low"]), number_of(match["high"])))
            found.append(_money(text, match, low, high, False))
            folded = blanked(folded, match.start(), match.end())
    for match in _ONE.finditer(folded):
        comparison = BEFORE.get(match["before"] or "") or AFTER.get(match["after"] or "")
        if comparison is None and (match["mark"] or match["money"]):
            comparison = "about"
        if comparison is not None and (match["number"].isascii() or match["money"] or match["after"]):
            found.append(_money(text, match, *limits(comparison, number_of(match["number"]))))
    return found + [level for match in _LEVEL.finditer(folded) if (level := _level(text, match))]


def blanked(folded: str, start: int, end: int) -> str:
    """The text with a piece of it made blank; places stay what they were."""
    return folded[:start] + " " * (end - start) + folded[end:]


def _money(text: str, match: re.Match[str], low: float | None, high: float | None, is_open: bool) -> Constraint:
    start = match.end() - len(match.group().lstrip())
    place = span(text, start, match.end())
    return Constraint("price", in_words(low, high, is_open), False, (), low, high, is_open, "money", place)


def _level(text: str, match: re.Match[str]) -> Constraint | None:
    meant: tuple[str, tuple[float | None, float | None]] | None = LEVELS[match["level"]]
    if match["not"] and meant:
        meant = OPPOSITES[meant[0]]
    if meant is None:
        return None
    name, (low, high) = meant
    return Constraint("price", name, False, (), low, high, False, "share", span(text, match.start(), match.end()))


def in_words(low: float | None, high: float | None, is_open: bool = False) -> str:
    """Bounds as people say them."""
    if low is None:
        return f"{'under' if is_open else 'at most'} {high:g}"
    if high is None:
        return f"{'over' if is_open else 'at least'} {low:g}"
    return f"{low:g} to {high:g}"
