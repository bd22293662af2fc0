"""What a contract is made of. Declaring one needs no Great Expectations; running one does (``expectations.run``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["reject", "stop", "warn"]

TEXT_IS_UTF8 = "text_is_utf8"
NUMBERS_ARE_FINITE = "numbers_are_finite"
ROW_IS_MAPPED = "row_is_mapped"
FIRST_OF_ID = "first_of_id"
"""Columns derived for every table, by ``expectations.frames``."""


@dataclass(frozen=True)
class Check:
    """One expectation and what follows when it fails.

    Args:
        name: snake case; the reason written beside a quarantined row.
        severity: ``reject``, ``stop`` or ``warn``.
        column: the column that the check is about.
        expectation: class name in ``great_expectations.expectations``.
        arguments: of that class, ``column`` aside.
        meaning: for a person, in a few words.
        subject: the frame's column to look at, where it is derived from ``column``.
    """

    name: str
    severity: Severity
    column: str
    expectation: str
    meaning: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    subject: str = ""


@dataclass(frozen=True)
class Contract:
    """A suite of checks on one frame.

    Args:
        name: the suite's, in Data Docs.
        table: name of the table it guards.
        checks: with distinct names.
    """

    name: str
    table: str
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        names = [check.name for check in self.checks]
        if len(set(names)) != len(names):
            raise ValueError(f"suite {self.name!r} names a check twice")

    def check(self, name: str) -> Check:
        """The check of that name."""
        return next(check for check in self.checks if check.name == name)

    def digest(self) -> str:
        """16 hexadecimal digits that change with any check of the suite."""
        declared = [
            [check.name, check.severity, check.column, check.expectation, dict(check.arguments), check.subject]
            for check in self.checks
        ]
        text = json.dumps([self.name, self.table, declared], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def present(column: str) -> Check:
    """Every row has a value in ``column``; an empty text is one."""
    return Check(f"{column}_is_present", "reject", column, "ExpectColumnValuesToNotBeNull", f"{column} has a value")


def short(column: str, longest: int = 256) -> Check:
    """An id has 1 to ``longest`` characters."""
    return Check(
        f"{column}_is_an_id",
        "reject",
        column,
        "ExpectColumnValueLengthsToBeBetween",
        f"{column} has 1 to {longest} characters",
        {"min_value": 1, "max_value": longest},
    )


def unique(column: str) -> Check:
    """Only the first row of an id is kept."""
    return holds(f"{column}_is_unique", column, FIRST_OF_ID, f"no earlier row has this {column}")


def finite(column: str, meaning: str) -> Check:
    """Numbers are neither infinite nor NaN; ``column`` is the one to look at first."""
    return holds("numbers_are_finite", column, NUMBERS_ARE_FINITE, meaning)


def mapped(column: str) -> Check:
    """The source could read every value of a row; ``column`` is the one to look at first."""
    return holds("row_is_mapped", column, ROW_IS_MAPPED, "the source could read every value of the row")


def utf8(column: str) -> Check:
    """Every text of a row is UTF-8; ``column`` is the one to look at first."""
    return holds("text_is_utf8", column, TEXT_IS_UTF8, "every text is UTF-8")


def holds(
    name: str, column: str, subject: str, meaning: str, severity: Severity = "reject", mostly: float = 1.0
) -> Check:
    """A boolean column derived from ``column`` (by a join, say) is true."""
    arguments = {"value_set": [True], **({"mostly": mostly} if mostly < 1 else {})}
    return Check(name, severity, column, "ExpectColumnValuesToBeInSet", meaning, arguments, subject)


def between(
    name: str, column: str, meaning: str, severity: Severity = "reject", subject: str = "", **limits: object
) -> Check:
    """Values lie in a range (``min_value``, ``max_value``, ``strict_min``, ``strict_max``); no value is no failure."""
    return Check(name, severity, column, "ExpectColumnValuesToBeBetween", meaning, limits, subject)


def mostly_present(column: str, share: float, subject: str = "") -> Check:
    """At least ``share`` of all rows have a value."""
    return Check(
        f"{column}_is_mostly_present",
        "warn",
        column,
        "ExpectColumnValuesToNotBeNull",
        f"at least {share:.0%} of rows have a {column}",
        {"mostly": share},
        subject,
    )


def few_rejected(share: float, of: str = "the") -> Check:
    """At most ``share`` of the rows are rejected, or the load is stopped; ``of`` says whose rows."""
    meaning = f"at most {share:.0%} of {of} rows are rejected"
    return between("rejected_share_is_small", "rejected", meaning, "stop", "rejected_share", max_value=share)


def columns(checks: Iterable[Check]) -> list[str]:
    """The frame's columns that some checks look at, each once, in order."""
    seen: dict[str, None] = {}
    for check in checks:
        seen.setdefault(check.subject or check.column)
        for argument in ("column_A", "column_B"):
            if argument in check.arguments:
                seen.setdefault(str(check.arguments[argument]))
    return list(seen)
