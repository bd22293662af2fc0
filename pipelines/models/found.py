"""The models that can be chosen, found by looking into ``pipelines/models``: there is no list to edit."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from pkgutil import iter_modules

from pipelines.errors import ConfigError, near_names
from pipelines.models.base import Model
from pipelines.models.named import model_class
from pipelines.params import Section


@cache
def models() -> dict[str, type[Model]]:
    """Every model that can be chosen, by name, in the order of names."""
    found = {}
    for module in sorted(iter_modules([str(Path(__file__).parent)]), key=lambda module: module.name):
        try:
            found[module.name] = model_class(module.name)
        except ConfigError:
            continue
    return found


def model_named(name: str) -> type[Model]:
    """The class of a model that can be chosen.

    Raises:
        ConfigError: there is none of this name; near ones are suggested.
    """
    try:
        return models()[name]
    except KeyError:
        raise ConfigError(f"there is no model {name!r}", mend=_others(name)) from None


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """Chosen names in their order, each once.

    Raises:
        ConfigError: a name is no model's, or a model lacks one that it builds on.
    """
    chosen = sorted(set(names))
    for name in chosen:
        for needed in model_named(name).needs:
            if needed not in chosen:
                raise ConfigError(
                    f"model {name!r} builds on {needed!r}, which is not chosen",
                    mend=f"choose {needed} too, or leave {name} out",
                )
    return tuple(chosen)


def sections() -> dict[str, type[Section]]:
    """The class of every model's section of ``params.yaml``, by the stage that reads it."""
    return {str(kind.stage): kind.Settings for kind in models().values() if kind.Settings.model_fields}


def _others(name: str) -> str:
    return near_names(name, models()) or f"models: {', '.join(models())}"
