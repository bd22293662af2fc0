"""``shoploom source draft``: a first mapping from the columns of files, for a person to finish.

Nothing that the files hold is written into it but the names of columns: a mapping goes to git.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from pipelines.sources.tabular.engine import Engine
from pipelines.sources.tabular.files import COMPRESSIONS, FORMATS
from pipelines.sources.tabular.mapping import MAPPED, Feed, Field, Mapping
from pipelines.sources.tabular.sniff import layout_of
from pipelines.sources.tabular.types import infer, time_format

SAMPLE = 200
COLUMNS = 200
"""Columns of a file that are looked at."""

NAMES = {
    "event_id": ("event_id", "eventid", "line_id", "transaction_id"),
    "user_id": (
        "user_id", "user", "customer_id", "customer", "client_id", "visitor_id", "household_id", "member_id",
    ),
    "item_id": (
        "item_id", "item", "product_id", "product", "sku", "article_id", "parent_asin", "asin", "movie_id",
    ),
    "event_type": ("event_type", "event", "action", "type"),
    "timestamp": ("timestamp", "time", "datetime", "date", "created_at", "event_time", "ordered_at", "when", "t_dat"),
    "quantity": ("quantity", "qty", "count", "amount", "rating", "units"),
    "price": ("price", "unit_price", "sales_value", "value"),
    "session_id": ("session_id", "sessionid", "session", "order_id", "basket_id", "order", "invoice"),
    "channel": ("channel", "sales_channel_id", "store"),
    "query": ("query", "search", "search_term"),
    "title": ("title", "name", "product_name", "prod_name"),
    "description": ("description", "detail_desc", "desc"),
    "category": ("category", "categories", "genres", "product_category", "product_type", "category_name", "department"),
    "brand": ("brand", "manufacturer", "vendor"),
    "image": ("image", "image_url", "picture"),
    "grade": ("grade", "relevance", "label"),
}  # fmt: skip
"""Usual names of what a table's columns hold, the likeliest first."""

_PLAIN = {
    "events": (
        "event_id", "user_id", "item_id", "event_type", "timestamp", "quantity", "price", "session_id", "channel",
        "query",
    ),
    "items": ("item_id", "title", "description", "category", "brand", "price", "image"),
    "users": ("user_id",),
    "judgements": ("query", "item_id", "grade"),
}  # fmt: skip


def draft_mapping(files: list[str]) -> str:
    """A mapping's YAML, with comments that say what is left to do.

    Raises:
        ConfigError: a file is missing.
        DataError: a file cannot be read.
    """
    parts: dict[str, list[str]] = {}
    for alike, said, layout in _groups(files):
        columns = _sample(alike[0], layout)
        table = _table_of(set(_guess(columns)))
        parts.setdefault(table, []).append(_feed(alike, table, columns, said))
    lines = [
        "# A first mapping, drafted from names of columns: read every line, then: shoploom source check THIS_FILE",
        "shop: my_shop  # letters, digits, _ and -",
        "time_zone: UTC  # where the shop's day turns, as Europe/Berlin",
        "partition: week  # or day",
    ]
    for table in MAPPED:
        if table in parts:
            lines += [f"{table}:", *parts[table]]
        elif table in ("events", "items"):
            lines.append(f"# {table}: no file looks like it; every shop has {table}")
    return "\n".join(lines) + "\n"


def _groups(files: list[str]) -> list[tuple[list[str], list[str], dict[str, Any]]]:
    """Files that one feed can read, those of the same layout and columns, with what :func:`_layout` says of them."""
    groups: dict[object, tuple[list[str], list[str], dict[str, Any]]] = {}
    for file in files:
        said, layout = _layout(Path(file))
        key = (tuple(Path(file).suffixes[-2:]), tuple(said), _names(file, layout))
        groups.setdefault(key, ([], said, layout))[0].append(file)
    return list(groups.values())


def _layout(path: Path) -> tuple[list[str], dict[str, Any]]:
    """What the mapping must say of a file, as lines of it and as arguments of a feed; nothing of what needs no word."""
    endings = [ending.lower() for ending in path.suffixes]
    packed = COMPRESSIONS.get(endings[-1]) if endings else None
    named = FORMATS.get(endings[-2] if packed and len(endings) > 1 else endings[-1] if endings else "")
    if named not in (None, "csv", "tsv") or not path.is_file():
        return [], {}
    found = layout_of(path, packed)
    said: list[str] = []
    given: dict[str, Any] = {}
    if named is None:
        said.append("format: csv  # by its content: its ending tells none")
        given["format"] = "csv"
    if found.delimiter != ("\t" if named == "tsv" else ","):
        said.append(f"delimiter: {json.dumps(found.delimiter)}")
        given["delimiter"] = found.delimiter
    if found.encoding != "utf-8":
        said.append(f"encoding: {found.encoding}  # it is not UTF-8: see whether letters with accents are right")
        given["encoding"] = found.encoding
    if found.header is not None:
        said.append(f"columns: [{', '.join(found.header)}]  # its first line looks like data: name the columns")
        given["header"] = found.header
    return said, given


def _probe(file: str, layout: dict[str, Any]) -> tuple[Feed, Mapping]:
    """A feed of that file, and its mapping, of which the fields do not matter yet."""
    path = Path(file)
    feed = replace(Feed("items", "0", (path.name,), None, (Field("item_id", "text", constant=""),)), **layout)
    return feed, Mapping(path.parent / "draft.yaml", "draft", "UTC", "week", (feed,))


def _names(file: str, layout: dict[str, Any]) -> tuple[str, ...]:
    """The columns of a file that has no two of their name."""
    probe, mapping = _probe(file, layout)
    engine = Engine(mapping)
    try:
        columns = engine.files(probe)[0].columns
    finally:
        engine.close()
    return tuple(name for name in columns if columns.count(name) == 1)[:COLUMNS]


def _sample(file: str, layout: dict[str, Any]) -> dict[str, list[str]]:
    """Column -> its first values."""
    names = _names(file, layout)
    probe, mapping = _probe(file, layout)
    fields = tuple(Field(name, "text", (name,)) for name in names)
    probe = replace(probe, fields=(Field("attributes", "map", parts=fields),))
    engine = Engine(Mapping(mapping.path, "draft", "UTC", "week", (probe,)), sample=SAMPLE)
    try:
        rows = [json.loads(row)["row"] for row in engine.rows("items")["source_row"].to_pylist()]
    finally:
        engine.close()
    return {name: [row[name] for row in rows if row.get(name)] for name in names}


def _guess(columns: dict[str, list[str]]) -> dict[str, str]:
    """Field -> the column that is likeliest to hold it."""
    found: dict[str, str] = {}
    plain = {"".join(filter(str.isalnum, name.lower())): name for name in columns}
    for field, names in NAMES.items():
        for name in names:
            column = plain.get("".join(filter(str.isalnum, name)))
            if column is not None and column not in found.values():
                found[field] = column
                break
    rest = [name for name in columns if name not in found.values()]
    for field in NAMES:
        column = next((name for name in rest if field not in found and _is_told(field, name, columns[name])), None)
        if column is not None:
            found[field] = column
            rest.remove(column)
    times = [name for name in rest if infer(columns[name]) == "time"]
    return {**({"timestamp": times[0]} if times else {}), **found}


def _is_told(field: str, column: str, values: list[str]) -> bool:
    """Whether a column's name says by one of its words what it holds, and nothing of it speaks against that."""
    words = set(re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", column).lower()))
    if not words.intersection(NAMES[field]):
        return False
    if field == "timestamp":
        return bool(values) and time_format(values) is not None
    if field in ("quantity", "price"):
        return infer(value.replace(",", ".") for value in values) in ("integer", "number")
    return words <= {*NAMES[field], *_BESIDE}


def _table_of(fields: set[str]) -> str:
    if {"query", "item_id", "grade"} <= fields and "user_id" not in fields:
        return "judgements"
    if "timestamp" in fields and not fields & {"title", "description", "category", "brand"}:
        return "events"
    if "user_id" in fields:
        return "events" if fields & {"item_id", "timestamp", "query"} else "users"
    return "items"


def _feed(files: list[str], table: str, columns: dict[str, list[str]], layout: list[str]) -> str:
    guessed = {field: column for field, column in _guess(columns).items() if field in _PLAIN[table]}
    name = _common([Path(file).name.split(".")[0] for file in files])
    name = (name.rstrip("0123456789_- ") if len(files) > 1 else name) or table
    lines = [f"  - name: {_quoted(name)}", f"    files: {_pattern(files)}"]
    lines += [*(f"    {line}" for line in layout), "    fields:"]
    for field in _PLAIN[table]:
        if field in guessed:
            lines.append(f"      {field}: {_spec(field, guessed[field], columns)}")
        elif field == "event_id":
            lines.append("      event_id: {hash: true}  # or the columns that make a row unique: {hash: [order, line]}")
        elif field == "event_type":
            lines.append(
                "      event_type: {constant: purchase}  # or view, cart, rating, search, ...; rules: for several"
            )
        elif not MAPPED[table].schema.field(field).nullable:
            lines.append(f"      # {field}: no column looks like it, and every row needs one")
    rest = [name for name in columns if name not in guessed.values()]
    for name in rest:
        lines.append(f"      # not mapped: {_quoted(name)} ({infer(columns[name])})")
    return "\n".join(lines)


def _pattern(files: list[str]) -> str:
    """Files as YAML: a pattern where it names exactly these, else one by one."""
    if len(files) == 1:
        return _quoted(files[0])
    names, folder = [Path(file).name for file in files], Path(files[0]).parent
    ending = _common([name[::-1] for name in names])[::-1]
    pattern = f"{_common(names)}*{ending[ending.find('.') :]}"
    if sorted(map(str, folder.glob(pattern))) == sorted(str(Path(file)) for file in files):
        return _quoted(str(folder / pattern))
    return f"[{', '.join(map(_quoted, files))}]"


def _common(texts: list[str]) -> str:
    """What all texts begin with."""
    alike = (letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False)))
    return "".join(alike)


def _spec(field: str, column: str, columns: dict[str, list[str]]) -> str:
    name = _quoted(column)
    if field == "timestamp":
        form = time_format(columns[column]) if columns[column] else None
        if form is None:
            return f"{{column: {name}, format: '%Y-%m-%d'}}  # the format is not known: correct it"
        return name if form == "iso" else f"{{column: {name}, format: {_quoted(form)}}}"
    if field in ("quantity", "price", "grade") and any(_COMMA.fullmatch(value) for value in columns[column]):
        return f"{{column: {name}, decimal: ','}}"
    if field == "category" and any("|" in value for value in columns[column]):
        return f"{{column: {name}, split: '|'}}"
    if field == "event_type":
        return f"{{column: {name}, values: {{}}}}  # the shop's own words -> view, cart, purchase, ..."
    return name


def _quoted(text: Any) -> str:
    """A YAML scalar."""
    plain = str(text)
    if plain.replace("_", "").replace("-", "").isalnum() and not plain[0].isdigit() and plain.lower() not in _WORDS:
        return plain
    return json.dumps(plain, ensure_ascii=False)


_BESIDE = {
    "address", "code", "e", "email", "id", "key", "mail", "name", "no", "nr", "num", "number", "of", "ref", "the",
}  # fmt: skip
"""Words that may stand beside the one that tells."""
_COMMA = re.compile(r"[-+]?\d+,\d{1,2}")
"""A number with a decimal comma."""
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
