"""By how much two outputs differ: JSON by numbers, tables by columns, arrays by values, anything else by bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.artifacts import read_arrays, read_json, read_table
from pipelines.errors import DataError
from pipelines.registry.books import flatten


def difference(old: Path, new: Path, name: str) -> str:
    """A phrase that says by how much a file differs from another.

    Args:
        old: what there was.
        new: what there is.
        name: of both, whose ending says what they hold.
    """
    try:
        if name.endswith(".json"):
            return _of_json(dict(flatten(read_json(old))), dict(flatten(read_json(new))))
        if name.endswith(".parquet"):
            return _of_tables(old, new)
        if name.endswith(".safetensors"):
            return _of_arrays(read_arrays(old), read_arrays(new))
    except (DataError, ValueError):
        pass
    return _of_bytes(old.read_bytes(), new.read_bytes())


def _of_json(old: Mapping[str, object], new: Mapping[str, object]) -> str:
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    gaps = {
        key: abs(float(a) - float(b))
        for key in keys
        if isinstance(a := old.get(key), int | float) and isinstance(b := new.get(key), int | float)
    }
    if not gaps:
        return f"{len(keys)} of {len(old.keys() | new.keys())} values, {keys[0] if keys else 'their layout'} the first"
    widest = max(gaps, key=lambda key: gaps[key])
    return f"{len(keys)} of {len(old.keys() | new.keys())} values, {widest} most, by {gaps[widest]:.3g}"


def _of_tables(old: Path, new: Path) -> str:
    before, after = read_table(old), read_table(new)
    if before.schema.names != after.schema.names:
        return f"columns {', '.join(after.schema.names)}, where there were {', '.join(before.schema.names)}"
    if before.num_rows != after.num_rows:
        return f"{after.num_rows:,} rows, where there were {before.num_rows:,}"
    told = []
    for name in before.schema.names:
        a, b = before[name].to_pandas().to_numpy(), after[name].to_pandas().to_numpy()
        unequal = np.array([not _same(x, y) for x, y in zip(a, b, strict=True)])
        if unequal.any():
            told.append(f"{name} in {int(unequal.sum()):,} of {len(a):,} rows{_widest(a, b)}")
    return "; ".join(told) or "the same rows, stored otherwise"


def _of_arrays(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    told = []
    for name in sorted(old.keys() | new.keys()):
        a, b = old.get(name), new.get(name)
        if a is None or b is None or a.shape != b.shape:
            shapes = " and ".join("none" if one is None else str(one.shape) for one in (a, b))
            told.append(f"{name} is {shapes}")
        elif not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            told.append(f"{name} in {np.mean(a != b):.2%} of its values{_widest(a, b)}")
    return "; ".join(told) or "the same values, stored otherwise"


def _of_bytes(old: bytes, new: bytes) -> str:
    if len(old) != len(new):
        return f"{len(new):,} bytes, where there were {len(old):,}"
    a, b = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    return f"{int((a != b).sum()):,} of {len(old):,} bytes"


def _widest(a: Any, b: Any) -> str:
    if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return ""
    gap = float(np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))
    return f", by {gap:.3g} at most" if math.isfinite(gap) else ""


def _same(x: Any, y: Any) -> bool:
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        return bool(np.array_equal(x, y))
    return bool(x == y) or (x != x and y != y)
