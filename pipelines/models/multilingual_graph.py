"""The second encoder as an OpenVINO graph, in 8 bits as its weights were made for.

Each weight is a whole number of a block of 32 and the block's scale; OpenVINO brings what is multiplied by them to 8
bits by the same blocks, as the engine in the wheel does: the cosine to that engine's vectors is 0.9999, for a quarter
of its processor time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.models.encoder_graph import absence, attended, normed, pooled
from pipelines.models.packed_weights import BLOCK, PackedWeights, whole_numbers

WORDS, PADDING_MASK = "words", "padding_mask"


def compiled(packed: PackedWeights, layers: int, streams: int, most: tuple[int, int] | None = None) -> Any:
    """The encoder, ready to compute.

    Args:
        packed: the weights.
        layers: how many of its layers, the first ones.
        streams: calls at once, on one thread each: how many there are changes no bit.
        most: rows and length at most, which makes small calls a third faster; any by default.

    Returns:
        An ``openvino.CompiledModel`` from ``words``, float32 [rows, length, width], the sum of each token's vector
        and its place's, and ``padding_mask``, int32 [rows, length], to float32 [rows, width].
    """
    import openvino

    graph = _graph(packed, layers)
    if most is not None:
        rows, length = (openvino.Dimension(1, number) for number in most)
        shapes = {WORDS: [rows, length, packed.width], PADDING_MASK: [rows, length]}
        graph.reshape({name: openvino.PartialShape(shape) for name, shape in shapes.items()})
    return openvino.Core().compile_model(
        graph,
        "CPU",
        {
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(streams),
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(BLOCK),
        },
    )


def _graph(packed: PackedWeights, layers: int) -> Any:
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    words = ops.parameter(PartialShape([-1, -1, packed.width]), Type.f32)
    padding_mask = ops.parameter(PartialShape([-1, -1]), Type.i32)
    for parameter, name in ((words, WORDS), (padding_mask, PADDING_MASK)):
        parameter.set_friendly_name(name)
        parameter.output(0).get_tensor().set_names({name})
    kept = ops.convert(padding_mask, Type.f32)
    absent = absence(kept)

    def norm(inputs: Any, name: str) -> Any:
        return normed(inputs, packed.floats(f"{name}.w"), packed.floats(f"{name}.b"), packed.epsilon)

    def dense(inputs: Any, name: str, width: int) -> Any:
        blocks = packed.blocks(f"{name}.w", width)
        numbers = ops.convert(ops.constant(whole_numbers(blocks), Type.i4), Type.f16)
        scaled = ops.multiply(numbers, ops.constant(np.ascontiguousarray(blocks["scale"])[..., None]))
        kernel = ops.convert(ops.reshape(scaled, np.array([len(blocks), width]), False), Type.f32)
        return ops.add(ops.matmul(inputs, kernel, False, True), packed.floats(f"{name}.b"))

    hidden = norm(words, "emb.ln")
    for layer in range(layers):
        query, key, value = (dense(hidden, f"l{layer}.{part}", packed.width) for part in "qkv")
        mixed = attended(query, key, value, packed.num_heads, packed.width // packed.num_heads, absent)
        hidden = norm(ops.add(hidden, dense(mixed, f"l{layer}.ao", packed.width)), f"l{layer}.aln")
        inner = ops.gelu(dense(hidden, f"l{layer}.fi", packed.width), "ERF")
        hidden = norm(ops.add(hidden, dense(inner, f"l{layer}.fo", packed.inner_width)), f"l{layer}.oln")
    return Model([pooled(hidden, kept)], [words, padding_mask], "multilingual")
