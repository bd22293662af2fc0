"""What people say of an answer they were given: ``something cheaper``, ``not this brand``, ``第二个那样的``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pipelines.serving.understanding.amounts import number_of
from pipelines.serving.understanding.constraints import Kind
from pipelines.serving.understanding.prices import blanked
from pipelines.serving.understanding.reading import Span, span

Act = Literal[
    "restart", "forget", "cheaper", "dearer", "bigger", "smaller", "not_brand", "same_brand", "not_item", "like"
]
ASPECTS: dict[str, Kind] = {
    **dict.fromkeys(("price", "prices", "cost", "budget", "价格", "价钱", "预算"), "price"),
    **dict.fromkeys(("brand", "brands", "make", "品牌", "牌子"), "brand"),
    **dict.fromkeys(("size", "sizes", "pack size", "大小", "尺寸", "规格", "包装"), "size"),
    **dict.fromkeys(("category", "kind", "type", "类别", "种类", "品类"), "category"),
    **dict.fromkeys(("attributes", "properties", "diet", "属性"), "attribute"),
}  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
LAST, THIS = -1, 0
"""Stand for the last item shown, and for the one that is pointed at without a number."""
_ASPECT_EN = "|".join(sorted((word for word in ASPECTS if word.isascii()), key=len, reverse=True))
_ASPECT_ZH = "|".join(word for word in ASPECTS if not word.isascii())
_REF = (
    rf"(?:(?:the\s+)?(?P<ordinal>{'|'.join(ORDINALS)}|last|\d{{1,2}}(?:st|nd|rd|th))(?:\s+(?:one|item|product|result))?\b"
    r"|(?:the\s+)?(?:number|no\.?|#|item|option|result)\s?(?P<number>\d{1,3})\b"
    r"|第(?P<chinese>[一二三四五六七八九十\d]{1,3})(?:个|款|件|种|项)?|(?P<final>最后一?个)"
    r"|(?P<this>\b(?:this|that)(?:\s+(?:one|item|product))?\b(?!\s+brand)|这个|那个|这款|那款)(?![品牌]))"
)
_SOME = r"(?:\b(?:something|anything|some|show\s+me|give\s+me|a|an)\s+)*"
_CUES: list[tuple[Act, re.Pattern[str]]] = [
    ("restart", re.compile(
        r"\b(?:start\s+(?:over|again|afresh)|reset|new\s+search|forget\s+(?:everything|it\s+all|all)|clear\s+(?:all|everything))\b"
        r"|重新开始|从头(?:开始|再来)|重来|重置|清空"
    )),
    ("forget", re.compile(
        rf"\b(?:forget|ignore|drop|remove|clear|never\s+mind|don't\s+care|do\s+not\s+care)\s+(?:about\s+)?(?:the\s+|any\s+)?"
        rf"(?P<aspect>{_ASPECT_EN})\b|\b(?:the\s+)?(?P<aspect2>{_ASPECT_EN})\s+(?:doesn't|does\s+not|don't|do\s+not)\s+matter\b"
        rf"|\bany\s+(?P<aspect3>{_ASPECT_EN})\b(?:\s+(?:is|will\s+be)?\s*(?:fine|ok|okay|good|do))?"
        rf"|(?:不限|忽略|别管|去掉|取消|不管|不考虑|忘了|忘掉)(?P<aspect4>{_ASPECT_ZH})"
        rf"|(?P<aspect5>{_ASPECT_ZH})(?:不限|无所谓|随便|都行|都可以|不重要)"
    )),
    ("not_brand", re.compile(
        r"\b(?:not|no)\s+(?:this|that|the\s+same)\s+brand\b|\b(?:an?)?other\s+brands?\b|\b(?:a\s+)?different\s+brands?\b"
        r"|(?:换个|换一个|别的|其他|其它|不要这个|不要那个|不是这个)(?:牌子|品牌)"
    )),
    ("same_brand", re.compile(
        r"\b(?:only\s+)?(?:from\s+|of\s+|by\s+)?(?:this|that|the\s+same|same)\s+brand(?:\s+only)?\b|(?:只要这个|同一个?|就要这个|这个)(?:牌子|品牌)"
    )),
    ("cheaper", re.compile(
        rf"{_SOME}\b(?:cheaper|less\s+expensive|lower[\s-]priced?|more\s+affordable)\b(?:\s+ones?)?(?:\s+than\s+{_REF})?"
        r"(?!\s+than)|(?:再|更)?便宜(?:一点|点|一些|些)儿?的?|更便宜的?|再便宜"
    )),
    ("dearer", re.compile(
        rf"{_SOME}\b(?:more\s+expensive|pricier|dearer|higher[\s-]end|more\s+premium)\b(?:\s+ones?)?(?:\s+than\s+{_REF})?"
        r"(?!\s+than)|(?:再|更)?贵(?:一点|点|一些|些)儿?的?|更贵的?|高档(?:一点|点|一些|些)的?"
    )),
    ("bigger", re.compile(
        rf"{_SOME}\b(?:bigger|larger)\b(?:\s+(?:ones?|packs?|sizes?|packages?|bottles?|bags?|box(?:es)?))?(?:\s+than\s+{_REF})?"
        r"(?!\s+than)|(?:再|更)?大(?:一点|点|一些|些)儿?的?|更大的?"
    )),
    ("smaller", re.compile(
        rf"{_SOME}\bsmaller\b(?:\s+(?:ones?|packs?|sizes?|packages?|bottles?|bags?|box(?:es)?))?(?:\s+than\s+{_REF})?"
        r"(?!\s+than)|(?:再|更)?小(?:一点|点|一些|些)儿?的?|更小的?"
    )),
    ("not_item", re.compile(
        rf"(?:\b(?:not|no|hide|remove|except|i\s+don't\s+like|i\s+do\s+not\s+like|don't\s+like|dislike|hate)\s+|不要|不喜欢|去掉|除了){_REF}"
    )),
    ("like", re.compile(
        rf"(?:\b(?:more\s+)?(?<!would\s)(?<!'d\s)(?:like|similar\s+to|of)\s+|像|类似于?|和|跟){_REF}"
        r"(?:那样|一样|这样|差不多|类似|相似)?的?"
    )),
    ("like", re.compile(rf"{_REF}(?:那样|一样|这样|差不多|类似|相似)的?")),
]  # fmt: skip


@dataclass(frozen=True)
class Cue:
    """Something said of what was shown.

    Args:
        act: what to do.
        span: where it was said.
        aspect: what ``forget`` is about.
        place: of the item that is meant among those shown, from 1; ``LAST``, ``THIS``, or None where none is named.
    """

    act: Act
    span: Span
    aspect: Kind | None = None
    place: int | None = None


def cues(text: str, folded: str) -> tuple[list[Cue], str]:
    """What is said of an answer, in order, and the folded text with that blanked out."""
    found = []
    for act, pattern in _CUES:
        for match in pattern.finditer(folded):
            groups = match.groupdict()
            aspect = next((ASPECTS[word] for name, word in groups.items() if name.startswith("aspect") and word), None)
            found.append(Cue(act, span(text, match.start(), match.end()), aspect, _place(groups)))
        for cue in found:
            folded = blanked(folded, cue.span.start, cue.span.end)
    return sorted(found, key=lambda cue: cue.span.start), folded


def _place(groups: dict[str, str | None]) -> int | None:
    if groups.get("this"):
        return THIS
    if groups.get("final") or groups.get("ordinal") == "last":
        return LAST
    ordinal, number = groups.get("ordinal"), groups.get("number") or groups.get("chinese")
    if ordinal:
        return ORDINALS.index(ordinal) + 1 if ordinal in ORDINALS else int(ordinal[:-2])
    return int(number_of(number)) if number else None
