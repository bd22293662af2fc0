"""The shop's own files that stored partitions came from, as the data versions that brought them say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from pipelines.runs.data_history import Landed
from pipelines.runs.data_versions import SOURCES
from pipelines.runs.git import Git
from pipelines.settings import Settings
from pipelines.sources.raw_files import Origins, RawFile

RawFiles = tuple[RawFile, ...]


def raw_files_of(
    settings: Settings, history: Mapping[str, Landed], contents: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], RawFiles | None]:
    """The files behind contents: those that the load read, and those behind what it was put together with.

    Args:
        settings: the repository.
        history: every data version that is wanted, with those before it.
        contents: ``<table>/<file>``, and the data version that brought that content of it.

    Returns:
        For each its files, in the order of their names; None where a version does not say, as those of an older
        shoploom do not.
    """
    wanted = list(dict.fromkeys(contents))
    git = Git(settings.repository)
    known: dict[str, Origins | None] = {}

    def read(commits: Iterable[str]) -> None:
        fresh = [commit for commit in dict.fromkeys(commits) if commit not in known]
        found = git.contents([f"{commit}:{SOURCES}" for commit in fresh]) if fresh else []
        for commit, content in zip(fresh, found, strict=True):
            known[commit] = Origins.parse(content) if content is not None else None

    @cache
    def files(name: str, commit: str) -> RawFiles | None:
        read([commit])
        origins = known[commit]
        if origins is None or name not in {**origins.files, **origins.onto}:
            return None
        own = set(origins.files.get(name, ()))
        if name not in origins.onto:
            return tuple(sorted(own))
        before = _brought_by(history, name, origins.onto[name], history[commit].parent)
        rest = files(name, before) if before else None
        return None if rest is None else tuple(sorted(own | set(rest)))

    read(commit for _, commit in wanted)
    return {(name, commit): files(name, commit) for name, commit in wanted}


def _brought_by(history: Mapping[str, Landed], name: str, md5: str, commit: str) -> str:
    """The newest version up to a commit that brought a content; empty where none is known to."""
    while (landed := history.get(commit)) is not None:
        if (landed.changed or {}).get(name) == md5:
            return commit
        commit = landed.parent
    return ""
