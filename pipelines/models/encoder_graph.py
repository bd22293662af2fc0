"""The encoder as an OpenVINO graph, in the operations for which OpenVINO has one kernel each.

Keras exports layer normalisation, attention and the dense layers around it as a dozen small operations each, which
OpenVINO does not put together again; a graph that says what they are is a third faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORTEST = np.float32(1e-12)
"""The square of a vector's length that is divided by at least."""
HIDDEN = np.float32(-1e9)
"""Added to the attention that is paid to padding."""


def exact_gelu(inputs: Any) -> Any:
    """GELU by the error function, as BERT was trained with; Keras' own BERT approximates it."""
    import keras

    return keras.activations.gelu(inputs, approximate=False)


def encoder_graph(model: Any) -> Any:
    """What a Keras encoder computes.

    Args:
        model: what :func:`pipelines.models.bert.build_encoder` returns, as it is or fine-tuned.

    Returns:
        An ``openvino.Model`` with the same inputs, and ``vectors``.
    """
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    bert = next(layer for layer in model.layers if hasattr(layer, "transformer_layers"))
    token_ids, padding_mask = (ops.parameter(PartialShape([-1, -1]), Type.i32) for _ in range(2))
    for parameter, name in ((token_ids, "token_ids"), (padding_mask, "padding_mask")):
        parameter.set_friendly_name(name)
        parameter.output(0).get_tensor().set_names({name})
    kept = ops.convert(padding_mask, Type.f32)
    absent = absence(kept)
    hidden = _embedded(bert, token_ids)
    for layer in bert.transformer_layers:
        hidden = _normed(
            layer._self_attention_layer_norm, ops.add(hidden, _attention(layer._self_attention_layer, hidden, absent))
        )
        wide = layer._feedforward_intermediate_dense
        inner = ops.gelu(_dense(wide, hidden), "ERF" if wide.activation is exact_gelu else "TANH")
        outer = _dense(layer._feedforward_output_dense, inner)
        hidden = _normed(layer._feedforward_layer_norm, ops.add(hidden, outer))
    return Model([pooled(hidden, kept)], [token_ids, padding_mask], "encoder")


def _weights(variable: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(variable.numpy(), np.float32)


def _embedded(bert: Any, token_ids: Any) -> Any:
    """The sum of each token's vector, its place's and the first segment's."""
    from openvino import opset13 as ops

    places = _weights(bert.position_embedding.position_embeddings) + _weights(bert.segment_embedding.embeddings)[0]
    words = ops.gather(ops.constant(_weights(bert.token_embedding.embeddings)), token_ids, np.int64(0))
    length = ops.gather(ops.shape_of(token_ids), np.array([1]), np.int64(0))
    near = ops.slice(ops.constant(places), np.array([0]), length, np.array([1]), np.array([0]))
    return _normed(bert.embeddings_layer_norm, ops.add(words, near))


def _normed(layer: Any, hidden: Any) -> Any:
    return normed(hidden, _weights(layer.gamma), _weights(layer.beta), layer.epsilon)


def _dense(layer: Any, hidden: Any) -> Any:
    """A dense layer over all that comes in, whichever axes Keras divides it into."""
    from openvino import opset13 as ops

    outputs = int(np.prod(layer.bias.shape))
    kernel = ops.constant(_weights(layer.kernel).reshape(-1, outputs))
    return ops.add(ops.matmul(hidden, kernel, False, False), _weights(layer.bias).reshape(-1))


def _attention(layer: Any, hidden: Any, absent: Any) -> Any:
    heads, size = layer._query_dense.bias.shape
    query, key, value = (_dense(dense, hidden) for dense in (layer._query_dense, layer._key_dense, layer._value_dense))
    return _dense(layer._output_dense, attended(query, key, value, heads, size, absent))


def absence(kept: Any) -> Any:
    """What is added to the attention that is paid to each token: nothing, or ``HIDDEN`` where it is padding.

    Args:
        kept: float32 [rows, length], 1 on tokens and 0 on padding.
    """
    from openvino import opset13 as ops

    return ops.unsqueeze(ops.multiply(ops.subtract(np.float32(1), kept), HIDDEN), np.array([1, 2]))


def normed(hidden: Any, gamma: NDArray[np.float32], beta: NDArray[np.float32], epsilon: float) -> Any:
    """Layer normalisation over the last axis."""
    from openvino import opset13 as ops

    centred = ops.mvn(hidden, np.array([-1]), True, epsilon, "inside_sqrt")
    return ops.add(ops.multiply(centred, gamma), beta)


def attended(query: Any, key: Any, value: Any, heads: int, size: int, absent: Any) -> Any:
    """Scaled dot-product attention of each head, side by side again.

    Args:
        query: [rows, length, heads * size].
        key: as ``query``.
        value: as ``query``.
        heads: how many.
        size: the width of one.
        absent: of :func:`absence`.
    """
    from openvino import opset13 as ops

    divided, swapped = np.array([0, 0, heads, size]), np.array([0, 2, 1, 3])
    query, key, value = (ops.transpose(ops.reshape(part, divided, True), swapped) for part in (query, key, value))
    mixed = ops.transpose(ops.scaled_dot_product_attention(query, key, value, absent), swapped)
    return ops.reshape(mixed, np.array([0, 0, heads * size]), True)


def pooled(hidden: Any, kept: Any) -> Any:
    """The mean over the tokens that are not padding, L2-normalised."""
    from openvino import opset13 as ops

    weight = ops.unsqueeze(kept, np.array([2]))
    total = ops.reduce_sum(ops.multiply(hidden, weight), np.array([1]), False)
    mean = ops.divide(total, ops.maximum(ops.reduce_sum(weight, np.array([1]), False), np.float32(1)))
    squares = ops.reduce_sum(ops.multiply(mean, mean), np.array([1]), True)
    return ops.divide(mean, ops.sqrt(ops.maximum(squares, SHORTEST)))
