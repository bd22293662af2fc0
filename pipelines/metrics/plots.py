"""Pictures of an evaluation, drawn without a display; equal figures give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import write_picture

COLOURS = {"baseline": "#9aa5b1", "model": "#4c8bb8", "rank": "#e0703a", "champion": "#7a5195"}
INK = "#2b2f36"


def colour(name: str, kind: str) -> str:
    """The colour of a model: grey baselines, blue models, orange for the one that is served, purple champion."""
    return COLOURS["rank"] if name == "rank" else COLOURS.get(kind, COLOURS["model"])


def draw_models(models: Mapping[str, Mapping[str, Any]], metric: str, path: Path) -> None:
    """Two panels of bars, over all purchases and over products new to the user, the best on top.

    Args:
        models: ``metrics.json``'s models: kind and metrics by name.
        metric: ``ndcg_at_10``; the right panel shows it with ``_new``.
        path: of the PNG.
    """
    figure, both = panels(2, height=0.42 * len(models) + 1.4)
    for axes, key, title in zip(both, (metric, f"{metric}_new"), ("all purchases", "new to the user"), strict=True):
        names = sorted(models, key=lambda name: (models[name][key] or 0.0, name))
        values = [models[name][key] or 0.0 for name in names]
        axes.barh(range(len(names)), values, color=[colour(name, models[name]["kind"]) for name in names], height=0.7)
        axes.set_yticks(range(len(names)), [_words(name) for name in names])
        for row, value in enumerate(values):
            axes.text(value, row, f" {value:.3f}", va="center", fontsize=8.5, color=INK)
        axes.set_xlim(0, max([*values, 1e-3]) * 1.16)
        axes.set_title(f"{_heading(metric)}, {title}", loc="left", fontsize=11)
    write_picture(figure, path)


def draw_curves(curves: Mapping[str, NDArray[np.float64]], kinds: Mapping[str, str], path: Path) -> None:
    """NDCG at every place from 1 on.

    Args:
        curves: float64 [k] by model.
        kinds: of the models.
        path: of the PNG.
    """
    figure, (axes,) = panels(1, height=4.2)
    shades = _shades(list(curves), kinds)
    for name, curve in curves.items():
        wide = 2.6 if name in ("rank", "champion") else 1.4
        axes.plot(
            range(1, len(curve) + 1),
            curve,
            marker="o",
            markersize=3,
            linewidth=wide,
            **shades[name],
            label=_words(name),
        )
    axes.set_xlabel("k, places that count")
    axes.set_ylabel("mean NDCG@k")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    write_picture(figure, path)


def draw_segments(
    segments: Mapping[str, Mapping[str, Mapping[str, Any]]], kinds: Mapping[str, str], metric: str, path: Path
) -> None:
    """Grouped bars: each model within each segment.

    Args:
        segments: metrics by segment and model.
        kinds: of the models.
        metric: to show.
        path: of the PNG.
    """
    figure, (axes,) = panels(1, height=3.8)
    names = list(next(iter(segments.values()), {}))
    shades = _shades(names, kinds)
    width = 0.82 / max(len(names), 1)
    for place, name in enumerate(names):
        values = [segments[segment][name][metric] or 0.0 for segment in segments]
        left = np.arange(len(segments)) - 0.41 + (place + 0.5) * width
        axes.bar(left, values, width * 0.92, color=shades[name]["color"], label=_words(name))
    axes.set_xticks(range(len(segments)), list(segments))
    axes.set_ylabel(_heading(metric))
    axes.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    write_picture(figure, path)


def draw_differences(differences: NDArray[np.float64], interval: tuple[float, float], against: str, path: Path) -> None:
    """How users fare under the ranker compared with another model.

    Args:
        differences: float64 [num_users], NDCG@10 of rank minus the other's.
        interval: of their mean.
        against: the other's name.
        path: of the PNG.
    """
    figure, (axes,) = panels(1, height=3.4)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    axes.hist(differences, bins=np.linspace(-1, 1, 61), color=COLOURS["model"])
    axes.axvspan(*interval, color=COLOURS["rank"], alpha=0.35)
    axes.axvline(float(differences.mean()), color=COLOURS["rank"], linewidth=2)
    axes.set_xlabel(f"a user's NDCG@10 under rank minus under {_words(against)}")
    axes.set_ylabel("users")
    axes.set_title(
        f"better for {better:,}, worse for {worse:,}, mean {differences.mean():+.4f}", loc="left", fontsize=11
    )
    write_picture(figure, path)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _heading(metric: str) -> str:
    """``NDCG@10`` of ``ndcg_at_10``."""
    return metric.replace("_at_", "@").upper()


def _shades(names: Sequence[str], kinds: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """A colour for each model; models of one kind get shades from light to dark."""
    from matplotlib import colormaps

    shades: dict[str, dict[str, Any]] = {}
    for kind, palette in (("baseline", "Greys"), ("model", "GnBu")):
        of_kind = [name for name in names if kinds[name] == kind and name != "rank"]
        for place, name in enumerate(of_kind):
            shades[name] = {"color": colormaps[palette](0.4 + 0.5 * place / max(len(of_kind) - 1, 1))}
    return {name: shades.get(name, {"color": colour(name, kinds[name])}) for name in names}


def panels(count: int, height: float) -> tuple[Any, Any]:
    """A figure with ``count`` panels side by side, 9 inches wide."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    return figure, panels
