"""What ``evaluate`` left for the gate: whom the candidate is compared with, and both models' values user by user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.artifacts import parquet_file, read_json, read_table
from pipelines.errors import DataError, near_names
from pipelines.registry.gate_verdict import METRIC

Floats = NDArray[np.float64]
_AGAIN = "SHOPLOOM_NO_CACHE=1 shoploom run"


@dataclass(frozen=True)
class Evaluated:
    """The outputs of ``evaluate``.

    Args:
        folder: per_user.parquet, cold_purchases.parquet, relevance.parquet and metrics.json.
    """

    folder: Path

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """metrics.json."""
        document: Mapping[str, Any] = read_json(self.folder / "metrics.json")
        return document

    @property
    def champion(self) -> Mapping[str, Any]:
        """What ``evaluate`` wrote about the champion: version, digest, saw_test_window, not_compared."""
        facts = self.metrics.get("champion")
        return facts if isinstance(facts, Mapping) else {}

    @property
    def champion_saw_test_window(self) -> bool:
        """Whether the champion was found to be trained on events of the test window."""
        return bool(self.champion.get("saw_test_window"))

    @cached_property
    def reference(self) -> tuple[str, str | None]:
        """The model to beat and its registered version: the champion, else the baseline with the highest NDCG@10.

        Raises:
            DataError: the metrics name neither a champion nor a baseline.
        """
        from pipelines.metrics.baselines import best_baseline

        models: Mapping[str, Mapping[str, Any]] = self.metrics.get("models") or {}
        for name, row in models.items():
            if row.get("kind") == "champion":
                version = self.champion.get("version")
                return name, None if version is None else str(version)
        best = best_baseline(models, METRIC)
        if best is None:
            raise DataError(
                f"the metrics hold no champion and no baseline, only {', '.join(models) or 'nothing'}",
                mend="evaluate marks each model's kind: baseline, model or champion",
            )
        return best, None

    def coverage(self, model: str) -> float | None:
        """Share of the candidates in anybody's first ten; None where it was not measured."""
        found = (self.metrics["models"].get(model) or {}).get("coverage_at_10")
        return None if found is None else float(found)

    def holds(self, file: str, column: str) -> bool:
        """Whether a file is there and has a column; a pipeline's own ``evaluate`` may leave it out."""
        path = self.folder / file
        return path.is_file() and column in parquet_file(path).schema_arrow.names

    def paired(
        self, file: str, column: str, models: tuple[str, str], unit: str = "user_id", segment: str | None = None
    ) -> tuple[Floats, Floats]:
        """Two models' values for the same users or queries, in the first one's order in the file.

        Never in the order of the ids' text: it depends on this machine's key, and resampling on the order.

        Args:
            file: of the folder.
            column: the value.
            models: the candidate and its reference.
            unit: the column that names the users or queries.
            segment: only users of this segment.

        Returns:
            Two float64 [num_units].

        Raises:
            DataError: the file is unreadable, a model has no rows, or the two were scored on different units.
        """
        path = self.folder / file
        table = read_table(path, [unit, "model", column, *(["segment"] if segment else [])])
        if segment:
            table = table.filter(pc.equal(table["segment"], segment))
        (names, values), (others, reference) = (_rows(table, model, unit, column, path) for model in models)
        if sorted(names) != sorted(others):
            candidate, other = models
            raise DataError(
                f"{path}: {candidate!r} and {other!r} were scored on different {unit.removesuffix('_id')}s", mend=_AGAIN
            )
        row_of = {name: row for row, name in enumerate(others)}
        return values, reference[[row_of[name] for name in names]]


def _rows(table: pa.Table, model: str, unit: str, column: str, path: Path) -> tuple[list[str], Floats]:
    rows = table.filter(pc.equal(table["model"], model))
    if table.num_rows and not rows.num_rows:
        known = [str(name) for name in pc.unique(table["model"]).to_pylist()]
        raise DataError(f"{path} has no rows of model {model!r}", mend=near_names(model, known) or _AGAIN)
    return rows[unit].to_pylist(), rows[column].to_numpy().astype(np.float64)
