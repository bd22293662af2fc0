"""What was chosen: ``params.yaml``, typed. One section a stage, of the stage's name."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import ConfigError, near_names


class Section(BaseModel):
    """A section of ``params.yaml``: unknown keys are refused, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WindowParams(Section):
    """Where history ends (section ``window``, shared by the stages that split or score)."""

    test_partitions: int = Field(default=6, ge=1)
    """The last partitions landed, read by ``evaluate`` alone."""
    validation_partitions: int = Field(default=6, ge=1)
    """The partitions before them, on which choices are made."""
    min_buyers: int = Field(default=5, ge=1)
    """Distinct buyers in training that make an item a candidate."""


class SeedParams(Section):
    """Section ``seed``: one number from which every random generator starts."""

    value: int = 7


class GateParams(Section):
    """When a candidate may become champion (section ``gate``; read by the gate, which is no stage)."""

    alpha: float = Field(default=0.05, gt=0, lt=1)
    """The paired test's p-value must lie below it; the interval covers 1 - alpha."""
    min_effect: float = Field(default=0.0, ge=0, le=1)
    """NDCG@10 that the candidate must gain over its reference, at least."""
    resamples: int = Field(default=10_000, ge=100, le=1_000_000)
    """Bootstrap resamples, and permutations."""
    seed: int = Field(default=7, ge=0)
    """Of the resampling."""


class PrepareParams(Section):
    """Section ``prepare``."""

    event_types: tuple[str, ...] = Field(default=("purchase",), min_length=1)
    """Events that say a user wanted an item; the others are left out of histories and windows."""
    text_characters: int = Field(default=512, ge=16)
    """Characters kept of an item's text."""


_Params = TypeVar("_Params", bound=Section)


def load_params(kind: type[_Params], section: str, path: Path = Path("params.yaml")) -> _Params:
    """Read one section of ``params.yaml``.

    Raises:
        ConfigError: the file or section is missing, a key is unknown or a value out of range; the message
            names the section and the key.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", mend="git checkout -- params.yaml") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}", mend="mend the line it names") from error
    if section not in document:
        raise ConfigError(f"{path} has no section {section!r}", mend=near_names(section, document) or f"add {section}:")
    try:
        return kind.model_validate(document[section] or {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = near_names(key, kind.model_fields)
        raise ConfigError(
            f"{path}: {section}.{key}: {first['msg']}", mend=known or "see docs in pipelines/params.py"
        ) from error
