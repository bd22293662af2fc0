"""A mapping: what a YAML file says of a shop's own files, as records.

Everything that is wrong with a mapping is told in one error, each with its line and the near names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipelines.errors import ConfigError
from pipelines.sources.calendars import PartitionKind
from pipelines.tables import EVENTS, ITEMS, JUDGEMENTS, OFFERS, USERS, Table

MAPPED = {table.name: table for table in (EVENTS, ITEMS, USERS, OFFERS, JUDGEMENTS)}

Kind = Literal["text", "number", "time", "list", "map", "grade"]
Format = Literal["csv", "tsv", "jsonl", "parquet"]

OPERATORS = ("equals", "not", "in", "not_in", "below", "above", "at_least", "at_most", "matches", "is_empty")
HASHED = ("event_id", "offer_id")
"""Ids that may be made from a row's content where the shop has none."""

ISO, EPOCHS = "iso", {"unix": 1_000_000, "unix_ms": 1_000, "unix_us": 1}
"""Names of time formats beside strptime's: microseconds in one unit."""


@dataclass(frozen=True)
class Condition:
    """A test of one column.

    Args:
        column: of the file.
        operator: one of :data:`OPERATORS`.
        values: what to compare with; several for ``in`` and ``not_in``; ``is_empty`` has ``true`` or ``false``.
        line: of the YAML file.
    """

    column: str
    operator: str
    values: tuple[str, ...]
    line: int = 0


@dataclass(frozen=True)
class Rule:
    """A value for the rows of which all conditions hold."""

    when: tuple[Condition, ...]
    then: str


@dataclass(frozen=True)
class Field:
    """How one column of a table is filled.

    Args:
        name: the table's column.
        kind: what it holds.
        columns: of the file; the first that has a value gives it, for ``path`` all of them.
        constant: the value of every row, in place of columns.
        rules: the first whose conditions hold gives the value.
        values: raw value -> value; None where values are taken as they are.
        otherwise: the value where no rule and no entry of ``values`` fits.
        parts: the fields of a map, by key.
        hashed: made from the columns, or from the whole row's content where none are named.
        options: ``keep_others``: what ``values`` does not name is taken as it is. Of the kind: ``format``, ``zone``,
            ``earliest``, ``latest`` of a time; ``decimal``, ``thousands``, ``remove``, ``times``, ``divided_by``,
            ``absolute``, ``first_number`` of a number; ``split``, ``path``, ``flags`` of a list; ``join``, ``prefix``,
            ``trim``, ``lower`` of a text.
        line: of the YAML file.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...] = ()
    constant: str | None = None
    rules: tuple[Rule, ...] = ()
    values: dict[str, str] | None = None
    otherwise: str | None = None
    parts: tuple[Field, ...] = ()
    hashed: bool = False
    options: dict[str, str] = field(default_factory=dict)
    line: int = 0

    def reads(self) -> list[tuple[str, int]]:
        """Columns of the file that it needs, with the line that names each."""
        found = [(column, self.line) for column in self.columns]
        found += [(test.column, test.line) for rule in self.rules for test in rule.when]
        if "divided_by" in self.options:
            found.append((self.options["divided_by"], self.line))
        return found + [read for part in self.parts for read in part.reads()]


@dataclass(frozen=True)
class Feed:
    """Files of one layout that fill one table.

    Args:
        table: of the contract.
        name: tells the feeds of a table apart.
        files: paths, patterns or addresses; paths are relative to the mapping's folder.
        format: of the files; None = by their ending.
        fields: how the table's columns are filled; the others stay empty.
        where: rows for which one of these does not hold are left out.
        null_values: texts that mean no value.
        once: one row for each id: where the files repeat an item in every line.
        header: names of the columns of files without a first line of names; None = they have one.
        delimiter: of CSV; None = by the format.
        quote: of CSV; empty for none.
        encoding: ``utf-8`` or ``latin-1``.
        line: of the YAML file.
    """

    table: str
    name: str
    files: tuple[str, ...]
    format: Format | None
    fields: tuple[Field, ...]
    where: tuple[Condition, ...] = ()
    null_values: tuple[str, ...] = ("",)
    once: bool = False
    header: tuple[str, ...] | None = None
    delimiter: str | None = None
    quote: str = '"'
    encoding: str = "utf-8"
    line: int = 0

    def user_columns(self) -> tuple[str, ...]:
        """Columns of the file that tell who the user is."""
        return next((each.columns for each in self.fields if each.name == "user_id"), ())

    def kept_columns(self) -> list[str]:
        """Columns that are kept beside a landed row: all that the mapping names, but for the user's, in order."""
        users = set(self.user_columns())
        reads = [read for each in self.fields for read in each.reads()]
        named = [column for column, _ in reads] + [test.column for test in self.where]
        return sorted(set(named) - users)

    def reads(self) -> list[tuple[str, int]]:
        """Every column of the file that is needed, with the line that names it."""
        return [read for each in self.fields for read in each.reads()] + [(t.column, t.line) for t in self.where]


@dataclass(frozen=True)
class Mapping:
    """A whole mapping.

    Args:
        path: of the YAML file.
        shop: the shop's name.
        time_zone: the shop's own.
        partition: ``day`` or ``week``.
        feeds: what fills the tables.
        late_days: before an interval, within which the files may still bring or correct events.
    """

    path: Path
    shop: str
    time_zone: str
    partition: PartitionKind
    feeds: tuple[Feed, ...]
    late_days: int = 0

    def of(self, table: str) -> list[Feed]:
        """The feeds of a table."""
        return [feed for feed in self.feeds if feed.table == table]

    def feed(self, table: str, name: str) -> Feed | None:
        """The feed of that name."""
        return next((feed for feed in self.of(table) if feed.name == name), None)

    def digest(self) -> str:
        """16 hexadecimal digits that change with what is mapped, and not with where files lie or lines are."""
        said = repr([self.shop, self.time_zone, self.partition, [_without_place(feed) for feed in self.feeds]])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


def _without_place(value: object) -> object:
    if isinstance(value, Feed | Field | Rule | Condition):
        parts = {name: _without_place(part) for name, part in vars(value).items() if name not in ("line", "files")}
        return sorted(parts.items())
    if isinstance(value, tuple):
        return [_without_place(part) for part in value]
    return sorted(value.items()) if isinstance(value, dict) else value


def kind_of(table: Table, column: str) -> Kind:
    """What a table's column holds."""
    import pyarrow as pa

    kind = table.schema.field(column).type
    if pa.types.is_map(kind):
        return "map"
    if pa.types.is_list(kind):
        return "list"
    if pa.types.is_timestamp(kind):
        return "time"
    if pa.types.is_integer(kind):
        return "grade"
    return "number" if pa.types.is_floating(kind) else "text"


class Problems:
    """What is wrong with a mapping: told together, in the order of lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[tuple[int, str]] = []

    def note(self, line: int, said: str) -> None:
        """Add one."""
        if (line, said) not in self.found:
            self.found.append((line, said))

    def raise_any(self) -> None:
        """Raise them all as one error.

        Raises:
            ConfigError: there are any.
        """
        if self.found:
            told = [f"{self.path}:{line}: {said}" for line, said in sorted(self.found)]
            raise ConfigError("\n".join(told), mend=f"edit {self.path}, then: shoploom source check {self.path}")
