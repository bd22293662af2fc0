"""Every error that shoploom raises on purpose.

    ShoploomError
    ├── ConfigError      settings, params.yaml, dvc.yaml, mapping files
    │   └── GraphError   dvc.yaml holds what the reader does not understand
    ├── DataError        rows, columns, files: what the tables' contract refuses
    │   └── ModelError   a model's input or file: NaN, wrong version, missing part
    ├── StageError       a stage ended without its outputs
    ├── RunError         git and DVC: data versions, worktrees, run commits
    │   ├── RefMovedError    somebody else moved a git ref first (pipelines.runs.git)
    │   └── ObjectLostError  neither the cache nor the remote has an object (pipelines.runs.store)
    ├── RegistryError    MLflow: books, packaging, gate, promotion
    ├── TrustError       signatures, keys, approvals: what does not verify
    └── ServiceError     long-lived services: a taken port, a process that did not come up

A message says what is wrong and where; ``mend`` says how to put it right, as a command where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ShoploomError(Exception):
    """Base of all deliberate errors.

    Args:
        message: what is wrong, and where.
        mend: what to do about it, a command where there is one.
    """

    def __init__(self, message: str, *, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.mend}" if self.mend else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.mend)


def _rebuild(kind: type[ShoploomError], message: str, mend: str) -> ShoploomError:
    return kind(message, mend=mend)


class ConfigError(ShoploomError):
    """A setting, parameter or configuration file is wrong."""


class GraphError(ConfigError):
    """``dvc.yaml`` holds something that cannot be rendered."""


class DataError(ShoploomError):
    """Data breaks the tables' contract."""


class ModelError(DataError):
    """A model cannot be fitted, read or asked."""


class PackageFormatError(ModelError):
    """A package was written in another format than this version of shoploom reads."""


class StageError(ShoploomError):
    """A stage failed; the message is the stage's own."""


class RunError(ShoploomError):
    """git or DVC could not do what a run needs."""


class RegistryError(ShoploomError):
    """MLflow could not do what was asked, or a version is not what it says."""


class TrustError(ShoploomError):
    """A signature, key or approval does not hold; or what was signed is not what is there."""


class ServiceError(ShoploomError):
    """A long-lived service did not start or stop."""


def near_names(name: str, known: Iterable[str]) -> str:
    """Suggest what a person may have meant.

    Returns:
        ``"did you mean 'a' or 'b'?"``, or the empty string when nothing is near.
    """
    near = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
