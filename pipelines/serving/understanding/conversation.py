"""A conversation that narrows: constraints with ids, each of which can be withdrawn, kept as JSON between turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from pipelines.errors import DataError
from pipelines.serving.understanding.constraints import FOR, Constraint
from pipelines.serving.understanding.understand import NotUnderstood

FORM = "conversation/1"
"""The schema of :meth:`Conversation.as_json`."""
MOST_IN_FORCE = 24
MOST_WORDS = 40
_MEND = "start the conversation over"

Action = Literal["added", "replaced", "withdrawn", "restarted", "looked for", "none"]


@dataclass(frozen=True)
class Conversation:
    """What a conversation has come to.

    Args:
        constraints: in force, each with an id of its own, oldest first.
        words: looked for beside the constraints.
        next_id: number of the next constraint; ids are never used twice.
    """

    constraints: tuple[Constraint, ...] = ()
    words: tuple[str, ...] = ()
    next_id: int = 1

    @property
    def query(self) -> str:
        """What to look for: the words, and those of the constraints that say what items are."""
        said = [each for each in self.constraints if not each.negated]
        before = [each.value.removeprefix(FOR) for each in said if each.kind in ("attribute", "brand")]
        kinds = [each.value for each in said if each.kind == "category"]
        return " ".join(dict.fromkeys(" ".join([*before, *self.words, *kinds]).split()))

    @property
    def like(self) -> str | None:
        """Id of the item that results should be like; None for none."""
        wished = [each.value for each in self.constraints if each.kind == "like"]
        return wished[-1] if wished else None

    def with_constraint(self, constraint: Constraint) -> Conversation:
        """With one more, under a new id."""
        named = replace(constraint, id=f"c{self.next_id}")
        return replace(self, constraints=(*self.constraints, named), next_id=self.next_id + 1)

    def without(self, drop: Callable[[Constraint], bool]) -> Conversation:
        """Without those that ``drop`` holds true of."""
        return replace(self, constraints=tuple(each for each in self.constraints if not drop(each)))

    def as_json(self) -> dict[str, Any]:
        """As plain values, with the form they are in."""
        return {
            "form": FORM,
            "constraints": [each.as_json() for each in self.constraints],
            "words": list(self.words),
            "next_id": self.next_id,
        }

    @classmethod
    def from_json(cls, given: Any) -> Self:
        """The inverse of :meth:`as_json`.

        Raises:
            DataError: ``given`` is something else, or of another form.
        """
        if not isinstance(given, dict) or given.get("form") != FORM:
            form = given.get("form") if isinstance(given, dict) else None
            raise DataError(f"a conversation of form {form!r}; this version reads {FORM}", mend=_MEND)
        try:
            constraints = tuple(map(Constraint.from_json, given["constraints"]))
            return cls(constraints, tuple(map(str, given["words"])), int(given["next_id"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a conversation: {error!r}", mend=_MEND) from error


@dataclass(frozen=True)
class Change:
    """One thing that a turn did.

    Args:
        action: what; ``none`` where what was understood leaves nothing, or names nothing.
        said: in words.
        constraint: that came, went, or came instead of ``before``.
        before: what was replaced.
    """

    action: Action
    said: str
    constraint: Constraint | None = None
    before: tuple[Constraint, ...] = ()


@dataclass(frozen=True)
class Turn:
    """What came of one turn.

    Args:
        conversation: after it.
        changes: what was understood, in order.
        not_understood: what was not.
        corrections: words that were set right: as typed, and what for.
    """

    conversation: Conversation
    changes: tuple[Change, ...] = ()
    not_understood: tuple[NotUnderstood, ...] = ()
    corrections: tuple[tuple[str, str], ...] = ()


def withdraw(conversation: Conversation, constraint_id: str) -> Turn:
    """Take one constraint back; the others stay as they are.

    Raises:
        DataError: there is none of this id.
    """
    gone = [each for each in conversation.constraints if each.id == constraint_id]
    if not gone:
        raise DataError(
            f"no constraint {constraint_id!r} is in force",
            mend=f"in force: {', '.join(each.id for each in conversation.constraints) or 'none'}",
        )
    left = conversation.without(lambda each: each.id == constraint_id)
    return Turn(left, (Change("withdrawn", f"withdrawn: {gone[0]}", gone[0]),))
