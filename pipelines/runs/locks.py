"""``dvc.lock``: what DVC recorded of each stage, as plain values and as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LOCK = "dvc.lock"

LockEntry = dict[str, Any]
"""What DVC writes for a stage: ``cmd``, ``deps``, ``params``, ``outs``."""


def plain(entry: Any) -> LockEntry:
    """DVC's record of a stage as plain dictionaries and lists."""
    copied: LockEntry = json.loads(json.dumps(entry))
    return copied


def dump_lock(entries: Mapping[str, LockEntry]) -> bytes:
    """``dvc.lock`` as bytes, the same for the same entries."""
    import yaml

    stages = {stage: plain(entries[stage]) for stage in sorted(entries)}
    return yaml.safe_dump(
        {"schema": "2.0", "stages": stages}, sort_keys=False, allow_unicode=True, width=10_000
    ).encode()


def load_lock(content: bytes) -> dict[str, LockEntry]:
    """Stage -> lock entry of a ``dvc.lock``; empty when it records no stage."""
    import yaml

    stages: dict[str, LockEntry] = (yaml.load(content, Loader=yaml.CSafeLoader) or {}).get("stages") or {}
    return stages
