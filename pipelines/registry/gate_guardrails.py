"""The guardrails: what a better candidate may not lose. Each is a one-sided test of non-inferiority with a margin.

=============  ===========================================================  ==========================
name           what is compared with the champion's                         over
=============  ===========================================================  ==========================
light_users    NDCG@10 of the third of the users who bought least           these users
cold_users     NDCG@10 of everybody as if nothing were known of them        all users
cold_items     purchases of items that nobody had bought, found among 50    users who made such
coverage       share of the catalogue in anybody's first ten                all users, by jackknife
calibration    Brier score of the relevance served to held-out queries      queries
latency        99th percentile of a server's answers                        the golden requests
memory         of a server that answered the golden requests                one process, no test
=============  ===========================================================  ==========================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipelines.metrics.power import users_needed
from pipelines.metrics.retention import Retention, coverage_retention, percentile_retention, retention
from pipelines.params import GateParams
from pipelines.registry.gate_comparison import Evaluated
from pipelines.registry.gate_verdict import CANDIDATE, METRIC, Guardrail, Standing

if TYPE_CHECKING:
    from pipelines.registry.gate_serving import ServingTrial

PER_USER, COLD_PURCHASES, RELEVANCE = "per_user.parquet", "cold_purchases.parquet", "relevance.parquet"
LEAST_UNITS = 10
"""With fewer a bootstrap says nothing: what they show stays undecided."""
LATENCY_SHARE = 0.99


@dataclass(frozen=True)
class Measured:
    """A guardrail before it is known what else was tested.

    Args:
        found: how the candidate stands to the margin; None where it was not measured.
        unit: what was compared.
        why: what is to be said beside the figures; where nothing was measured, why not.
        exact: whether the figure is what it is, with no test: it is held or broken.
        free: whether it is held whatever the reference's level is.
    """

    found: Retention | None
    unit: str = "users"
    why: str = ""
    exact: bool = False
    free: bool = False


@dataclass(frozen=True)
class Sources:
    """What the guardrails are measured from.

    Args:
        evaluated: what ``evaluate`` left.
        reference: the champion or a plain baseline, as ``evaluate`` names it.
        serving: what servers of both reached; None where they were not asked.
        params: section ``gate``.
    """

    evaluated: Evaluated
    reference: str
    serving: ServingTrial | None
    params: GateParams


def measure_guardrails(sources: Sources) -> dict[str, Measured]:
    """Every guardrail that has a margin, by name."""
    margins = sources.params.margins.model_dump()
    return {name: measure(sources, margins[name]) for name, measure in _MEASURES.items() if margins[name] is not None}


def judged(measured: Mapping[str, Measured], broken: Mapping[str, float], sources: Sources) -> tuple[Guardrail, ...]:
    """The guardrails' standings.

    Args:
        measured: see :func:`measure_guardrails`.
        broken: p-values that a guardrail is broken, adjusted for how many tests there are.
        sources: names the margins and whether there is a champion to fall behind.
    """
    margins = sources.params.margins.model_dump()
    bound = sources.evaluated.reference[1] is not None
    return tuple(_judged(name, one, margins[name], broken.get(name), sources, bound) for name, one in measured.items())


def tested(measured: Mapping[str, Measured]) -> dict[str, float]:
    """Of the guardrails that are tested the p-value that each is broken."""
    return {
        name: one.found.p_broken
        for name, one in measured.items()
        if one.found is not None and not one.exact and not one.free and one.found.units >= LEAST_UNITS
    }


def _judged(name: str, one: Measured, margin: float, broken: float | None, sources: Sources, bound: bool) -> Guardrail:
    found, params = one.found, sources.params
    if found is None:
        return Guardrail(name, "unmeasured", margin, one.why, one.unit)
    less_is_better = name in _LESS_IS_BETTER
    few = not one.exact and found.units < LEAST_UNITS
    standing = "shown" if not bound else _standing(one, found, broken, params.alpha)
    change = found.challenger / found.reference - 1.0 if found.reference else None
    interval = None
    if found.reference and not few and not one.exact:
        ends = sorted(
            (end / found.reference - margin) * (-1 if less_is_better else 1) for end in (found.low, found.high)
        )
        interval = (ends[0], ends[1])
    needed = None
    if standing == "undecided" and one.unit == "users":
        needed = _users_needed(found, params, int(sources.evaluated.metrics.get("users") or found.units))
    said = f"{change:+.1%}" if change is not None else f"{found.challenger:.4g} against {found.reference:.4g}"
    if interval:
        said += f" ({interval[0]:+.1%} to {interval[1]:+.1%})"
    allowed = f"{margin:.0%} may be {'added' if less_is_better else 'lost'}"
    parts = [said, allowed if bound else "", f"{found.units} {one.unit} are too few to tell" if few else "", one.why]
    levels = found.challenger, found.reference if bound or found.reference else None
    return Guardrail(
        name, standing, margin, "; ".join(filter(None, parts)), one.unit, found.units, *levels, interval, needed
    )


def _standing(one: Measured, found: Retention, broken: float | None, alpha: float) -> Standing:
    if one.free:
        return "held"
    if one.exact:
        return "held" if found.slack >= 0 else "broken"
    if found.units < LEAST_UNITS:
        return "undecided"
    if found.p_kept < alpha:
        return "held"
    return "broken" if broken is not None and broken < alpha else "undecided"


def _users_needed(found: Retention, params: GateParams, users: int) -> int | None:
    """Users on the whole, when those of a segment stay as large a share of them."""
    within = users_needed(found.slack, found.deviation, alpha=params.alpha, power=params.power, sides=1)
    return None if within is None else int(np.ceil(max(within, LEAST_UNITS) * users / found.units))


def _light_users(sources: Sources, margin: float) -> Measured:
    return _of_users(sources, margin, METRIC, "light")


def _cold_users(sources: Sources, margin: float) -> Measured:
    return _of_users(sources, margin, f"{METRIC}_newcomer", None)


def _of_users(sources: Sources, margin: float, column: str, segment: str | None) -> Measured:
    if not all(sources.evaluated.holds(PER_USER, name) for name in (column, *(["segment"] if segment else []))):
        return Measured(None, why=f"evaluate wrote no {column} by {'segment' if segment else 'user'}")
    pair = sources.evaluated.paired(PER_USER, column, (CANDIDATE, sources.reference), segment=segment)
    if not len(pair[0]):
        return Measured(None, why=f"no user is a {segment} one")
    return Measured(_test(sources)(*pair, margin))


def _cold_items(sources: Sources, margin: float) -> Measured:
    """Purchases count alike, users are resampled: a user's purchases are not independent of each other."""
    found, models = sources.evaluated, (CANDIDATE, sources.reference)
    if not found.holds(COLD_PURCHASES, "found_at_50"):
        return Measured(None, why="evaluate wrote no purchases of cold items")
    hits, there = found.paired(COLD_PURCHASES, "found_at_50", models)
    if not len(hits):
        return Measured(None, why="nobody bought an item that nobody had bought before")
    bought, _ = found.paired(COLD_PURCHASES, "bought", models)
    return Measured(_test(sources)(hits / bought.mean(), there / bought.mean(), margin))


def _coverage(sources: Sources, margin: float) -> Measured:
    found, models = sources.evaluated, (CANDIDATE, sources.reference)
    reached, there = (found.coverage(model) for model in models)
    candidates = found.metrics.get("candidates")
    if reached is None or there is None or not candidates or not found.holds(PER_USER, "alone_at_10"):
        return Measured(None, why="evaluate wrote no coverage by user")
    alone, alone_there = (counts / candidates for counts in found.paired(PER_USER, "alone_at_10", models))
    return Measured(coverage_retention((reached, alone), (there, alone_there), margin, alpha=sources.params.alpha))


def _calibration(sources: Sources, margin: float) -> Measured:
    found = sources.evaluated
    if not found.holds(RELEVANCE, "brier"):
        return Measured(None, "queries", "evaluate measured no relevance head")
    facts = found.metrics.get("relevance") or {}
    if facts.get("not_measured"):
        return Measured(None, "queries", str(facts["not_measured"]))
    if sources.reference not in facts.get("models", {}):
        return Measured(None, "queries", f"{sources.reference} has no relevance head")
    pair = found.paired(RELEVANCE, "brier", (CANDIDATE, sources.reference), "query")
    return Measured(_test(sources)(*pair, margin, less_is_better=True), "queries")


def _latency(sources: Sources, margin: float) -> Measured:
    trial = sources.serving
    if trial is None or trial.candidate is None:
        return Measured(None, "requests", "no server was asked")
    ours = np.array(trial.candidate.latencies_ms)
    slowest = float(np.quantile(ours, LATENCY_SHARE))
    if trial.champion is None:
        why = f"99 of 100 answers within {slowest:.1f} ms; {trial.champion_refused or 'there is no champion'}"
        return Measured(None, "requests", why)
    theirs = np.array(trial.champion.latencies_ms)
    found = percentile_retention(
        ours, theirs, LATENCY_SHARE, margin, alpha=sources.params.alpha, seed=sources.params.seed
    )
    free = slowest <= sources.params.free_latency_ms
    why = f"99 of 100 answers within {slowest:.1f} ms"
    return Measured(
        found, "requests", f"{why}, up to {sources.params.free_latency_ms:g} ms is free" if free else why, free=free
    )


def _memory(sources: Sources, margin: float) -> Measured:
    trial = sources.serving
    if trial is None or trial.candidate is None:
        return Measured(None, "processes", "no server was asked")
    ours = trial.candidate.memory_mb
    if trial.champion is None:
        return Measured(None, "processes", f"{ours:.0f} MB; {trial.champion_refused or 'there is no champion'}")
    theirs = trial.champion.memory_mb
    slack = (1 + margin) * theirs - ours
    found = Retention(1, ours, theirs, slack, slack, slack, 0.0, 1.0, 0.0)
    return Measured(found, "processes", f"{ours:.0f} MB", exact=True)


def _test(sources: Sources) -> Callable[..., Retention]:
    params = sources.params
    return partial(retention, alpha=params.alpha, seed=params.seed, resamples=params.resamples)


_MEASURES: dict[str, Callable[[Sources, float], Measured]] = {
    "light_users": _light_users,
    "cold_users": _cold_users,
    "cold_items": _cold_items,
    "coverage": _coverage,
    "calibration": _calibration,
    "latency": _latency,
    "memory": _memory,
}
_LESS_IS_BETTER = ("calibration", "latency", "memory")
