"""Reading a mapping's YAML: every key known, every value possible, or the line is told with the near names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

from pipelines.errors import ConfigError, DataError, near_names
from pipelines.sources.calendars import PartitionKind, zone
from pipelines.sources.tabular.mapping import (
    EPOCHS,
    HASHED,
    ISO,
    MAPPED,
    OPERATORS,
    Condition,
    Feed,
    Field,
    Format,
    Kind,
    Mapping,
    Problems,
    Rule,
    kind_of,
)
from pipelines.tables import EVENT_TYPES

LARGEST = 1_000_000
"""Bytes of a mapping; more is no mapping."""

_TOP = ("shop", "time_zone", "partition", "late_days", *MAPPED)
_FEED = (
    "name",
    "files",
    "format",
    "fields",
    "where",
    "null_values",
    "once",
    "columns",
    "delimiter",
    "quote",
    "encoding",
)
_GIVERS = ("column", "columns", "constant", "rules", "path", "flags", "hash")
_ALL_KINDS = ("column", "columns", "constant", "rules", "values", "otherwise", "keep_others")
_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "text": ("prefix", "trim", "lower", "join"),
    "number": ("decimal", "thousands", "remove", "times", "divided_by", "absolute", "first_number"),
    "grade": (),
    "time": ("format", "zone", "earliest", "latest"),
    "list": ("path", "split", "flags"),
    "map": (),
}
_FLAGS = ("trim", "lower", "absolute", "first_number")
_DIRECTIVES = {
    "year": "YyGc", "month": "mbBc", "day": "djc", "other": "HIMSpfgnzZaAwuUWVxX%-",
}  # fmt: skip
_ENCODINGS = ("utf-8", "latin-1")


def read_mapping(path: Path) -> Mapping:
    """Read a mapping.

    Raises:
        ConfigError: the file is missing, no YAML, or anything in it is wrong; the message names each line.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the mapping {path} cannot be read: {error.strerror}",
            mend="shoploom source draft FILES writes a first one",
        ) from None
    if len(text) > LARGEST:
        raise ConfigError(f"the mapping {path} has {len(text):,} bytes", mend="name a mapping, not a data file")
    return parse_mapping(text, path)


def parse_mapping(text: bytes | str, path: Path) -> Mapping:
    """Read a mapping's text; ``path`` is for messages and for what file paths are relative to."""
    import yaml

    problems = Problems(path)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ConfigError(f"{path}: YAML aliases (*name) have no place in a mapping", mend="write it out")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{where}: this is no YAML: {said}", mend="mend the line; indent by spaces") from None
    reader = _Reader(problems)
    mapping = reader.mapping(root, path)
    problems.raise_any()
    return mapping


class _Reader:
    """Turns YAML nodes into records; what is wrong goes to ``problems`` and reading goes on."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def note(self, node: Any, said: str) -> None:
        self.problems.note(node.start_mark.line + 1 if node is not None else 1, said)

    # the shape of YAML

    def entries(self, node: Any, known: tuple[str, ...] | None, what: str) -> dict[str, Any]:
        """The keys and value nodes of a YAML mapping; an unknown or repeated key is told."""
        import yaml

        if not isinstance(node, yaml.MappingNode):
            self.note(node, f"{what} should be keys with values")
            return {}
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if known is not None and name not in known:
                near = near_names(name, known) or f"known are {', '.join(known)}"
                self.note(key, f"{what}: there is no key {name!r}; {near}")
            elif name in found:
                self.note(key, f"{what}: {name} is given twice, first in line {found[name].start_mark.line + 1}")
            else:
                found[name] = value
        return found

    def text(self, node: Any, what: str) -> str:
        import yaml

        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self.note(node, f"{what} should be one value")
        return ""

    def texts(self, node: Any, what: str) -> tuple[str, ...]:
        """One text or a list of them."""
        import yaml

        if isinstance(node, yaml.SequenceNode):
            return tuple(self.text(part, what) for part in node.value)
        return (self.text(node, what),)

    def one_of(self, node: Any, known: tuple[str, ...], what: str) -> str:
        text = self.text(node, what)
        if text not in known:
            near = near_names(text, known) or f"it is one of {', '.join(known)}"
            self.note(node, f"{what}: {text!r} is not known; {near}")
        return text

    def flag(self, node: Any, what: str) -> bool:
        return self.one_of(node, ("true", "false"), what) == "true"

    def number(self, node: Any, what: str) -> str:
        text = self.text(node, what)
        try:
            float(text)
        except ValueError:
            self.note(node, f"{what}: {text!r} is no number")
        return text

    def days(self, node: Any, what: str) -> int:
        text = self.text(node, what)
        if not re.fullmatch(r"\d{1,3}", text):
            self.note(node, f"{what}: {text!r} is no number of days, 0 to 999")
            return 0
        return int(text)

    # the parts of a mapping

    def mapping(self, root: Any, path: Path) -> Mapping:
        top = self.entries(root, _TOP, "the mapping")
        zone_name = self.text(top["time_zone"], "time_zone") if "time_zone" in top else "UTC"
        if "time_zone" not in top:
            self.note(root, "time_zone is missing: where the shop's day turns, as Europe/Berlin")
        self.zone(top.get("time_zone"), zone_name)
        kinds = get_args(PartitionKind)
        partition = self.one_of(top["partition"], kinds, "partition") if "partition" in top else "week"
        shop = self.text(top["shop"], "shop") if "shop" in top else path.stem
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", shop):
            self.note(top.get("shop"), f"shop: {shop!r} should be letters, digits, _ and -")
        feeds = [feed for table in MAPPED if table in top for feed in self.feeds(top[table], table)]
        for table in ("events", "items"):
            if table not in top:
                self.note(root, f"{table} is missing: every shop has {table}")
        late = self.days(top["late_days"], "late_days") if "late_days" in top else 0
        return Mapping(path, shop, zone_name, cast(PartitionKind, partition), tuple(feeds), late)

    def zone(self, node: Any, name: str) -> None:
        try:
            zone(name)
        except DataError as error:
            self.note(node, f"{error.message}; {error.mend}")

    def feeds(self, node: Any, table: str) -> list[Feed]:
        import yaml

        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        feeds: list[Feed] = []
        for number, each in enumerate(nodes):
            feed = self.feed(each, table, str(number))
            if any(feed.name == other.name for other in feeds):
                self.note(each, f"{table}: there are two feeds of the name {feed.name!r}")
            feeds.append(feed)
        return feeds

    def feed(self, node: Any, table: str, number: str) -> Feed:
        said = self.entries(node, _FEED, table)
        for needed in ("files", "fields"):
            if needed not in said:
                self.note(node, f"{table}: {needed} is missing")
        fields = self.entries(said["fields"], tuple(MAPPED[table].schema.names), f"{table}.fields") if (
            "fields" in said) else {}  # fmt: skip
        read = tuple(self.field(value, name, kind_of(MAPPED[table], name), table) for name, value in fields.items())
        self.required(said.get("fields"), table, {each.name for each in read})
        feed = Feed(
            table,
            self.text(said["name"], "name") if "name" in said else number,
            self.texts(said["files"], "files") if "files" in said else (),
            cast(Format, self.one_of(said["format"], get_args(Format), "format")) if "format" in said else None,
            read,
            self.conditions(said["where"], f"{table}.where") if "where" in said else (),
            self.texts(said["null_values"], "null_values") if "null_values" in said else ("",),
            "once" in said and self.flag(said["once"], "once"),
            self.texts(said["columns"], "columns") if "columns" in said else None,
            self.text(said["delimiter"], "delimiter") if "delimiter" in said else None,
            self.text(said["quote"], "quote") if "quote" in said else '"',
            self.one_of(said["encoding"], _ENCODINGS, "encoding") if "encoding" in said else "utf-8",
            node.start_mark.line + 1,
        )
        self.keep_users_apart(feed)
        return feed

    def required(self, node: Any, table: str, given: set[str]) -> None:
        if node is None:
            return
        for column in MAPPED[table].schema:
            if not column.nullable and column.name not in given:
                mend = f"; {column.name}: {{hash: true}} makes one of the row" if column.name in HASHED else ""
                self.note(node, f"{table}.fields: {column.name} is missing{mend}")

    def keep_users_apart(self, feed: Feed) -> None:
        """The columns that say who a user is feed nothing else: landing hashes ``user_id`` alone."""
        users = set(feed.user_columns())
        for each in feed.fields:
            if each.name != "user_id":
                for column, line in each.reads():
                    if column in users:
                        said = f"{column!r} says who the user is and is hashed; {each.name} would hold it as it is"
                        self.problems.note(line, f"{feed.table}.fields: {said}")

    def field(self, node: Any, name: str, kind: Kind, table: str) -> Field:
        import yaml

        line, what = node.start_mark.line + 1, f"{table}.fields.{name}"
        if isinstance(node, yaml.ScalarNode):
            return Field(name, kind, (self.text(node, what),), options=self.defaults(kind), line=line)
        if kind == "map":
            parts = self.entries(node, None, what)
            return Field(
                name, kind, parts=tuple(self.field(part, key, "text", what) for key, part in parts.items()), line=line
            )
        hashes = ("hash",) if name in HASHED else ()
        said = self.entries(node, (*_ALL_KINDS, *_OF_KIND[kind], *hashes), what)
        givers = [key for key in _GIVERS if key in said]
        if len(givers) > 1 or not givers:
            known = [key for key in _GIVERS if key in (*_ALL_KINDS, *_OF_KIND[kind], *hashes)]
            found = f"has {' and '.join(givers)}" if givers else "says nothing of where its value comes from"
            self.note(node, f"{what} {found}: give it one of {', '.join(known)}")
        if name == "user_id" and ("rules" in said or "constant" in said):
            self.note(node, f"{what}: a user is told by a column, not by rules or a constant")
        columns = next(
            (self.texts(said[key], what) for key in ("column", "columns", "path", "hash") if key in said), ()
        )
        if "flags" in said:
            columns = tuple(self.entries(said["flags"], None, f"{what}.flags"))
        if "hash" in said and isinstance(said["hash"], yaml.ScalarNode):
            self.one_of(said["hash"], ("true",), f"{what}.hash")
            columns = ()
        if "column" in said and len(columns) > 1:
            self.note(said["column"], f"{what}: two columns for one field; columns: takes the first that has a value")
        return Field(
            name,
            kind,
            columns,
            self.text(said["constant"], what) if "constant" in said else None,
            self.rules(said["rules"], what) if "rules" in said else (),
            next((self.values(said[key], what, name) for key in ("values", "flags") if key in said), None),
            self.event_type(said["otherwise"], name, what) if "otherwise" in said else None,
            hashed="hash" in said,
            options=self.options(said, kind, what),
            line=line,
        )

    def defaults(self, kind: Kind) -> dict[str, str]:
        return {"format": ISO} if kind == "time" else {}

    def options(self, said: dict[str, Any], kind: Kind, what: str) -> dict[str, str]:
        checks: dict[str, Callable[[Any, str], object]] = {
            "format": self.time_format,
            "zone": lambda node, _: self.zone(node, self.text(node, what)),
            "earliest": self.day,
            "latest": self.day,
            "times": self.number,
            **dict.fromkeys(_FLAGS, self.flag),
        }
        found = self.defaults(kind)
        for name in _OF_KIND[kind]:
            if name in said and name not in ("path", "flags"):
                found[name] = self.text(said[name], f"{what}.{name}")
                checks.get(name, self.text)(said[name], f"{what}.{name}")
        found |= {name: "true" for name in ("path", "flags") if name in said}
        if "keep_others" in said:
            if "values" not in said or "otherwise" in said:
                self.note(said["keep_others"], f"{what}.keep_others goes with values, and without otherwise")
            if self.flag(said["keep_others"], f"{what}.keep_others"):
                found["keep_others"] = "true"
        return found

    def day(self, node: Any, what: str) -> None:
        from datetime import date

        try:
            date.fromisoformat(self.text(node, what))
        except ValueError:
            self.note(node, f"{what}: {node.value!r} is no date; write it as 2017-12-03")

    def time_format(self, node: Any, what: str) -> None:
        text = self.text(node, what)
        if text in (ISO, *EPOCHS):
            return
        found = re.findall(r"%(-?.?)", text)
        letters = {each.removeprefix("-") for each in found}
        every = "".join(_DIRECTIVES.values())
        wrong = sorted(each for each in letters if not each or each not in every)
        named = (
            near_names(text, (ISO, *EPOCHS)) or f"it is strptime's (%Y-%m-%d %H:%M:%S), or {ISO}, {', '.join(EPOCHS)}"
        )
        if wrong or not found:
            about = f"%{wrong[0]} is no part of a time" if wrong else "it names no part of a time"
            self.note(node, f"{what}: {text!r} is no time format: {about}; {named}")
            return
        day_of_year = "j" in letters
        lacks = [
            part for part in ("year", "month", "day")
            if not letters & set(_DIRECTIVES[part]) and not (part == "month" and day_of_year)
        ]  # fmt: skip
        if lacks:
            self.note(node, f"{what}: {text!r} gives no {' and no '.join(lacks)}, so no row gets a time")

    def values(self, node: Any, what: str, name: str) -> dict[str, str]:
        return {raw: self.event_type(value, name, what) for raw, value in self.entries(node, None, what).items()}

    def event_type(self, node: Any, name: str, what: str) -> str:
        return self.one_of(node, EVENT_TYPES, what) if name == "event_type" else self.text(node, what)

    def rules(self, node: Any, what: str) -> tuple[Rule, ...]:
        import yaml

        rules = []
        for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            said = self.entries(each, ("when", "then"), what)
            for needed in ("when", "then"):
                if needed not in said:
                    self.note(each, f"{what}: a rule without {needed}")
            if len(said) == 2:
                name = what.rpartition(".")[2]
                rules.append(Rule(self.conditions(said["when"], what), self.event_type(said["then"], name, what)))
        return tuple(rules)

    def conditions(self, node: Any, what: str) -> tuple[Condition, ...]:
        import yaml

        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(test for each in nodes for test in self.condition(each, what))

    def condition(self, node: Any, what: str) -> list[Condition]:
        said = self.entries(node, ("column", *OPERATORS), what)
        if "column" not in said or len(said) < 2:
            self.note(node, f"{what}: a condition names a column and one of {', '.join(OPERATORS)}")
            return []
        column = self.text(said.pop("column"), what)
        tests = []
        for operator, value in said.items():
            if operator in ("below", "above", "at_least", "at_most"):
                self.number(value, what)
            elif operator == "is_empty":
                self.flag(value, what)
            elif operator == "matches":
                self.pattern(value, what)
            several = operator in ("in", "not_in")
            values = self.texts(value, what) if several else (self.text(value, what),)
            tests.append(Condition(column, operator, values, node.start_mark.line + 1))
        return tests

    def pattern(self, node: Any, what: str) -> None:
        import duckdb

        try:
            duckdb.execute("SELECT regexp_full_match('', ?)", [self.text(node, what)])
        except duckdb.Error as error:
            self.note(node, f"{what}: {node.value!r} is no regular expression: {str(error).splitlines()[0]}")
