"""A decision: what was measured now and remembered from before, held against the rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.monitoring.rule import Window, decide
from pipelines.params import MonitorParams

_TAKEN_ONCE = ("ndcg_at_10", "ndcg_at_10_before", "quality_loss")
"""Measured when a window is the newest, and remembered."""


def measured_before(
    earlier: Sequence[Mapping[str, Any]], data_version: str, champion: str | None, asked: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What the last decision measured, where that is what is to be measured now.

    Args:
        earlier: decisions, newest first.
        data_version: the newest.
        champion: its version, or None.
        asked: the parameters that decide what is measured.

    Returns:
        As :func:`decision_of` takes it; None where something is new, or the last time not all could be measured.
    """
    last = earlier[0] if earlier else {}
    now = {"data_version": data_version, "champion": champion, "asked": dict(asked)}
    if any(last.get(name) != value for name, value in now.items()):
        return None
    windows = [{name: window[name] for name in ("partition", "measures")} for window in last["windows"]]
    return {**now, "unmeasured": last["unmeasured"], "windows": windows}


def decision_of(
    measured: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], params: MonitorParams
) -> dict[str, Any]:
    """Decide.

    Args:
        measured: ``data_version``, ``champion``, ``windows`` (``partition`` and ``measures``, oldest first); if the
            champion's quality could not be measured, ``unmeasured``, why; and ``asked``, the parameters that all was
            measured by, empty where something could not be measured.
        earlier: decisions, newest first.
        params: the rule and the limits.

    Returns:
        ``data_version``, ``champion``, ``rule``, ``retrain``, ``why``, ``unmeasured``, ``asked``, ``windows`` (those
        that count, each with ``breached``) and ``repeats``: whether this very decision is the last one already.
    """
    same = [one for one in earlier if one["champion"] == measured["champion"]]
    remembered = {window["partition"]: window["measures"] for one in reversed(same) for window in one["windows"]}
    windows = []
    for window in measured["windows"]:
        name, measures = window["partition"], dict(window["measures"])
        kept = {one: remembered[name][one] for one in _TAKEN_ONCE if one in remembered.get(name, {})}
        windows.append(Window.judged(name, kept | measures, params))
    request = next((one for one in same if one["retrain"] and one["data_version"] != measured["data_version"]), None)
    answered = {window["partition"] for window in request["windows"]} if request else set()
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
        "asked": dict(measured.get("asked") or {}),
        "windows": [window.as_dict() for window in counted],
    }
    last = earlier[0] if earlier else {}
    return {**made, "repeats": all(last.get(name) == value for name, value in made.items())}
