"""The catalogue's own words: its categories at every level, brands, attributes, and what its texts say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import count
from typing import Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.models.catalogue import Catalogue
from pipelines.models.members import Members
from pipelines.models.spelling import Speller
from pipelines.serving.understanding import language
from pipelines.serving.understanding.constraints import Terms
from pipelines.serving.understanding.reading import fold, is_unspaced, needles, said_in, spelt, stems
from pipelines.serving.understanding.shares import Ordered, own_shares
from pipelines.serving.understanding.sizes import Sizes

Words = tuple[str, ...]
_PIECES = re.compile(r"[/:;,()&+]|\s-\s|-\s|\s-|\b(?:and|or|for|with|without|not|no|in|from|of)\b")
_NO_HEAD = language.EMPTY | {word for names in language.names(language.MODIFIERS) for word in names}
"""Words that may end a category's name and say nothing of what its things are."""
Value = TypeVar("Value")
Ints = NDArray[np.int32]
LONGEST_NAME = 4
"""Words of a part of a category's name that is known by itself; of unspaced scripts, letters times two."""
LONGEST_ATTRIBUTE = 40


@dataclass(frozen=True)
class Phrase:
    """What some words mean in this shop.

    Args:
        kind: ``absent`` is understood, and no product is or says so.
        value: as the shop writes it.
        terms: see :class:`pipelines.serving.understanding.constraints.Constraint`.
    """

    kind: Literal["category", "brand", "attribute", "word", "filler", "absent"]
    value: str
    terms: Terms = ()


@dataclass(frozen=True)
class Vocabulary:
    """Made by :meth:`of`, once for every version of a catalogue; never changed.

    Args:
        catalogue: of the package.
        paths: the distinct category paths.
        path_of_item: int32 [num_items], into ``paths``.
        kinds: the paths, int32, with a level whose name has these words side by side.
        heads: of these, the paths whose things are that: ``Ground coffee`` is coffee, ``Coffee filters`` are none.
        brands: the distinct brands.
        brand_of_item: int32 [num_items], into ``brands``; -1 for none.
        text_of_item: int32 [num_items], the number of its text.
        texts_saying: the numbers of the texts, int32, that say a word.
        counts: how many texts hold each word as it is written.
        phrases: what words mean, by their stems.
        longest: the most words of a phrase that starts with a word.
        prices: of all items.
        price_shares: float32 [num_items], of an item's price within its own category; NaN where unknown.
        sizes: of all items.
        contents: how much is in a package, by weight or volume, and by pieces.
        units: that its sizes are in.
        size_labels: the distinct sizes as the shop writes them; empty for none.
        size_of_item: int32 [num_items], into ``size_labels``.
        properties: the numbers of the texts, int32, that say an attribute.
        audiences: those whom something may be for, by their stems.
        language_words: every stem that some phrase or filler has.
        speller: sets words right that neither the catalogue nor the language knows.
    """

    catalogue: Catalogue
    paths: list[Words]
    path_of_item: Ints
    kinds: dict[Words, Ints]
    heads: dict[Words, Ints]
    brands: list[str]
    brand_of_item: Ints
    text_of_item: Ints
    texts_saying: dict[str, Ints]
    counts: dict[str, int]
    phrases: dict[Words, Phrase]
    longest: dict[str, int]
    prices: Ordered
    price_shares: NDArray[np.float32]
    sizes: Sizes
    contents: tuple[Ordered, Ordered]
    units: frozenset[str]
    size_labels: list[str]
    size_of_item: Ints
    properties: dict[str, Ints]
    audiences: dict[Words, Phrase]
    language_words: frozenset[str]
    speller: Speller

    @classmethod
    def of(cls, catalogue: Catalogue, knows: Callable[[str], bool] | None = None) -> Self:
        """Read a catalogue.

        Args:
            catalogue: of the package.
            knows: whether a word is one of the language, so that it is not taken for a misspelt one; the encoder's.
        """
        paths, path_of_item = _distinct(catalogue.categories)
        kinds = _kinds(paths, _parts)
        heads = _kinds(paths, heads_of)
        brands, brand_of_item = _distinct([brand or "" for brand in catalogue.items["brand"].to_pylist()])
        nameless = brands.index("") if "" in brands else -1
        texts, text_of_item = _distinct(_texts(catalogue))
        counts, texts_saying = _words(texts)
        phrases = _phrases(catalogue, kinds, heads, [brand for brand in brands if brand], texts_saying)
        audiences: dict[Words, Phrase] = {}
        _add_attributes(audiences, language.names(language.AUDIENCES), texts_saying)
        spoken = [*phrases, *audiences, *map(stems, language.NEGATORS)]
        language_words = frozenset(word for words in spoken for word in words)
        longest: dict[str, int] = {}
        for words in phrases:
            longest[words[0]] = max(longest.get(words[0], 0), len(words))
        known = knows or (lambda _: False)
        prices = Ordered.of(catalogue.prices)
        depth = max((len(path) for path in paths), default=0)
        levels = [_distinct([path[:level] for path in paths])[1][path_of_item] for level in range(1, depth + 1)]
        sizes = Sizes.of(catalogue.items["size"].to_pylist())
        size_labels, size_of_item = _distinct([label or "" for label in catalogue.items["size"].to_pylist()])
        speller = Speller(counts, lambda word: known(word) or word in language_words)
        speller.correct("qqqqqqqq")  # what it needs is made at its first question, which no shopper shall wait for
        return cls(
            catalogue=catalogue, paths=paths, path_of_item=path_of_item, kinds=kinds, heads=heads,
            brands=brands, brand_of_item=np.where(brand_of_item == nameless, -1, brand_of_item).astype(np.int32),
            text_of_item=text_of_item, texts_saying=texts_saying, counts=counts, phrases=phrases, longest=longest,
            prices=prices, price_shares=own_shares(prices, levels), sizes=sizes,
            contents=(Ordered.of(sizes.contents), Ordered.of(sizes.counts)), units=sizes.units,
            size_labels=size_labels, size_of_item=size_of_item, properties=_properties(phrases, texts_saying),
            audiences=audiences, language_words=language_words, speller=speller,
        )  # fmt: skip

    @property
    def num_items(self) -> int:
        return self.catalogue.num_items

    @cached_property
    def num_texts(self) -> int:
        return int(self.text_of_item.max(initial=-1)) + 1

    @cached_property
    def items_of_paths(self) -> Members:
        """The items of each of ``paths``."""
        return Members(self.path_of_item, len(self.paths))

    @cached_property
    def items_of_texts(self) -> Members:
        """The items of each text."""
        return Members(self.text_of_item, self.num_texts)

    def says(self, words: Iterable[str]) -> bool:
        """Whether some text holds each of these words."""
        return all(word in self.texts_saying for word in needles(words))

    def knows(self, word: str) -> bool:
        """Whether a stem is the catalogue's or the language's."""
        return word in self.texts_saying or word in self.language_words


def _distinct(values: list[Value]) -> tuple[list[Value], Ints]:
    numbers = dict(zip(dict.fromkeys(values), count(), strict=False))
    return list(numbers), np.fromiter(map(numbers.__getitem__, values), np.int32, len(values))


def _texts(catalogue: Catalogue) -> list[str]:
    columns = catalogue.titles, catalogue.categories, catalogue.items["brand"].to_pylist(), catalogue.attributes
    return [
        "\n".join([title, *path, brand or "", *(value for value in facts.values() if not value.isdigit())])
        for title, path, brand, facts in zip(*columns, strict=True)
    ]


def _words(texts: list[str]) -> tuple[dict[str, int], dict[str, Ints]]:
    counts: dict[str, int] = defaultdict(int)
    saying: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        needed, written = said_in(text)
        for word in needed:
            saying[word].append(number)
        for word in written:
            counts[word] += 1
    return dict(counts), {word: np.array(numbers, np.int32) for word, numbers in saying.items()}


def _kinds(paths: list[Words], parts_of: Callable[[str], set[Words]]) -> dict[Words, Ints]:
    """The paths by what parts of their levels' names."""
    found: dict[Words, set[int]] = defaultdict(set)
    named: dict[str, list[int]] = defaultdict(list)
    for number, path in enumerate(paths):
        for level in path:
            named[level].append(number)
    for name, numbers in named.items():
        for part in parts_of(name):
            found[part].update(numbers)
    return {words: np.array(sorted(numbers), np.int32) for words, numbers in found.items()}


def _parts(text: str) -> set[Words]:
    """The whole name, and those parts of it that a person may call the category by."""
    name = stems(text)
    longest = LONGEST_NAME * 2 if any(map(is_unspaced, name)) else LONGEST_NAME
    parts = {
        name[start:end] for start in range(len(name)) for end in range(start + 1, min(start + longest, len(name)) + 1)
    }
    return {part for part in parts if part and _is_name(part)} | ({name} if name else set())


def heads_of(text: str) -> set[Words]:
    """The whole name of a category, and the ends of its pieces: what its things are, not what they are for or made of.

    A piece ends before ``for``, ``with``, ``not``; words like ``only``, ``products`` or ``white`` at its end say
    nothing of what things are.
    """
    found = {stems(text)}
    for piece in _PIECES.split(fold(text)):
        words = stems(piece)
        while words and (words[-1] in _NO_HEAD or not words[-1][0].isalpha()):
            words = words[:-1]
        found.update(words[start:] for start in range(len(words)))
    return found - {()}


def _is_name(part: Words) -> bool:
    if part[0] in language.EMPTY or part[-1] in language.EMPTY:
        return False
    return len(part) > 1 or (len(part[0]) > 1 and not part[0][0].isdigit())


def _phrases(
    catalogue: Catalogue,
    kinds: dict[Words, Ints],
    heads: dict[Words, Ints],
    brands: list[str],
    saying: dict[str, Ints],
) -> dict[Words, Phrase]:
    """What words mean; of several meanings the first here."""
    found: dict[Words, Phrase] = {}
    _add_attributes(found, language.names(language.MODIFIERS), saying)
    _add_concepts(found, kinds, saying)
    # Of "Vanilla wafers" nothing is called vanilla; of "Dog treats" all is for a dog, and asked for by that word.
    whom = {stems(name) for names in language.names(language.AUDIENCES) for name in names}
    for words in kinds:
        if words in heads or words in whom:
            found.setdefault(words, Phrase("category", spelt(words), (words,)))
    for brand in brands:
        _add(found, brand, Phrase("brand", brand))
        if fold(brand) == "private":
            for name in language.OWN_BRAND:
                found[stems(name)] = Phrase("brand", brand)
    own = {value for row in catalogue.attributes for value in row.values() if len(value) <= LONGEST_ATTRIBUTE}
    for value in sorted(own):
        if any(letter.isalpha() for letter in value) and stems(value):
            words = stems(value)
            if words not in found or found[words].kind == "word":
                found[words] = Phrase("attribute", value, (needles(words),))
    for filler in [*language.CHINESE_FILLERS, *language.FILLERS]:
        _add(found, filler, Phrase("filler", filler))
    return found


def _properties(phrases: dict[Words, Phrase], saying: dict[str, Ints]) -> dict[str, Ints]:
    named = {phrase.value: phrase.terms for phrase in phrases.values() if phrase.kind == "attribute"}
    found = {}
    for value, terms in named.items():
        texts = [reduce(np.intersect1d, [saying[word] for word in term]) for term in terms]
        found[value] = np.unique(np.concatenate(texts)).astype(np.int32)
    return found


def _add(found: dict[Words, Phrase], name: str, phrase: Phrase) -> None:
    words = stems(name)
    if words:
        found.setdefault(words, phrase)


def _add_attributes(found: dict[Words, Phrase], concepts: list[Words], saying: dict[str, Ints]) -> None:
    for names in concepts:
        terms = tuple(term for term in (needles(stems(name)) for name in names) if all(word in saying for word in term))
        for name in names:
            _add(found, name, Phrase("attribute" if terms else "absent", names[0], terms))


def _add_concepts(found: dict[Words, Phrase], kinds: dict[Words, Ints], saying: dict[str, Ints]) -> None:
    for names in language.names(language.CONCEPTS):
        called = [stems(name) for name in names]
        categories = tuple(words for words in called if words in kinds)
        said = [words for words in called if all(word in saying for word in needles(words))]
        for words in called:
            if categories:
                value = spelt(words if words in kinds else categories[0])
                found.setdefault(words, Phrase("category", value, categories))
            elif said:
                value = spelt(words if words in said else said[0])
                found.setdefault(words, Phrase("word", value, tuple(map(needles, said))))
