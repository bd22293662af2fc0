"""How each model's fit time grows with the events: 1, 2, 4 and 8 times as many, and the exponent.

    .venv/bin/python tests/benchmarks/bench_growth.py [WORKTREE] [NAME ...]

Eight times is the default data before the validation window; the shop grows by its users, the catalogue stays. Settings
are those of params.yaml. WORKTREE holds the outputs of `prepare` and `train_bert`; without it they are made. NAME
limits it to some models.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

import numpy as np
from worktree import ROOT, worktree

from pipelines.models.base import Model, Training
from pipelines.models.files import read_texts
from pipelines.models.found import models
from pipelines.params import Section, load_params
from pipelines.prepared import read_histories, read_space
from pipelines.validation import TEXTS

TIMES = (1, 2, 4, 8)
ASKED = 1.15
CLOSED_FORMS = {"linear": "a closed form, whose cost is the inverse's and not the events'"}
LONG_ENOUGH = 3.0
"""Seconds; a shorter fit is repeated, and the least counts."""


def settings_of(kind: type[Model]) -> Section:
    """What params.yaml chose, or the defaults where it has no section."""
    if not kind.Settings.model_fields:
        return kind.Settings()
    return load_params(kind.Settings, str(kind.stage), ROOT / "params.yaml")


def seconds(kind: type[Model], training: Training, settings: Section) -> float:
    """Least wall seconds of a fit."""
    least, spent = float("inf"), 0.0
    for _ in range(3):
        start = time.perf_counter()
        kind.fit(training, settings)
        took = time.perf_counter() - start
        least, spent = min(least, took), spent + took
        if spent > LONG_ENOUGH:
            break
    return least


def grow(everything: Training, times: int) -> Training:
    """The purchases of ``times`` eighths of the users."""
    histories = everything.histories
    drawn = np.random.default_rng(7).permutation(histories.num_users)
    users = np.sort(drawn[: histories.num_users * times // TIMES[-1]]).astype(np.int32)
    return replace(everything, histories=histories.pick(users))


def measure(name: str, kind: type[Model], everything: Training) -> None:
    """Print one model's line."""
    events, took = [], []
    for times in TIMES:
        training = grow(everything, times)
        fitted = {needed: models()[needed].fit(training, settings_of(models()[needed])) for needed in kind.needs}
        training = replace(training, fitted=fitted, texts=everything.texts if kind.reads_texts else None)
        events.append(len(training.histories.items))
        took.append(seconds(kind, training, settings_of(kind)))
    exponent = float(np.polyfit(np.log(events), np.log(took), 1)[0])
    last = float(np.log(took[-1] / took[-2]) / np.log(events[-1] / events[-2]))
    verdict = "reached" if exponent <= ASKED else CLOSED_FORMS.get(name, "NOT reached")
    shown = " ".join(f"{value:8.2f}" for value in took)
    print(f"{name:22s} {shown}   {exponent:8.2f} {last:13.2f}   {verdict}", flush=True)


def main() -> None:
    """Measure every model, or those that were named."""
    chosen = [argument for argument in sys.argv[1:] if argument in models()]
    sys.argv = [argument for argument in sys.argv if argument not in chosen]
    with worktree(("validate", "prepare", "embed", "train_bert")):
        histories = read_histories("validation", read_space())
        everything = Training(histories, read_texts(TEXTS))
        print(f"{os.cpu_count()} cores; at 8x {len(histories.items):,} events of {histories.num_users:,} users")
        print(f"{'seconds to fit at':22s} {' '.join(f'{times:7d}x' for times in TIMES)}   exponent last doubling   "
              f"asked: {ASKED} at most")  # fmt: skip
        for name, kind in models().items():
            if not chosen or name in chosen:
                measure(name, kind, everything)


if __name__ == "__main__":
    main()
