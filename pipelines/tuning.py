"""Tuning one model: trials on the validation window, the poor ones given up early, resumed from a file.

A trial is first fitted on a quarter of the users and judged on these; if it does worse there than most, it ends. The
others are fitted on all. The first trial is what is set now, so the best is never worse than that.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ConfigError, ModelError
from pipelines.models.base import Model, NoSettings, Span, Training
from pipelines.models.popularity import Popularity
from pipelines.models.training import identity_of
from pipelines.params import Section, WindowParams, load_params
from pipelines.prepared import read_events, read_space
from pipelines.validation import measure, read_training

SHARES = (0.25, 1.0)
"""Of the users, that a trial is fitted on, one after another."""
STARTUP_TRIALS = 4
"""Trials before any is given up."""
KEPT_PERCENTILE = 60.0
"""A trial goes on if it is among the best 60% of those that were fitted on as many users."""
DIGITS = 4
"""Significant digits of a number that is tried, so that what is written is what was measured."""

State = Literal["finished", "pruned", "failed"]


@dataclass(frozen=True)
class Material:
    """What trials are fitted and judged on; the test window is no part of it.

    Args:
        kind: the model.
        training: everything before the validation window.
        candidates: int32 [num_candidates], ascending dense ids.
        purchases: int64, ascending: ``user * num_items + item`` of every purchase in the validation window.
    """

    kind: type[Model]
    training: Training
    candidates: NDArray[np.int32]
    purchases: NDArray[np.int64]

    def share(self, share: float) -> Material:
        """The same of some users, drawn from the training's seed."""
        histories = self.training.histories
        if share >= 1:
            return self
        drawn = np.random.default_rng(self.training.seed).permutation(histories.num_users)
        users = np.sort(drawn[: max(1, round(share * histories.num_users))]).astype(np.int32)
        owner, item = np.divmod(self.purchases, histories.num_items)
        kept = np.isin(owner, users)
        purchases = np.searchsorted(users, owner[kept]) * histories.num_items + item[kept]
        training = replace(self.training, histories=histories.pick(users))
        return replace(self, training=training, purchases=purchases)

    def judge(self, settings: Section) -> dict[str, float]:
        """Fit with some settings and measure on the validation window."""
        model = self.kind.fit(self.training, settings)
        return measure(model, self.training.histories, self.candidates, self.purchases)


@dataclass(frozen=True)
class Plan:
    """How to tune.

    Args:
        trials: in all, those of earlier calls included.
        metric: ``ndcg_at_10`` or ``ndcg_at_10_new``; more is better.
        storage: the SQLite file that trials are kept in.
    """

    trials: int
    metric: str
    storage: Path


@dataclass(frozen=True)
class Trial:
    """How a trial ended.

    Args:
        number: from 0, what is set now.
        state: finished, pruned or failed.
        parameters: what was tried.
        measures: what was measured at each share of the users, in the order of :data:`SHARES`.
        seconds: it took.
        error: why it failed.
    """

    number: int
    state: State
    parameters: Mapping[str, float]
    measures: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Tuned:
    """What came out.

    Args:
        study: names model, data and metric; the same for the same.
        before: the metric with what is set now; None where that could not be fitted.
        best: the metric of the best trial.
        parameters: of the best trial.
        counts: of trials by state.
    """

    study: str
    before: float | None
    best: float
    parameters: dict[str, float]
    counts: dict[str, int]


def read_material(kind: type[Model]) -> Material:
    """Read what a model is tuned on from the current folder.

    Raises:
        DataError: a file is missing.
        ModelError: a model that it builds on is missing, or was not chosen.
    """
    space = read_space()
    training = replace(read_training(kind, "validation"), side=None, previous=None)
    candidates = Popularity.of(training.histories).candidates(load_params(WindowParams, "window").min_buyers)
    return Material(kind, training, candidates, read_events(["validation"]).keys(space))


def study_name(material: Material, now: Section, metric: str) -> str:
    """Names what trials have in common: the model and its code, the data, where it looks, the metric.

    Args:
        material: what to fit and judge on.
        now: what is set; the settings without a span count.
        metric: see :class:`Plan`.
    """
    spans = material.kind.spans
    fixed = {name: value for name, value in now.model_dump().items() if name not in spans}
    facts = [json.dumps(fixed, sort_keys=True, default=str), metric, repr(sorted(spans.items())), repr(SHARES)]
    judged = hashlib.sha256(material.purchases.tobytes() + material.candidates.tobytes()).hexdigest()
    identity = identity_of(material.kind, material.training, NoSettings(), *facts, judged)
    return f"{material.kind.name}-{metric}-{identity[:12]}"


def tune(material: Material, now: Section, plan: Plan, observe: Callable[[Trial], None]) -> Tuned:
    """Try settings until there are as many trials as planned.

    Args:
        material: what to fit and judge on.
        now: what is set; settings without a span stay as they are in it.
        plan: see :class:`Plan`.
        observe: called as each trial ends.

    Returns:
        The best trial; of equals the first.

    Raises:
        ConfigError: the model states nothing to tune.
        ModelError: no trial could be finished.
    """
    import optuna

    if not material.kind.spans:
        raise ConfigError(f"model {material.kind.name!r} states nothing to tune", mend="give its class spans")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan.storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{plan.storage}",
        study_name=study_name(material, now, plan.metric),
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=material.training.seed),
        pruner=optuna.pruners.PercentilePruner(KEPT_PERCENTILE, STARTUP_TRIALS),
    )
    ended = _ended(study)
    study.sampler = optuna.samplers.TPESampler(seed=material.training.seed + len(study.trials))
    current = {name: getattr(now, name) for name in material.kind.spans}
    if not any(trial.params == current for trial in ended):
        study.enqueue_trial(current, user_attrs={"now": True})
    steps = [material.share(share) for share in SHARES]
    objective = _Objective(steps, now, plan.metric, observe)
    study.optimize(objective, n_trials=max(0, plan.trials - len(ended)), catch=(ModelError,))
    return _tuned(study, current)


class _Objective:
    """A trial, for Optuna: what it tries, where it is given up, and what is told of it."""

    def __init__(self, steps: list[Material], now: Section, metric: str, observe: Callable[[Trial], None]) -> None:
        self.steps, self.now, self.metric, self.observe = steps, now, metric, observe

    def __call__(self, trial: Any) -> float:
        import optuna

        began, measures = time.monotonic(), list[dict[str, float]]()
        chosen = {name: self._suggested(trial, name, span) for name, span in self.steps[0].kind.spans.items()}
        settings = type(self.now).model_validate({**self.now.model_dump(), **chosen})

        def tell(state: State, error: str = "") -> None:
            self.observe(Trial(trial.number, state, chosen, measures, time.monotonic() - began, error))

        try:
            for rung, step in enumerate(self.steps):
                measures.append(step.judge(settings))
                trial.report(measures[-1][self.metric], rung)
                if step is not self.steps[-1] and trial.should_prune() and "now" not in trial.user_attrs:
                    tell("pruned")
                    raise optuna.TrialPruned
        except ModelError as error:
            trial.set_user_attr("error", str(error))
            tell("failed", str(error))
            raise
        tell("finished")
        return measures[-1][self.metric]

    def _suggested(self, trial: Any, name: str, span: Span) -> float:
        now = getattr(self.now, name)
        if isinstance(now, int):
            whole: int = trial.suggest_int(name, int(span.low), int(span.high), log=span.log)
            return whole
        value = float(trial.suggest_float(name, span.low, span.high, log=span.log))
        return value if value == now else rounded(value)


def rounded(value: float) -> float:
    """A number at :data:`DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def _ended(study: Any) -> list[Any]:
    """Trials that came to an end; one that was running when its process was killed did not, and counts for nothing."""
    states = {"COMPLETE", "PRUNED"}
    return [trial for trial in study.trials if trial.state.name in states or "error" in trial.user_attrs]


def _tuned(study: Any, current: Mapping[str, float]) -> Tuned:
    ended = _ended(study)
    complete = [trial for trial in ended if trial.state.name == "COMPLETE"]
    if not complete:
        said = ended[-1].user_attrs.get("error", "") if ended else "none was run"
        raise ModelError(f"no trial could be finished: {said}", mend="shoploom tune with more --trials")
    best = max(complete, key=lambda trial: (trial.value, -trial.number))
    before = next((trial.value for trial in complete if trial.params == current), None)
    states = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    counts = {name: sum(trial.state.name == state for trial in ended) for name, state in states.items()}
    parameters = {
        name: value if isinstance(value, int) or best.params == current else rounded(value)
        for name, value in best.params.items()
    }
    return Tuned(study.study_name, before, best.value, parameters, counts)
