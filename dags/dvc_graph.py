"""``dvc.yaml`` as immutable records. Knows only DVC's file format: no Airflow, no DVC, nothing beyond yaml.

What the reader does not understand is refused by name, because a key that were skipped in silence would make the
rendered DAG differ from the graph that DVC runs.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import GraphError, near_names

PARAMS_FILE = "params.yaml"
STAGE_KEYS = frozenset({"cmd", "deps", "outs", "metrics", "plots", "params", "desc", "meta"})
OUTPUT_KEYS = frozenset({"cache", "desc", "type", "labels", "meta"})
PLOT_KEYS = OUTPUT_KEYS | {"template", "x", "y", "x_label", "y_label", "title", "header"}
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Stage:
    """One stage, as declared. Paths are relative to the folder of ``dvc.yaml``, normalised, with ``/``."""

    name: str
    cmd: tuple[str, ...]
    deps: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    """Keys of ``params.yaml`` (``"window"`` or ``"window.min_buyers"``)."""
    uncached: tuple[str, ...] = ()
    """Those outputs, metrics and plots that DVC does not store."""
    description: str = ""
    upstream: tuple[str, ...] = ()
    """Stages whose outputs this one reads, in the order of the graph."""

    @property
    def produced(self) -> tuple[str, ...]:
        """Every path that the stage writes: outputs, metrics, plots."""
        return (*self.outs, *self.metrics, *self.plots)


@dataclass(frozen=True)
class Graph:
    """The stages of one ``dvc.yaml``, upstream first."""

    stages: tuple[Stage, ...]
    digest: str
    """SHA-256 of the file, hexadecimal."""

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __getitem__(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = [stage.name for stage in self.stages]
        raise GraphError(f"there is no stage {name!r}", mend=near_names(name, names) or f"stages: {', '.join(names)}")


def read_graph(path: Path) -> Graph:
    """Read a ``dvc.yaml``.

    Raises:
        GraphError: the file is missing, is not YAML, holds a key or value that cannot be rendered, two outputs
            overlap, or the stages form a circle; the message names the stage and the key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GraphError(f"{path} cannot be read: {error.strerror}", mend=f"git checkout -- {path.name}") from None
    stages = _connect(parse_stages(content, str(path)))
    return Graph(_in_order(stages), hashlib.sha256(content).hexdigest())


def parse_stages(content: bytes | str, where: str = "dvc.yaml") -> list[Stage]:
    """The declared stages, not yet connected.

    Raises:
        GraphError: as in :func:`read_graph`, but for overlaps and circles.
    """
    try:
        document = yaml.load(content, Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GraphError(f"{where} is not YAML: {error}", mend="mend the line it names") from error
    except RecursionError:
        raise GraphError(f"{where} is nested too deeply", mend="write the stages out") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise GraphError(f"{where} must be a mapping with the key 'stages'", mend="see README: how to add a stage")
    try:
        _refuse_interpolation(document, where)
    except RecursionError:
        raise GraphError(f"{where}: an alias refers to what holds it", mend="write the value out") from None
    _refuse_unknown(document, frozenset({"stages"}), where)
    stages = document.get("stages") or {}
    if not isinstance(stages, dict):
        raise GraphError(f"{where}: 'stages' must be a mapping of stage names", mend="see README: how to add a stage")
    return [_parse_stage(name, definition, f"{where}: stage {name!r}") for name, definition in stages.items()]


class _StrictLoader(yaml.SafeLoader):
    """Refuses a mapping that holds one key twice, as DVC does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key.start_mark)
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} appears twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse_stage(name: object, definition: object, where: str) -> Stage:
    if not isinstance(name, str) or not _STAGE_NAME.fullmatch(name):
        raise GraphError(
            f"{where}: not a usable name; a stage is named like its module in pipelines/stages",
            mend="use lower-case letters, digits and underscores",
        )
    if not isinstance(definition, dict):
        raise GraphError(f"{where} must be a mapping with at least 'cmd'", mend="see README: how to add a stage")
    _refuse_unknown(definition, STAGE_KEYS, where)
    uncached: list[str] = []
    paths = {
        kind: tuple(_parse_output(entry, kind, where, uncached) for entry in _list(definition, kind, where))
        for kind in ("outs", "metrics", "plots")
    }
    return Stage(
        name=name,
        cmd=_parse_command(definition.get("cmd"), where),
        deps=tuple(_parse_path(entry, f"{where}: deps") for entry in _list(definition, "deps", where)),
        params=_parse_params(_list(definition, "params", where), where),
        uncached=tuple(uncached),
        description=str(definition.get("desc") or ""),
        **paths,
    )


def _parse_command(cmd: object, where: str) -> tuple[str, ...]:
    commands = [cmd] if isinstance(cmd, str) else cmd
    if not isinstance(commands, list) or not commands or not all(isinstance(c, str) and c.strip() for c in commands):
        raise GraphError(
            f"{where}: 'cmd' must be a command or a list of commands", mend="cmd: python -m pipelines.stages.<name>"
        )
    return tuple(commands)


def _parse_output(entry: object, kind: str, where: str, uncached: list[str]) -> str:
    options: object = {}
    if isinstance(entry, dict):
        if len(entry) != 1:
            raise GraphError(
                f"{where}: {kind}: an entry must name one path", mend="start a new list item for each path"
            )
        entry, options = next(iter(entry.items()))
    path = _parse_path(entry, f"{where}: {kind}")
    if not isinstance(options, dict):
        raise GraphError(
            f"{where}: {kind}: {path}: its options must be a mapping", mend=f"- {path}:\n      cache: true"
        )
    _refuse_unknown(options, PLOT_KEYS if kind == "plots" else OUTPUT_KEYS, f"{where}: {kind}: {path}")
    if _contains(path, PARAMS_FILE):
        raise GraphError(f"{where}: {kind}: {path} would overwrite {PARAMS_FILE}", mend="write to a folder under data/")
    if options.get("cache") is False:
        uncached.append(path)
    return path


def _parse_path(entry: object, where: str) -> str:
    if not isinstance(entry, str) or not entry:
        raise GraphError(f"{where}: {entry!r} is not a path", mend="write the path as a plain string")
    path = posixpath.normpath(entry)
    if "://" in entry or "\\" in entry or posixpath.isabs(path) or path.split("/")[0] == "..":
        raise GraphError(
            f"{where}: {entry!r} lies outside the repository; only relative paths are rendered",
            mend="land outside data by the ingest DAG",
        )
    return path


def _parse_params(entries: list[object], where: str) -> tuple[str, ...]:
    keys: list[str] = []
    for entry in entries:
        if isinstance(entry, dict) and set(entry) == {PARAMS_FILE} and isinstance(entry[PARAMS_FILE], list):
            found: list[object] = entry[PARAMS_FILE]
        else:
            found = [entry]
        for key in found:
            if not isinstance(key, str) or not key:
                raise GraphError(
                    f"{where}: params: {entry!r} is not supported; only keys of {PARAMS_FILE} are rendered",
                    mend=f"move the parameter to {PARAMS_FILE}",
                )
            keys.append(key)
    return tuple(keys)


def _list(definition: Mapping[str, Any], key: str, where: str) -> list[object]:
    value = definition.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise GraphError(f"{where}: {key!r} must be a list", mend=f"{key}:\n    - ...")
    return value


def _refuse_unknown(mapping: Mapping[object, object], known: frozenset[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            hint = near_names(str(key), known)
            raise GraphError(
                f"{where}: the key {key!r} is not supported, so no task could be rendered from it",
                mend=hint or f"supported keys: {', '.join(sorted(known))}",
            )


def _refuse_interpolation(value: object, where: str) -> None:
    if isinstance(value, str) and "${" in value:
        raise GraphError(f"{where}: {value!r}: '${{...}}' is not supported", mend="write the value out")
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_interpolation(key, where)
            _refuse_interpolation(inner, f"{where}: {key}")
    elif isinstance(value, list):
        for inner in value:
            _refuse_interpolation(inner, where)


def _contains(folder: str, path: str) -> bool:
    """Whether ``path`` is ``folder`` or lies in it."""
    return folder in (".", path) or path.startswith(f"{folder}/")


def _overlap(first: str, second: str) -> bool:
    return _contains(first, second) or _contains(second, first)


def _connect(stages: list[Stage]) -> list[Stage]:
    """Fill in ``upstream``: a stage follows every other whose output contains, or lies in, one of its deps."""
    produced = [(path, stage) for stage in stages for path in stage.produced]
    for index, (path, stage) in enumerate(produced):
        for other_path, other in produced[:index]:
            if _overlap(path, other_path):
                raise GraphError(
                    f"stage {stage.name!r} writes {path!r}, which overlaps {other_path!r} of stage {other.name!r}",
                    mend="give each output a path of its own",
                )
    connected = []
    for stage in stages:
        upstream = []
        for path, producer in produced:
            if not any(_overlap(path, dep) for dep in stage.deps):
                continue
            if path in producer.uncached:
                raise GraphError(
                    f"stage {stage.name!r} reads {path!r}, which stage {producer.name!r} does not cache, "
                    "so it could not be fetched by hash",
                    mend=f"remove 'cache: false' from {path}",
                )
            upstream.append(producer.name)
        connected.append(replace(stage, upstream=tuple(dict.fromkeys(upstream))))
    return connected


def _in_order(stages: list[Stage]) -> tuple[Stage, ...]:
    """Upstream first; stages that could swap keep their order in the file."""
    waiting = {stage.name: stage for stage in stages}
    done: dict[str, Stage] = {}
    while waiting:
        ready = next((stage for stage in waiting.values() if all(name in done for name in stage.upstream)), None)
        if ready is None:
            circle = ", ".join(repr(name) for name in _circle(waiting))
            raise GraphError(f"dvc.yaml: these stages wait for one another: {circle}", mend="remove one of the deps")
        done[ready.name] = waiting.pop(ready.name)
    order = {name: index for index, name in enumerate(done)}
    return tuple(
        replace(stage, upstream=tuple(sorted(stage.upstream, key=order.__getitem__))) for stage in done.values()
    )


def _circle(waiting: Mapping[str, Stage]) -> list[str]:
    """The names on one circle among stages of which each waits for another."""
    path: list[str] = []
    name = next(iter(waiting))
    while name not in path:
        path.append(name)
        name = next(upstream for upstream in waiting[name].upstream if upstream in waiting)
    return path[path.index(name) :]
