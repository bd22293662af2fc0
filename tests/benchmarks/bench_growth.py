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
from pipelines.validation import TEXTS, read_attributes

TIMES = (1, 2, 4, 8)
ASKED = 1.15
CLOSED_FORMS = "linear", "recent_linear"
OF_THE_INVERSE = "a closed form, whose cost is the inverse's and not the events'"
LONG_ENOUGH = 3.0
"""Seconds; a shorter fit is repeated, and the least counts."""


def settings_of(kind: type[Model]) -> Section:
    """What params.yaml chose, or the defaults where it has no section."""
    if not kind.Settings.model_fields:
        return kind.Settings()
    return load_params(kind.Settings, str(kind.stage), ROOT / "params.yaml")


def seconds(kind: type[Model], training: Training, settings: Section) -> tuple[float, float]:
    """Least wall seconds, and least processor seconds, of a fit."""
    wall, processor, spent = float("inf"), float("inf"), 0.0
    for _ in range(3):
        began, used = time.perf_counter(), time.process_time()
        kind.fit(training, settings)
        took, busy = time.perf_counter() - began, time.process_time() - used
        wall, processor, spent = min(wall, took), min(processor, busy), spent + took
        if spent > LONG_ENOUGH:
            break
    return wall, processor


def exponent(events: list[int], took: list[float]) -> float:
    """Of ``time = constant * events ** exponent``, fitted by least squares on the logarithms."""
    return float(np.polyfit(np.log(events), np.log(np.maximum(took, 1e-6)), 1)[0])


def grow(everything: Training, times: int) -> Training:
    """The purchases of ``times`` eighths of the users."""
    histories = everything.histories
    drawn = np.random.default_rng(7).permutation(histories.num_users)
    users = np.sort(drawn[: histories.num_users * times // TIMES[-1]]).astype(np.int32)
    return replace(everything, histories=histories.pick(users))


def measure(name: str, kind: type[Model], everything: Training) -> None:
    """Print one model's line."""
    events, wall, processor = [], [], []
    for times in TIMES:
        training = grow(everything, times)
        fitted = {needed: models()[needed].fit(training, settings_of(models()[needed])) for needed in kind.needs}
        training = replace(training, fitted=fitted, texts=everything.texts if kind.reads_texts else None)
        events.append(len(training.histories.items))
        for kept, value in zip((wall, processor), seconds(kind, training, settings_of(kind)), strict=True):
            kept.append(value)
    found = exponent(events, wall)
    others = exponent(events[-2:], wall[-2:]), exponent(events, processor)
    verdict = "reached" if found <= ASKED else OF_THE_INVERSE if name in CLOSED_FORMS else "NOT reached"
    shown = " ".join(f"{value:8.2f}" for value in wall)
    print(f"{name:22s} {shown}   {found:8.2f} {others[0]:13.2f} {others[1]:9.2f}   {verdict}", flush=True)


def main() -> None:
    """Measure every model, or those that were named."""
    chosen = [argument for argument in sys.argv[1:] if argument in models()]
    sys.argv = [argument for argument in sys.argv if argument not in chosen]
    with worktree(("validate", "prepare", "embed", "train_bert")):
        histories = read_histories("validation", read_space())
        everything = Training(histories, read_texts(TEXTS), attributes=read_attributes())
        print(f"{os.cpu_count()} cores; at 8x {len(histories.items):,} events of {histories.num_users:,} users")
        columns = " ".join(f"{times:7d}x" for times in TIMES)
        print(f"{'seconds to fit at':22s} {columns}   exponent last doubling processor   asked: {ASKED} at most")
        for name, kind in models().items():
            if not chosen or name in chosen:
                measure(name, kind, everything)


if __name__ == "__main__":
    main()
