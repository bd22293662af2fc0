"""Reading mapped files with DuckDB, out of core: files -> kept rows -> the tables' columns.

What lies in memory is bounded by :data:`MEMORY` and by the rows asked for; the rest spills to the scratch folder. A row
that the mapping cannot read keeps its place with the columns named that would not map; one whose time would not map has
no place in any partition, and is given apart.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.errors import DataError, near_names
from pipelines.sources.tabular.expressions import Names, every, expression, given, kept_row, literal
from pipelines.sources.tabular.files import LONGEST_LINE, SourceFile, find_files
from pipelines.sources.tabular.mapping import MAPPED, Feed, Field, Mapping, Problems
from pipelines.tables import SOURCE_ROW, UNMAPPED, UNPLACED

MEMORY = "1GB"
"""What DuckDB may hold before it spills."""

_ORDER = {"events": "timestamp, event_id", "items": "item_id", "users": "user_id", "offers": "offer_id",
          "judgements": "query, item_id"}  # fmt: skip
_IDS = {
    "events": "event_id",
    "items": "item_id",
    "users": "user_id",
    "offers": "offer_id",
    "judgements": "query, item_id",
}


@dataclass(frozen=True)
class Refused:
    """A line that is no row of its file's format; its text is not kept, for it may name a user.

    Args:
        feed: the feed's name.
        file: as the mapping names it.
        line: counted from 1; 0 where it is not known.
        error: what is wrong, in DuckDB's words.
    """

    feed: str
    file: str
    line: int
    error: str

    def kept(self) -> str:
        """For the column ``source_row``."""
        return json.dumps({"feed": self.feed, "file": self.file, "line": self.line, "error": self.error})


class Engine:
    """A DuckDB of its own, in a scratch folder that goes when it does.

    Args:
        mapping: what to read, and how.
        hosts: allowed addresses.
    """

    def __init__(self, mapping: Mapping, hosts: tuple[str, ...] = ()) -> None:
        import duckdb

        self.mapping = mapping
        self.hosts = hosts
        self.scratch = Path(tempfile.mkdtemp(prefix="shoploom-source-"))
        self._finish = weakref.finalize(self, shutil.rmtree, self.scratch, ignore_errors=True)
        self.connection = duckdb.connect(
            str(self.scratch / "rows.duckdb"),
            config={
                "autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "memory_limit": MEMORY,
                "temp_directory": str(self.scratch / "spill"), "preserve_insertion_order": "false",
            },
        )  # fmt: skip
        self.connection.execute("SET TimeZone = 'UTC'")
        self._files: dict[tuple[str, str], list[SourceFile]] = {}
        self._made: set[str] = set()
        self.refused: dict[str, list[Refused]] = {}

    def close(self) -> None:
        """Remove the scratch folder."""
        self.connection.close()
        self._finish()

    def files(self, feed: Feed) -> list[SourceFile]:
        """The feed's files, each with its columns."""
        key = (feed.table, feed.name)
        if key not in self._files:
            self._files[key] = find_files(feed, self.mapping, self.hosts, self.scratch)
        return self._files[key]

    def check_columns(self) -> None:
        """Hold every column that the mapping names to the files.

        Raises:
            ConfigError: some file lacks one, or has two of that name; the message names every line.
        """
        problems = Problems(self.mapping.path)
        for feed in self.mapping.feeds:
            for file in self.files(feed):
                for column, line in feed.reads():
                    count = file.columns.count(column)
                    if not count:
                        near = near_names(column, file.columns) or f"it has {_some(file.columns)}"
                        problems.note(line, f"{feed.table}: {file.shown} has no column {column!r}; {near}")
                    elif count > 1:
                        problems.note(line, f"{feed.table}: {file.shown} has {count} columns {column!r}")
        problems.raise_any()

    def make(self, table: str) -> None:
        """Read a table's files into DuckDB: its columns, the kept row, and what would not map.

        Raises:
            ConfigError: a column is missing.
            DataError: a file cannot be read to its end; the message names it.
        """
        if table in self._made:
            return
        self.check_columns()
        parts = [self._mapped(feed, self._rows(feed)) for feed in self.mapping.of(table)]
        with self._errors(table):
            self.connection.execute("SET threads = 2")
            empty = _empty(table)
            self.connection.execute(f"CREATE OR REPLACE TABLE {table}_mapped AS {' UNION ALL '.join([*parts, empty])}")
        self.refused[table] = [line for feed in self.mapping.of(table) for line in self._rejects(feed)]
        self._made.add(table)

    def remap(self, table: str, rows: pa.Table) -> pa.Table:
        """Map rows again from what was kept of them, as :meth:`make` maps the files they came from.

        Args:
            table: of the contract.
            rows: landed, with ``source_row`` and, where the table has users, the ``user_id`` that was landed.

        Returns:
            In the schema of :func:`raw_schema`, ordered.

        Raises:
            DataError: a row was not kept whole enough for today's mapping.
        """
        columns = [rows["source_row"]] + ([rows["user_id"]] if "user_id" in rows.column_names else [])
        self.connection.register("kept", pa.table(columns, names=["source_row", "user_id"][: len(columns)]))
        parts = []
        for feed in self.mapping.of(table):
            user = "user_id" if len(columns) == 2 else "NULL"
            chosen = [
                f"json_extract_string(source_row, {literal(_path('row', c))}) AS c{i}" for i, c in _numbered(feed)
            ]
            lacks = [c for _, c in _numbered(feed) if self._lacks(feed, c)]
            if lacks:
                raise DataError(
                    f"{table}: the rows that were kept lack {_some(tuple(lacks))}, which the mapping reads now",
                    mend="land them again from the files: shoploom ingest",
                )
            twin = "coalesce(try_cast(source_row->>'twin' AS BIGINT), 1) AS twin"
            relation = (
                f"SELECT {', '.join([*chosen, f'{user} AS who', twin])} FROM kept "
                f"WHERE source_row->>'feed' = {literal(feed.name)} AND source_row->'row' IS NOT NULL"
            )
            parts.append(self._mapped(feed, relation, again=True))
        with self._errors(table):
            name = f"{table}_again"
            self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS {' UNION ALL '.join([*parts, _empty(table)])}")
            return self._ordered(table, name, "true")

    def _lacks(self, feed: Feed, column: str) -> bool:
        path = literal(_path("row", column))
        found = self.connection.execute(
            f"SELECT count(*) FROM kept WHERE source_row->>'feed' = {literal(feed.name)} "
            f"AND source_row->'row' IS NOT NULL AND NOT json_exists(source_row, {path})"
        ).fetchone()
        return bool(found and found[0])

    def rows(self, table: str, where: str = "true") -> pa.Table:
        """Rows of a table, ordered by time and id whatever order the files have them in; :func:`raw_schema`."""
        self.make(table)
        with self._errors(table):
            return self._ordered(table, f"{table}_mapped", where)

    def one(self, query: str) -> Any:
        """The only row of a query."""
        return self.connection.execute(query).fetchone()

    def _ordered(self, table: str, name: str, where: str) -> pa.Table:
        query = f"SELECT * EXCLUDE (twin) FROM {name} WHERE {where} ORDER BY {_ORDER[table]}, source_row, twin"
        return self.connection.execute(query).to_arrow_table().cast(raw_schema(table)).combine_chunks()

    # from files to columns c0, c1, ... , who

    def _rows(self, feed: Feed) -> str:
        """SQL of the feed's rows: the kept columns as texts, and who the user is."""
        groups: dict[tuple[str, tuple[str, ...]], list[SourceFile]] = {}
        for file in self.files(feed):
            key = (file.format, () if file.format == "jsonl" else file.columns)
            groups.setdefault(key, []).append(file)
        return " UNION ALL ".join(self._group(feed, files) for files in groups.values())

    def _group(self, feed: Feed, files: list[SourceFile]) -> str:
        paths = f"[{', '.join(literal(str(file.path)) for file in files)}]"
        kept, users = [column for _, column in _numbered(feed)], list(feed.user_columns())
        if files[0].format == "jsonl":
            wanted = f"[{', '.join(literal(_path(*column.split('.'))) for column in (*kept, *users))}]"
            texts = [f"found[{number + 1}]" for number in range(len(kept) + len(users))]
            relation = (
                f"(SELECT json_extract_string(CASE WHEN json_valid(line) THEN line ELSE '{{}}' END, {wanted}) AS found "
                f"FROM {_csv(paths, {'line': 'line'}, header=False, delimiter=chr(1), quote='', encoding='utf-8')} "
                f"WHERE json_valid(line) AND json_type(line) = 'OBJECT')"
            )
        elif files[0].format == "parquet":
            texts = [_parquet_text(column) for column in (*kept, *users)]
            relation = f"read_parquet({paths})"
        else:
            columns = files[0].columns
            texts = [f"k{columns.index(column)}" for column in (*kept, *users)]
            delimiter = feed.delimiter or ("\t" if files[0].format == "tsv" else ",")
            relation = _csv(
                paths, {f"k{number}": name for number, name in enumerate(columns)},
                header=feed.header is None, delimiter=delimiter, quote=feed.quote, encoding=feed.encoding,
            )  # fmt: skip
        names = [*(f"c{number}" for number in range(len(kept))), *(f"u{number}" for number in range(len(users)))]
        chosen = ", ".join(f"{text} AS {name}" for text, name in zip(texts, names, strict=True)) or "1 AS nothing"
        who = _user(feed, self.mapping.time_zone)
        return f"SELECT * EXCLUDE ({', '.join(names[len(kept):])}), {who} AS who FROM (SELECT {chosen} FROM {relation})" if (
            users) else f"SELECT *, {who} AS who FROM (SELECT {chosen} FROM {relation})"  # fmt: skip

    def _mapped(self, feed: Feed, rows: str, *, again: bool = False) -> str:
        """SQL of the table's columns, ``source_row``, ``unmapped`` and ``twin``, given :meth:`_rows`' columns."""
        names = Names(
            {column: f"c{number}" for number, column in _numbered(feed)}, feed.null_values, self.mapping.time_zone
        )
        tests = tuple(test for test in feed.where if test.column in names.columns)
        users = tuple(test for test in feed.where if test.column not in names.columns)
        del users
        kept = kept_row(feed, names)
        # Twins are rows alike in all but the user: numbered in the order of the users' own ids, so that an id made from
        # a row's content holds nothing of who the user is.
        twin = "twin" if again else "dense_rank() OVER (PARTITION BY kept ORDER BY who)"
        inner = f"SELECT *, {kept} AS kept FROM ({rows}) WHERE {every(tests, names)}"
        row = f"(SELECT *, {twin} AS twin_number FROM ({inner}))"
        source_row = f"CASE WHEN twin_number > 1 THEN json_merge_patch(kept, json_object('twin', twin_number))::VARCHAR ELSE kept END"
        columns, unmapped = [], []
        by_name = {each.name: each for each in feed.fields}
        for column in MAPPED[feed.table].schema:
            value, problem = self._column(column.name, column.type, by_name.get(column.name), names)
            columns.append(f"{value} AS {column.name}")
            unmapped += [problem] if problem else []
        problems = f"list_filter([{', '.join(unmapped)}]::VARCHAR[], lambda each: each IS NOT NULL)"
        query = (
            f"SELECT {', '.join(columns)}, source_row, {problems} AS unmapped, twin_number AS twin "
            f"FROM (SELECT *, {source_row} AS source_row FROM {row})"
        )
        if feed.once and not again:
            query += f" QUALIFY row_number() OVER (PARTITION BY {_IDS[feed.table]} ORDER BY source_row DESC, twin_number) = 1"
        return query

    def _column(self, name: str, kind: pa.DataType, field: Field | None, names: Names) -> tuple[str, str]:
        """SQL of a column's value, and of its name where the file has something that would not map."""
        if field is None:
            return f"NULL::{_sql_type(kind)}", ""
        if name == "user_id":
            return "who", ""
        if field.hashed:
            return "substr(sha256(source_row), 1, 32)", ""
        value = f"({expression(field, names)})::{_sql_type(kind)}"
        if field.kind == "map" or (field.kind == "text" and field.values is None and not field.rules):
            return value, ""
        return value, f"CASE WHEN ({given(field, names)}) AND ({value}) IS NULL THEN {literal(name)} END"

    def _rejects(self, feed: Feed) -> list[Refused]:
        """Lines that the CSV reader could not take, and lines of JSON-lines that are no object."""
        shown = {str(file.path): file.shown for file in self.files(feed)}
        paths = ", ".join(map(literal, shown))
        refused = []
        for file in self.files(feed):
            if file.format == "jsonl":
                relation = _csv(f"[{literal(str(file.path))}]", {"line": "line"}, header=False, delimiter=chr(1), quote="",
                                encoding="utf-8", rejects=False)  # fmt: skip
                count = self.one(f"SELECT count(*) FROM {relation} WHERE trim(line) <> '' AND "
                                 "NOT (json_valid(line) AND coalesce(json_type(try_cast(line AS JSON)), '') = 'OBJECT')")[0]  # fmt: skip
                refused += [Refused(feed.name, file.shown, 0, "no JSON object")] * count
        try:
            found = self.connection.execute(
                "SELECT DISTINCT scans.file_path, errors.line, min(errors.error_type::VARCHAR) FROM reject_errors AS errors "
                f"JOIN reject_scans AS scans USING (scan_id, file_id) WHERE scans.file_path IN ({paths}) "
                "GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        except Exception as error:  # no CSV was read: DuckDB makes these tables with the first one
            if "reject_" not in str(error):
                raise
            found = []
        return refused + [Refused(feed.name, shown[path], line, kind.lower()) for path, line, kind in found]

    @contextmanager
    def _errors(self, table: str) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            said = str(error).splitlines()[0]
            files = ", ".join(sorted({file.shown for feed in self.mapping.of(table) for file in self.files(feed)}))
            raise DataError(
                f"{table}: {said} (reading {files})", mend="bring the file whole, or correct the mapping's format of it"
            ) from None

    def unplaced(self) -> pa.Table:
        """Events that no partition has a place for, and lines that are no rows, in the schema of ``unplaced``."""
        rows = self.rows("events", "timestamp IS NULL").select(UNPLACED.schema.names)
        lines = [line.kept() for line in sorted(self.refused["events"], key=Refused.kept)]
        more = {"source_row": lines, "unmapped": [["line"]] * len(lines), "user_id": [None] * len(lines)}
        return pa.concat_tables([rows.cast(UNPLACED.schema), pa.table(more, schema=UNPLACED.schema)]).combine_chunks()


def raw_schema(table: str) -> pa.Schema:
    """A landed table's schema: its columns, any of which may be empty, and beside them the kept row."""
    fields = [pa.field(column.name, column.type) for column in MAPPED[table].schema]
    return pa.schema([*fields, SOURCE_ROW, UNMAPPED])


def _user(feed: Feed, zone: str) -> str:
    field = next((each for each in feed.fields if each.name == "user_id"), None)
    if field is None:
        return "NULL::VARCHAR"
    columns = {column: f"u{number}" for number, column in enumerate(feed.user_columns())}
    return f"({expression(field, Names(columns, feed.null_values, zone))})::VARCHAR"


def _numbered(feed: Feed) -> Iterator[tuple[int, str]]:
    return enumerate(feed.kept_columns())


def _csv(
    paths: str,
    columns: dict[str, str],
    *,
    header: bool,
    delimiter: str,
    quote: str,
    encoding: str,
    rejects: bool = True,
) -> str:
    named = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
    store = "store_rejects = true, rejects_limit = 0, " if rejects else ""
    return (
        f"read_csv({paths}, auto_detect = false, header = {str(header).lower()}, delim = {literal(delimiter)}, "
        f"quote = {literal(quote)}, escape = {literal(quote)}, encoding = {literal(encoding)}, columns = {{{named}}}, "
        f"{store}ignore_errors = true, max_line_size = {LONGEST_LINE}, buffer_size = {2 * LONGEST_LINE})"
    )


def _path(*keys: str) -> str:
    return "$" + "".join(f'."{key}"' for key in keys)


def _parquet_text(column: str) -> str:
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in column.split("."))
    return (
        f"CASE WHEN typeof({quoted}) LIKE '%[]' OR typeof({quoted}) LIKE 'STRUCT%' OR typeof({quoted}) LIKE 'MAP%' "
        f"THEN to_json({quoted})::VARCHAR ELSE {quoted}::VARCHAR END"
    )


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_map(kind):
        return "MAP(VARCHAR, VARCHAR)"
    if pa.types.is_list(kind):
        return "VARCHAR[]"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ"
    if pa.types.is_integer(kind):
        return "TINYINT"
    return "DOUBLE" if pa.types.is_floating(kind) else "VARCHAR"


def _empty(table: str) -> str:
    columns = [f"NULL::{_sql_type(column.type)} AS {column.name}" for column in MAPPED[table].schema]
    return f"SELECT {', '.join(columns)}, NULL::VARCHAR AS source_row, NULL::VARCHAR[] AS unmapped, 1::BIGINT AS twin WHERE false"


def _some(names: tuple[str, ...], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
