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
from unicodedata import normalize

from pipelines.sources.tabular.engine import Engine
from pipelines.sources.tabular.files import COMPRESSIONS, FORMATS
from pipelines.sources.tabular.mapping import MAPPED, Feed, Field, Format, Mapping
from pipelines.sources.tabular.names import BESIDE, NAMES
from pipelines.sources.tabular.sniff import layout_of
from pipelines.sources.tabular.types import infer, time_format

SAMPLE = 200
COLUMNS = 200
"""Columns of a file that are looked at."""

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
    parts: dict[str, dict[str, str]] = {}
    for alike, said, layout in _groups(files):
        columns = _sample(alike[0], layout)
        table = _table_of(set(_guess(columns)))
        feeds = parts.setdefault(table, {})
        name = _name(alike) or table
        while name in feeds:
            name = f"{name}_again"
        feeds[name] = _feed(name, alike, table, columns, said)
    lines = [
        "# A first mapping, drafted from names of columns: read every line, then: shoploom source check THIS_FILE",
        "shop: my_shop  # letters, digits, _ and -",
        "time_zone: UTC  # where the shop's day turns, as Europe/Berlin",
        "partition: week  # or day",
    ]
    for table in MAPPED:
        if table in parts:
            lines += [f"{table}:", *parts[table].values()]
        elif table in ("events", "items"):
            lines.append(f"# {table}: no file looks like it; every shop has {table}")
    return "\n".join(lines) + "\n"


def _groups(files: list[str]) -> list[tuple[list[str], list[str], dict[str, Any]]]:
    """Files that one feed can read, those of the same layout and columns, with what :func:`_layout` says of them."""
    groups: dict[object, tuple[list[str], list[str], dict[str, Any]]] = {}
    for file in files:
        said, layout = _layout(Path(file))
        key = (_format(Path(file)), tuple(said), _names(file, layout))
        groups.setdefault(key, ([], said, layout))[0].append(file)
    return list(groups.values())


def _format(path: Path) -> Format | None:
    """What a file's ending says that it holds, packed or not; None where it says nothing."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in COMPRESSIONS:
        endings.pop()
    return FORMATS.get(endings[-1]) if endings else None


def _layout(path: Path) -> tuple[list[str], dict[str, Any]]:
    """What the mapping must say of a file, as lines of it and as arguments of a feed; nothing of what needs no word."""
    packed, named = COMPRESSIONS.get(path.suffix.lower()), _format(path)
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
    plain = {_plain(name): name for name in columns}
    for field, names in NAMES.items():
        for name in names:
            column = plain.get(_plain(name))
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


def _plain(name: str) -> str:
    """A name in small letters, without accents and what stands between words."""
    return "".join(letter for letter in normalize("NFKD", name.lower()) if letter.isalnum())


def _is_told(field: str, column: str, values: list[str]) -> bool:
    """Whether a column's name says by one of its words what it holds, and nothing of it speaks against that."""
    words = {_plain(word) for word in re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", column))}
    names = {_plain(name) for name in NAMES[field]}
    if not words & names:
        return False
    if field == "timestamp":
        return bool(values) and time_format(values) is not None
    if field in ("quantity", "price"):
        plain = (value.replace(".", "") if _COMMA.fullmatch(value) else value for value in values)
        return infer(value.replace(",", ".") for value in plain) in ("integer", "number")
    return words <= {*names, *BESIDE}


def _table_of(fields: set[str]) -> str:
    if {"query", "item_id", "grade"} <= fields and "user_id" not in fields:
        return "judgements"
    if "timestamp" in fields and not fields & {"title", "description", "category", "brand"}:
        return "events"
    if "user_id" in fields:
        return "events" if fields & {"item_id", "timestamp", "query"} else "users"
    return "items"


def _name(files: list[str]) -> str:
    """What the names of files begin with, without numbers and dates."""
    name = _common([Path(file).name.split(".")[0] for file in files])
    return name.rstrip("0123456789_- ") if len(files) > 1 else name


def _feed(name: str, files: list[str], table: str, columns: dict[str, list[str]], layout: list[str]) -> str:
    guessed = {field: column for field, column in _guess(columns).items() if field in _PLAIN[table]}
    quantity = guessed.get("quantity")
    returns = table == "events" and quantity is not None and any(each.startswith("-") for each in columns[quantity])
    lines = [f"  - name: {_quoted(name)}", f"    files: {_patterns(files)}"]
    lines += [*(f"    {line}" for line in layout), "    fields:"]
    for field in _PLAIN[table]:
        if field == "event_type" and field not in guessed and returns:
            lines += [
                "      event_type:  # some quantities are below 0",
                "        rules:",
                f"          - when: {{column: {_quoted(quantity)}, below: 0}}",
                "            then: return",
                "        otherwise: purchase",
            ]
        elif field in guessed:
            lines.append(f"      {field}: {_spec(field, guessed[field], columns, absolute=returns)}")
            if field == "price" and quantity is not None:
                lines.append(f"      # price is of one unit: of a whole line's, add divided_by: {_quoted(quantity)}")
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


def _patterns(files: list[str]) -> str:
    """Files as YAML: for each ending a pattern where it names exactly these, else one by one."""
    endings: dict[str, list[str]] = {}
    for file in files:
        endings.setdefault(Path(file).name.partition(".")[2], []).append(file)
    found = [_quoted(each) for alike in endings.values() for each in _pattern(alike)]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"


def _pattern(files: list[str]) -> list[str]:
    if len(files) == 1:
        return files
    names, folder = [Path(file).name for file in files], Path(files[0]).parent
    ending = _common([name[::-1] for name in names])[::-1]
    pattern = f"{_common(names)}*{ending[ending.find('.') :]}"
    if sorted(map(str, folder.glob(pattern))) == sorted(str(Path(file)) for file in files):
        return [str(folder / pattern)]
    return files


def _common(texts: list[str]) -> str:
    """What all texts begin with."""
    alike = (letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False)))
    return "".join(alike)


def _spec(field: str, column: str, columns: dict[str, list[str]], *, absolute: bool) -> str:
    name = _quoted(column)
    if field == "timestamp":
        form = time_format(columns[column]) if columns[column] else None
        if form is None:
            return f"{{column: {name}, format: '%Y-%m-%d'}}  # the format is not known: correct it"
        return name if form == "iso" else f"{{column: {name}, format: {_quoted(form)}}}"
    if field in ("quantity", "price", "grade"):
        comma = [value for value in columns[column] if _COMMA.fullmatch(value)]
        said = ["decimal: ','"] if comma else []
        said += ["thousands: '.'"] if any("." in value for value in comma) else []
        said += ["absolute: true"] if absolute and field != "grade" else []
        return f"{{{', '.join([f'column: {name}', *said])}}}" if said else name
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


_COMMA = re.compile(r"[-+]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d{1,2}")
"""A number with a decimal comma, with or without points between thousands."""
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
