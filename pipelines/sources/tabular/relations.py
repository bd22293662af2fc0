"""SQL from files to a table's columns, in two steps: texts as the files have them, then the mapping's fields.

The first step gives every kept column as a text ``c0``, ``c1``, ..., and ``who`` the user is. The second is the same
for rows that come from files and for rows that were kept, so that mapping again gives what mapping anew would.
"""

from __future__ import annotations

import pyarrow as pa

from pipelines.sources.tabular.expressions import Names, every, expression, given, kept_row, literal
from pipelines.sources.tabular.files import LONGEST_LINE, SourceFile
from pipelines.sources.tabular.mapping import MAPPED, Feed, Field, kind_of

_IDS = {"items": "item_id", "users": "who", "offers": "offer_id", "judgements": "query, item_id", "events": "event_id"}
_SQL_TYPES = {
    "map": "MAP(VARCHAR, VARCHAR)",
    "list": "VARCHAR[]",
    "time": "TIMESTAMPTZ",
    "grade": "TINYINT",
    "number": "DOUBLE",
    "text": "VARCHAR",
}


def groups_of(files: list[SourceFile]) -> list[list[SourceFile]]:
    """Files in groups that are laid out alike and can be read together."""
    groups: dict[tuple[object, ...], list[SourceFile]] = {}
    for file in files:
        own = file.path if _NUMBER in map(str.lower, file.columns) and file.format == "parquet" else None
        groups.setdefault((file.format, () if file.format == "jsonl" else file.columns, own), []).append(file)
    return list(groups.values())


def rows_of(feed: Feed, groups: list[list[SourceFile]], zone: str, first: int = 0) -> str:
    """SQL of the rows of a feed's files: its kept columns as texts, who the user is, and the number of the file.

    Args:
        feed: of the files.
        groups: as :func:`groups_of` gives them.
        zone: the shop's time zone.
        first: the number of the first file of the first group; the others count on.
    """
    relations = []
    for alike in groups:
        relations.append(_group(feed, alike, zone, first))
        first += len(alike)
    return " UNION ALL ".join(relations)


def mapped(feed: Feed, rows: str, zone: str, *, again: bool = False) -> str:
    """SQL of the table's columns, ``source_row``, ``unmapped``, ``twin`` and ``file``.

    Args:
        feed: what maps the rows.
        rows: SQL of :func:`rows_of`, or of kept rows, which know their ``twin``.
        zone: the shop's time zone.
        again: whether they are kept rows.
    """
    names = Names({column: f"c{number}" for number, column in enumerate(feed.kept_columns())}, feed.null_values, zone)
    tests = tuple(test for test in feed.where if test.column in names.columns)
    # Twins are rows alike in all but the user: numbered in the order of the users' own ids, so that an id made from a
    # row's content holds nothing of who the user is.
    twin = "twin" if again else "dense_rank() OVER (PARTITION BY kept ORDER BY who)"
    inner = f"SELECT *, {kept_row(feed, names)} AS kept FROM ({rows}) WHERE {every(tests, names)}"
    row = f"(SELECT *, {twin} AS twin_number FROM ({inner}))"
    source_row = f"CASE WHEN twin_number > 1 THEN {kept_row(feed, names, 'twin_number')} ELSE kept END"
    by_name = {each.name: each for each in feed.fields}
    columns, unmapped = [], []
    for column in MAPPED[feed.table].schema:
        value, problem = _column(feed, column, by_name.get(column.name), names)
        columns.append(f"{value} AS {column.name}")
        unmapped += [problem] if problem else []
    problems = f"list_filter([{', '.join(unmapped)}]::VARCHAR[], lambda each: each IS NOT NULL)"
    query = (
        f"SELECT {', '.join(columns)}, source_row, {problems} AS unmapped, twin_number AS twin, file "
        f"FROM (SELECT *, {source_row} AS source_row FROM {row})"
    )
    if feed.once and not again:
        order = "ORDER BY source_row DESC, twin_number"
        query += f" QUALIFY row_number() OVER (PARTITION BY {_IDS[feed.table]} {order}) = 1"
    return query


def no_rows(table: str) -> str:
    """SQL of no row, in the columns of :func:`mapped`."""
    columns = [f"NULL::{sql_type(table, column.name)} AS {column.name}" for column in MAPPED[table].schema]
    beside = "NULL::VARCHAR AS source_row, NULL::VARCHAR[] AS unmapped, 1::BIGINT AS twin, 0 AS file"
    return f"SELECT {', '.join(columns)}, {beside} WHERE false"


def no_objects(file: SourceFile, sample: int = 0) -> str:
    """SQL that counts the lines of a JSON-lines file that are no JSON object, among all or the first ``sample``."""
    lines = f"SELECT line FROM {_lines(f'[{literal(str(file.path))}]', rejects=False)}"
    return f"SELECT count(*) FROM ({lines}{f' LIMIT {sample}' if sample else ''}) WHERE NOT {_IS_OBJECT}"


_NUMBER = "file_index"
"""What DuckDB calls a file's place in the list that it reads; a column of that name hides it."""

_IS_OBJECT = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE trim(line) = '' END"


def _group(feed: Feed, files: list[SourceFile], zone: str, first: int) -> str:
    """SQL of the rows of files that are laid out alike."""
    paths = f"[{', '.join(literal(str(file.path)) for file in files)}]"
    kept, users = feed.kept_columns(), list(feed.user_columns())
    if files[0].format == "jsonl":
        wanted = ", ".join(literal(pointer(*column.split("."))) for column in (*kept, *users))
        texts = [f"found[{number + 1}]" for number in range(len(kept) + len(users))]
        relation = (
            f"(SELECT json_extract_string(line, [{wanted}]) AS found, {_NUMBER} FROM {_lines(paths)} "
            "WHERE json_valid(line) AND json_type(line) = 'OBJECT')"
        )
    elif files[0].format == "parquet":
        texts = [_parquet_text(column) for column in (*kept, *users)]
        relation = f"read_parquet({paths})"
    else:
        columns = files[0].columns
        texts = [f"k{columns.index(column)}" for column in (*kept, *users)]
        names = [f"k{number}" for number in range(len(columns))]
        delimiter = feed.delimiter or ("\t" if files[0].format == "tsv" else ",")
        relation = _csv(paths, names, feed.header is None, delimiter, feed.quote, feed.encoding)
    named = [*(f"c{number}" for number in range(len(kept))), *(f"u{number}" for number in range(len(users)))]
    number = f"{first}" if len(files) == 1 else f"{first} + {_NUMBER}"
    chosen = ", ".join(
        [*(f"{text} AS {name}" for text, name in zip(texts, named, strict=True)), f"({number})::INTEGER AS file"]
    )
    about = Names({column: f"u{number}" for number, column in enumerate(users)}, feed.null_values, zone)
    tests = every(tuple(test for test in feed.where if test.column in about.columns), about)
    left_out = f" EXCLUDE ({', '.join(named[len(kept) :])})" if users else ""
    return f"SELECT *{left_out}, {_who(feed, about)} AS who FROM (SELECT {chosen} FROM {relation}) WHERE {tests}"


def _who(feed: Feed, about: Names) -> str:
    field = next((each for each in feed.fields if each.name == "user_id"), None)
    return f"({expression(field, about)})::VARCHAR" if field else "NULL::VARCHAR"


def _column(feed: Feed, column: pa.Field, field: Field | None, names: Names) -> tuple[str, str]:
    """SQL of a column's value, and of its name where the file has something that would not map."""
    name, kind = column.name, sql_type(feed.table, column.name)
    if field is None:
        return f"NULL::{kind}", ""
    if name == "user_id":
        return "who", ""
    if field.hashed:
        named = ", ".join(names.columns[column] for column in field.columns)
        content = f"json_array({literal(feed.name)}, {named})::VARCHAR" if named else "source_row"
        return f"substr(sha256({content}), 1, 32)", ""
    value = f"({expression(field, names)})::{kind}"
    plain = field.kind == "text" and field.values is None and not field.rules
    if plain or field.kind == "map" or {"flags", "first_number"} & field.options.keys():
        return value, ""
    return value, f"CASE WHEN ({given(field, names)}) AND ({value}) IS NULL THEN {literal(name)} END"


def _lines(paths: str, *, rejects: bool = True) -> str:
    """SQL of a file's lines, in the column ``line``: CSV whose delimiter no JSON may hold."""
    return _csv(paths, ["line"], False, "\x01", "", "utf-8", rejects=rejects)


def _csv(
    paths: str, columns: list[str], header: bool, delimiter: str, quote: str, encoding: str, *, rejects: bool = True
) -> str:
    named = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
    store = "store_rejects = true, rejects_limit = 0, " if rejects else ""
    return (
        f"read_csv({paths}, auto_detect = false, header = {str(header).lower()}, delim = {literal(delimiter)}, "
        f"quote = {literal(quote)}, escape = {literal(quote)}, encoding = {literal(encoding)}, columns = {{{named}}}, "
        f"{store}ignore_errors = true, max_line_size = {LONGEST_LINE}, buffer_size = {2 * LONGEST_LINE})"
    )


def pointer(*keys: str) -> str:
    """A JSON pointer."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def _parquet_text(column: str) -> str:
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in column.split("."))
    nested = " OR ".join(f"typeof({quoted}) LIKE '{kind}'" for kind in ("%[]", "STRUCT%", "MAP%"))
    return f"CASE WHEN {nested} THEN to_json({quoted})::VARCHAR ELSE {quoted}::VARCHAR END"


def sql_type(table: str, column: str) -> str:
    """DuckDB's name of a column's type."""
    return _SQL_TYPES[kind_of(MAPPED[table], column)]
