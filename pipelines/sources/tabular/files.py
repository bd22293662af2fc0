"""A feed's files: found, fetched where they lie elsewhere, their format and their columns.

An address is read only where its scheme and host are on the allow-list ``SHOPLOOM_SOURCE_HOSTS``; it is never a chain
(``simplecache::``), and a redirect never leads to another host. A local file is never a symlink.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from pipelines.errors import ConfigError, DataError, near_names
from pipelines.sources.tabular.mapping import Feed, Format, Mapping

FORMATS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}

SAMPLED_LINES = 10_000
"""Lines of a JSON-lines file that are looked at for its columns."""
LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of the longest line that is read."""


@dataclass(frozen=True)
class FoundFile:
    """A file that a feed names, not opened yet.

    Args:
        path: on this machine.
        shown: its own name, for messages and kept rows.
        given: as the mapping names it: a path from the mapping's folder, or an address without its query.
        seen: what a changed file would differ in: size, times of change in nanoseconds, inode.
        lasting: whether it is the shop's own, and no copy that was fetched.
    """

    path: Path
    shown: str
    given: str
    seen: tuple[int, ...]
    lasting: bool = True

    @classmethod
    def at(cls, path: Path, shown: str, given: str, *, lasting: bool = True) -> FoundFile:
        """A file that lies here, as it is now."""
        return cls(path, shown, given, _seen(path), lasting)

    def refuse_changed(self) -> None:
        """Make sure that it is still the file that was found.

        Raises:
            DataError: it was written to, or replaced, since.
        """
        try:
            same = _seen(self.path) == self.seen
        except OSError:
            same = False
        if not same:
            raise DataError(
                f"{self.given} was changed while it was read",
                mend="write it under another name and rename it when it is whole; then the same command again",
            )


@dataclass(frozen=True)
class SourceFile:
    """A file to read.

    Args:
        path: on this machine, unpacked where DuckDB would not.
        shown: its own name, for messages and kept rows.
        format: what it holds.
        columns: names of its columns, in order; of JSON-lines, what its first lines have, as dotted paths.
        found: what it was found as.
    """

    path: Path
    shown: str
    format: Format
    columns: tuple[str, ...]
    found: FoundFile


def find_files(
    feed: Feed, mapping: Mapping, hosts: tuple[str, ...], scratch: Path, most: int = 0
) -> tuple[list[FoundFile], int]:
    """The files of a feed, in the order of their names.

    Args:
        feed: names them.
        mapping: whose folder paths are relative to.
        hosts: allowed addresses, ``https://files.shop.example`` or ``s3://bucket``.
        scratch: where what must be fetched goes.
        most: that are looked at, spread from the first to the last; 0 = all.

    Returns:
        The files, and how many there are of which these were taken.

    Raises:
        ConfigError: nothing matches, an address is not allowed, or a file is a symlink.
        DataError: a file cannot be fetched.
    """
    named: list[Path | str] = []
    where = f"{mapping.path}:{feed.line}: {feed.table}.files"
    folder = mapping.path.parent
    for name in feed.files:
        named += addresses(name, where, hosts) if "://" in name or "::" in name else _local(name, where, folder)
    found = []
    for each in _spread(named, most):
        if isinstance(each, Path):
            found.append(FoundFile.at(each, each.name, _given(each, folder)))
        else:
            shown = _plain(each)
            found.append(FoundFile.at(fetch(each, where, scratch, hosts), shown, shown, lasting=False))
    return found, len(named)


def _spread(named: list[Path | str], most: int) -> list[Path | str]:
    """At most so many, from the first to the last."""
    if not 0 < most < len(named):
        return named
    return [named[number * (len(named) - 1) // max(most - 1, 1)] for number in range(most)]


def _given(path: Path, folder: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _seen(path: Path) -> tuple[int, ...]:
    told = path.stat()
    return told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino


def _local(pattern: str, where: str, folder: Path) -> list[Path]:
    whole = folder / Path(pattern).expanduser()
    anchor = Path(whole.anchor)
    paths = [whole] if whole.is_file() else sorted(anchor.glob(str(whole.relative_to(anchor))))
    paths = [path for path in paths if not path.is_dir()]
    if not paths:
        near = near_names(whole.name, (path.name for path in whole.parent.glob("*")))
        raise ConfigError(
            f"{where}: no file {pattern} in {folder.resolve()}", mend=near or "paths are relative to the mapping"
        )
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise ConfigError(
                f"{where}: {path} is no plain file", mend="copy the file there; symlinks are not followed"
            )
    return paths


def addresses(pattern: str, where: str, hosts: tuple[str, ...]) -> list[str]:
    """The addresses of files: what is given, or in a store that can list what it has, all that fit a pattern.

    Args:
        pattern: a plain address, with ``*`` where there are several.
        where: the mapping's line, for messages.
        hosts: allowed addresses.

    Raises:
        ConfigError: it is not allowed, or nothing is there that fits.
        DataError: the store cannot be asked.
    """
    parts = urlsplit(pattern)
    origin = f"{parts.scheme}://{parts.netloc}"
    if "::" in pattern or not parts.netloc or "@" in parts.netloc:
        raise ConfigError(f"{where}: {pattern!r} is no plain address", mend="write it as https://host/path/file.csv.gz")
    if origin not in hosts:
        raise ConfigError(
            f"{where}: {origin} is not allowed", mend=f"if you trust it: export SHOPLOOM_SOURCE_HOSTS={origin}"
        )
    if "*" not in pattern:
        return [pattern]
    if parts.scheme in ("http", "https"):
        raise ConfigError(f"{where}: {_plain(pattern)} is a pattern", mend="a web server lists no files: name each")
    import fsspec

    with _fetching(pattern, where):
        store, path = fsspec.core.url_to_fs(pattern)
        found = [f"{parts.scheme}://{name}" for name in sorted(store.glob(path)) if not store.isdir(name)]
    if not found:
        raise ConfigError(f"{where}: nothing at {pattern}", mend="check the address")
    return found


def fetch(address: str, where: str, scratch: Path, hosts: tuple[str, ...]) -> Path:
    """Bring a file from an allowed address; see :func:`find_files`."""
    parts = urlsplit(address)
    target = scratch / f"{len(list(scratch.iterdir()))}-{Path(parts.path).name or 'file'}"
    with _fetching(address, where), target.open("wb") as file:
        _copy(address, parts.scheme, hosts, file)
    return target


@contextmanager
def _fetching(address: str, where: str) -> Iterator[None]:
    """Say what went wrong in our words: each kind of store has errors of its own."""
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        shown = _plain(address)
        raise DataError(f"{where}: {shown} cannot be fetched: {said}", mend=_mend(error, shown)) from None


def _plain(address: str) -> str:
    """An address without its query, which may hold a token."""
    return address.partition("?")[0] if address.startswith("http") else address


def _mend(error: Exception, shown: str) -> str:
    if isinstance(error, ImportError):
        return f"install what reads {shown.partition(':')[0]}:// addresses, as the message says"
    if "Credentials" in type(error).__name__:
        return (
            "give the store's credentials in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE"
        )
    if isinstance(error, PermissionError) or getattr(error, "code", 0) in (401, 403):
        return "its server refuses these credentials: look at what they may read"
    return "check the address"


def _copy(address: str, scheme: str, hosts: tuple[str, ...], file: Any) -> None:
    if scheme in ("http", "https"):
        with _opener(hosts).open(address, timeout=60) as answer:
            shutil.copyfileobj(answer, file, 1 << 20)
        return
    import fsspec

    with fsspec.open(address, "rb") as remote:
        shutil.copyfileobj(remote, file, 1 << 20)


def _opener(hosts: tuple[str, ...]) -> Any:
    """Opens http addresses; a redirect to a host that is not allowed is an error."""
    from urllib.request import HTTPRedirectHandler, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            parts = urlsplit(newurl)
            if f"{parts.scheme}://{parts.netloc}" not in hosts:
                raise OSError(f"it redirects to {parts.scheme}://{parts.netloc}, which is not allowed")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return build_opener(Redirects)


def open_file(found: FoundFile, feed: Feed, mapping: Mapping, scratch: Path) -> SourceFile:
    """Look at a file's format and columns.

    Args:
        found: of the feed.
        feed: says how it is laid out.
        mapping: of the feed.
        scratch: where what must be unpacked goes.

    Raises:
        ConfigError: its ending tells no format, and neither does the mapping.
        DataError: it cannot be read.
    """
    path, shown = found.path, found.shown
    endings = [ending.lower() for ending in Path(shown).suffixes]
    packed = COMPRESSIONS.get(endings[-1]) if endings else None
    named = endings[-2] if packed and len(endings) > 1 else endings[-1] if endings else ""
    kind = feed.format or FORMATS.get(named)
    if kind is None:
        raise ConfigError(
            f"{mapping.path}:{feed.line}: {feed.table}.files: the ending of {shown} tells no format",
            mend="give the feed a format: csv, tsv, jsonl or parquet",
        )
    if packed == "bz2" or (packed and kind == "parquet"):
        path = _unpacked(path, shown, packed, scratch)
        packed = None
    try:
        columns = _columns(path, kind, packed, feed)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{shown} cannot be read as {kind}: {error}", mend=_whole(shown)) from None
    return SourceFile(path, shown, kind, columns, found)


def _whole(shown: str) -> str:
    return f"bring {shown} whole, or correct its format, delimiter or encoding in the mapping"


def _unpacked(path: Path, shown: str, packed: str, scratch: Path) -> Path:
    import pyarrow as pa

    target = scratch / f"{len(list(scratch.iterdir()))}-{path.name}.unpacked"
    try:
        with pa.input_stream(str(path), compression=packed) as stream, target.open("wb") as file:
            shutil.copyfileobj(cast(Any, stream), file, 1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shown} cannot be unpacked: {error}", mend=_whole(shown)) from None
    return target


def _columns(path: Path, kind: Format, packed: str | None, feed: Feed) -> tuple[str, ...]:
    import pyarrow as pa

    if kind == "parquet":
        import pyarrow.parquet as pq

        return tuple(_leaves(pq.read_schema(path)))
    if feed.header is not None:
        return feed.header
    with pa.input_stream(str(path), compression=packed) as stream:
        if kind == "jsonl":
            return _keys(_lines(stream, SAMPLED_LINES))
        first = next(_lines(stream, 1), b"").decode(feed.encoding, errors="replace").removeprefix("\ufeff")
    if not first.strip():
        raise ValueError("it is empty")
    delimiter = feed.delimiter or ("\t" if kind == "tsv" else ",")
    if len(delimiter) > 1:
        return tuple(first.rstrip("\r\n").split(delimiter))
    limit = csv.field_size_limit(LONGEST_LINE)
    try:
        if not feed.quote:
            return tuple(first.rstrip("\r\n").split(delimiter))
        return tuple(next(csv.reader(io.StringIO(first), delimiter=delimiter, quotechar=feed.quote)))
    finally:
        csv.field_size_limit(limit)


def _lines(stream: Any, most: int) -> Iterator[bytes]:
    """The first lines of a stream; a line that is too long is cut."""
    rest = b""
    while most:
        block = stream.read(1 << 16)
        rest += block
        *whole, rest = rest.split(b"\n")
        yield from whole[:most]
        most -= min(most, len(whole))
        if most and (not block or len(rest) > LONGEST_LINE):
            if rest:
                yield rest
            return


def _keys(lines: Iterator[bytes]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    read = 0
    for line in lines:
        read += 1
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            for key in _paths(value, ""):
                found.setdefault(key)
    if not found:
        raise ValueError("none of its first lines is a JSON object" if read else "it is empty")
    return tuple(found)


def _paths(value: dict[str, Any], above: str) -> Iterator[str]:
    for key, inner in value.items():
        yield f"{above}{key}"
        if isinstance(inner, dict) and above.count(".") < 3:
            yield from _paths(inner, f"{above}{key}.")
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            yield from _paths(inner[0], f"{above}{key}.0.")


def _leaves(schema: Any) -> Iterator[str]:
    import pyarrow as pa

    for field in schema:
        yield field.name
        if pa.types.is_struct(field.type):
            yield from (f"{field.name}.{part.name}" for part in field.type)
