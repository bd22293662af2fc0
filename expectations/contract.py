"""What a contract is made of. Declaring one needs no Great Expectations; running one does (``expectations.run``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import pyarrow as pa

from pipelines.errors import ConfigError, DataError, near_names
from pipelines.tables import TABLES

if TYPE_CHECKING:
    from pipelines.params import ColumnBounds, ValidateParams

Severity = Literal["reject", "stop", "warn"]

TEXT_IS_UTF8 = "text_is_utf8"
NUMBERS_ARE_FINITE = "numbers_are_finite"
ROW_IS_MAPPED = "row_is_mapped"
FIRST_OF_ID = "first_of_id"
"""Columns derived for every table, by ``expectations.frames``."""

OWN_CHECKS_KEY = b"shoploom.checks"
"""Parquet schema metadata of a landed file: its source's own checks, as JSON."""
OWN_EXPECTATIONS = (
    "ExpectColumnValueLengthsToBeBetween",
    "ExpectColumnValuesToBeBetween",
    "ExpectColumnValuesToBeInSet",
    "ExpectColumnValuesToMatchRegex",
    "ExpectColumnValuesToNotBeInSet",
    "ExpectColumnValuesToNotBeNull",
    "ExpectColumnValuesToNotMatchRegex",
)
"""What a source's own checks may be."""


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

    @property
    def tolerated(self) -> float:
        """Share of rows that may fail it."""
        mostly = self.arguments.get("mostly", 1.0)
        return 1.0 - mostly if isinstance(mostly, float) else 0.0

    def to_json(self) -> dict[str, object]:
        """For a landed file's metadata."""
        return {**asdict(self), "arguments": dict(self.arguments)}


def own_metadata(checks: Iterable[Check]) -> dict[bytes, bytes]:
    """The schema metadata from which :func:`own_checks` reads a source's checks; none where there are none."""
    listed = [check.to_json() for check in checks]
    return {OWN_CHECKS_KEY: json.dumps(listed, sort_keys=True).encode()} if listed else {}


def own_checks(metadata: Mapping[bytes, bytes] | None) -> tuple[Check, ...]:
    """The source's own checks of a landed file.

    Raises:
        DataError: they are not what :func:`own_metadata` writes, or ask for an expectation that looks beyond a column.
    """
    text = (metadata or {}).get(OWN_CHECKS_KEY)
    if text is None:
        return ()
    try:
        checks = tuple(Check(**fields) for fields in json.loads(text))
        sound = all(check.severity in get_args(Severity) and check.expectation in OWN_EXPECTATIONS for check in checks)
    except (ValueError, TypeError):
        sound = False
    if not sound:
        raise DataError(
            "the source's own checks in a landed file cannot be read",
            mend=f"land it again; its checks() may use {', '.join(OWN_EXPECTATIONS)}",
        )
    return checks


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

    def extended(self, bounds: Iterable[Check], own: Iterable[Check]) -> Contract:
        """The same suite and more checks; with a source's own, under a name of its own.

        Args:
            bounds: from :func:`bounds`.
            own: the source's.

        Raises:
            DataError: a check of the source has the name of another, or a column that the table lacks.
        """
        whole, added = (*self.checks, *bounds), tuple(own)
        known = {check.name for check in whole}
        for check in added:
            if check.name in known or check.column not in TABLES[self.table].schema.names:
                raise DataError(
                    f"{self.table}: the source's own check {check.name!r} of column {check.column!r} does not fit",
                    mend="give it a name of its own and a column of the table, in the source's checks()",
                )
        made = Contract(self.name, self.table, (*whole, *added))
        return Contract(f"{self.name}_{made.digest()[:6]}", self.table, made.checks) if added else made

    def strict(self) -> Contract:
        """The same checks without what they tolerate: every row that fails one is named."""
        checks = [
            replace(check, arguments={name: value for name, value in check.arguments.items() if name != "mostly"})
            for check in self.checks
        ]
        return Contract(self.name, self.table, tuple(checks))

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


def bounds(table: str, params: ValidateParams) -> tuple[Check, ...]:
    """The checks that ``validate.columns`` asks of a table's columns.

    Raises:
        ConfigError: there is no such column, or a bound does not fit its type.
    """
    checks: list[Check] = []
    for name, bound in params.columns.items():
        kind = _type_of(name)
        of, _, column = name.partition(".")
        limits = {
            key: value for key, value in (("min_value", bound.min), ("max_value", bound.max)) if value is not None
        }
        numeric = pa.types.is_floating(kind) or pa.types.is_integer(kind)
        if (limits and not numeric) or (bound.values is not None and not pa.types.is_string(kind)):
            raise ConfigError(
                f"params.yaml: validate.columns.{name}: a column of type {kind} has no such bound",
                mend="min and max are for numbers, values for texts, max_null_share for all",
            )
        if of == table:
            checks += _bounds_of(column, bound, limits)
    return tuple(checks)


def _type_of(name: str) -> pa.DataType:
    known = {f"{table.name}.{field.name}": field.type for table in TABLES.values() for field in table.schema}
    if name not in known:
        raise ConfigError(
            f"params.yaml: validate.columns: there is no column {name!r}",
            mend=near_names(name, known) or "write it as table.column: events.price",
        )
    return known[name]


def _bounds_of(column: str, bound: ColumnBounds, limits: Mapping[str, float]) -> Iterable[Check]:
    if limits:
        low, high = (limits.get(key, "any") for key in ("min_value", "max_value"))
        meaning = f"{column} lies between {low} and {high}"
        kind = "ExpectColumnValuesToBeBetween"
        yield Check(f"{column}_is_within_bounds", bound.severity, column, kind, meaning, limits)
    if bound.values is not None:
        meaning = f"{column} is one of {', '.join(bound.values)}"
        kind, arguments = "ExpectColumnValuesToBeInSet", {"value_set": list(bound.values)}
        yield Check(f"{column}_is_of_the_set", bound.severity, column, kind, meaning, arguments)
    if bound.max_null_share is not None:
        severity: Severity = "stop" if bound.severity == "stop" else "warn"
        meaning = f"at most {bound.max_null_share:.2%} of rows lack a {column}"
        mostly = {"mostly": 1.0 - bound.max_null_share} if bound.max_null_share else {}
        yield Check(f"{column}_is_rarely_empty", severity, column, "ExpectColumnValuesToNotBeNull", meaning, mostly)


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
