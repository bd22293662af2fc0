"""What a shopper asks of items: one record for all kinds, that means the same to every version of a catalogue."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from pipelines.errors import DataError
from pipelines.serving.understanding.reading import Span

Kind = Literal["category", "brand", "attribute", "size", "price", "item", "like"]
FOR = "for "
"""How the value of an attribute starts that says for whom something is."""
Terms = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Constraint:
    """One thing asked of items.

    Args:
        kind: what it is about. ``like`` wishes for items near one, and shuts none out.
        value: in words, for people; of ``brand`` the brand, of ``item`` and ``like`` the item id.
        negated: whether items must not be so.
        terms: alternatives; an item is meant where its category's name (``category``) has the words of one of them side
            by side, or where its text (``attribute``) says all of them.
        low: least amount, of ``price`` and ``size``; None for none.
        high: most.
        open: whether the bounds themselves are out.
        unit: ``money``, or ``share`` for a share of the category's prices or sizes from 0, the least, to 1;
            of ``size`` also ``g``, ``ml``, ``oz`` (either), ``count``, and ``content`` (grams or millilitres in all).
        span: what it was understood from; None where it was not typed.
        id: names it within a conversation.
        title: of ``item`` and ``like``, what people call it; empty for what ``value`` says already.
    """

    kind: Kind
    value: str
    negated: bool = False
    terms: Terms = ()
    low: float | None = None
    high: float | None = None
    open: bool = False
    unit: str = ""
    span: Span | None = None
    id: str = ""
    title: str = ""

    def __str__(self) -> str:
        named = f"\u201c{self.title}\u201d" if self.title else self.value
        said = f"{self.kind} {named}" if self.kind in ("brand", "like") else named
        return f"not {said}" if self.negated else said

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Any) -> Self:
        """The inverse of :meth:`as_json`.

        Raises:
            DataError: ``given`` is something else.
        """
        mend = "start the conversation over"
        try:
            plain = dict(given)
            # Conversations that an older server kept have no titles.
            if plain["kind"] not in get_args(Kind) or {*plain, "title"} != {field.name for field in fields(cls)}:
                raise DataError(f"not a constraint: {sorted(plain)}", mend=mend)
            plain["terms"] = tuple(tuple(str(word) for word in terms) for terms in plain["terms"])
            plain["span"] = None if plain["span"] is None else Span(**plain["span"])
            for name in ("low", "high"):
                plain[name] = None if plain[name] is None else float(plain[name])
            return cls(**plain)
        except (TypeError, ValueError, KeyError) as error:
            raise DataError(f"not a constraint: {error!r}", mend=mend) from error
