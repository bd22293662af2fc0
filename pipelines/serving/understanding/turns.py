"""One turn of a conversation: what was said of the answer before, then what is asked anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from pipelines.serving.understanding.constraints import FOR, Constraint
from pipelines.serving.understanding.conversation import (
    MOST_IN_FORCE,
    MOST_WORDS,
    Change,
    Conversation,
    Turn,
)
from pipelines.serving.understanding.cues import LAST, THIS, Cue, cues
from pipelines.serving.understanding.masks import mask, relax
from pipelines.serving.understanding.prices import CHEAP, DEAR
from pipelines.serving.understanding.reading import MOST_CHARACTERS, Span, fold, stems
from pipelines.serving.understanding.sizes import RELATIVE
from pipelines.serving.understanding.understand import NotUnderstood, Understanding, understand
from pipelines.serving.understanding.vocabulary import Vocabulary

_INSTEAD = re.compile(r"\binstead\b|\brather\b|换成|改成|还是")


def take_turn(conversation: Conversation, text: str, shown_items: Sequence[str], vocabulary: Vocabulary) -> Turn:
    """Read one turn; any text has an answer, and what is not understood changes nothing.

    Args:
        conversation: before the turn.
        text: what was said.
        shown_items: ids of the items of the answer before, as they were shown.
        vocabulary: the shop's.
    """
    read = text[:MOST_CHARACTERS]
    found, left = cues(read, fold(read))
    taker = _Taker(conversation, shown_items, vocabulary)
    for cue in found:
        taker.act(cue)
    rest = "".join(
        letter if kept == folded else " " for letter, kept, folded in zip(read, left, fold(read), strict=True)
    )
    understood = understand(rest + text[len(read) :], vocabulary)
    taker.ask(understood, bool(_INSTEAD.search(fold(read))))
    missing = [*taker.missing, *understood.not_understood]
    if not (taker.changes or missing):
        missing.append(NotUnderstood(Span(text, 0, len(text)), "nothing here asks for anything"))
    corrections = tuple((each.span.text, each.to) for each in understood.corrections)
    return Turn(taker.conversation, tuple(taker.changes), tuple(missing), corrections)


class _Taker:
    """Changes a conversation step by step.

    Args:
        conversation: before the turn.
        shown_items: ids, as they were shown.
        vocabulary: the shop's.
    """

    def __init__(self, conversation: Conversation, shown_items: Sequence[str], vocabulary: Vocabulary) -> None:
        self.conversation = conversation
        self.vocabulary = vocabulary
        self.shown = [item for item in shown_items if item in vocabulary.catalogue.item_rows]
        self.changes: list[Change] = []
        self.missing: list[NotUnderstood] = []

    def act(self, cue: Cue) -> None:
        """Do what was said of the answer before."""
        if cue.act == "restart":
            self.conversation = Conversation(next_id=self.conversation.next_id)
            self.changes.append(Change("restarted", "everything asked so far is forgotten"))
        elif cue.act == "forget":
            self._forget(cue)
        elif cue.act in ("cheaper", "dearer"):
            self._priced(cue, cheaper=cue.act == "cheaper")
        elif cue.act in ("bigger", "smaller"):
            self._sized(cue, bigger=cue.act == "bigger")
        elif cue.act in ("not_brand", "same_brand"):
            self._branded(cue, negated=cue.act == "not_brand")
        else:
            self._pointed(cue)

    def ask(self, understood: Understanding, instead: bool = False) -> None:
        """Add what is asked anew; of prices, sizes, brands and categories the newer ones count.

        Args:
            understood: of the text.
            instead: whether it is said to be in place of what was asked before: ``white instead`` of red.
        """
        if understood.constraints or understood.words:
            # What no product says was looked for only while nothing better was known.
            words = tuple(word for word in self.conversation.words if self.vocabulary.says(stems(word)))
            self.conversation = replace(self.conversation, words=words)
        if any(each.kind == "category" and not each.negated for each in understood.constraints):
            self._change_subject(understood)
        for each in understood.constraints:
            if each.kind == "attribute" and each.value.startswith(FOR):
                self._readdress(each)
        fresh = {each.kind for each in understood.constraints if not each.negated}
        older = self.conversation.constraints
        for each in understood.constraints:
            self._put(each, [old for old in older if _gives_way(old, each, fresh) or (instead and _swapped(old, each))])
        self._look_for(understood)

    def _put(self, constraint: Constraint, instead_of: Sequence[Constraint] = ()) -> None:
        """Put a constraint in force, in place of others."""
        gone = {each.id for each in instead_of}
        before = tuple(each for each in self.conversation.constraints if each.id in gone)
        kept = self.conversation.without(lambda each: each.id in gone)
        alike = [each for each in kept.constraints if _same(each, constraint)]
        if alike and not before:
            self.changes.append(Change("none", f"in force already: {alike[0]}", alike[0]))
            return
        if alike or len(kept.constraints) >= MOST_IN_FORCE:
            self._miss(constraint.span, f"more than {MOST_IN_FORCE} things are asked: withdraw one")
            return
        self.conversation = kept.with_constraint(constraint)
        named = self.conversation.constraints[-1]
        words = f"{named}, instead of {', '.join(map(str, before))}" if before else str(named)
        self.changes.append(Change("replaced" if before else "added", words, named, before))

    def _withdraw(self, drop: Callable[[Constraint], bool]) -> None:
        gone = [each for each in self.conversation.constraints if drop(each)]
        self.conversation = self.conversation.without(drop)
        self.changes += [Change("withdrawn", f"withdrawn: {each}", each) for each in gone]

    def _miss(self, span: Span | None, why: str) -> None:
        self.missing.append(NotUnderstood(span or Span("", 0, 0), why))

    def _forget(self, cue: Cue) -> None:
        if any(each.kind == cue.aspect for each in self.conversation.constraints):
            self._withdraw(lambda each: each.kind == cue.aspect)
        else:
            self.changes.append(Change("none", f"nothing was asked of the {cue.aspect}"))

    def _meant(self, cue: Cue) -> str | None:
        """Id of the item that a cue points at; None, and said, where it points at none."""
        if not self.shown:
            self._miss(cue.span, "nothing has been shown yet")
        elif cue.place == THIS and len(self.shown) > 1:
            self._miss(cue.span, f"which one is meant? {len(self.shown)} were shown")
        elif cue.place is not None and cue.place > len(self.shown):
            self._miss(cue.span, f"only {len(self.shown)} {'was' if len(self.shown) == 1 else 'were'} shown")
        else:
            return self.shown[-1 if cue.place == LAST else max((cue.place or 1) - 1, 0)]
        return None

    def _among(self, cue: Cue) -> list[int] | None:
        """Dense ids of the items that a comparison is with: the one that is named, else all that were shown."""
        if cue.place is not None:
            item = self._meant(cue)
            return None if item is None else [self.vocabulary.catalogue.item_rows[item]]
        return [self.vocabulary.catalogue.item_rows[item] for item in self.shown]

    def _priced(self, cue: Cue, cheaper: bool) -> None:
        rows = self._among(cue)
        if rows is None:
            return
        prices = self.vocabulary.prices.amounts[rows]
        prices = prices[~np.isnan(prices)]
        older = [each for each in self.conversation.constraints if each.kind == "price"]
        if not len(prices):
            low, high = CHEAP if cheaper else DEAR
            self._put(
                Constraint("price", "cheap" if cheaper else "premium", low=low, high=high, unit="share", span=cue.span),
                older,
            )
            return
        edge = float(prices.min() if cheaper else prices.max())
        low, high = (None, edge) if cheaper else (edge, None)
        words = f"{'under' if cheaper else 'over'} {edge:g}"
        found = Constraint("price", words, low=low, high=high, open=True, unit="money", span=cue.span)
        self._put_if_any(found, older, f"nothing {'cheaper' if cheaper else 'dearer'} than {edge:g} is left")

    def _sized(self, cue: Cue, bigger: bool) -> None:
        rows = self._among(cue)
        if rows is None:
            return
        older = [each for each in self.conversation.constraints if each.kind == "size"]
        for unit, ordered in zip(("content", "count"), self.vocabulary.contents, strict=True):
            amounts = ordered.amounts[rows]
            if not np.isnan(amounts).all():
                row = rows[int(np.nanargmax(amounts) if bigger else np.nanargmin(amounts))]
                edge = float(ordered.amounts[row])
                label = self.vocabulary.size_labels[self.vocabulary.size_of_item[row]]
                words = f"{'bigger' if bigger else 'smaller'} than {label}"
                low, high = (edge, None) if bigger else (None, edge)
                found = Constraint("size", words, low=low, high=high, open=True, unit=unit, span=cue.span)
                self._put_if_any(found, older, f"nothing {words} is left")
                return
        low, high = RELATIVE["big pack" if bigger else "small pack"]
        words = "big pack" if bigger else "small pack"
        self._put(Constraint("size", words, low=low, high=high, unit="share", span=cue.span), older)

    def _put_if_any(self, constraint: Constraint, older: Sequence[Constraint], otherwise: str) -> None:
        gone = {each.id for each in older}
        kept = [each for each in self.conversation.constraints if each.id not in gone and each.kind != "like"]
        # What no item satisfies is let go in the answer, so it does not stand against this either.
        if mask([*relax(kept, self.vocabulary).kept, constraint], self.vocabulary).any():
            self._put(constraint, older)
        else:
            self.changes.append(Change("none", otherwise))

    def _branded(self, cue: Cue, negated: bool) -> None:
        wanted = [each for each in self.conversation.constraints if each.kind == "brand" and not each.negated]
        rows = [self.vocabulary.catalogue.item_rows[item] for item in self.shown]
        codes = [code for code in self.vocabulary.brand_of_item[rows].tolist() if code >= 0]
        shown = list(dict.fromkeys(self.vocabulary.brands[code] for code in codes))
        meant = [each.value for each in wanted] or shown
        if len(meant) != 1:
            said = ", ".join(f"\u201c{'not ' if negated else ''}{name}\u201d" for name in meant[:5])
            why = f"which brand is meant? say {said}" if meant else "what was shown has no brand"
            self._miss(cue.span, why if self.shown or meant else "nothing has been shown yet")
            return
        older = wanted if negated else [each for each in self.conversation.constraints if each.kind == "brand"]
        self._put(Constraint("brand", meant[0], negated, span=cue.span), older)

    def _pointed(self, cue: Cue) -> None:
        """Like an item, or not that item."""
        item = self._meant(cue)
        if item is None:
            return
        title = self.vocabulary.catalogue.titles[self.vocabulary.catalogue.item_rows[item]]
        if cue.act == "not_item":
            liked = [each for each in self.conversation.constraints if each.kind == "like" and each.value == item]
            self._put(Constraint("item", item, True, span=cue.span, title=title), liked)
            return
        older = [each for each in self.conversation.constraints if each.kind == "like"]
        self._put(Constraint("like", item, span=cue.span, title=title), older)

    def _change_subject(self, understood: Understanding) -> None:
        """Another kind of product: what was asked of the one before in particular no longer holds."""
        if not any(each.kind == "category" and not each.negated for each in self.conversation.constraints):
            return
        named = {each.value for each in understood.constraints if each.kind == "category" and not each.negated}
        if any(each.kind == "category" and each.value in named for each in self.conversation.constraints):
            return
        self._withdraw(
            lambda each: (
                each.kind in ("size", "like", "item")
                or (each.kind == "attribute" and not each.negated)
                or (
                    each.kind == "price"
                    and each.unit == "money"
                    and each.open
                    and each.value.startswith(("under", "over"))
                )
            )
        )
        self.conversation = replace(self.conversation, words=())

    def _readdress(self, audience: Constraint) -> None:
        """For somebody else: ``cat treats`` become ``dog treats``, where the shop has them."""
        others = {word for words in self.vocabulary.audiences for word in words}
        for each in self.conversation.constraints:
            if each.kind != "category" or each.negated or not any(others & set(term) for term in each.terms):
                continue
            turned = {
                tuple(new if word in others else word for word in term)
                for term in each.terms
                for new in stems(audience.value.removeprefix(FOR))
            }
            terms = tuple(sorted(term for term in turned if term in self.vocabulary.kinds))
            if terms:
                self._put(replace(each, value=" ".join(terms[0]), terms=terms, span=audience.span), [each])
            else:
                self._withdraw(lambda other, gone=each: other.id == gone.id)  # type: ignore[misc]
        kept = tuple(word for word in self.conversation.words if not set(stems(word)) & others)
        self.conversation = replace(self.conversation, words=kept)

    def _look_for(self, understood: Understanding) -> None:
        """Words beside the constraints: more of them narrow; where nothing else is asked, they are what is wanted."""
        words = understood.words
        nothing_yet = not (self.conversation.constraints or self.conversation.words or self.changes)
        if not words and nothing_yet and understood.rest:
            words = tuple(understood.rest.split())
        added = tuple(word for word in words if word not in self.conversation.words)
        if added:
            kept = (*self.conversation.words, *added)[-MOST_WORDS:]
            self.conversation = replace(self.conversation, words=kept)
            self.changes.append(Change("looked for", f"looked for: {' '.join(added)}"))


def _same(one: Constraint, other: Constraint) -> bool:
    return replace(one, id="", span=None, title="") == replace(other, id="", span=None, title="")


def _swapped(old: Constraint, new: Constraint) -> bool:
    """Whether one property stands in place of another; for whom something is has its own rule."""
    both = old.kind == new.kind == "attribute" and not old.negated and not new.negated
    return both and old.value != new.value and not any(each.value.startswith(FOR) for each in (old, new))


def _gives_way(old: Constraint, new: Constraint, fresh: Collection[str]) -> bool:
    """Whether a constraint goes when a newer one comes."""
    if {old.kind, new.kind} == {"category", "attribute"}:
        # "no pizza" takes "pizza" back, and the other way round.
        return old.negated != new.negated and bool(set(old.terms) & set(new.terms))
    if old.kind != new.kind:
        return False
    if old.kind in ("price", "size"):
        return True
    if old.kind == "attribute":
        both_for = old.value.startswith(FOR) and new.value.startswith(FOR)
        return (old.value == new.value and old.negated != new.negated) or (both_for and old.value != new.value)
    if old.value == new.value:
        return old.negated != new.negated
    return not new.negated and not old.negated and old.kind in fresh
