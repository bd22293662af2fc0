"""Training in epochs: the same bytes with and without a kill, curves, checkpoints, and a stop at divergence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.training import (
    CHECKPOINT_FILE,
    CURVES_FILE,
    Plan,
    epoch_generator,
    forget,
    identity_of,
    read_curves,
    train_epochs,
)
from pipelines.params import Section
from tests.tiny_models import TinyShop

ROOT = Path(__file__).parents[2]
PLAN = Plan("train a line", epochs=4, identity="a", mend="lower train_line.learning_rate")


class Line:
    """Fits y = 3 x by stochastic gradient descent with momentum."""

    def __init__(self, rate: float = 0.05, stop_in: int | None = None, steps: int = 5) -> None:
        self.weight, self.momentum = np.zeros(2), np.zeros(2)
        self.rate, self.stop_in, self.ran, self._steps = rate, stop_in, [], steps

    def steps(self) -> int:
        return self._steps

    def epoch(self, number: int) -> Iterator[float]:
        generator = epoch_generator(7, number)
        self.ran.append(number)
        for _ in range(self._steps):
            x = generator.normal(size=2)
            error = float(self.weight @ x - 3 * x.sum())
            with np.errstate(all="ignore"):
                self.momentum = 0.5 * self.momentum - self.rate * error * x
                self.weight = self.weight + self.momentum
            if number == self.stop_in:
                raise KeyboardInterrupt
            yield error * error

    def measure(self) -> Mapping[str, float]:
        return {"weight": float(self.weight[0])}

    def state(self) -> dict[str, NDArray[Any]]:
        return {"weight": self.weight, "momentum": self.momentum}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.weight, self.momentum = state["weight"], state["momentum"]


def test_training_that_was_stopped_ends_in_the_same_bytes_and_repeats_one_epoch_at_most(tmp_path: Path) -> None:
    whole = Line()
    curves = train_epochs(whole, PLAN, None)
    with pytest.raises(KeyboardInterrupt):
        train_epochs(Line(stop_in=3), PLAN, tmp_path)
    resumed = Line()
    assert train_epochs(resumed, PLAN, tmp_path) == curves
    assert resumed.ran == [3, 4]
    assert resumed.weight.tobytes() == whole.weight.tobytes()
    assert read_curves(tmp_path) == curves
    assert [point["epoch"] for point in curves] == [1, 2, 3, 4]
    assert set(curves[0]) == {"epoch", "loss", "weight"}


def test_training_survives_a_kill_of_its_process(tmp_path: Path) -> None:
    code = f"""
        import os, signal, sys
        from pathlib import Path
        from tests.unit.test_training import PLAN, Line, train_epochs
        class Killed(Line):
            def epoch(self, number):
                for step, loss in enumerate(super().epoch(number)):
                    if number == 3 and step == 2:
                        os.kill(os.getpid(), signal.SIGKILL)
                    yield loss
        train_epochs(Killed(), PLAN, Path({str(tmp_path)!r}))
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert len(read_curves(tmp_path)) == 2
    resumed, whole = Line(), Line()
    train_epochs(resumed, PLAN, tmp_path)
    train_epochs(whole, PLAN, None)
    assert resumed.ran == [3, 4]
    assert resumed.weight.tobytes() == whole.weight.tobytes()


def test_a_finished_training_is_not_repeated_until_it_is_forgotten(tmp_path: Path) -> None:
    train_epochs(Line(), PLAN, tmp_path)
    again = Line()
    train_epochs(again, PLAN, tmp_path)
    assert again.ran == []
    forget(tmp_path)
    train_epochs(again, PLAN, tmp_path)
    assert again.ran == [1, 2, 3, 4]
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("plan", [replace(PLAN, identity="b"), replace(PLAN, epochs=3)])
def test_a_checkpoint_of_another_training_is_not_used(tmp_path: Path, plan: Plan) -> None:
    train_epochs(Line(), PLAN, tmp_path)
    other = Line()
    curves = train_epochs(other, plan, tmp_path)
    assert other.ran == list(range(1, plan.epochs + 1))
    assert read_curves(tmp_path) == curves


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path) -> None:
    train_epochs(Line(), PLAN, tmp_path)
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:40])
    other = Line()
    train_epochs(other, PLAN, tmp_path)
    assert other.ran == [1, 2, 3, 4]


def test_no_checkpoint_is_used_where_caches_are_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_epochs(Line(), PLAN, tmp_path)
    monkeypatch.setenv("SHOPLOOM_NO_CACHE", "1")
    other = Line()
    train_epochs(other, PLAN, tmp_path)
    assert other.ran == [1, 2, 3, 4]


def test_training_that_diverges_stops_and_says_so() -> None:
    with pytest.raises(ModelError, match=r"train a line diverged in epoch \d") as caught:
        train_epochs(Line(rate=3.0, steps=400), PLAN, None)
    assert caught.value.mend == PLAN.mend


def test_training_whose_loss_climbs_or_whose_state_is_not_finite_stops(tmp_path: Path) -> None:
    class Climbing(Line):
        def epoch(self, number: int) -> Iterator[float]:
            yield 10.0 ** (2 * number)

    with pytest.raises(ModelError, match=r"epoch 2: the loss is 1e\+04, and was 100 after the first epoch"):
        train_epochs(Climbing(), PLAN, tmp_path)
    assert [json.loads(line)["epoch"] for line in (tmp_path / CURVES_FILE).read_text().splitlines()] == [1]

    class Broken(Line):
        def state(self) -> dict[str, NDArray[Any]]:
            return {"weight": np.array([np.nan])}

    with pytest.raises(ModelError, match="epoch 1: weight holds a number that is not finite"):
        train_epochs(Broken(), PLAN, None)


def test_progress_is_reported_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLOOM_PROGRESS", str(tmp_path / "progress"))
    train_epochs(Line(), PLAN, None)
    last = json.loads((tmp_path / "progress").read_text().splitlines()[-1])
    assert (last["description"], last["done"], last["total"]) == ("train a line", 20, 20)


def test_identity_follows_settings_seed_and_purchases() -> None:
    class Settings(Section):
        rate: float = 0.1

    shop = TinyShop()
    first = identity_of(Line, shop.training(), Settings())
    assert first == identity_of(Line, shop.training(), Settings())
    others = [
        identity_of(Line, shop.training(), Settings(rate=0.2)),
        identity_of(Line, shop.training(seed=8), Settings()),
        identity_of(Line, shop.training(histories=shop.histories.take(0, 9)), Settings()),
        identity_of(Line, shop.training(texts=None), Settings()),
        identity_of(Line, shop.training(), Settings(), "warm"),
    ]
    assert len({first, *others}) == 6


def test_keras_goes_on_bit_for_bit_from_a_checkpoint(tmp_path: Path) -> None:
    from pipelines.models.keras_runtime import import_keras, keras_state, restore_keras

    keras = import_keras(3)
    import tensorflow as tf

    class Network:
        def __init__(self) -> None:
            keras.utils.set_random_seed(3)
            layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
            self.model = keras.Sequential([keras.Input((4,)), *layers])
            self.optimizer = keras.optimizers.Adam(0.01)
            self.optimizer.build(self.model.trainable_variables)

        def steps(self) -> int:
            return 3

        def epoch(self, number: int) -> Iterator[float]:
            generator = epoch_generator(3, number)
            for _ in range(3):
                x = tf.constant(generator.normal(size=(16, 4)).astype(np.float32))
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean((self.model(x, training=True)[:, 0] - tf.reduce_sum(x, 1)) ** 2)
                self.optimizer.apply_gradients(
                    zip(
                        tape.gradient(loss, self.model.trainable_variables), self.model.trainable_variables, strict=True
                    )
                )
                yield float(loss)

        def measure(self) -> Mapping[str, float]:
            return {}

        def state(self) -> dict[str, NDArray[Any]]:
            return keras_state(self.model, self.optimizer)

        def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
            restore_keras(state, self.model, self.optimizer)

    class Stopped(Network):
        def epoch(self, number: int) -> Iterator[float]:
            if number == 3:
                raise KeyboardInterrupt
            yield from super().epoch(number)

    whole, resumed = Network(), None
    curves = train_epochs(whole, PLAN, None)
    with pytest.raises(KeyboardInterrupt):
        train_epochs(Stopped(), PLAN, tmp_path)
    resumed = Network()
    assert train_epochs(resumed, PLAN, tmp_path) == curves
    for name, array in resumed.state().items():
        assert array.tobytes() == whole.state()[name].tobytes(), name
    with pytest.raises(ModelError, match="does not fit"):
        restore_keras({}, whole.model)
