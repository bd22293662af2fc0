"""Pictures of a verdict: what was gained and lost, and how many users it takes to tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.artifacts import write_picture
from pipelines.metrics.plots import COLOURS, INK, panels
from pipelines.metrics.power import chance_to_tell
from pipelines.params import GateParams
from pipelines.registry.gate_verdict import METRIC, Verdict

_SHADES = {"held": "#1a8f4c", "broken": "#c0392b", "undecided": "#d9962c", "shown": "#4c8bb8"}


def draw_changes(verdict: Verdict, level: float, path: Path) -> None:
    """A forest plot: relative change of the metric and of every guardrail, its interval, and the margin.

    Args:
        verdict: of the gate.
        level: the reference's mean of the metric; 0 where it is not known.
        path: of the PNG.
    """
    rows: list[tuple[str, float, tuple[float, float] | None, float | None, str]] = []
    if level:
        low, high = verdict.interval
        rows.append((METRIC, verdict.effect / level, (low / level, high / level), None, INK))
    for rail in verdict.guardrails:
        if rail.change is not None:
            less_is_better = rail.name in ("calibration", "latency", "memory")
            limit = rail.margin if less_is_better else -rail.margin
            rows.append((rail.name, rail.change, rail.interval, limit, _SHADES.get(rail.standing, INK)))
    figure, (axes,) = panels(1, height=1.2 + 0.45 * max(len(rows), 1))
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, (_, change, interval, margin, shade) in enumerate(rows):
        if interval:
            axes.plot([100 * end for end in interval], [place, place], color=shade, linewidth=3, solid_capstyle="butt")
        axes.plot([100 * change], [place], "o", color=shade)
        if margin is not None:
            axes.plot([100 * margin] * 2, [place - 0.35, place + 0.35], color=COLOURS["rank"], linewidth=2)
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name, *_ in rows])
    axes.invert_yaxis()
    axes.set_xlabel(f"change against {verdict.reference.replace('_', ' ')}, %; the upright strokes are the margins")
    write_picture(figure, path)


def draw_power(verdict: Verdict, params: GateParams, path: Path) -> None:
    """The chance to tell a gain: by the number of users for the gain that matters, by the gain for the users there are.

    Args:
        verdict: of the gate; its effect is the gain that matters where ``min_effect`` names none.
        params: section ``gate``.
        path: of the PNG.
    """
    deviation = verdict.deviation or 0.0
    effect = params.min_effect or abs(verdict.effect)
    figure, (by_users, by_effect) = panels(2, height=3.4)
    most = max(2 * verdict.users, int(1.3 * (verdict.users_needed or 0)), 100)
    users = np.unique(np.linspace(2, most, 200).astype(int))
    alpha = params.alpha
    chances = [chance_to_tell(effect, deviation, int(count), alpha=alpha, sides=2) for count in users]
    by_users.plot(users, chances, color=COLOURS["model"], linewidth=2)
    by_users.axvline(verdict.users, color=INK, linewidth=0.8, label=f"{verdict.users:,} users now")
    if verdict.users_needed:
        label = f"{verdict.users_needed:,} needed, guardrails included"
        by_users.axvline(verdict.users_needed, color=COLOURS["rank"], linewidth=1.6, label=label)
    by_users.set_xlabel(f"users, for a gain of {effect:.4f}")
    by_users.set_ylabel("chance to tell it")
    by_users.legend(frameon=False, fontsize=8.5, loc="lower right")
    widest = 5 * deviation / np.sqrt(max(verdict.users, 1)) or 0.01
    gains = np.linspace(0, widest, 200)
    chances = [chance_to_tell(float(gain), deviation, verdict.users, alpha=alpha, sides=2) for gain in gains]
    by_effect.plot(gains, chances, color=COLOURS["model"], linewidth=2)
    by_effect.axvline(verdict.effect, color=INK, linewidth=0.8, label=f"{verdict.effect:+.4f} found")
    by_effect.set_xlabel(f"gain in {METRIC.replace('_at_', '@')}, with {verdict.users:,} users")
    by_effect.legend(frameon=False, fontsize=8.5, loc="lower right")
    for axes in (by_users, by_effect):
        axes.axhline(params.power, color=COLOURS["baseline"], linewidth=0.8, linestyle="--")
        axes.set_ylim(0, 1.02)
    write_picture(figure, path)
