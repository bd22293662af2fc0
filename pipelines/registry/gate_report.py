"""The verdict as one page that needs nothing beside it: the decision, what was gained and lost, what it would take."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.metrics.plots import draw_differences
from pipelines.metrics.report import page, picture, table
from pipelines.params import GateParams
from pipelines.registry.gate_comparison import Evaluated
from pipelines.registry.gate_plots import draw_changes, draw_power
from pipelines.registry.gate_verdict import CANDIDATE, METRIC, Guardrail, Verdict

_RULE = (
    "Promoted is what is significantly better and falls behind in no guardrail by more than its margin; each of these "
    "tests is made at alpha, because all of them have to pass. Rejected is what is significantly worse, breaks a "
    "guardrail, or at best gains less than is asked for; here the p-values are corrected for how many tests there are "
    "(Holm). Anything else is inconclusive. While there is no champion, guardrails are shown and hold nothing back."
)
_NEEDED = (
    "Users needed: n = ((z(1 - alpha/s) + z(power)) sd / d)², with sd the standard deviation of a user's difference, d "
    "the least gain that is asked for or, where none is, the one that was found, and s = 2; for a guardrail d is what "
    "is left of its margin and s = 1, and n counts users on the whole, of whom its own are the share that they are now "
    "(Chow, Shao and Wang 2008, section 3.1)."
)


def render_verdict(verdict: Verdict, evaluated: Evaluated, params: GateParams) -> str:
    """The page.

    Args:
        verdict: of the gate.
        evaluated: what it was reached from.
        params: section ``gate``.
    """
    ours, theirs = evaluated.paired("per_user.parquet", METRIC, (CANDIDATE, verdict.reference))
    against = verdict.reference.replace("_", " ")
    with tempfile.TemporaryDirectory() as name:
        changes, differences, power = (Path(name) / f"{plot}.png" for plot in ("changes", "differences", "power"))
        draw_changes(verdict, float(theirs.mean()), changes)
        draw_differences(ours - theirs, verdict.interval, verdict.reference, differences)
        draw_power(verdict, params, power)
        body = [
            f"<h1>Gate: {verdict.decision}{' (dry run)' if verdict.mode == 'dry_run' else ''}</h1>",
            f'<p class="lead">{html.escape(verdict.why)}</p>',
            _facts(verdict, params),
            "<h2>What is gained and lost</h2>",
            _figure(changes, f"Relative change against {against}, and how far a guardrail may fall behind"),
            _guardrails(verdict),
            "<h2>User by user</h2>",
            _figure(differences, f"Each user's difference from {against}"),
            _segments(evaluated.metrics, verdict.reference),
            "<h2>What it takes to tell</h2>",
            _figure(power, "The chance to tell a gain"),
            f'<p class="soft">{html.escape(_NEEDED)}</p>',
            "<h2>How it is decided</h2>",
            f'<p class="soft">{html.escape(_RULE)}</p>',
        ]
    return page("gate", body)


def _facts(verdict: Verdict, params: GateParams) -> str:
    low, high = verdict.interval
    champion = f" (version {verdict.champion_version})" if verdict.champion_version else ""
    needed = "–" if verdict.users_needed is None else f"{verdict.users_needed:,}"
    facts = {
        "compared with": verdict.reference + champion,
        f"{verdict.metric}, mean difference": f"{verdict.effect:+.4f}",
        f"interval, {1 - params.alpha:.0%}": f"{low:+.4f} to {high:+.4f} (bootstrap, {params.resamples:,} resamples)",
        "p-value": f"{verdict.p_value:.2g} (permutation, two-sided)",
        "users": f"{verdict.users:,}",
        "users needed": needed,
        "alpha, least gain": f"{params.alpha:g}, {params.min_effect:g}",
        "mode": verdict.mode.replace("_", " "),
        "trial in servers": "none" if verdict.serving_seconds is None else f"{verdict.serving_seconds:.1f} s",
    }
    return f"<dl>{''.join(f'<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>' for k, v in facts.items())}</dl>"


def _guardrails(verdict: Verdict) -> str:
    if not verdict.guardrails:
        return '<p class="soft">No guardrail has a margin.</p>'
    head = ["guardrail", "standing", "margin", "candidate", "reference", "change", "interval", "of", "users needed", ""]
    return table(head, [_row(rail) for rail in verdict.guardrails])


def _row(rail: Guardrail) -> str:
    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    change = "–" if rail.change is None else f"{rail.change:+.1%}"
    interval = f"{rail.interval[0]:+.1%} to {rail.interval[1]:+.1%}" if rail.interval else "–"
    needed = "–" if rail.users_needed is None else f"{rail.users_needed:,}"
    cells = [rail.name.replace("_", " "), rail.standing, f"{rail.margin:.0%}", number(rail.candidate)]
    cells += [number(rail.reference), change, interval, f"{rail.units:,} {rail.unit}", needed]
    cells.append(rail.why if rail.standing in ("unmeasured", "undecided") or rail.unit != "users" else "")
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def _segments(metrics: Mapping[str, Any], reference: str) -> str:
    """NDCG@10 of both by segment; nothing where ``evaluate`` wrote no segments."""
    segments, sizes = metrics.get("segments") or {}, metrics.get("segment_users") or {}
    rows = []
    for segment, models in segments.items():
        ours, theirs = (models.get(model, {}).get(METRIC) for model in (CANDIDATE, reference))
        if ours is not None and theirs is not None:
            cells = [segment, f"{sizes.get(segment, 0):,}", f"{ours:.4f}", f"{theirs:.4f}", f"{ours - theirs:+.4f}"]
            rows.append(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")
    return table(["buyers", "users", "candidate", "reference", "difference"], rows) if rows else ""


def _figure(path: Path, caption: str) -> str:
    return f"<figure>{picture(path, caption)}</figure>"
