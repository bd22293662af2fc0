"""Reading mapped files with DuckDB, out of core: files -> kept rows -> the tables' columns.

What lies in memory is bounded by :data:`MEMORY` and by the rows asked for; the rest spills to the scratch folder. A row
that the mapping cannot read keeps its place with the columns named that would not map; one whose time would not map has
no place in any partition, and is given apart.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pyarrow as pa

from pipelines.errors import DataError, near_names
from pipelines.sources.raw_files import RawFile
from pipelines.sources.tabular.expressions import literal
from pipelines.sources.tabular.files import FoundFile, SourceFile, find_files, open_file
from pipelines.sources.tabular.mapping import MAPPED, Feed, Mapping, Problems
from pipelines.sources.tabular.memory import Contents, Refused
from pipelines.sources.tabular.relations import groups_of, mapped, no_objects, no_rows, pointer, rows_of
from pipelines.sources.tabular.scratch import new_scratch, remove_scratch
from pipelines.tables import EVENTS, SOURCE_ROW, UNMAPPED, UNPLACED

MEMORY = "1GB"
"""What DuckDB may hold before it spills."""

_ORDER = {
    "events": "timestamp, event_id",
    "items": "item_id",
    "users": "user_id",
    "offers": "offer_id",
    "judgements": "query, item_id",
}


class Engine:
    """A DuckDB of its own, in a scratch folder that goes when it does.

    Args:
        mapping: what to read, and how.
        hosts: allowed addresses.
        sample: rows of each feed to read at most; 0 = all.
        most_files: of each feed that are looked at; 0 = all.
    """

    def __init__(self, mapping: Mapping, hosts: tuple[str, ...] = (), sample: int = 0, most_files: int = 0) -> None:
        import duckdb

        self.mapping = mapping
        self.hosts = hosts
        self.sample = sample
        self.most_files = most_files
        self.scratch, lock = new_scratch()
        self._finish = weakref.finalize(self, remove_scratch, self.scratch, lock)
        self.connection = duckdb.connect(
            str(self.scratch / "rows.duckdb"),
            config={
                "autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "memory_limit": MEMORY,
                "temp_directory": str(self.scratch / "spill"), "preserve_insertion_order": str(bool(sample)).lower(),
            },
        )  # fmt: skip
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute("SET enable_progress_bar = false")
        self._found: dict[tuple[str, str], tuple[list[FoundFile], int]] = {}
        self._opened: dict[tuple[str, str, FoundFile], SourceFile] = {}
        self._made: dict[str, frozenset[FoundFile]] = {}
        self._numbered: dict[str, list[FoundFile]] = {}
        self._hashes: dict[FoundFile, RawFile] = {}
        self.refused: dict[str, list[Refused]] = {}
        """Of each table that was made, the lines that are no rows."""
        self.left: frozenset[FoundFile] = frozenset()
        """Files of events that need no look: they were read before, by this mapping, and are not asked for."""

    def close(self) -> None:
        """Remove the scratch folder."""
        self.connection.close()
        self._finish()

    def found(self, feed: Feed) -> list[FoundFile]:
        """The feed's files, not opened; what lies elsewhere is fetched."""
        return self._find(feed)[0]

    def named(self, feed: Feed) -> int:
        """How many files the feed names, whether they are looked at or not."""
        return self._find(feed)[1]

    def _find(self, feed: Feed) -> tuple[list[FoundFile], int]:
        key = (feed.table, feed.name)
        if key not in self._found:
            self._found[key] = find_files(feed, self.mapping, self.hosts, self.scratch, self.most_files)
        return self._found[key]

    def files(self, feed: Feed, chosen: Collection[FoundFile] | None = None) -> list[SourceFile]:
        """The feed's files, or those of them that are chosen, each with its columns."""
        return [self._open(feed, file) for file in self.found(feed) if chosen is None or file in chosen]

    def _open(self, feed: Feed, file: FoundFile) -> SourceFile:
        key = (feed.table, feed.name, file)
        if key not in self._opened:
            self._opened[key] = open_file(file, feed, self.mapping, self.scratch)
        return self._opened[key]

    def check_columns(self) -> None:
        """Hold every column that the mapping names to the files.

        Raises:
            ConfigError: some file lacks one, or has two of that name; the message names every line.
        """
        problems = Problems(self.mapping.path)
        for feed in self.mapping.feeds:
            left = self.left if feed.table == EVENTS.name else ()
            files = [self._open(feed, found) for found in self.found(feed) if found not in left]
            for column, line in feed.reads():
                for count, columns, names in _wrong(column, files):
                    if count:
                        problems.note(line, f"{feed.table}: {names} has {count} columns {column!r}")
                    else:
                        near = near_names(column, columns) or f"it has {_some(columns)}"
                        problems.note(line, f"{feed.table}: {names} has no column {column!r}; {near}")
        problems.raise_any()

    def make(self, table: str, chosen: Iterable[FoundFile] | None = None) -> None:
        """Read a table's files into DuckDB: its columns, the kept row, what would not map, and the file's number.

        Args:
            table: of the contract.
            chosen: of its files, those to read; all by default. Those that were read before stay.

        Raises:
            ConfigError: a column is missing.
            DataError: a file cannot be read to its end, or was changed meanwhile; the message names it.
        """
        feeds = self.mapping.of(table)
        wanted = frozenset(file for feed in feeds for file in self.found(feed)) if chosen is None else frozenset(chosen)
        if table in self._made and wanted <= self._made[table]:
            return
        wanted |= self.made(table)
        self.left -= wanted
        self.check_columns()
        parts, numbered = [], list[FoundFile]()
        for feed in feeds:
            groups = groups_of(self.files(feed, wanted))
            if groups:
                parts.append(mapped(feed, self._rows(feed, groups, len(numbered)), self.mapping.time_zone))
            numbered += [file.found for alike in groups for file in alike]
        with self._errors(table):
            self.connection.execute("SET threads = 2")
            query = " UNION ALL ".join([*parts, no_rows(table)])
            # In order, so that a partition's rows are found without looking at all the others.
            query = f"SELECT * FROM ({query}) ORDER BY {_ORDER[table].split(',')[0]}"
            self.connection.execute(f"CREATE OR REPLACE TABLE {table}_mapped AS {query}")
        self.refused[table] = [line for feed in feeds for line in self._refused(feed, wanted)]
        for file in numbered:
            file.refuse_changed()
        self._made[table], self._numbered[table] = wanted, numbered

    def made(self, table: str) -> frozenset[FoundFile]:
        """The files of a table that were read."""
        return self._made.get(table, frozenset())

    def contents(self) -> dict[FoundFile, Contents]:
        """What each file of events that was read holds."""
        numbered = self._numbered[EVENTS.name]
        days: dict[FoundFile, set[date]] = {file: set() for file in numbered}
        unplaced: Counter[FoundFile] = Counter()
        day = f"(timestamp AT TIME ZONE {literal(self.mapping.time_zone)})::DATE"
        query = f"SELECT file, {day} AS day, count(*) FROM {EVENTS.name}_mapped GROUP BY ALL"
        for number, found, count in self.connection.execute(query).fetchall():
            if found is None:
                unplaced[numbered[number]] += count
            else:
                days[numbered[number]].add(found)
        refused: dict[str, list[Refused]] = {}
        for line in self.refused[EVENTS.name]:
            refused.setdefault(line.given, []).append(line)
        return {
            file: Contents(
                self.hashed(file), tuple(sorted(days[file])), unplaced[file], tuple(refused.get(file.given, ()))
            )
            for file in days
        }

    def hashed(self, file: FoundFile) -> RawFile:
        """A file's hash; it was read before.

        Raises:
            DataError: it was changed since.
        """
        if file not in self._hashes:
            self._hashes[file] = RawFile.of(file.path, file.given)
            file.refuse_changed()
        return self._hashes[file]

    def _rows(self, feed: Feed, groups: list[list[SourceFile]], first: int = 0) -> str:
        rows = rows_of(feed, groups, self.mapping.time_zone, first)
        return f"SELECT * FROM ({rows}) LIMIT {self.sample}" if self.sample else rows

    def whole(self, feed: Feed) -> bool:
        """Whether a feed has no more files and rows than the sample."""
        if self.named(feed) > len(self.found(feed)):
            return False
        if not self.sample:
            return True
        rows = rows_of(feed, groups_of(self.files(feed)), self.mapping.time_zone)
        with self._errors(feed.table):
            beyond = self.one(f"SELECT count(*) FROM (SELECT 1 FROM ({rows}) LIMIT {self.sample + 1})")[0]
        return int(beyond) <= self.sample

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
        user = rows["user_id"] if "user_id" in rows.column_names else pa.nulls(rows.num_rows, pa.string())
        self.connection.register("kept", pa.table([rows["source_row"], user], names=["source_row", "user_id"]))
        parts = [
            mapped(feed, self._kept_rows(feed), self.mapping.time_zone, again=True) for feed in self.mapping.of(table)
        ]
        with self._errors(table):
            name = f"{table}_again"
            parts.append(no_rows(table))
            self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS {' UNION ALL '.join(parts)}")
            return self._ordered(table, name, "true")

    def _kept_rows(self, feed: Feed) -> str:
        """SQL of the kept rows of a feed, as :func:`rows_of` gives its files', and ``twin``."""
        where = f"json_extract_string(source_row, '/feed') = {literal(feed.name)} AND json_exists(source_row, '/row')"
        paths = [literal(pointer("row", column)) for column in feed.kept_columns()]
        lacks = tuple(
            column
            for column, path in zip(feed.kept_columns(), paths, strict=True)
            if self.one(f"SELECT count(*) FROM kept WHERE {where} AND NOT json_exists(source_row, {path})")[0]
        )
        if lacks:
            raise DataError(
                f"{feed.table}: the rows that were kept lack {_some(lacks)}, which the mapping reads now",
                mend="land them again from the files: shoploom ingest",
            )
        texts = [f"json_extract_string(source_row, {path}) AS c{number}" for number, path in enumerate(paths)]
        twin = "coalesce(try_cast(json_extract_string(source_row, '/twin') AS BIGINT), 1) AS twin"
        return f"SELECT {', '.join([*texts, 'user_id AS who', twin, '0 AS file'])} FROM kept WHERE {where}"

    def rows(self, table: str, where: str = "true", chosen: Iterable[FoundFile] | None = None) -> pa.Table:
        """Rows of a table, ordered by time and id whatever order the files have them in; :func:`raw_schema`.

        Args:
            table: of the contract.
            where: SQL that holds for them.
            chosen: the files that have such rows; all by default.
        """
        self.make(table, chosen)
        with self._errors(table):
            return self._ordered(table, f"{table}_mapped", where)

    def one(self, query: str) -> Any:
        """The only row of a query."""
        return self.connection.execute(query).fetchall()[0]

    def _ordered(self, table: str, name: str, where: str) -> pa.Table:
        query = f"SELECT * EXCLUDE (twin, file) FROM {name} WHERE {where} ORDER BY {_ORDER[table]}, source_row, twin"
        return self.connection.sql(query).to_arrow_table().cast(raw_schema(table)).combine_chunks()

    def _refused(self, feed: Feed, chosen: Collection[FoundFile]) -> list[Refused]:
        """Lines that the reader could not take, and lines of JSON-lines that are no object."""
        refused: list[Refused] = []
        files = self.files(feed, chosen)
        for file in files:
            if file.format == "jsonl":
                count = self.one(no_objects(file, self.sample))[0]
                refused += [Refused(feed.name, file.shown, file.found.given, 0, "no JSON object")] * count
        made = self.one("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'")[0]
        if not made or not files:  # DuckDB makes these tables with the first CSV that it reads
            return refused
        by_path = {str(file.path): file for file in files}
        query = (
            "SELECT scans.file_path, errors.line, min(errors.error_type::VARCHAR) FROM reject_errors AS errors "
            f"JOIN reject_scans AS scans USING (scan_id, file_id) WHERE scans.file_path IN "
            f"({', '.join(map(literal, by_path))}) GROUP BY ALL ORDER BY ALL"
        )
        found = self.connection.execute(query).fetchall()
        named = ((by_path[path], line, kind.lower()) for path, line, kind in found)
        return refused + [Refused(feed.name, file.shown, file.found.given, line, kind) for file, line, kind in named]

    @contextmanager
    def _errors(self, table: str) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            said = str(error).splitlines()[0]
            files = sorted({file.shown for feed in self.mapping.of(table) for file in self.found(feed)})
            raise DataError(
                f"{table}: {said} (reading {few(files, 12)})",
                mend="bring the file whole, or correct the mapping's format of it",
            ) from None

    def unplaced(self, files: dict[FoundFile, Contents]) -> pa.Table:
        """Events that no partition has a place for, and lines that are no rows, in the schema of ``unplaced``.

        Args:
            files: every file of events, whether it was read now or before.
        """
        chosen = [file for file, told in files.items() if told.unplaced]
        rows = self.rows("events", "timestamp IS NULL", chosen).select(UNPLACED.schema.names)
        lines = sorted(line.kept() for told in files.values() for line in told.refused)
        more = {"source_row": lines, "unmapped": [["line"]] * len(lines), "user_id": [None] * len(lines)}
        return pa.concat_tables([rows.cast(UNPLACED.schema), pa.table(more, schema=UNPLACED.schema)]).combine_chunks()


def raw_schema(table: str) -> pa.Schema:
    """A landed table's schema: its columns, any of which may be empty, and beside them the kept row."""
    fields = [pa.field(column.name, column.type) for column in MAPPED[table].schema]
    return pa.schema([*fields, SOURCE_ROW, UNMAPPED])


def _wrong(column: str, files: list[SourceFile]) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """Of files that have a column not once, how often, their columns and their names; those that are alike together."""
    alike: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for file in files:
        count = file.columns.count(column)
        if count > 1 or (not count and not _may_be_absent(column, file)):
            alike.setdefault((count, file.columns), []).append(file.shown)
    for (count, columns), names in alike.items():
        yield count, columns, few(names, 1)


def few(names: list[str], most: int = 3) -> str:
    """Names of files; of many the first, and how many more there are."""
    more = f" (and {len(names) - most} more)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _may_be_absent(column: str, file: SourceFile) -> bool:
    """Whether a JSON path leads into something that is there, and empty wherever it was looked at: no image."""
    above = column.rpartition(".")[0]
    while above and above not in file.columns:
        above = above.rpartition(".")[0]
    empty = not any(name.startswith(f"{above}.") for name in file.columns)
    return file.format == "jsonl" and bool(above) and empty


def _some(names: tuple[str, ...], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
