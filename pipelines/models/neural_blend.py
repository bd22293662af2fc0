"""A small neural blend: two hidden layers, trained in Keras, kept as plain arrays and asked through NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import write_arrays
from pipelines.models.blend_settings import (
    BlendSettings,
    logistic,
    sample_negatives,
    squash,
    standardisation,
    write_blend,
)
from pipelines.models.files import read_required

LAYERS_FILE = "layers.safetensors"
HIDDEN = (64, 32)
BATCH_ROWS = 4096
EPOCHS = 6
LEARNING_RATE = 2e-3
PATH_STEPS = 64
"""Points on the way from the mean row to a row, where its gradient is taken."""
ROWS_AT_ONCE = 256
"""Rows whose ways are walked together."""


class NeuralBlend:
    """A multilayer perceptron on squashed, standardised features, with a sigmoid at its end.

    Args:
        kernels: float32 [inputs, outputs] of every layer, first to last.
        biases: float32 [outputs] of every layer.
        centre: float64 [num_features], means of the squashed features.
        scale: float64 [num_features], their standard deviations, > 0.
        feature_names: columns, in order.
    """

    kind = "neural"

    def __init__(
        self,
        kernels: Sequence[NDArray[np.float32]],
        biases: Sequence[NDArray[np.float32]],
        centre: NDArray[np.float64],
        scale: NDArray[np.float64],
        feature_names: Sequence[str],
    ) -> None:
        self.kernels = tuple(kernels)
        self.biases = tuple(biases)
        self.centre = centre
        self.scale = scale
        self.feature_names = tuple(feature_names)

    @classmethod
    def fit(
        cls,
        rows: NDArray[np.float32],
        bought: NDArray[np.bool_],
        feature_names: Sequence[str],
        settings: BlendSettings,
    ) -> Self:
        """Train on shortlisted pairs with binary cross-entropy; the same bytes for the same seed and threads."""
        from pipelines.models.keras_runtime import import_keras

        keras = import_keras(settings.seed)
        kept, weight = sample_negatives(bought, settings)
        squashed = squash(rows[kept])
        centre, scale = standardisation(squashed)
        inputs = ((squashed - centre) / scale).astype(np.float32)
        layers = [keras.layers.Dense(width, activation="relu") for width in HIDDEN]
        network = keras.Sequential(
            [keras.Input((inputs.shape[1],)), *layers, keras.layers.Dense(1, activation="sigmoid")]
        )
        network.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE), loss="binary_crossentropy")
        network.fit(
            inputs,
            bought[kept].astype(np.float32),
            sample_weight=weight / weight.mean(),
            batch_size=BATCH_ROWS,
            epochs=EPOCHS,
            shuffle=True,
            verbose=0,
        )
        arrays = [np.asarray(array, np.float32) for layer in network.layers for array in layer.get_weights()]
        return cls(arrays[0::2], arrays[1::2], centre, scale, feature_names)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [num_rows] in 0..1, from float32 [num_rows, num_features]."""
        signal = ((squash(rows) - self.centre) / self.scale).astype(np.float32)
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            signal = np.maximum(signal @ kernel + bias, np.float32(0))
        logit = (signal @ self.kernels[-1] + self.biases[-1])[:, 0]
        return logistic(logit.astype(np.float64)).astype(np.float32)

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """What every feature adds to the log odds of each row: integrated gradients from the mean row.

        Source: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", by the midpoint rule.

        Returns:
            float64 [num_rows, num_features + 1]; the last column is the mean row's. A row adds up to the log odds of
            its chance to within the rule's error.
        """
        whole = (squash(rows) - self.centre) / self.scale
        gradient = np.zeros_like(whole)
        shares = ((np.arange(PATH_STEPS) + 0.5) / PATH_STEPS)[:, None, None]
        for start in range(0, len(whole), ROWS_AT_ONCE):
            path = shares * whole[start : start + ROWS_AT_ONCE]
            on_path = self._gradient(path.reshape(-1, whole.shape[1])).reshape(path.shape)
            gradient[start : start + ROWS_AT_ONCE] = on_path.mean(axis=0)
        base = float(self._forward(np.zeros((1, whole.shape[1])))[-1][0, 0])
        return np.hstack([whole * gradient, np.full((len(rows), 1), base)])

    def _forward(self, inputs: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """What every layer puts out, the logit last."""
        outputs, signal = [], inputs
        for number, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True), start=1):
            signal = signal @ kernel.astype(np.float64) + bias
            if number < len(self.kernels):
                signal = np.maximum(signal, 0.0)
            outputs.append(signal)
        return outputs

    def _gradient(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [num_rows, num_features]: of the logit by the inputs."""
        hidden = self._forward(inputs)[:-1]
        gradient = np.tile(self.kernels[-1][:, 0].astype(np.float64), (len(inputs), 1))
        for kernel, signal in zip(self.kernels[-2::-1], hidden[::-1], strict=True):
            gradient = (gradient * (signal > 0)) @ kernel.T.astype(np.float64)
        return gradient

    def save(self, directory: Path) -> None:
        """Write the blend into ``directory``."""
        arrays: dict[str, NDArray[np.generic]] = {"centre": self.centre, "scale": self.scale}
        for number, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            arrays |= {f"kernel_{number}": kernel, f"bias_{number}": bias}
        write_arrays(arrays, directory / LAYERS_FILE)
        write_blend(directory, self.kind, self.feature_names, {"layers": len(self.kernels)})

    @classmethod
    def load(cls, directory: Path, layers: int, feature_names: Sequence[str]) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: the file is missing or unreadable, or lacks an array.
        """
        kernels, biases = ([f"{part}_{number}" for number in range(layers)] for part in ("kernel", "bias"))
        arrays = read_required(directory / LAYERS_FILE, (*kernels, *biases, "centre", "scale"))
        layers_of = ([arrays[name] for name in kernels], [arrays[name] for name in biases])
        return cls(*layers_of, arrays["centre"], arrays["scale"], feature_names)
