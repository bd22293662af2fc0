"""What files were found to hold, so that an unchanged file outside what a load asks for is not read again.

A file is known by size, times and inode (what was fetched, by its hash), and only by the same mapping and code. What is
remembered is days, counts and hashes: no value of a row, so nothing of who a user is.
"""

from __future__ import annotations

import hashlib
import json
import time
from bisect import bisect_left
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pipelines import tables
from pipelines.artifacts import file_sha256, write_json
from pipelines.sources import calendars
from pipelines.sources.raw_files import RawFile
from pipelines.sources.tabular.files import FoundFile
from pipelines.sources.tabular.mapping import Mapping

SETTLED_SECONDS = 2.0
"""A file changed less than that ago is not remembered: a further change might leave its times as they are."""
MOST_REFUSED = 1000
"""Damaged lines that are remembered of a file; one with more is read each time."""
LIBRARIES = ("duckdb", "pyarrow")


@dataclass(frozen=True)
class Refused:
    """A line that is no row of its file's format; its text is not kept, for it may name a user.

    Args:
        feed: the feed's name.
        file: its file's own name.
        given: the file as the mapping names it.
        line: counted from 1; 0 where it is not known.
        error: what is wrong, in DuckDB's words.
    """

    feed: str
    file: str
    given: str
    line: int
    error: str

    def kept(self) -> str:
        """For the column ``source_row``."""
        return json.dumps({"feed": self.feed, "file": self.file, "line": self.line, "error": self.error})


@dataclass(frozen=True)
class Contents:
    """What a file of events holds, by the mapping.

    Args:
        raw: the file, by hash.
        days: shop-local days of its events, ascending.
        unplaced: rows without a time that can be read.
        refused: lines that are no rows.
    """

    raw: RawFile
    days: tuple[date, ...]
    unplaced: int
    refused: tuple[Refused, ...]

    def touches(self, first: date | None, last: date | None) -> bool:
        """Whether it has events of these days; None = from the first, to the last."""
        at = bisect_left(self.days, first) if first else 0
        return at < len(self.days) and (last is None or self.days[at] <= last)


class FileMemory:
    """Contents of files, by the mapping that reads them.

    Args:
        folder: where it lies; None = nothing is remembered.
        mapping: reads the files.
    """

    def __init__(self, folder: Path | None, mapping: Mapping) -> None:
        # Where a feed keeps one row an id of all its files, what a file gives depends on the others.
        self._folder = None if any(feed.once for feed in mapping.of(tables.EVENTS.name)) else folder
        self._reads = f"{mapping.digest()}\n{_code()}"
        self._place = mapping.path.resolve()

    def get(self, file: FoundFile) -> Contents | None:
        """What is remembered of a file; None where it is new, changed, or read by another mapping now."""
        path = self._path(file)
        if path is None:
            return None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            found = Contents(
                RawFile(**kept["raw"]),
                tuple(map(date.fromisoformat, kept["days"])),
                int(kept["unplaced"]),
                tuple(Refused(**line) for line in kept["refused"]),
            )
            known = tuple(kept["seen"]) == file.seen if file.lasting else found.raw.sha256 == file_sha256(file.path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if known and kept.get("reads") == _digest(self._reads) else None

    def put(self, file: FoundFile, contents: Contents) -> None:
        """Remember what a file holds, unless it was changed a moment ago."""
        path = self._path(file)
        if path is None or len(contents.refused) > MOST_REFUSED:
            return
        if file.lasting and time.time() - max(file.seen[1:3]) / 1e9 < SETTLED_SECONDS:
            return
        kept = {
            "seen": file.seen,
            "reads": _digest(self._reads),
            "raw": vars(contents.raw),
            "days": [day.isoformat() for day in contents.days],
            "unplaced": contents.unplaced,
            "refused": [vars(line) for line in contents.refused],
        }
        write_json(kept, path)

    def _path(self, file: FoundFile) -> Path | None:
        if self._folder is None:
            return None
        key = _digest(f"{self._place}\n{file.given}")
        return self._folder / key[:2] / f"{key}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _code() -> str:
    """What decides, beside the mapping, what a file gives."""
    modules = (*sorted(Path(__file__).parent.glob("*.py")), Path(calendars.__file__), Path(tables.__file__))
    return "\n".join((*map(file_sha256, modules), *map(version, LIBRARIES)))
