"""A decision: what was measured now and remembered from before, held against the rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.monitoring.rule import Window, decide
from pipelines.params import MonitorParams

_TAKEN_ONCE = ("ndcg_at_10", "ndcg_at_10_before", "quality_loss")
"""Measured when a window is the newest, and remembered."""


def decision_of(
    measured: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], params: MonitorParams
) -> dict[str, Any]:
    """Decide.

    Args:
        measured: ``data_version``, ``champion``, ``windows`` (``partition`` and ``measures``, oldest first) and, if the
            champion's quality could not be measured, ``unmeasured``, why.
        earlier: decisions, newest first.
        params: the rule and the limits.

    Returns:
        ``data_version``, ``champion``, ``rule``, ``retrain``, ``why``, ``unmeasured``, ``windows`` (those that count,
        each with ``breached``) and ``repeats``: whether this very decision is the last one already.
    """
    same = [one for one in earlier if one["champion"] == measured["champion"]]
    remembered = {window["partition"]: window["measures"] for one in reversed(same) for window in one["windows"]}
    windows = []
    for window in measured["windows"]:
        name, measures = window["partition"], dict(window["measures"])
        kept = {one: remembered[name][one] for one in _TAKEN_ONCE if one in remembered.get(name, {})}
        windows.append(Window.judged(name, kept | measures, params))
    asked = next((one for one in same if one["retrain"] and one["data_version"] != measured["data_version"]), None)
    answered = {window["partition"] for window in asked["windows"]} if asked else set()
    last_answered = max((place for place, one in enumerate(windows) if one.partition in answered), default=-1)
    counted = windows[last_answered + 1 :]
    decision = decide(counted, params, champion=measured["champion"] is not None)
    made = {
        "data_version": measured["data_version"],
        "champion": measured["champion"],
        "rule": params.rule,
        "retrain": decision.retrain,
        "why": decision.why,
        "unmeasured": measured.get("unmeasured", ""),
        "windows": [window.as_dict() for window in counted],
    }
    last = earlier[0] if earlier else {}
    return {**made, "repeats": all(last.get(name) == value for name, value in made.items())}
