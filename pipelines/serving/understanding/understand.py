"""From what was typed to what is asked: constraints with the words they came from, and what is left to look for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pipelines.serving.understanding.constraints import FOR, Constraint
from pipelines.serving.understanding.language import FILLERS, JOINERS, NEGATORS, TURNING
from pipelines.serving.understanding.prices import asked_prices, blanked
from pipelines.serving.understanding.reading import (
    MOST_CHARACTERS,
    Span,
    Token,
    fold,
    is_unspaced,
    needles,
    span,
    spelt,
    stems,
    tokens,
)
from pipelines.serving.understanding.sizes import asked_sizes
from pipelines.serving.understanding.vocabulary import Phrase, Vocabulary

MOST_CONSTRAINTS = 12
"""Things that one text may ask."""
MOST_CORRECTED = 4
"""Words of one text that are set right."""
SHORTEST_CORRECTED, LONGEST_CORRECTED = 4, 24
TWO_EDITS_FROM = 8
LONGEST_NEGATOR = 3
_NEGATORS = frozenset(map(stems, NEGATORS))
_JOINED = frozenset(("or", "and", "nor", "或", "和"))
_ASIDE = frozenset(("for", "with", "in", "from", "给"))
"""Before these stands what is meant, after them what it is for or made of."""
_LISTING = ",，、"
_STOP = re.compile(r"[.;!?,。；！？，]")


@dataclass(frozen=True)
class Correction:
    """A word that was set right.

    Args:
        span: as it was typed.
        to: what it was taken for.
    """

    span: Span
    to: str


@dataclass(frozen=True)
class NotUnderstood:
    """What nothing was made of.

    Args:
        span: as it was typed.
        why: in words.
    """

    span: Span
    why: str


@dataclass(frozen=True)
class Understanding:
    """What a text asks for.

    Args:
        text: as it was typed.
        constraints: without ids.
        rest: what to look for: the text without prices, sizes, what is not wanted and what says nothing; words set
            right, and in the catalogue's language where it is known.
        words: those of ``rest`` that the catalogue says and no constraint stands for.
        corrections: what was set right.
        not_understood: what no product says, where no constraint comes of it.
    """

    text: str
    constraints: tuple[Constraint, ...]
    rest: str
    words: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()
    not_understood: tuple[NotUnderstood, ...] = ()


def understand(text: str, vocabulary: Vocabulary, correct: bool = True) -> Understanding:
    """Read what a person typed; any text has an answer.

    Args:
        text: in English, Chinese or both; of more than ``MOST_CHARACTERS`` the first are read.
        vocabulary: the shop's.
        correct: set misspelt words right.
    """
    read = text[:MOST_CHARACTERS]
    folded = fold(read)
    constraints = asked_sizes(read, folded, vocabulary.units)
    for each in constraints:
        folded = _without(folded, each)
    prices = asked_prices(read, folded)
    for each in prices:
        folded = _without(folded, each)
    reader = _Reader(read, folded, vocabulary, correct)
    reader.read()
    missing = list(reader.missing)
    if len(text) > len(read):
        why = f"only the first {MOST_CHARACTERS} characters of a text are read"
        missing.append(NotUnderstood(span(text, len(read), len(text)), why))
    found = _distinct([*reader.constraints, *constraints, *prices])
    missing += [
        NotUnderstood(each.span, "one text asks too many things") for each in found[MOST_CONSTRAINTS:] if each.span
    ]
    rest = spelt(word for _, words in sorted(reader.rest) for word in words)
    loose = tuple(word for _, words in sorted(reader.loose) for word in words)
    return Understanding(
        text=text,
        constraints=tuple(found[:MOST_CONSTRAINTS]),
        rest=rest,
        words=loose,
        corrections=tuple(reader.corrections),
        not_understood=tuple(missing),
    )


def _distinct(constraints: list[Constraint]) -> list[Constraint]:
    """In the order of the text, each once."""
    found: dict[Constraint, Constraint] = {}
    for each in sorted(constraints, key=lambda each: each.span.start if each.span else 0):
        found.setdefault(replace(each, span=None), each)
    return list(found.values())


def _far(word: str, other: str) -> bool:
    """Whether one is a guess and no slip of the other: two edits off in a short word, or with another first letter."""
    from rapidfuzz.distance import OSA

    if " " in other or OSA.distance(word, other) < 2:
        return False
    return len(word) < TWO_EDITS_FROM or word[0] != other[0]


def _without(folded: str, constraint: Constraint) -> str:
    place = constraint.span
    return folded if place is None else blanked(folded, place.start, place.end)


class _Reader:
    """Goes through the words once, from left to right, the longest phrase first.

    Args:
        text: as it was typed.
        folded: the same without what has been understood.
        vocabulary: the shop's.
        correct: set misspelt words right.
    """

    def __init__(self, text: str, folded: str, vocabulary: Vocabulary, correct: bool) -> None:
        self.text = text
        self.folded = folded
        self.vocabulary = vocabulary
        self.constraints: list[Constraint] = []
        self.rest: list[tuple[int, tuple[str, ...]]] = []
        self.loose: list[tuple[int, tuple[str, ...]]] = []
        self.corrections: list[Correction] = []
        self.missing: list[NotUnderstood] = []
        self.tokens = self._corrected(tokens(folded)) if correct else tokens(folded)
        self._kinds: list[tuple[int, int, int, Phrase, int]] = []
        """``segment, -words, -place, phrase, end`` of every phrase that names a category."""

    def read(self) -> None:
        place, segment = 0, 0
        while place < len(self.tokens):
            word = self.tokens[place].word
            end, phrase = self._phrase(place)
            negator = self._negator(place)
            if negator and (negator > end or phrase is None or (phrase.kind == "filler" and negator == end)):
                place = self._negated(negator)
                continue
            audience = self._audience(place + 1) if word in ("for", "给") else None
            if audience:
                place = self._whom(place, *audience)
                continue
            segment += word in _ASIDE
            if phrase is None:
                self._word(place)
            elif phrase.kind == "category":
                self._kinds.append((segment, place - end, -place, phrase, end))
            else:
                self._said(place, end, phrase)
            place = max(end, place + 1)
        self._category()

    def _corrected(self, words: list[Token]) -> list[Token]:
        found: list[Token] = []
        for token in words:
            to = self._correction(token)
            if to is None:
                found.append(token)
                continue
            self.corrections.append(Correction(span(self.text, token.start, token.end), to))
            found += [Token(each.stem, each.word, token.start, token.end) for each in tokens(to)]
        return found

    def _correction(self, token: Token) -> str | None:
        if not SHORTEST_CORRECTED <= len(token.word) <= LONGEST_CORRECTED or len(self.corrections) >= MOST_CORRECTED:
            return None
        if self.vocabulary.knows(token.stem) or self.vocabulary.knows(token.word):
            return None
        to = self.vocabulary.speller.correct(token.word)
        return None if to is None or _far(token.word, to) else to

    def _phrase(self, place: int) -> tuple[int, Phrase | None]:
        """The place after the longest phrase that starts here, and the phrase."""
        for length in range(self.vocabulary.longest.get(self.tokens[place].stem, 0), 0, -1):
            words = tuple(token.stem for token in self.tokens[place : place + length])
            phrase = self.vocabulary.phrases.get(words)
            if phrase is not None:
                return place + len(words), phrase
        return place, None

    def _negator(self, place: int) -> int:
        """The place after a negator that starts here; 0 where none does."""
        for length in range(LONGEST_NEGATOR, 0, -1):
            words = tuple(token.stem for token in self.tokens[place : place + length])
            if words in _NEGATORS:
                return place + len(words)
        return 0

    def _negated(self, place: int) -> int:
        """Read what is not wanted, from the place after a negator; returns the place after it."""
        first = place
        while place < len(self.tokens) and not self._stops(place, first):
            word = self.tokens[place].word
            end, phrase = self._phrase(place)
            if word in TURNING:
                break
            if (phrase is None or phrase.kind == "filler") and (word in JOINERS or word in FILLERS):
                place += 1
                continue
            end = max(end, place + 1)
            self._refuse(place, end, phrase)
            place = end
            if place >= len(self.tokens) or self.tokens[place].word not in _JOINED:
                break
        return max(place, first)

    def _stops(self, place: int, first: int) -> bool:
        return place > first and bool(_STOP.search(self.folded, self.tokens[place - 1].end, self.tokens[place].start))

    def _refuse(self, place: int, end: int, phrase: Phrase | None) -> None:
        words = [token.stem for token in self.tokens[place:end]]
        where = self._span(place, end)
        if phrase is not None and phrase.kind == "brand":
            self.constraints.append(Constraint("brand", phrase.value, True, span=where))
            return
        alternatives = [*(phrase.terms if phrase else ()), words]
        terms = tuple(
            dict.fromkeys(term for each in alternatives if (term := needles(each)) and self.vocabulary.says(each))
        )
        if terms:
            value = phrase.value if phrase else spelt(token.word for token in self.tokens[place:end])
            self.constraints.append(Constraint("attribute", value, True, terms, span=where))
        else:
            self.missing.append(NotUnderstood(where, "no product says so: nothing is left out"))

    def _audience(self, place: int) -> tuple[int, int, Phrase] | None:
        """Whom something is for: the places of the words, and what they mean."""
        while place < len(self.tokens) and self.tokens[place].word in ("a", "an", "my", "our", "the", "your"):
            place += 1
        for length in (3, 2, 1):
            words = tuple(token.stem for token in self.tokens[place : place + length])
            phrase = self.vocabulary.audiences.get(words)
            if phrase is not None:
                return place, place + len(words), phrase
        return None

    def _whom(self, place: int, start: int, end: int, phrase: Phrase) -> int:
        where = self._span(place, end)
        if phrase.kind == "absent":
            self.missing.append(NotUnderstood(where, f"no product is for {phrase.value}"))
        else:
            self.constraints.append(Constraint("attribute", f"{FOR}{phrase.value}", False, phrase.terms, span=where))
            self.rest.append((start, (phrase.value,)))
        return end

    def _said(self, place: int, end: int, phrase: Phrase) -> None:
        where = self._span(place, end)
        if phrase.kind == "brand":
            self.constraints.append(Constraint("brand", phrase.value, span=where))
            self._keep(place, end, phrase)
        elif phrase.kind == "attribute":
            self.constraints.append(Constraint("attribute", phrase.value, False, phrase.terms, span=where))
            self._keep(place, end, phrase)
        elif phrase.kind == "word":
            self._keep(place, end, phrase, loose=True)
        elif phrase.kind == "absent":
            self._keep(place, end, phrase)
            self.missing.append(NotUnderstood(where, f"no product says {phrase.value}"))

    def _category(self) -> None:
        """The longest name, then the last, before what it is for or made of: ``soup`` of ``chicken soup with rice``;
        and what is listed with it: ``milk, eggs and bread``."""
        kinds = sorted(self._kinds, key=lambda each: each[:3])
        listed = self._listed(*self._place_of(kinds[0])) if kinds else set()
        for each in kinds:
            place, end = self._place_of(each)
            phrase = each[3]
            if place in listed:
                where = self._span(place, end)
                self.constraints.append(Constraint("category", phrase.value, False, phrase.terms, span=where))
            self._keep(place, end, phrase, loose=place not in listed)

    @staticmethod
    def _place_of(kind: tuple[int, int, int, Phrase, int]) -> tuple[int, int]:
        return -kind[2], kind[4]

    def _listed(self, place: int, end: int) -> set[int]:
        """Where the names begin that stand in one list with a name of these places; a list says ``and`` or ``or``."""
        ends = dict(map(self._place_of, self._kinds))
        starts = {after: start for start, after in ends.items()}
        found, first, last = {place}, place, end
        while (start := starts.get(self._before(first), first)) != first:
            found.add(start)
            first = start
        while (start := self._after(last)) in ends and ends[start] not in ends:
            found.add(start)
            last = ends[start]
        return found if any(token.word in _JOINED for token in self.tokens[first:last]) else {place}

    def _before(self, place: int) -> int:
        """Where a name must end that is listed before one."""
        if place and self.tokens[place - 1].word in _JOINED:
            return place - 1
        return place if place and self._comma(place) else -1

    def _after(self, end: int) -> int:
        """Where a name must begin that is listed after one."""
        if end < len(self.tokens) and self.tokens[end].word in _JOINED:
            return end + 1
        return end if end < len(self.tokens) and self._comma(end) else -1

    def _comma(self, place: int) -> bool:
        between = self.folded[self.tokens[place - 1].end : self.tokens[place].start]
        return any(mark in between for mark in _LISTING)

    def _keep(self, place: int, end: int, phrase: Phrase, loose: bool = False) -> None:
        """Look for these words; in the catalogue's language where it does not say them as they are."""
        words = [token.stem for token in self.tokens[place:end]]
        own = tuple(token.word for token in self.tokens[place:end])
        foreign = any(map(is_unspaced, own)) and not self.vocabulary.says(words)
        kept = (place, (phrase.value,) if foreign and phrase.kind != "absent" else own)
        self.rest.append(kept)
        if loose:
            self.loose.append(kept)

    def _word(self, place: int) -> None:
        token = self.tokens[place]
        if token.word in FILLERS or token.stem in FILLERS:
            return
        self.rest.append((place, (token.word,)))
        if token.stem in self.vocabulary.texts_saying:
            self.loose.append((place, (token.word,)))
            return
        last = self.missing[-1].span if self.missing else None
        if last is not None and last.end <= token.start and not self.folded[last.end : token.start].strip():
            self.missing.pop()
            self._miss(last.start, token.end)
        elif last is None or last.end <= token.start:
            self._miss(token.start, token.end)

    def _miss(self, start: int, end: int) -> None:
        self.missing.append(NotUnderstood(span(self.text, start, end), "no product says so"))

    def _span(self, place: int, end: int) -> Span:
        return span(self.text, self.tokens[place].start, self.tokens[end - 1].end)
