"""The package's list of contents: a format version and the SHA-256 of every file, checked before anything is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.artifacts import files_sha256, read_json, write_json
from pipelines.errors import DataError, ModelError, PackageFormatError
from pipelines.models.base import MADE_AGAIN

FORMAT = 3
MANIFEST_FILE = "manifest.json"
PIN_FILE = "champion.json"
"""May lie beside the manifest: which registered version a run compares itself with."""
CATALOGUE_FOLDER = "catalogue"
RANKER_FOLDER = "ranker"
SEARCH_FOLDER = "search"
ENCODER_FOLDER = "search/encoder"
RELEVANCE_FOLDER = "search/relevance"
MULTILINGUAL_FOLDER = "search/multilingual"
INTENT_FOLDER = "search/intent"
SUFFIXES = (".json", ".parquet", ".safetensors", ".txt", ".xml", ".bin", ".npy", ".faiss")
"""Formats that hold no code; a package with a file of any other kind is refused."""


@dataclass(frozen=True)
class Facts:
    """What a package says about itself.

    Args:
        trained_until: days since the epoch, UTC, of the last event that any part was fitted on.
        as_of: days since the epoch, UTC, at which known users' histories are read.
        shortlist: texts that the relevance head sees for one query.
        popularity_weight: what the most bought item gains in search, beside a relevance of 0..1.
        personal_weight: what the user's best item gains in search.
        keyword_weight: what the text that shares most words with the query gains in search, where judgements did not
            teach it.
        popularity_debias: 0..1, how much recommendations give up on what everybody buys.
        diversity: 0..1 (1 excluded), how much a list of recommendations avoids products that are alike.
    """

    trained_until: float
    as_of: float
    shortlist: int
    popularity_weight: float
    personal_weight: float
    keyword_weight: float
    popularity_debias: float
    diversity: float


def write_manifest(directory: Path, facts: Facts) -> None:
    """List every file of ``directory`` beside ``facts``.

    Raises:
        ModelError: a file is a link, or of a format that may hold code.
    """
    names = _files(directory)
    files = dict(zip(names, files_sha256([directory / name for name in names]), strict=True))
    write_json({"format": FORMAT, "facts": asdict(facts), "files": files}, directory / MANIFEST_FILE)


def verify(directory: Path) -> Facts:
    """Check every file of a package against its manifest.

    Raises:
        ModelError: no manifest, a file that is missing, not listed or changed; the message names it.
        PackageFormatError: the package is of another format.
    """
    listed = _read(directory)
    files: dict[str, str] = listed["files"]
    found = _files(directory)
    for name in sorted(set(files) - set(found)):
        raise ModelError(f"{directory} lacks {name}", mend=MADE_AGAIN)
    for name in found:
        if name not in files:
            raise ModelError(f"{directory} holds {name}, which its manifest does not list", mend="remove it")
    for name, digest in zip(found, files_sha256([directory / name for name in found]), strict=True):
        if digest != files[name]:
            raise ModelError(f"{directory / name} is not what its manifest says", mend=MADE_AGAIN)
    return _facts(directory, listed)


def _read(directory: Path) -> dict[str, Any]:
    try:
        listed = read_json(directory / MANIFEST_FILE)
    except DataError as error:
        raise ModelError(f"{directory} is not a package: {error.message}", mend="shoploom run makes one") from error
    if not isinstance(listed, dict) or listed.get("format") != FORMAT:
        found = listed.get("format") if isinstance(listed, dict) else None
        raise PackageFormatError(
            f"{directory} has package format {found!r}; this version reads {FORMAT}", mend="shoploom run makes it again"
        )
    if not isinstance(listed.get("files"), dict):
        raise ModelError(f"{directory / MANIFEST_FILE} lists no files", mend=MADE_AGAIN)
    return listed


def _facts(directory: Path, listed: dict[str, Any]) -> Facts:
    try:
        return Facts(**listed["facts"])
    except (KeyError, TypeError) as error:
        raise PackageFormatError(
            f"{directory / MANIFEST_FILE} lacks a fact: {error}", mend="shoploom run makes it again"
        ) from error


def _files(directory: Path) -> list[str]:
    """Names of all files but the manifest and a pin, sorted, with ``/`` between folders."""
    names = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ModelError(f"{path} is no plain file", mend="a package holds plain files only")
        if path.is_dir() or name in (MANIFEST_FILE, PIN_FILE):
            continue
        if path.suffix not in SUFFIXES:
            raise ModelError(f"{path} is of a kind that a package may not hold", mend=f"use {', '.join(SUFFIXES)}")
        names.append(name)
    return names
