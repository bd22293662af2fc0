"""The gate: may the candidate become champion?

    cannot be served ─────────────────────────────────────────────────────────> reject
    champion saw test events ─────────────────────────────────────────────────> inconclusive
    significantly worse, a guardrail broken, or at best below ``min_effect`` ─> reject
    significantly better by ``min_effect``, every guardrail held ─────────────> promote
    anything else ────────────────────────────────────────────────────────────> inconclusive; says what users it takes

Candidate and reference are compared user by user, on the same users, window and items, as ``evaluate`` scored them.
Promotion asks for all of its tests at once, so that each may be made at ``alpha`` (an intersection-union test); a
rejection asks for any of its tests, so that these are corrected for how many they are (Holm). Guardrails protect what
shoppers have: while there is no champion, or one that an older shoploom packaged in a form that this one can neither
score nor serve, the reference is the best plain baseline, and guardrails are shown and nothing is held to them.

Sources: Berger 1982 (intersection-union tests); Holm 1979; Schultzberg, Ankargren and Frånberg 2024, "Risk-aware
product decisions in A/B tests with multiple metrics" (superiority of one metric and non-inferiority of the others).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.metrics.power import users_needed
from pipelines.params import GateParams
from pipelines.registry.gate_comparison import Evaluated
from pipelines.registry.gate_guardrails import Sources, judged, measure_guardrails, tested
from pipelines.registry.gate_verdict import CANDIDATE, METRIC, Decision, Guardrail, Verdict

if TYPE_CHECKING:
    from pipelines.metrics.significance import Comparison
    from pipelines.registry.gate_serving import ServingTrial

_PRIMARY = "worse"


def decide(evaluation: Path, params: GateParams, serving: ServingTrial | None = None) -> Verdict:
    """Compare the candidate with the champion or, while there is none, with the best plain baseline.

    Args:
        evaluation: ``evaluate``'s folder.
        params: section ``gate``.
        serving: what servers of candidate and champion reached; None where they were not asked.

    Raises:
        DataError: a file is unreadable, a model has no rows, or the two were scored on different users.
    """
    from pipelines.metrics.retention import holm
    from pipelines.metrics.significance import compare

    evaluated = Evaluated(evaluation)
    reference, version = evaluated.reference
    ours, theirs = evaluated.paired("per_user.parquet", METRIC, (CANDIDATE, reference))
    comparison = compare(ours, theirs, seed=params.seed, resamples=params.resamples, confidence=1.0 - params.alpha)
    sources = Sources(evaluated, reference, serving, params)
    measured = measure_guardrails(sources)
    harms = holm({_PRIMARY: comparison.p_value if comparison.effect < 0 else 1.0} | tested(measured))
    guardrails = judged(measured, harms, sources)
    deviation = float((ours - theirs).std(ddof=1)) if len(ours) > 1 else 0.0
    decision, why = judge(comparison, reference, params, guardrails, worse=harms[_PRIMARY])
    needed = None
    if decision == "inconclusive":
        needed = needed_users(comparison, deviation, guardrails, params)
        why += _to_tell(needed, comparison.users, params)
    if serving is not None and serving.refused:
        decision, needed, why = "reject", None, f"it cannot be served: {serving.refused}; {why}"
    elif evaluated.champion_saw_test_window:
        gained = _gained(comparison, reference)
        decision, needed = "inconclusive", None
        why = f"the champion was trained on events of the test window, which more users do not mend; {gained}"
    if evaluated.champion.get("not_compared"):
        facts = evaluated.champion
        why += f"; champion version {facts.get('version')} cannot be compared: {facts['not_compared']}"
    return Verdict(
        decision=decision,
        reference=reference,
        effect=comparison.effect,
        interval=(comparison.low, comparison.high),
        p_value=comparison.p_value,
        users=comparison.users,
        why=why,
        champion_version=version,
        mode=params.mode,
        deviation=deviation,
        users_needed=needed,
        guardrails=guardrails,
        serving_seconds=None if serving is None else round(serving.seconds, 3),
    )


def judge(
    comparison: Comparison, reference: str, params: GateParams, guardrails: Iterable[Guardrail], *, worse: float
) -> tuple[Decision, str]:
    """The decision and its reason.

    Args:
        comparison: of candidate and reference.
        reference: its name.
        params: section ``gate``.
        guardrails: with their standings.
        worse: p-value that the candidate is worse, adjusted for how many tests can reject it; 1 where it is not.
    """
    gained = _gained(comparison, reference)
    by_standing = _by_standing(guardrails)
    significant = comparison.p_value < params.alpha
    if worse < params.alpha:
        return "reject", f"worse: {gained}"
    if "broken" in by_standing:
        return "reject", f"guardrail broken: {by_standing['broken']}; {gained}"
    if comparison.high < params.min_effect or (significant and 0 < comparison.effect < params.min_effect):
        return "reject", f"{gained}; {params.min_effect:g} is asked for"
    if not significant or comparison.effect <= 0:
        return "inconclusive", f"no significant difference: {gained}"
    if "undecided" in by_standing:
        return "inconclusive", f"{gained}; guardrail undecided: {by_standing['undecided']}"
    return "promote", gained


def needed_users(
    comparison: Comparison, deviation: float, guardrails: Iterable[Guardrail], params: GateParams
) -> int | None:
    """Users with which all that is undecided is decided with chance ``params.power``; None where users do not help.

    Of the comparison it is the number that tells ``min_effect`` or, where none is asked for, the effect that was found.
    """
    needed = [rail.users_needed for rail in guardrails if rail.standing == "undecided"]
    if comparison.p_value >= params.alpha or comparison.effect <= 0:
        effect = params.min_effect or comparison.effect
        needed.append(users_needed(effect, deviation, alpha=params.alpha, power=params.power, sides=2))
    known = [users for users in needed if users is not None]
    return max(known) if known and len(known) == len(needed) else None


def _to_tell(needed: int | None, users: int, params: GateParams) -> str:
    """What it would take, in words."""
    if needed is None:
        return "; more users alone would not tell"
    if needed <= users:
        return f"; {users:,} users tell it with chance {params.power:g}, and this time did not"
    return f"; some {needed:,} users would tell it with chance {params.power:g}, {needed - users:,} more than there are"


def _gained(comparison: Comparison, reference: str) -> str:
    return f"{METRIC} {comparison.effect:+.4f} against {reference} (p = {comparison.p_value:.2g})"


def _by_standing(guardrails: Iterable[Guardrail]) -> Mapping[str, str]:
    """Standing -> the guardrails that stand so, in words."""
    words: dict[str, str] = {}
    for rail in guardrails:
        said = f"{rail.name} {rail.why}"
        words[rail.standing] = f"{words[rail.standing]}, {said}" if rail.standing in words else said
    return words
