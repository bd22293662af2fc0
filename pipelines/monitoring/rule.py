"""When to train again: on every load, or when enough of the last windows were breached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pipelines.params import MONITOR_LIMITS, MonitorParams


@dataclass(frozen=True)
class Window:
    """A partition beside what the champion was trained on.

    Args:
        partition: its name.
        measures: what was measured; None where that could not be.
        breached: names of the measures that lie over their limit.
    """

    partition: str
    measures: Mapping[str, float | None]
    breached: tuple[str, ...]

    @classmethod
    def judged(cls, partition: str, measures: Mapping[str, float | None], params: MonitorParams) -> Self:
        """A window whose measures are held against the limits."""
        over = (
            name
            for name, value in measures.items()
            if name in MONITOR_LIMITS and value is not None and value > params.limit(name)
        )
        return cls(partition, dict(measures), tuple(over))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"partition": self.partition, "measures": dict(self.measures), "breached": list(self.breached)}


@dataclass(frozen=True)
class Decision:
    """Whether to train again.

    Args:
        retrain: yes or no.
        why: one sentence.
    """

    retrain: bool
    why: str


def decide(windows: Sequence[Window], params: MonitorParams, *, champion: bool) -> Decision:
    """Decide after a load.

    Args:
        windows: of this champion, since it was last asked to be replaced; oldest first.
        params: the rule.
        champion: whether there is one at all.
    """
    if params.rule == "always":
        return Decision(True, "the rule is always")
    if not champion:
        return Decision(True, "there is no champion yet")
    if not windows:
        return Decision(False, "the champion knows all that was landed")
    recent = windows[-params.n :]
    count, latest = sum(bool(window.breached) for window in recent), recent[-1]
    said = f"{count} of the last {len(recent)} windows are breached, {params.k} of {params.n} are needed"
    if k_of_n([bool(window.breached) for window in windows], params.k, params.n):
        return Decision(True, f"{said}: {latest.partition} by {', '.join(latest.breached)}")
    return Decision(
        False, said if latest.breached else f"the latest window, {latest.partition}, is not breached; {said}"
    )


def k_of_n(breaches: Sequence[bool], k: int, n: int) -> bool:
    """Whether at least ``k`` of the last ``n`` windows were breached, the latest among them.

    Args:
        breaches: one for each window, oldest first.
        k: at least 1.
        n: at least k.
    """
    recent = breaches[-n:]
    return bool(recent) and bool(recent[-1]) and sum(map(bool, recent)) >= k
