"""Training in epochs: progress, curves, a checkpoint each epoch, resumption after a kill, and a stop at divergence.

A model hands over a :class:`Learner`, which knows one epoch; :func:`train_epochs` does the rest:

    class Factors:                                     # a Learner
        def steps(self) -> int: ...
        def epoch(self, number: int) -> Iterator[float]:
            generator = epoch_generator(seed, number)  # the order of the batches, the negatives
            for batch in ...:
                yield loss
        def state(self) -> dict[str, NDArray]: ...
        def restore(self, state) -> None: ...

    curves = train_epochs(learner, Plan("train sequence", epochs=20, identity=identity_of(...)), training.side)

What an epoch draws at random depends on the seed and its number alone, and the state holds all else that it depends on,
so a training that was killed and resumed ends in the same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import getsourcefile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import atomic_file, file_sha256, read_arrays, write_arrays
from pipelines.errors import DataError, ModelError
from pipelines.models.base import Training
from pipelines.params import Section
from pipelines.progress import track
from pipelines.stage_environment import caches_are_off

CHECKPOINT_FILE = "checkpoint.safetensors"
CURVES_FILE = "curves.jsonl"
DIVERGED = 10.0
"""A loss this many times the first epoch's is a divergence."""

State = Mapping[str, NDArray[Any]]
Curves = list[dict[str, float]]


class Learner(Protocol):
    """What a model knows of one epoch."""

    def steps(self) -> int:
        """Steps of one epoch, for the progress bar."""

    def epoch(self, number: int) -> Iterator[float]:
        """Learn for one epoch.

        Args:
            number: of the epoch, from 1; with the seed it decides everything that is drawn at random.

        Yields:
            The loss of each step.
        """

    def measure(self) -> Mapping[str, float]:
        """Further numbers after an epoch, for the curves; may be empty."""

    def state(self) -> State:
        """Everything that the next epoch depends on: weights, the optimizer's moments, its count of steps."""

    def restore(self, state: State) -> None:
        """Go on from what :meth:`state` gave."""


@dataclass(frozen=True)
class Plan:
    """How long to train, and what the training is.

    Args:
        description: a few words for the progress bar: ``"train sequence"``.
        epochs: passes; >= 1.
        identity: of everything that the result depends on (:func:`identity_of`); a checkpoint of another is not used.
        mend: what to change when the training diverges: ``"lower train_sequence.learning_rate"``.
    """

    description: str
    epochs: int
    identity: str
    mend: str = "lower the learning rate"


def train_epochs(learner: Learner, plan: Plan, side: Path | None) -> Curves:
    """Train to the last epoch, from the last checkpoint where there is one of the same training.

    Args:
        learner: see :class:`Learner`.
        plan: see :class:`Plan`.
        side: where checkpoint and curves are kept; None keeps neither.

    Returns:
        For each epoch its number (``epoch``), its mean ``loss``, and what the learner measures.

    Raises:
        ModelError: the training diverges: a loss, a measure or the state is not finite, or the loss is
            :data:`DIVERGED` times the first epoch's.
    """
    curves = _resume(learner, plan, side)
    if side is not None:
        _write_curves(curves, side)
    done = len(curves)
    steps = _steps(learner, plan, side, curves)
    for _ in track(steps, plan.description, learner.steps() * (plan.epochs - done)):
        pass
    return curves


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """The generator of one epoch's random draws; epochs are independent of one another."""
    return np.random.default_rng([seed, epoch])


def identity_of(kind: type, training: Training, settings: Section, *others: str) -> str:
    """SHA-256 of what a training's result depends on: code, settings, seed, threads, purchases, texts.

    Args:
        kind: the model; the file that defines it is hashed.
        training: what it learns from.
        settings: of the model.
        others: anything else, as text, :func:`code_of` other files for instance.
    """
    digest = hashlib.sha256()
    facts = [code_of(kind), settings.model_dump_json(), training.seed, training.threads, *others]
    digest.update(json.dumps(facts).encode())
    histories = training.histories
    arrays = [histories.indptr, histories.items, histories.ages, histories.quantities]
    if training.texts is not None:
        arrays += [training.texts.embeddings, training.texts.text_index]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def code_of(part: Any) -> str:
    """SHA-256 of the file that defines a class or a function; empty where there is none."""
    source = getsourcefile(part)
    return file_sha256(Path(source)) if source else ""


def forget(side: Path, name: str = CHECKPOINT_FILE) -> None:
    """Remove a training's checkpoint, because what was trained is saved, or its curves, because another begins.

    The stage does both, and no model: a kill while the second window is fitted must not cost the first.
    """
    (side / name).unlink(missing_ok=True)


def read_curves(side: Path) -> Curves:
    """The curves that a training left in its side folder; empty where there are none."""
    try:
        lines = (side / CURVES_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def _steps(learner: Learner, plan: Plan, side: Path | None, curves: Curves) -> Iterator[None]:
    for number in range(len(curves) + 1, plan.epochs + 1):
        losses = []
        for loss in learner.epoch(number):
            _refuse_divergence(plan, number, {"loss": float(loss)})
            losses.append(float(loss))
            yield
        point = {"epoch": float(number), "loss": float(np.mean(losses)) if losses else 0.0, **learner.measure()}
        _refuse_divergence(plan, number, point, float(curves[0]["loss"]) if curves else None)
        state = learner.state()
        for name, array in state.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise _diverged(plan, number, f"{name} holds a number that is not finite")
        curves.append(point)
        if side is not None:
            _write_checkpoint(state, plan, curves, side)
            _write_curves(curves, side)


def _refuse_divergence(plan: Plan, epoch: int, values: Mapping[str, float], first: float | None = None) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise _diverged(plan, epoch, f"{name} is {value}")
    if first is not None and values["loss"] > DIVERGED * max(first, 1e-6):
        raise _diverged(plan, epoch, f"the loss is {values['loss']:.4g}, and was {first:.4g} after the first epoch")


def _diverged(plan: Plan, epoch: int, why: str) -> ModelError:
    return ModelError(f"{plan.description} diverged in epoch {epoch}: {why}", mend=plan.mend)


def _resume(learner: Learner, plan: Plan, side: Path | None) -> Curves:
    """Restore the learner from a checkpoint of this very training; the curves up to it."""
    if side is None or caches_are_off():
        return []
    try:
        arrays = read_arrays(side / CHECKPOINT_FILE)
        told = json.loads(arrays.pop("told").tobytes())
    except (DataError, KeyError, ValueError):
        return []
    if told.get("identity") != plan.identity or len(told["curves"]) > plan.epochs:
        return []
    curves: Curves = told["curves"]
    learner.restore(arrays)
    if len(curves) < plan.epochs:
        print(f"{plan.description}: going on after epoch {len(curves)} of {plan.epochs}")
    return curves


def _write_checkpoint(state: State, plan: Plan, curves: Curves, side: Path) -> None:
    """State and curves in one file, so that a kill never leaves them apart."""
    told = json.dumps({"identity": plan.identity, "curves": curves}).encode()
    write_arrays({**state, "told": np.frombuffer(told, np.uint8)}, side / CHECKPOINT_FILE)


def _write_curves(curves: Curves, side: Path) -> None:
    with atomic_file(side / CURVES_FILE) as temporary:
        temporary.write_text("".join(json.dumps(point) + "\n" for point in curves), encoding="utf-8")
