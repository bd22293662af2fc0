"""Which models are trained and ranked with: the section ``models`` of ``params.yaml``, or what one run is told."""

from __future__ import annotations

from pathlib import Path

import yaml

from pipelines.errors import ConfigError
from pipelines.models.found import checked, model_named, models, sections
from pipelines.params import check_params, load_models, read_models

ALL = "all"


def chosen_models(path: Path = Path("params.yaml")) -> tuple[str, ...]:
    """The models chosen, in the order of names.

    Raises:
        ConfigError: a name is no model's, or a chosen model lacks one that it builds on.
    """
    return _chosen(load_models(path))


def check_chosen(content: bytes, where: str = "params.yaml") -> None:
    """Check every section, those of the models included.

    Raises:
        ConfigError: the message names the section and the key.
    """
    check_params(content, where, sections())
    if b"models" in content and "models" in (yaml.safe_load(content) or {}):
        _chosen(read_models(content, where))


def named_models(wanted: str) -> tuple[str, ...]:
    """What ``--models`` says.

    Args:
        wanted: ``all``, or names separated by commas.

    Raises:
        ConfigError: a name is no model's, or a model lacks one that it builds on.
    """
    if wanted == ALL:
        return tuple(models())
    names = checked(name for name in (part.strip() for part in wanted.split(",")) if name)
    if not names:
        raise ConfigError(f"{wanted!r} names no model", mend=f"models: {ALL}, or of {', '.join(models())}")
    return names


def with_models(content: bytes, wanted: str) -> bytes:
    """``params.yaml`` with other models chosen; everything else is left as it is written.

    Args:
        content: of the file.
        wanted: as for :func:`named_models`.

    Raises:
        ConfigError: as :func:`named_models`, or the section cannot be replaced as it is written.
    """
    chosen = named_models(wanted)
    section = {name: name in chosen for name in models()}
    before = yaml.safe_load(content) or {}
    if before.get("models") == section:
        return content
    lines = content.decode("utf-8").splitlines(keepends=True)
    start, stop = _block(lines)
    block = ["models:\n", *(f"  {name}: {str(on).lower()}\n" for name, on in section.items())]
    written = "".join([*lines[:start], *block, *lines[stop:]]).encode("utf-8")
    if _parsed(written) != {**before, "models": section}:
        raise ConfigError(
            "the section models of params.yaml cannot be replaced as it is written",
            mend="write it as a block: a line 'models:', then a line '  name: true' for each",
        )
    return written


def _chosen(section: dict[str, bool]) -> tuple[str, ...]:
    for name in section:
        model_named(name)
    return checked(name for name, on in section.items() if on)


def _parsed(content: bytes) -> object:
    try:
        return yaml.safe_load(content)
    except yaml.YAMLError:
        return None


def _block(lines: list[str]) -> tuple[int, int]:
    """First line of the section and the first after it; both are the end of the file where there is none."""
    start = next((row for row, line in enumerate(lines) if line.startswith("models:")), len(lines))
    if start == len(lines) and lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    stop = start + 1
    while stop < len(lines) and lines[stop][:1] in (" ", "\t"):
        stop += 1
    return start, min(stop, len(lines))
