"""What the gate says: the verdict, its guardrails, and how both stand in JSON and in MLflow's tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from pipelines.errors import RegistryError

Decision = Literal["promote", "reject", "inconclusive"]
Mode = Literal["enforce", "dry_run"]
Standing = Literal["held", "broken", "undecided", "shown", "unmeasured"]
"""A guardrail is shown where there is no champion to fall behind."""

CANDIDATE = "rank"
METRIC = "ndcg_at_10"
VERDICT_FILE = "verdict.json"
VERDICT_PAGE = "verdict.html"


@dataclass(frozen=True)
class Guardrail:
    """One thing that a candidate may not lose.

    Args:
        name: as in ``gate.margins``.
        standing: held, broken, undecided; shown where nothing is held to it; unmeasured.
        margin: share of the champion's level that may be lost.
        why: one clause.
        unit: what was compared: users, queries, requests.
        units: how many.
        candidate: its level; None where unmeasured.
        reference: the champion's, or the plain baseline's; None where there is none.
        interval: of the relative change, each end one-sided; None where there is none.
        users_needed: to decide what is undecided, on the whole; None where users do not help.
    """

    name: str
    standing: Standing
    margin: float
    why: str
    unit: str = "users"
    units: int = 0
    candidate: float | None = None
    reference: float | None = None
    interval: tuple[float, float] | None = None
    users_needed: int | None = None

    @property
    def change(self) -> float | None:
        """The candidate's level over the reference's, less 1."""
        if self.candidate is None or not self.reference:
            return None
        return self.candidate / self.reference - 1.0

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Guardrail:
        """Back from JSON."""
        interval = value.get("interval")
        return cls(**{**_known(cls, value), "interval": tuple(interval) if interval else None})


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Args:
        decision: promote, reject or inconclusive.
        reference: ``champion`` or the plain baseline that the candidate was compared with.
        effect: mean NDCG@10 gained over the reference, on the same users.
        interval: lower and upper end for the effect, covering 1 - alpha.
        p_value: of the paired two-sided permutation test.
        users: how many were compared.
        why: one sentence.
        candidate: the model that was judged.
        metric: what was compared.
        champion_version: the reference's version, None for a baseline.
        mode: whether the verdict moves the champion.
        deviation: standard deviation of a user's difference; None of an older shoploom.
        users_needed: with which an inconclusive verdict would be none; None where users do not help.
        guardrails: in the order of ``gate.margins``.
        serving_seconds: that the trial in real servers took; None where there was none.
    """

    decision: Decision
    reference: str
    effect: float
    interval: tuple[float, float]
    p_value: float
    users: int
    why: str
    candidate: str = CANDIDATE
    metric: str = METRIC
    champion_version: str | None = None
    mode: Mode = "enforce"
    deviation: float | None = None
    users_needed: int | None = None
    guardrails: tuple[Guardrail, ...] = field(default=())
    serving_seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields, as JSON holds them."""
        rails = [
            {**asdict(rail), "interval": list(rail.interval) if rail.interval else None} for rail in self.guardrails
        ]
        return {**asdict(self), "interval": list(self.interval), "guardrails": rails}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Verdict:
        """Back from what :meth:`as_dict` gave, or an older shoploom's, which had no guardrails.

        Raises:
            RegistryError: it lacks what every verdict says.
        """
        try:
            low, high = value["interval"]
            rails = tuple(Guardrail.from_dict(rail) for rail in value.get("guardrails") or ())
            return cls(**{**_known(cls, value), "interval": (low, high), "guardrails": rails})
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryError(
                f"this is no verdict that this shoploom reads, but one of an older shoploom or damaged: {error}",
                mend="shoploom train judges again",
            ) from None


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """The verdict as MLflow tags."""
    standings = ", ".join(f"{rail.name} {rail.standing}" for rail in verdict.guardrails)
    return {
        "gate.decision": verdict.decision,
        "gate.mode": verdict.mode,
        "gate.reference": verdict.reference,
        "gate.effect": f"{verdict.effect:.6f}",
        "gate.interval": f"{verdict.interval[0]:.6f}..{verdict.interval[1]:.6f}",
        "gate.p_value": f"{verdict.p_value:.6g}",
        "gate.users": str(verdict.users),
        "gate.users_needed": "" if verdict.users_needed is None else str(verdict.users_needed),
        "gate.guardrails": standings,
        "gate.why": verdict.why,
    }


def _known(kind: type[Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass that JSON holds; what a newer shoploom added is passed over."""
    names = {one.name for one in fields(kind)}
    return {name: content for name, content in value.items() if name in names}
