"""A model's class by its name, which is its module's."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec

from pipelines.errors import ConfigError
from pipelines.models.base import Model

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def model_class(name: str) -> type[Model]:
    """The class named ``name`` in the module ``pipelines.models.<name>``, which alone is imported.

    Raises:
        ConfigError: there is no such model, or it is none that can be chosen.
    """
    if _NAME.fullmatch(name) and find_spec(f"pipelines.models.{name}") is not None:
        for kind in vars(import_module(f"pipelines.models.{name}")).values():
            if _is_model(kind) and kind.name == name and kind.stage is not None:
                found: type[Model] = kind
                return found
    raise ConfigError(f"there is no model {name!r} that could be chosen", mend="params.yaml names them under models")


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model) and hasattr(kind, "name")
