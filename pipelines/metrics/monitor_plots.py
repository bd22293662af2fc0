"""The picture beside a decision of the monitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.artifacts import write_picture
from pipelines.metrics.plots import COLOURS, INK


def draw_windows(windows: Sequence[Mapping[str, Any]], limits: Mapping[str, float], title: str, path: Path) -> None:
    """Each measure of each window as a part of its limit; what lies over the line breaches the window.

    Args:
        windows: oldest first: ``partition``, ``measures`` (None where one could not be taken) and ``breached``.
        limits: of the measures.
        title: the decision.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    names = [name for name in limits if any(window["measures"].get(name) is not None for window in windows)]
    width = 0.84 / max(len(windows), 1)
    highest = 1.2
    for place, window in enumerate(windows):
        values = [(window["measures"].get(name) or 0.0) / limits[name] for name in names]
        shade = COLOURS["rank"] if window["breached"] else COLOURS["model"]
        left = np.arange(len(names)) - 0.42 + (place + 0.5) * width
        strength = 0.45 + 0.55 * (place + 1) / len(windows)
        highest = max([highest, *values])
        axes.bar(left, values, width * 0.9, color=shade, alpha=strength, label=window["partition"])
    axes.axhline(1.0, color=INK, linewidth=1)
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=20, ha="right")
    axes.set_ylabel("part of its limit")
    axes.set_ylim(0, 1.08 * highest)
    axes.set_title(title, loc="left", fontsize=11)
    if windows:
        axes.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    write_picture(figure, path)
