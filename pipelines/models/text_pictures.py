"""Pictures of the text model: the loss over the steps, predicted against observed relevance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import write_picture
from pipelines.models.relevance import calibration_curve

Floats = NDArray[np.float32]


def draw_loss(losses: Floats, path: Path) -> None:
    """Draw the loss of each step, float32 [num_steps], as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="in-batch softmax loss", title="Fine-tuning the text encoder")
    axes.plot(np.arange(1, len(losses) + 1), losses)
    axes.set_ylim(bottom=0)
    write_picture(figure, path, dpi=100)


def draw_calibration(probabilities: Floats, labels: Floats, path: Path) -> None:
    """Draw the observed share of answering products against the predicted probability, as PNG.

    Args:
        probabilities: float32 [num_pairs].
        labels: float32 [num_pairs], 0 or 1.
        path: the PNG.
    """
    from matplotlib.figure import Figure

    _, predicted, observed, share = calibration_curve(probabilities, labels)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(
        xlabel="predicted probability", ylabel="share that answers the query", title="Relevance, held-out product types"
    )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.plot(predicted, observed)
    axes.scatter(predicted, observed, s=400 * share)
    write_picture(figure, path, dpi=100)
