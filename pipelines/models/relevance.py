"""How likely a product answers a query: a sigmoid head on the encoder's vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import write_arrays, write_json
from pipelines.errors import ModelError
from pipelines.models.parts import PACKAGED_AGAIN, read_part

FORMAT_VERSION = 1
HEAD_FILE = "relevance.json"
BATCH_SIZE = 512
WEIGHT, BIAS = 20.0, -8.0
"""What training starts from, the weight of every dimension alike."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RelevanceHead:
    """``sigmoid(sum_k weights[k] * query[k] * item[k] + bias)``: a cosine whose dimensions have learned weights.

    Args:
        weights: float32 [embedding_size].
        bias: added to every logit.
        untrained: why the weights are those that training starts from; empty where it was trained.
    """

    weights: Floats
    bias: float
    untrained: str = ""

    @classmethod
    def prior(cls, embedding_size: int, why: str) -> Self:
        """The head that training starts from: a steep sigmoid of the cosine, even odds at 0.4."""
        return cls(np.full(embedding_size, WEIGHT, np.float32), BIAS, why)

    def score(self, query_vectors: Floats, item_vectors: Floats) -> Floats:
        """The probability that each item answers each query.

        Args:
            query_vectors: float32 [num_queries, embedding_size], L2-normalised.
            item_vectors: float32 [num_items, embedding_size], L2-normalised.

        Returns:
            float32 [num_queries, num_items], within 0..1.

        Raises:
            ModelError: the vectors have another size than the head.
        """
        for name, vectors in (("query", query_vectors), ("item", item_vectors)):
            if vectors.ndim != 2 or vectors.shape[1] != len(self.weights):
                raise ModelError(
                    f"{name} vectors have shape {vectors.shape}; the head reads [n, {len(self.weights)}]",
                    mend="SHOPLOOM_NO_CACHE=1 shoploom run makes encoder and head of one size",
                )
        logits: Floats = np.add((query_vectors * self.weights) @ item_vectors.T, self.bias, dtype=np.float32)
        return sigmoid(logits)

    def score_pairs(self, query_vectors: Floats, item_vectors: Floats) -> Floats:
        """The probability that each item answers the query beside it: float32 [num_pairs], as :meth:`score` gives it.

        Args:
            query_vectors: float32 [num_pairs, embedding_size], L2-normalised.
            item_vectors: float32 [num_pairs, embedding_size], L2-normalised.
        """
        logits: Floats = np.add(((query_vectors * self.weights) * item_vectors).sum(1), self.bias, dtype=np.float32)
        return sigmoid(logits)

    def save(self, directory: Path) -> None:
        """Write the head into ``directory``."""
        write_arrays(
            {"weights": self.weights, "bias": np.array([self.bias], np.float32)}, directory / "head.safetensors"
        )
        said = {"untrained": self.untrained} if self.untrained else {}
        write_json({"format": "shoploom-relevance", "format_version": FORMAT_VERSION, **said}, directory / HEAD_FILE)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: a file is missing, unreadable or of another format version.
        """
        manifest, arrays = read_part(
            directory / HEAD_FILE,
            directory / "head.safetensors",
            ("shoploom-relevance", FORMAT_VERSION),
            "relevance head",
        )
        if set(arrays) != {"weights", "bias"} or not all(np.isfinite(array).all() for array in arrays.values()):
            raise ModelError(f"{directory / 'head.safetensors'} holds no weights and bias", mend=PACKAGED_AGAIN)
        return cls(arrays["weights"], float(arrays["bias"][0]), str(manifest.get("untrained", "")))


def fit_relevance(queries: Floats, items: Floats, labels: Floats, *, epochs: int, seed: int) -> RelevanceHead:
    """Train the head with binary cross-entropy.

    Args:
        queries: float32 [num_pairs, embedding_size], L2-normalised.
        items: float32 [num_pairs, embedding_size], the item of each pair.
        labels: float32 [num_pairs], 1 where the item answers the query, 0 where not.
        epochs: passes over the pairs.
        seed: of the order of pairs.

    Raises:
        ModelError: only one of the two labels occurs.
    """
    if not 0 < float(labels.mean()) < 1:
        raise ModelError("the relevance head needs pairs that fit and pairs that do not", mend="give it more items")
    from pipelines.models.keras_runtime import import_keras

    keras = import_keras(seed)
    size = queries.shape[1]
    start, bias = keras.initializers.Constant(WEIGHT), keras.initializers.Constant(BIAS)
    head = keras.layers.Dense(
        1, kernel_initializer=start, bias_initializer=bias, kernel_regularizer=_Around(WEIGHT, 1e-5), name="head"
    )
    products = keras.Input((size,), name="products")
    model = keras.Model(products, head(products))
    model.compile(keras.optimizers.Adam(0.05), keras.losses.BinaryCrossentropy(from_logits=True))
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        order = generator.permutation(len(labels))
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            model.train_on_batch(queries[rows] * items[rows], labels[rows])
    kernel, bias = head.get_weights()
    return RelevanceHead(kernel[:, 0].astype(np.float32), float(bias[0]))


class _Around:
    """An L2 penalty on the distance from ``centre``: all dimensions alike unless the pairs say otherwise."""

    def __init__(self, centre: float, strength: float) -> None:
        self.centre = centre
        self.strength = strength

    def __call__(self, weights: object) -> object:
        import keras

        return self.strength * keras.ops.sum(keras.ops.square(keras.ops.subtract(weights, self.centre)))


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    with np.errstate(over="ignore"):
        values: Floats = (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
    return values


def calibration_error(probabilities: Floats, labels: Floats, bins: int = 10) -> float:
    """The expected calibration error: mean distance of predicted and observed share, over equal-width bins.

    Args:
        probabilities: float32 [n], within 0..1.
        labels: float32 [n], 0 or 1.
        bins: number of bins.

    Source: Guo et al. 2017, equation 3.
    """
    _, predicted, observed, share = calibration_curve(probabilities, labels, bins)
    return float(np.sum(share * np.abs(predicted - observed)))


def calibration_curve(
    probabilities: Floats, labels: Floats, bins: int = 10
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The bins that hold a pair: their number, mean prediction, observed share of ones, and share of all pairs."""
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    used = np.flatnonzero(counts)
    predicted = np.bincount(place, probabilities, bins)[used] / counts[used]
    observed = np.bincount(place, labels, bins)[used] / counts[used]
    return used, predicted, observed, counts[used] / len(labels)
