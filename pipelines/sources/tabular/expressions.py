"""From a mapping's fields to DuckDB SQL: every name quoted, every value a literal, no SQL of the mapping's own.

Columns of the file are texts ``c0``, ``c1``, ... by then, whatever the file's format; :class:`Names` knows which.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.sources.tabular.mapping import EPOCHS, ISO, Condition, Feed, Field

_OFFSET = r"(Z|z|[+-]\d{2}(:?\d{2})?)$"
_COMPARE = {"below": "<", "above": ">", "at_least": ">=", "at_most": "<="}
EARLIEST, LATEST = "1971-01-01", "2100-01-01"
"""Bounds of a time where the mapping has none: beside them lie zeros and sentinels, not events."""


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Names:
    """Which SQL name stands for each of a feed's columns.

    Args:
        columns: name in the file -> SQL name.
        null_values: texts that mean no value.
        zone: the shop's time zone.
    """

    columns: dict[str, str]
    null_values: tuple[str, ...]
    zone: str

    def value(self, column: str) -> str:
        """A column's text, NULL where it means no value."""
        raw = self.columns[column]
        if not self.null_values:
            return raw
        return f"CASE WHEN {raw} IN ({', '.join(map(literal, self.null_values))}) THEN NULL ELSE {raw} END"

    def first(self, columns: tuple[str, ...]) -> str:
        """The first column's text that has a value."""
        return f"coalesce({', '.join(self.value(column) for column in columns)}, NULL)"


def condition(test: Condition, names: Names) -> str:
    """SQL that is true where the condition holds; a missing value holds for ``is_empty`` and ``not`` alone."""
    value, first = names.value(test.column), test.values[0] if test.values else ""
    if test.operator == "is_empty":
        return f"(({value}) IS {'NULL' if first == 'true' else 'NOT NULL'})"
    if test.operator in _COMPARE:
        return f"coalesce(try_cast(trim({value}) AS DOUBLE) {_COMPARE[test.operator]} {float(first)!r}, false)"
    if test.operator == "matches":
        return f"coalesce(regexp_full_match({value}, {literal(first)}), false)"
    listed = ", ".join(map(literal, test.values))
    inside = f"coalesce(({value}) IN ({listed}), false)"
    return f"NOT {inside}" if test.operator in ("not", "not_in") else inside


def every(tests: tuple[Condition, ...], names: Names) -> str:
    """SQL that is true where all conditions hold."""
    return " AND ".join(condition(test, names) for test in tests) or "true"


def given(field: Field, names: Names) -> str:
    """SQL that is true where the file has something for the field, so that no value means: it would not map."""
    if field.rules or field.constant is not None:
        return "true"
    if not field.columns:
        return "false"
    return " OR ".join(f"({names.value(column)}) IS NOT NULL" for column in field.columns)


def expression(field: Field, names: Names) -> str:
    """SQL of the field's value, of the type that its table has."""
    if field.kind == "map":
        if field.columns:
            whole = names.value(field.columns[0])
            return f"try_cast(CASE WHEN json_valid({whole}) THEN {whole} END::JSON AS MAP(VARCHAR, VARCHAR))"
        parts = [f"({literal(part.name)}, {expression(part, names)})" for part in field.parts]
        return f"map_from_entries(list_filter([{', '.join(parts)}], lambda pair: pair[2] IS NOT NULL))"
    if field.kind == "list":
        return _list(field, names)
    raw = _raw(field, names)
    if field.kind == "number":
        return _number(raw, field, names)
    if field.kind == "grade":
        return f"try_cast(trim({raw}) AS TINYINT)"
    return _time(raw, field, names) if field.kind == "time" else _text(raw, field)


def _raw(field: Field, names: Names) -> str:
    """The text that the field starts from."""
    otherwise = literal(field.otherwise) if field.otherwise is not None else "NULL"
    if field.constant is not None:
        return literal(field.constant)
    if field.rules:
        cases = [f"WHEN {every(rule.when, names)} THEN {literal(rule.then)}" for rule in field.rules]
        return f"CASE {' '.join(cases)} ELSE {otherwise} END"
    if field.options.get("join") is not None:
        joint = literal(field.options["join"])
        parts = ", ".join(_flat(names.value(column), joint) for column in field.columns)
        value = f"concat_ws({joint}, {parts})"
        value = f"nullif({value}, '')"
    else:
        value = names.first(field.columns)
    if field.values is None:
        return f"coalesce({value}, {otherwise})"
    cases = [f"WHEN {literal(raw)} THEN {literal(mapped)}" for raw, mapped in field.values.items()]
    if field.options.get("keep_others") == "true":
        otherwise = value
    return f"CASE {value} {' '.join(cases)} ELSE {otherwise} END" if cases else otherwise


def _flat(value: str, joint: str) -> str:
    """SQL of a text; of a JSON list, its parts joined."""
    joined = f"coalesce(array_to_string({_parts(value)}, {joint}), {value})"
    return f"CASE WHEN {value} LIKE '[%' THEN {joined} ELSE {value} END"


def _parts(value: str) -> str:
    return f"try(from_json({value}, '[\"VARCHAR\"]'))"


def _text(raw: str, field: Field) -> str:
    options = field.options
    if options.get("trim") == "true":
        raw = f"nullif(trim({raw}), '')"
    if options.get("lower") == "true":
        raw = f"lower({raw})"
    return f"{literal(options['prefix'])} || {raw}" if "prefix" in options else raw


def _number(raw: str, field: Field, names: Names) -> str:
    options = field.options
    if options.get("first_number") == "true":
        raw = f"nullif(regexp_extract({raw}, '-?[0-9]+([.,][0-9]+)*'), '')"
    if "remove" in options:
        raw = f"translate({raw}, {literal(options['remove'])}, '')"
    if "thousands" in options:
        raw = f"replace({raw}, {literal(options['thousands'])}, '')"
    if "decimal" in options:
        raw = f"replace({raw}, {literal(options['decimal'])}, '.')"
    value = f"try_cast(trim({raw}) AS DOUBLE)"
    if "times" in options:
        value = f"({value} * {float(options['times'])!r})"
    if "divided_by" in options:
        units = f"abs(try_cast(trim({names.value(options['divided_by'])}) AS DOUBLE))"
        value = f"({value} / coalesce(nullif({units}, 0.0), 1.0))"
    return f"abs({value})" if options.get("absolute") == "true" else value


def _time(raw: str, field: Field, names: Names) -> str:
    how = field.options["format"]
    zone = literal(field.options.get("zone", names.zone))
    raw = f"trim({raw})"
    if how in EPOCHS:
        micros = f"try_cast(round(try_cast({raw} AS DECIMAL(38, 6)) * {EPOCHS[how]}) AS BIGINT)"
        # Beyond the years that make_timestamp takes it raises, and there is no event there.
        value = (
            f"CASE WHEN {micros} BETWEEN 0 AND 4102444800000000 THEN make_timestamp({micros}) END AT TIME ZONE 'UTC'"
        )
    elif how == ISO:
        value = (
            f"CASE WHEN regexp_matches({raw}, {literal(_OFFSET)}) AND contains({raw}, ':') "
            f"THEN try_cast({raw} AS TIMESTAMPTZ) ELSE try_cast({raw} AS TIMESTAMP) AT TIME ZONE {zone} END"
        )
    else:
        value = f"try_strptime({raw}, {literal(how)})"
        value = value if "%z" in how else f"{value} AT TIME ZONE {zone}"
    low, high = (field.options.get(name, bound) for name, bound in (("earliest", EARLIEST), ("latest", LATEST)))
    bounds = [f"(TIMESTAMP {literal(day)} AT TIME ZONE {zone})" for day in (low, high)]
    after = " + INTERVAL 1 DAY" if "latest" in field.options else ""
    return f"CASE WHEN {value} >= {bounds[0]} AND {value} < {bounds[1]}{after} THEN {value} END"


def _list(field: Field, names: Names) -> str:
    if field.constant is not None:
        return f"[{literal(field.constant)}]"
    if field.options.get("path") == "true":
        found = f"list_filter([{', '.join(map(names.value, field.columns))}], lambda part: part IS NOT NULL)"
    elif field.options.get("flags") == "true" and field.values:
        flags = [
            f"CASE WHEN lower({names.value(column)}) IN ('1', 'true', 'yes') THEN {literal(label)} END"
            for column, label in field.values.items()
        ]
        found = f"list_filter([{', '.join(flags)}], lambda part: part IS NOT NULL)"
    else:
        raw = _raw(field, names)
        if "split" in field.options:
            parts = f"string_split({raw}, {literal(field.options['split'])})"
            parts = f"list_transform({parts}, lambda part: trim(part))"
        else:
            parts = f"CASE WHEN {raw} LIKE '[%' THEN {_parts(raw)} ELSE [{raw}] END"
        found = f"list_filter({parts}, lambda part: part IS NOT NULL AND part <> '')"
    return f"CASE WHEN len({found}) > 0 THEN {found} END"


def kept_row(feed: Feed, names: Names, twin: str = "") -> str:
    """SQL of the JSON that is kept beside a row: the feed's name and the file's own values, users left out.

    Args:
        feed: whose row.
        names: of its columns.
        twin: SQL of the row's number among its twins; none by default.
    """
    pairs = [f"{literal(column)}, {names.columns[column]}" for column in feed.kept_columns()]
    number = f", 'twin', {twin}" if twin else ""
    return f"json_object('feed', {literal(feed.name)}, 'row', json_object({', '.join(pairs)}){number})::VARCHAR"
