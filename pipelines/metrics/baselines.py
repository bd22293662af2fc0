"""The plain baselines: what a learned model has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BASELINES = ("popularity", "own_counts", "decayed_counts")


def best_baseline(models: Mapping[str, Mapping[str, Any]], metric: str = "ndcg_at_10") -> str | None:
    """The baseline to beat.

    Args:
        models: ``metrics.json``'s models: kind and metrics by name.
        metric: what is compared.

    Returns:
        Of the models of kind ``baseline`` the one with the highest metric, ties by name; None without a baseline.
    """
    values = {name: float(row[metric]) for name, row in models.items() if row.get("kind") == "baseline"}
    return max(sorted(values), key=lambda name: values[name], default=None)
