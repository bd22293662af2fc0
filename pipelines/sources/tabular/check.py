"""``shoploom source check``: what a mapping gives of a sample, before anything is landed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import ConfigError
from pipelines.sources import load_source, source_names
from pipelines.sources.tabular import Tabular, allowed_hosts
from pipelines.sources.tabular.engine import Engine, few
from pipelines.sources.tabular.reader import read_mapping
from pipelines.sources.tabular.types import infer

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.settings import Settings

SHOWN = 3
"""Mapped rows, and examples of what will not map, that are shown of each table."""


def list_all(settings: Settings) -> dict[str, Any]:
    """The sources that come with shoploom, each with its first line, and the one that is set."""
    import ast

    folder = Path(__file__).parents[1]
    told = {}
    for name in source_names():
        file = folder / f"{name}.py" if (folder / f"{name}.py").is_file() else folder / name / "__init__.py"
        said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        told[name] = " ".join(said.split("\n\n")[0].split()).replace("``", "").removeprefix(f"{name}: ")
    return {"sources": told, "set": settings.source}


def draw_sources(listed: dict[str, Any], console: Console) -> None:
    """Print what :func:`list_all` gives."""
    from rich.text import Text

    for name, said in listed["sources"].items():
        mark = "*" if listed["set"].partition(":")[0] == name else " "
        console.print(Text(f"{mark} {name:<16} {said}"), soft_wrap=True)
    console.print(Text(f"set: {listed['set']} (SHOPLOOM_SOURCE)"))


def check_source(settings: Settings, mapping: str, rows: int, files: int) -> dict[str, Any]:
    """Map a sample.

    Args:
        settings: which addresses may be read.
        mapping: a YAML file, or a source of files with its setting.
        rows: of each feed to read at most.
        files: of each feed to look at, spread from the first to the last.

    Returns:
        ``tables``: by name the ``files``, how many were ``looked_at`` of those ``named``, ``types`` of columns read,
        ``rows`` read, whether that is ``all`` of them, the first mapped (``first``), ``unmapped`` values (column ->
        count and examples) and ``refused`` lines.

    Raises:
        ConfigError: the mapping is wrong.
        DataError: a file cannot be read.
    """
    source = _source(settings, mapping)
    engine = Engine(source.mapping, allowed_hosts(settings.source_hosts), rows, files)
    try:
        engine.check_columns()
        named = dict.fromkeys(feed.table for feed in source.mapping.feeds)
        tables = {table: _table(engine, table) for table in named}
    finally:
        engine.close()
    return {"shop": source.name, "time_zone": source.time_zone, "partition": source.partition, "tables": tables}


def _source(settings: Settings, mapping: str) -> Tabular:
    if Path(mapping).suffix in (".yaml", ".yml") and not mapping.startswith("tabular:"):
        return Tabular(read_mapping(Path(mapping)))
    source = load_source(mapping)
    if not isinstance(source, Tabular):
        raise ConfigError(
            f"{mapping} reads no files by a mapping", mend="name a mapping, shop.yaml, or movielens:FOLDER"
        )
    return source


def _table(engine: Engine, table: str) -> dict[str, Any]:
    rows = engine.rows(table)
    read = rows.to_pylist()
    kept = [json.loads(row["source_row"])["row"] for row in read]
    columns = sorted({column for row in kept for column in row})
    first = [
        {name: value for name, value in row.items() if name not in ("source_row", "unmapped") and value is not None}
        for row in read
        if not row["unmapped"] and row.get("timestamp", row) is not None
    ][:SHOWN]
    return {
        "files": sorted({file.shown for feed in engine.mapping.of(table) for file in engine.files(feed)}),
        "looked_at": sum(len(engine.found(feed)) for feed in engine.mapping.of(table)),
        "named": sum(engine.named(feed) for feed in engine.mapping.of(table)),
        "types": {column: infer(row.get(column) for row in kept) for column in columns},
        "rows": rows.num_rows,
        "all": all(engine.whole(feed) for feed in engine.mapping.of(table)),
        "first": first,
        "unmapped": _unmapped(engine, table, read),
        "refused": [vars(line) for line in engine.refused[table]],
    }


def _unmapped(engine: Engine, table: str, read: list[dict[str, Any]]) -> dict[str, Any]:
    """Column -> how many values would not map, and the first of them."""
    counts: Counter[str] = Counter()
    examples: dict[str, dict[str, None]] = {}
    for row in read:
        kept = json.loads(row["source_row"])
        feed = engine.mapping.feed(table, kept["feed"])
        reads = {each.name: {column for column, _ in each.reads()} for each in feed.fields} if feed else {}
        lost = [*row["unmapped"], *(["timestamp"] if table == "events" and row["timestamp"] is None else [])]
        for column in dict.fromkeys(lost):
            counts[column] += 1
            given = ", ".join(f"{name}={kept['row'].get(name)!r}" for name in sorted(reads.get(column, ())))
            if len(examples.setdefault(column, {})) < SHOWN:
                examples[column][given] = None
    return {column: {"rows": count, "examples": [*examples[column]]} for column, count in counts.most_common()}


def draw_check(found: dict[str, Any], console: Console) -> None:
    """Print what :func:`check_source` gives; what files hold is plain text, never markup or control characters."""
    from rich.text import Text

    def say(line: str) -> None:
        console.print(Text("".join(letter if letter.isprintable() else "?" for letter in line)), soft_wrap=True)

    say(f"{found['shop']}: time zone {found['time_zone']}, one partition a {found['partition']}")
    for name, table in found["tables"].items():
        part = "all" if table["all"] else "the first"
        say(f"{name}: {part} {table['rows']:,} rows read of {few(table['files'])}")
        if table["looked_at"] < table["named"]:
            say(f"  {table['looked_at']:,} of {table['named']:,} files were looked at: --files looks at more")
        say(f"  columns: {', '.join(f'{column} ({kind})' for column, kind in table['types'].items())}")
        for row in table["first"]:
            say(f"  {json.dumps(row, ensure_ascii=False, default=str)}")
        for column, lost in table["unmapped"].items():
            say(f"  will not map: {column} of {lost['rows']:,} rows: {'; '.join(lost['examples'])}")
        for line in table["refused"][:SHOWN]:
            hint = "; if it is Latin-1, say encoding: latin-1" if line["error"] == "invalid encoding" else ""
            say(f"  no row: {line['file']}{':' + str(line['line']) if line['line'] else ''}: {line['error']}{hint}")
        if len(table["refused"]) > SHOWN:
            say(f"  and {len(table['refused']) - SHOWN:,} more lines that are no rows")
        if not table["rows"]:
            say("  no row is left: look at where:, and at the files")
    if not any(table["unmapped"] or table["refused"] or not table["rows"] for table in found["tables"].values()):
        say("everything that was read maps")
    if any(table["rows"] and not table["all"] for table in found["tables"].values()):
        say("--rows reads more of each feed: --rows 100000")
