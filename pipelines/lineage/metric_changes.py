"""By how much the figures of two versions differ, and whether chance would explain it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import ShoploomError
from pipelines.lineage.graph import Missing, ModelLineage, out_md5
from pipelines.runs.objects import object_path, read_object
from pipelines.runs.run_commits import read_lock
from pipelines.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = "data/evaluate/metrics.json"
PER_USER = "data/evaluate/per_user.parquet"
CANDIDATE, CHAMPION = "rank", "champion"
SEED = 7
"""Of the resampling: the same question gets the same answer."""
_AGAIN = "shoploom train makes a version that is scored beside the champion"


@dataclass(frozen=True)
class MetricChange:
    """A figure of both versions.

    Args:
        name: ``ndcg_at_10``.
        before: of the older version.
        after: of the newer.
        effect: mean difference over the users of both; None where it was not tested.
        interval: 95%, of the effect.
        p_value: of the paired two-sided permutation test.
        users: compared.
        how: what the test rests on, or why there is none.
    """

    name: str
    before: float | None
    after: float | None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    users: int = 0
    how: str = ""


@dataclass(frozen=True)
class _Scored:
    """What ``evaluate`` wrote in a version's run."""

    version: str
    document: dict[str, Any]
    per_user: str

    def figures(self, model: str) -> dict[str, float]:
        row = (self.document.get("models") or {}).get(model) or {}
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
        return {name: float(value) for name, value in numbers.items() if not isinstance(value, bool)}

    @property
    def window(self) -> tuple[Any, Any]:
        protocol = self.document.get("protocol") or {}
        return protocol.get("test_starts"), protocol.get("test_ends")


def metric_changes(
    settings: Settings, old: ModelLineage, new: ModelLineage, missing: list[Missing]
) -> tuple[MetricChange, ...]:
    """Compare what both versions were scored at.

    Where the newer run scored the older version as its champion, both figures are that run's: the same users, window
    and items. Else each is its own run's, and tested only over the users that both have in the same window.
    """
    first, second = (_scored(settings, side, missing) for side in (old, new))
    if second is None:
        return ()
    champion = second.document.get("champion") or {}
    beside = str(champion.get("version")) == old.version.version and bool(second.figures(CHAMPION))
    if beside:
        before, how = second.figures(CHAMPION), f"version {old.version.version} was scored in the newer run"
    elif first is not None:
        before, how = first.figures(CANDIDATE), "each in its own run"
    else:
        before, how = {}, f"not tested: the figures of version {old.version.version} are not known"
    after = second.figures(CANDIDATE)
    tested, why = _tested(settings, first, second, beside, missing) if before else ({}, how)
    return tuple(
        MetricChange(name, before.get(name), after.get(name), **tested[name], how=how)
        if name in tested
        else MetricChange(name, before.get(name), after.get(name), how=why or f"{how}; no figure of each user")
        for name in sorted(before.keys() | after.keys())
    )


def _scored(settings: Settings, side: ModelLineage, missing: list[Missing]) -> _Scored | None:
    named = f"version {side.version.version}"
    if side.run is None:
        return None
    lock = read_lock(settings, side.run)
    metrics, per_user = out_md5(lock, METRICS), out_md5(lock, PER_USER)
    if not metrics:
        missing.append(Missing(f"{named}: its run put out no {METRICS}, so its figures are not known", _AGAIN))
        return None
    try:
        return _Scored(side.version.version, json.loads(read_object(settings, metrics)), per_user)
    except ShoploomError as error:
        missing.append(Missing(f"{named}: {METRICS}: {error.message}", error.mend))
        return None


def _tested(
    settings: Settings, first: _Scored | None, second: _Scored, beside: bool, missing: list[Missing]
) -> tuple[dict[str, dict[str, Any]], str]:
    """Metric -> effect, interval, p-value and users; and why there is none, where there is none."""
    from pipelines.metrics.significance import compare

    if not beside and (first is None or first.window != second.window):
        return {}, "not tested: each was scored in another test window, so that the figures are of other purchases"
    try:
        after = _of_users(settings, second.per_user, CANDIDATE)
        if beside or first is None:
            before = _of_users(settings, second.per_user, CHAMPION)
        else:
            before = _of_users(settings, first.per_user, CANDIDATE)
    except ShoploomError as error:
        missing.append(Missing(f"whether the metrics differ by chance: {error.message}", error.mend))
        return {}, "not tested: the figures of each user are lost"
    # Never by the text of the ids: it depends on this machine's key, and resampling on the order.
    users, tested = [user for user in after if user in before], dict[str, dict[str, Any]]()
    names = {name for values in (before, after) for row in values.values() for name in row}
    for name in sorted(names) if users else ():
        ours, theirs = (_column(values, users, name) for values in (after, before))
        if not (ours == ours).any() or not ((ours - theirs) == (ours - theirs)).any():
            continue
        found = compare(ours, theirs, seed=SEED)
        interval = (found.low, found.high)
        tested[name] = {"effect": found.effect, "interval": interval, "p_value": found.p_value, "users": found.users}
    return tested, "" if tested else "not tested: the two have no user in common"


def _of_users(settings: Settings, md5: str, model: str) -> dict[str, dict[str, float]]:
    """User -> metric -> value, of one model."""
    import pyarrow.compute as pc

    from pipelines.artifacts import read_table
    from pipelines.errors import DataError

    if not md5:
        raise DataError(f"the run put out no {PER_USER}", mend=_AGAIN)
    table = read_table(object_path(settings, md5))
    rows = table.filter(pc.equal(table["model"], model)).to_pylist()
    if not rows:
        raise DataError(f"{PER_USER} has no rows of model {model!r}", mend=_AGAIN)
    return {str(row["user_id"]): _numbers(row) for row in rows}


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, float)}


def _column(values: Mapping[str, Mapping[str, float]], users: list[str], name: str) -> NDArray[Any]:
    import numpy as np

    return np.array([values[user].get(name, np.nan) for user in users], np.float64)
