"""The curves of a training in the books: a metric a step, and a picture."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.models.training import CURVES_FILE, Curves, read_curves

if TYPE_CHECKING:
    from mlflow import MlflowClient

EPOCH = "epoch"
PICTURE = "curves.png"
_BATCH = 1000
"""Metrics that MLflow takes at once."""


def log_curves(client: MlflowClient, run_id: str, side: Path) -> None:
    """Log what a stage's trainings left in its side folder, if anything.

    Args:
        client: of the books.
        run_id: of the stage's run.
        side: the stage's side folder; a training in a folder of it gives names like ``validation/loss``.
    """
    from mlflow.entities import Metric

    curves = curves_in(side)
    if not curves:
        return
    now = int(time.time() * 1000)
    metrics = [
        Metric(f"{folder}/{name}" if folder else name, value, now, int(point[EPOCH]))
        for folder, points in curves.items()
        for point in points
        for name, value in point.items()
        if name != EPOCH and math.isfinite(value)
    ]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / PICTURE
        draw_curves(curves, picture)
        client.log_artifact(run_id, str(picture), "plots")


def curves_in(side: Path) -> dict[str, Curves]:
    """The curves of every training in a side folder, by the training's folder; the side folder itself is ``""``."""
    found = {}
    for path in sorted(side.glob(f"**/{CURVES_FILE}")):
        points = read_curves(path.parent)
        if points:
            found[path.parent.relative_to(side).as_posix().removeprefix(".")] = points
    return found


def draw_curves(curves: Mapping[str, Curves], path: Path) -> None:
    """Draw every number over the epochs, a panel each, a line for each training."""
    from matplotlib.figure import Figure

    from pipelines.artifacts import write_picture

    names = sorted({name for points in curves.values() for point in points for name in point} - {EPOCH})
    figure = Figure(figsize=(5 * len(names), 3.6), dpi=110)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place)
        for folder, points in curves.items():
            kept = [point for point in points if name in point]
            axes.plot(
                [point[EPOCH] for point in kept], [point[name] for point in kept], marker=".", label=folder or name
            )
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.legend(frameon=False)
    figure.tight_layout()
    write_picture(figure, path)
