"""A causal Transformer over visits, written once for NumPy and for Keras.

``ops`` is ``numpy`` or ``keras.ops``, which name these operations alike, so that what was trained in Keras is served
without TensorFlow, by the very same lines.

Source: Kang and McAuley 2018, "SASRec"; times between visits as Li et al. 2020, "TiSASRec", as a bias of the attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.sequence_visits import DAY_BINS, VISIT_BINS

NEVER = -1e9
"""Added to the attention of what lies in the future."""


def first_weights(size: int, layers: int, heads: int, generator: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Weights before training.

    Args:
        size: length of a vector.
        layers: blocks.
        heads: of the attention, each of ``size // heads``, at least 1.
        generator: of what is random.

    Returns:
        float32 arrays by name, the order of which is that of training.
    """
    inner = heads * max(1, size // heads)

    def drawn(*shape: int) -> NDArray[np.float32]:
        return generator.normal(scale=1.0 / math.sqrt(shape[0]), size=shape).astype(np.float32)

    weights = {
        "start": 0.1 * drawn(1, size),
        "gaps": np.zeros((DAY_BINS, size), np.float32),
        "last_scale": np.ones(size, np.float32),
        "last_shift": np.zeros(size, np.float32),
    }
    for layer in range(layers):
        parts = {
            "attention_scale": np.ones(size, np.float32),
            "attention_shift": np.zeros(size, np.float32),
            "query": drawn(size, inner),
            "key": drawn(size, inner),
            "value": drawn(size, inner),
            "joined": drawn(inner, size),
            "days": np.zeros((DAY_BINS, heads), np.float32),
            "apart": np.zeros((VISIT_BINS, heads), np.float32),
            "forward_scale": np.ones(size, np.float32),
            "forward_shift": np.zeros(size, np.float32),
            "inner": drawn(size, 2 * size),
            "inner_shift": np.zeros(2 * size, np.float32),
            "outer": drawn(2 * size, size),
            "outer_shift": np.zeros(size, np.float32),
        }
        weights.update({f"{layer}_{name}": part for name, part in parts.items()})
    return weights


def states(
    ops: Any,
    weights: Mapping[str, Any],
    content: Any,
    tokens: tuple[Any, Any, Any],
    drop: Callable[[Any], Any] = lambda array: array,
) -> Any:
    """What the network makes of each token, knowing it and those before it.

    Args:
        ops: ``numpy`` or ``keras.ops``.
        weights: of :func:`first_weights`.
        content: float32 [num_rows, length, size], the vectors of the visits' baskets; zero for the start.
        tokens: ``gaps``, ``days`` and ``apart`` of :class:`pipelines.models.sequence_visits.Tokens`.
        drop: dropout, in training.

    Returns:
        float32 [num_rows, length, size].
    """
    gaps, days, apart = tokens
    size = weights["last_scale"].shape[0]
    places = ops.arange(ops.shape(apart)[0])
    begin = ops.concatenate([weights["start"], ops.zeros((1, size), dtype="float32")], axis=0)
    first = ops.take(begin, ops.minimum(places, 1), axis=0)
    hidden = drop(content * math.sqrt(size) + first[None] + ops.take(weights["gaps"], gaps, axis=0))
    future = ops.where(places[None, :] > places[:, None], np.float32(NEVER), np.float32(0))
    layer = 0
    while f"{layer}_query" in weights:
        part = {name.split("_", 1)[1]: array for name, array in weights.items() if name.startswith(f"{layer}_")}
        bias = ops.take(part["days"], days, axis=0) + ops.take(part["apart"], apart, axis=0)[None]
        bias = ops.transpose(bias, (0, 3, 1, 2)) + future
        normal = normalised(ops, hidden, part["attention_scale"], part["attention_shift"])
        hidden = hidden + drop(attention(ops, part, normal, bias))
        normal = normalised(ops, hidden, part["forward_scale"], part["forward_shift"])
        inner = ops.maximum(ops.matmul(normal, part["inner"]) + part["inner_shift"], np.float32(0))
        hidden = hidden + drop(ops.matmul(drop(inner), part["outer"]) + part["outer_shift"])
        layer += 1
    return normalised(ops, hidden, weights["last_scale"], weights["last_shift"])


def attention(ops: Any, part: Mapping[str, Any], normal: Any, bias: Any) -> Any:
    """Several heads' attention.

    Args:
        ops: ``numpy`` or ``keras.ops``.
        part: weights of one block.
        normal: float32 [num_rows, length, size].
        bias: float32 [num_rows, heads, length, length], added before the softmax.

    Returns:
        float32 [num_rows, length, size].
    """
    heads = part["days"].shape[1]
    rows, length, _ = ops.shape(normal)
    inner = part["query"].shape[1]

    def split(name: str) -> Any:
        projected = ops.reshape(ops.matmul(normal, part[name]), (rows, length, heads, inner // heads))
        return ops.transpose(projected, (0, 2, 1, 3))

    logits = ops.matmul(split("query"), ops.transpose(split("key"), (0, 1, 3, 2))) / np.float32(
        math.sqrt(inner // heads)
    )
    logits = logits + bias
    shares = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    shares = shares / ops.sum(shares, axis=-1, keepdims=True)
    joined = ops.transpose(ops.matmul(shares, split("value")), (0, 2, 1, 3))
    return ops.matmul(ops.reshape(joined, (rows, length, inner)), part["joined"])


def normalised(ops: Any, array: Any, scale: Any, shift: Any) -> Any:
    """Layer normalisation over the last axis."""
    centred = array - ops.mean(array, axis=-1, keepdims=True)
    variance = ops.mean(centred * centred, axis=-1, keepdims=True)
    return centred / ops.sqrt(variance + np.float32(1e-6)) * scale + shift
