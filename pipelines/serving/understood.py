"""What was understood, as the HTTP routes tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from pipelines.serving.schemas import (
    MOST_RESULTS,
    HitFacts,
    Id,
    ModelFacts,
    RulesBody,
    ScorePartFacts,
    SearchAnswer,
    Whom,
)
from pipelines.serving.searching import Hit
from pipelines.serving.understanding.constraints import Constraint
from pipelines.serving.understanding.conversation import MOST_IN_FORCE, Change, Turn
from pipelines.serving.understanding.masks import Relaxation, price_bounds
from pipelines.serving.understanding.understand import NotUnderstood, Understanding
from pipelines.serving.understanding.vocabulary import Vocabulary


class SlotFacts(BaseModel):
    """One thing that is asked of items."""

    id: str = Field(description="Names it within a conversation; empty in a search.")
    kind: str = Field(description="`category`, `brand`, `attribute`, `size`, `price`, `item` or `like`.")
    value: str = Field(description="Of `item` and `like` the item's id.")
    said: str = Field(description="All of it in words, for people.")
    negated: bool
    text: str = Field(description="The piece of the text that it came from.")
    start: int = Field(description="Where that starts; -1 where it was not typed.")
    low: float | None = Field(description="Least amount.")
    high: float | None
    unit: str = Field(
        description="`money`, or `share` of the category's prices or sizes, 0 the least; g, ml, oz, count."
    )
    bounds: tuple[float | None, float | None] | None = Field(description="Of a price: least and most, in money.")

    @classmethod
    def of(cls, constraint: Constraint, constraints: tuple[Constraint, ...], vocabulary: Vocabulary) -> SlotFacts:
        span = constraint.span
        return cls(
            id=constraint.id,
            kind=constraint.kind,
            value=constraint.value,
            said=str(constraint),
            negated=constraint.negated,
            text=span.text if span else "",
            start=span.start if span else -1,
            low=constraint.low,
            high=constraint.high,
            unit=constraint.unit,
            bounds=price_bounds(constraint, constraints, vocabulary) if constraint.kind == "price" else None,
        )


class MissingFacts(BaseModel):
    """What was not understood."""

    text: str
    why: str

    @classmethod
    def of(cls, missing: NotUnderstood) -> MissingFacts:
        return cls(text=missing.span.text, why=missing.why)


class UnderstoodFacts(BaseModel):
    """What a query was taken for."""

    intents: dict[str, float] = Field(description="Probability of each; empty where no model tells them.")
    slots: list[SlotFacts]
    looked_for: str = Field(description="What is left to look for.")
    corrections: dict[str, str] = Field(description="Misspelt words, and what for they were taken.")
    not_understood: list[MissingFacts]
    let_go: list[str] = Field(description="What was asked and had to be let go, because nothing satisfies everything.")

    @classmethod
    def of(
        cls, understood: Understanding, relaxed: Relaxation, vocabulary: Vocabulary, intents: Mapping[str, float]
    ) -> UnderstoodFacts:
        return cls(
            intents={name: round(share, 4) for name, share in intents.items()},
            slots=[SlotFacts.of(each, understood.constraints, vocabulary) for each in understood.constraints],
            looked_for=understood.rest,
            corrections={each.span.text: each.to for each in understood.corrections},
            not_understood=[MissingFacts.of(each) for each in understood.not_understood],
            let_go=[str(each) for each in relaxed.dropped],
        )


class UnderstoodAnswer(SearchAnswer):
    """Results, best first, and what the query was taken for."""

    understood: UnderstoodFacts | None = Field(description="Null where the request did not want it.")
    results: list[FittingFacts]  # type: ignore[assignment]


class ConverseRequest(Whom):
    """One turn of a conversation."""

    conversation: Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")] | None = Field(
        default=None, description="Of the answer before; left out to begin one."
    )
    text: str = Field(default="", max_length=10_000, description="What is said.", examples=["something cheaper"])
    withdraw: Annotated[list[Id], Field(max_length=MOST_IN_FORCE)] = Field(
        default=[], description="Ids of constraints to take back before the text is read."
    )
    shown: Annotated[list[Id], Field(max_length=MOST_RESULTS)] | None = Field(
        default=None, description="Item ids as they are shown now; those of the answer before by default."
    )
    viewed: Annotated[list[Id], Field(max_length=100)] = Field(default=[], description="As in /recommend.")
    cart: Annotated[list[Id], Field(max_length=200)] = Field(default=[], description="In the cart now.")
    k: int = Field(default=10, ge=1, le=MOST_RESULTS, description="Results wanted.")
    rules: RulesBody = RulesBody()
    explain: bool = Field(default=False, description="Take every result's score and taste apart, some ms later.")


class ChangeFacts(BaseModel):
    """One thing that the turn did."""

    action: str = Field(description="`added`, `replaced`, `withdrawn`, `restarted`, `looked for`, or `none`.")
    said: str = Field(description="In words.")
    constraint: str | None = Field(description="Id of the constraint that came or went.")
    instead_of: list[str] = Field(description="Ids of those that it replaced.")

    @classmethod
    def of(cls, change: Change) -> ChangeFacts:
        named: Any = change.constraint
        return cls(
            action=change.action,
            said=change.said,
            constraint=None if named is None else named.id,
            instead_of=[each.id for each in change.before],
        )


class FittingFacts(HitFacts):
    """An item, and what is asked that it satisfies."""

    fits: tuple[str, ...] = Field(description="What is asked that it satisfies, in words.")

    @classmethod
    def of_hits(cls, hits: Sequence[Hit], fits: Sequence[tuple[str, ...]], first: int = 0) -> list[FittingFacts]:
        """Hits as they are told.

        Args:
            hits: of the page, best first.
            fits: what each satisfies.
            first: how many lie on the pages before.
        """
        return [
            cls.of(
                position,
                hit.result,
                relevance=hit.relevance,
                taste=hit.taste,
                moved=hit.moved,
                score_parts=[ScorePartFacts.model_validate(part) for part in hit.parts],
                fits=satisfied,
            )
            for position, (hit, satisfied) in enumerate(zip(hits, fits, strict=True), start=first + 1)
        ]


class ConverseAnswer(BaseModel):
    """What the turn changed, what is in force now, and what satisfies it."""

    request_id: str
    model: ModelFacts
    conversation: str = Field(description="Name it in the next turn.")
    turn: int = Field(description="From 1.")
    changes: list[ChangeFacts]
    constraints: list[SlotFacts] = Field(description="In force; each can be withdrawn by its id.")
    looked_for: str
    corrections: dict[str, str]
    not_understood: list[MissingFacts]
    let_go: list[str] = Field(description="Ids of constraints that no result satisfies together with the others.")
    total: int
    known_user: bool
    ignored: list[str] = Field(description="Item ids of the request that the catalogue lacks.")
    results: list[FittingFacts]


def turn_facts(turn: Turn) -> dict[str, Any]:
    """The parts of an answer that tell of the turn."""
    return {
        "changes": [ChangeFacts.of(each) for each in turn.changes],
        "corrections": dict(turn.corrections),
        "not_understood": [MissingFacts.of(each) for each in turn.not_understood],
    }
