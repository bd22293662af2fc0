"""Which of a shop's own files landed rows came from: by path, size and hash, never by content.

A landing directory holds them beside its tables, in :data:`SOURCES`; the data version keeps what concerns the
partitions that it changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.artifacts import atomic_file, file_sha256

SOURCES = "sources.json"


@dataclass(frozen=True, order=True)
class RawFile:
    """A file that a source read.

    Args:
        path: as the source was told of it; of an address, without what follows a question mark.
        size: in bytes.
        sha256: of all of it, as it lay there.
    """

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path, name: str) -> RawFile:
        """A file that lies here, by the name that the source knows it under."""
        return cls(name, path.stat().st_size, file_sha256(path))


@dataclass(frozen=True)
class Origins:
    """What landed files were made of.

    Args:
        files: ``<table>/<file>`` -> the raw files; none where the source reads no files.
        onto: ``<table>/<file>`` -> md5 of stored content that went into it too: whose origins are its own as well.
    """

    files: Mapping[str, tuple[RawFile, ...]] = field(default_factory=dict)
    onto: Mapping[str, str] = field(default_factory=dict)

    def of(self, names: Iterable[str]) -> Origins:
        """Those of some of the files."""
        chosen = set(names)
        return Origins(
            {name: files for name, files in self.files.items() if name in chosen},
            {name: md5 for name, md5 in self.onto.items() if name in chosen},
        )

    def content(self) -> bytes:
        """JSON, the same for the same origins: each raw file once, named by its number."""
        every = sorted({raw for files in self.files.values() for raw in files})
        numbers = {raw: number for number, raw in enumerate(every)}
        made_of = {name: sorted(numbers[raw] for raw in files) for name, files in self.files.items()}
        value = {"files": [asdict(raw) for raw in every], "made_of": made_of, "onto": dict(self.onto)}
        return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def parse(cls, content: bytes) -> Origins:
        """Back from :meth:`content`."""
        value = json.loads(content)
        every = [RawFile(**raw) for raw in value["files"]]
        files = {name: tuple(every[number] for number in numbers) for name, numbers in value["made_of"].items()}
        return cls(files, dict(value["onto"]))


def write_origins(origins: Origins, landing: Path) -> None:
    """Put origins beside the tables of a landing directory."""
    with atomic_file(landing / SOURCES) as path:
        path.write_bytes(origins.content())


def read_origins(landing: Path) -> Origins | None:
    """The origins that lie in a landing directory; None where there are none."""
    path = landing / SOURCES
    return Origins.parse(path.read_bytes()) if path.is_file() else None
