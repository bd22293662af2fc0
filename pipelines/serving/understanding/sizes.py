"""Package sizes, read from catalogues and from what people type, and compared across units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.understanding.amounts import AFTER, BEFORE, FRACTION, NUMBER, limits, number_of, one_of
from pipelines.serving.understanding.constraints import Constraint
from pipelines.serving.understanding.reading import fold, span

GRAMS = {
    "kg": 1000.0, "kilo": 1000.0, "kilos": 1000.0, "kilogram": 1000.0, "kilograms": 1000.0, "g": 1.0, "gr": 1.0,
    "gm": 1.0, "gram": 1.0, "grams": 1.0, "mg": 0.001, "lb": 453.592, "lbs": 453.592, "pound": 453.592,
    "pounds": 453.592, "公斤": 1000.0, "千克": 1000.0, "克": 1.0, "毫克": 0.001, "斤": 500.0, "两": 50.0,
}  # fmt: skip
MILLILITRES = {
    "ml": 1.0, "cl": 10.0, "dl": 100.0, "l": 1000.0, "lt": 1000.0, "ltr": 1000.0, "liter": 1000.0, "liters": 1000.0,
    "litre": 1000.0, "litres": 1000.0, "fl oz": 29.5735, "floz": 29.5735, "fluid ounce": 29.5735,
    "fluid ounces": 29.5735, "gal": 3785.41, "ga": 3785.41, "gallon": 3785.41, "gallons": 3785.41, "qt": 946.353,
    "quart": 946.353, "quarts": 946.353, "pt": 473.176, "pint": 473.176, "pints": 473.176, "毫升": 1.0, "升": 1000.0,
    "公升": 1000.0,
}  # fmt: skip
OUNCES = ("oz", "ounce", "ounces", "盎司")
"""Of weight or of volume: labels leave it open."""
GRAMS_AN_OUNCE, MILLILITRES_AN_OUNCE = 28.3495, 29.5735
COUNTS = {
    **dict.fromkeys(("ct", "count", "pk", "pack", "packs", "pc", "pcs", "piece", "pieces", "roll", "rolls"), 1.0),
    **dict.fromkeys(("dz", "dozen"), 12.0),
    **dict.fromkeys(("包", "盒", "瓶", "片", "只", "听", "罐", "支", "枚"), 1.0),
}  # fmt: skip
UNITS: dict[str, tuple[str, float]] = {
    **{unit: ("g", factor) for unit, factor in GRAMS.items()},
    **{unit: ("ml", factor) for unit, factor in MILLILITRES.items()},
    **dict.fromkeys(OUNCES, ("oz", 1.0)),
    **{unit: ("count", factor) for unit, factor in COUNTS.items()},
}
TOLERANCE = 0.02
"""Sizes this near to each other, as a share, are the same: 17.6 oz is 500 g."""
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_AMOUNT = rf"(?P<number>{FRACTION}|{NUMBER})[\s-]{{0,2}}(?P<unit>{_UNIT})(?![a-z])"
_ASKED = re.compile(
    rf"(?:(?P<before>{one_of(BEFORE)})\s{{0,3}})?(?<![\d.,/a-z]){_AMOUNT}(?:\s{{0,2}}(?P<after>{one_of(AFTER)}))?"
)
_LABEL = re.compile(rf"(?<![\d.,]){_AMOUNT}")
IN_WORDS = {
    "half a": 0.5,
    "half an": 0.5,
    "half": 0.5,
    "a": 1.0,
    "an": 1.0,
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "four": 4.0,
}
_IN_WORDS = re.compile(
    rf"\b(?P<number>{'|'.join(IN_WORDS)})\s(?P<unit>(?:gallon|quart|pint|lit(?:er|re)|pound|kilo|ounce)s?|dozen)\b"
)
_MULTIPLE = re.compile(
    rf"(?<![\d.,])(?P<times>[2-9]|[1-9]\d{{1,2}})\s?[/x×]\s?(?=(?:\d{{1,4}}(?:\.\d+)?)\s?(?:{_UNIT})(?![a-z]))"
)
RELATIVE: dict[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(
        ("big pack", "big packs", "large pack", "large packs", "big size", "large size", "big bottle", "large bottle",
         "big bag", "large bag", "big box", "large box", "the big one", "big one", "family size", "family pack",
         "value pack", "value size", "bulk", "multipack", "jumbo",
         "大包装", "大包", "大瓶", "大盒", "大份", "家庭装", "量贩"),
        (2 / 3, None),
    ),
    **dict.fromkeys(
        ("small pack", "small packs", "small size", "small bottle", "small bag", "small box", "the small one",
         "small one", "travel size", "single serve", "小包装", "小包", "小瓶", "小盒", "小份", "便携装"), (None, 1 / 3)
    ),
}  # fmt: skip
_RELATIVE = re.compile("|".join(
    rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word)
    for word in sorted(RELATIVE, key=len, reverse=True)
))  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """The sizes of all items, NaN where one is not known.

    Args:
        grams: float64 [num_items], of one piece; an ounce is taken for either.
        millilitres: float64 [num_items], of one piece.
        counts: float64 [num_items], pieces.
    """

    grams: NDArray[np.float64]
    millilitres: NDArray[np.float64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, labels: Sequence[str | None]) -> Sizes:
        """Read labels as catalogues write them: ``12 oz``, ``12 pk/12 oz``, ``6/1 l``."""
        read = {label: read_label(label) for label in set(labels) if label}
        nothing = (np.nan, np.nan, np.nan)
        table = np.array([read.get(label or "", nothing) for label in labels], np.float64).reshape(-1, 3)
        return cls(*(np.ascontiguousarray(column) for column in table.T))

    @cached_property
    def contents(self) -> NDArray[np.float64]:
        """float64 [num_items]: grams, else millilitres, of all pieces together; NaN where neither is known."""
        each = np.where(np.isnan(self.grams), self.millilitres, self.grams)
        content: NDArray[np.float64] = each * np.where(np.isnan(self.counts), 1.0, self.counts)
        return content

    @property
    def units(self) -> frozenset[str]:
        """The units that sizes of this shop are in."""
        columns = {
            "g": [self.grams],
            "ml": [self.millilitres],
            "oz": [self.grams, self.millilitres],
            "count": [self.counts],
        }
        return frozenset(unit for unit, amounts in columns.items() if not all(np.isnan(a).all() for a in amounts))

    def fit(self, asked: Constraint) -> NDArray[np.bool_]:
        """bool [num_items]: items of a size in absolute units; of what is asked in ounces, weight or volume."""
        columns = {
            "g": [(self.grams, 1.0)],
            "ml": [(self.millilitres, 1.0)],
            "oz": [(self.grams, GRAMS_AN_OUNCE), (self.millilitres, MILLILITRES_AN_OUNCE)],
            "count": [(self.counts, 1.0)],
            "content": [(self.contents, 1.0)],
        }[asked.unit]
        found = np.zeros(len(self.grams), bool)
        for amounts, factor in columns:
            found |= within(amounts, asked, factor, 0.0 if asked.open else TOLERANCE)
        return found


def within(
    amounts: NDArray[np.float64], asked: Constraint, factor: float = 1.0, tolerance: float = 0.0
) -> NDArray[np.bool_]:
    """bool [num_items]: amounts inside the bounds of a constraint; unknown ones (NaN) are not."""
    found: NDArray[np.bool_] = ~np.isnan(amounts)
    if asked.low is not None:
        low = asked.low * factor * (1 - tolerance)
        found &= amounts > low if asked.open else amounts >= low
    if asked.high is not None:
        high = asked.high * factor * (1 + tolerance)
        found &= amounts < high if asked.open else amounts <= high
    return found


def read_label(label: str) -> tuple[float, float, float]:
    """``grams, millilitres, pieces`` of a catalogue's label; NaN for what it does not say."""
    grams = millilitres = counts = np.nan
    folded = fold(label)
    multiple = _MULTIPLE.search(folded)
    if multiple:
        counts = float(multiple["times"])
        folded = folded[multiple.end() :]
    for match in _LABEL.finditer(folded):
        unit, factor = UNITS[match["unit"]]
        amount = number_of(match["number"]) * factor
        if unit in ("g", "oz") and np.isnan(grams):
            grams = amount * (GRAMS_AN_OUNCE if unit == "oz" else 1.0)
        if unit in ("ml", "oz") and np.isnan(millilitres):
            millilitres = amount * (MILLILITRES_AN_OUNCE if unit == "oz" else 1.0)
        if unit == "count" and np.isnan(counts):
            counts = amount
    return grams, millilitres, counts


def asked_sizes(text: str, folded: str, units: frozenset[str]) -> list[Constraint]:
    """The sizes that a text asks for.

    Args:
        text: as it was typed.
        folded: the same, folded.
        units: those that the catalogue's sizes have; a number with another unit is none (``5G`` of a phone).
    """
    found = []
    for match in _ASKED.finditer(folded):
        unit, factor = UNITS[match["unit"]]
        if unit not in units:
            continue
        comparison = BEFORE.get(match["before"] or "") or AFTER.get(match["after"] or "")
        low, high, is_open = limits(comparison, number_of(match["number"]) * factor)
        place = span(text, match.start(), match.end())
        found.append(Constraint("size", " ".join(match.group().split()), False, (), low, high, is_open, unit, place))
    for match in _IN_WORDS.finditer(folded):
        unit, factor = UNITS[match["unit"]]
        if unit in units:
            low, high, is_open = limits(None, IN_WORDS[match["number"]] * factor)
            place = span(text, match.start(), match.end())
            found.append(Constraint("size", match.group(), False, (), low, high, is_open, unit, place))
    for match in _RELATIVE.finditer(folded):
        low, high = RELATIVE[match.group()]
        place = span(text, match.start(), match.end())
        found.append(Constraint("size", match.group(), False, (), low, high, False, "share", place))
    return found
