"""The pre-trained BERT encoder: found, checked, built in Keras, and exported for inference.

Training needs gradients and runs in Keras on TensorFlow; inference runs the exported graph in OpenVINO
(:mod:`pipelines.models.encoder`), several times faster on a CPU.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from pipelines.artifacts import file_sha256, read_json, write_json
from pipelines.errors import ModelError
from pipelines.models.encoder import FORMAT_VERSION, IR_FILE, TOKENIZER_FILE, TOKENIZER_SOURCE
from pipelines.models.encoder_graph import encoder_graph, exact_gelu
from pipelines.models.installed import installed_file
from pipelines.models.keras_runtime import import_keras
from pipelines.models.quantised import quantised

WEIGHTS_FILE = "model.safetensors"
GELUS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")
"""Activations that are read, by Hugging Face's names: the exact one, and three ways to write its approximation."""


def find_weights(source: str, sha256: str = "") -> Path:
    """Find a Hugging Face BERT directory and check its weights.

    Args:
        source: an existing directory, or the name of an installed distribution that ships one. The
            distribution is read through its file list and never imported.
        sha256: what ``model.safetensors`` must hash to; empty accepts any.

    Returns:
        The directory that holds config.json, tokenizer.json and model.safetensors.

    Raises:
        ModelError: nothing is found, a file is missing, or the hash differs.
    """
    directory = Path(source) if Path(source).is_dir() else _directory_of_distribution(source)
    for name in ("config.json", TOKENIZER_SOURCE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise ModelError(
                f"{directory} holds no {name}", mend="set embed.weights to a Hugging Face BERT directory with that file"
            )
    found = file_sha256(directory / WEIGHTS_FILE)
    if sha256 and found != sha256:
        raise ModelError(
            f"{directory / WEIGHTS_FILE} has SHA-256 {found}, expected {sha256}",
            mend=f"reinstall {source}, or set embed.weights_sha256 if these weights are meant",
        )
    return directory


def _directory_of_distribution(name: str) -> Path:
    missing = ModelError(
        f"embed.weights: {name!r} is neither a directory nor an installed distribution",
        mend="set embed.weights to a Hugging Face BERT directory, or install the distribution",
    )
    return installed_file(name, WEIGHTS_FILE, missing).parent


def build_encoder(directory: Path) -> Any:
    """Build the encoder in Keras with the weights of a Hugging Face BERT directory.

    Args:
        directory: what :func:`find_weights` found.

    Returns:
        A Keras model from ``{"token_ids": int32 [n, length], "padding_mask": int32 [n, length]}`` to float32
        [n, embedding_size]: the mean of the last layer over the tokens that are not padding, L2-normalised.

    Raises:
        ModelError: the directory holds no BERT.

    Source: Reimers and Gurevych 2019, section 3 (mean pooling).
    """
    config = read_json(directory / "config.json")
    if config.get("model_type") != "bert":
        raise ModelError(
            f"{directory / 'config.json'}: model_type is {config.get('model_type')!r}",
            mend="only BERT encoders are read; set embed.weights to one",
        )
    if config.get("hidden_act") not in GELUS:
        raise ModelError(
            f"{directory / 'config.json'}: hidden_act is {config.get('hidden_act')!r}",
            mend=f"only {', '.join(GELUS)} are read; set embed.weights to an encoder with one",
        )
    keras = import_keras()
    from keras_hub.models import BertBackbone
    from safetensors import SafetensorError

    try:
        backbone = BertBackbone.from_preset(str(directory))
    except (KeyError, ValueError, OSError, SafetensorError) as error:
        raise ModelError(f"{directory} cannot be read as BERT: {error}", mend="check its config.json") from error
    if config["hidden_act"] == GELUS[0]:
        for layer in backbone.transformer_layers:
            layer._feedforward_intermediate_dense.activation = exact_gelu
    ops = keras.ops
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    padding_mask = keras.Input((None,), dtype="int32", name="padding_mask")
    inputs = {"token_ids": token_ids, "padding_mask": padding_mask, "segment_ids": ops.zeros_like(token_ids)}
    hidden = backbone(inputs)["sequence_output"]
    weight = ops.expand_dims(ops.cast(padding_mask, "float32"), -1)
    mean = ops.sum(hidden * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1.0)
    vectors = mean * ops.rsqrt(ops.maximum(ops.sum(mean * mean, axis=-1, keepdims=True), 1e-12))
    return keras.Model({"token_ids": token_ids, "padding_mask": padding_mask}, vectors, name="encoder")


def export_encoder(model: Any, source: Path, directory: Path, *, max_length: int, precision: str) -> None:
    """Write a Keras encoder as OpenVINO IR with its tokenizer, readable by ``TextEncoder.load``.

    Node names, which OpenVINO numbers by a counter of the process, are replaced by their position, so equal weights
    give equal bytes. Weights are stored as float16, for ``"int8"`` in 8 bits.

    Args:
        model: what :func:`build_encoder` returns, as it is or fine-tuned.
        source: the Hugging Face directory that the tokenizer comes from.
        directory: exists and is empty.
        max_length: tokens kept of a text, special tokens included.
        precision: what is computed in: ``"bf16"``, ``"f32"`` or ``"int8"``.
    """
    import openvino

    shutil.copyfile(source / TOKENIZER_SOURCE, directory / TOKENIZER_FILE)
    graph = quantised(encoder_graph(model)) if precision == "int8" else encoder_graph(model)
    for position, node in enumerate(graph.get_ordered_ops()):
        kept = node.get_friendly_name() if node.get_type_name() == "Parameter" else f"node_{position}"
        node.set_friendly_name(kept)
        for output in node.outputs():
            output.get_tensor().set_names({kept} if node.get_type_name() == "Parameter" else set())
    graph.outputs[0].get_tensor().set_names({"vectors"})
    openvino.save_model(graph, directory / IR_FILE, compress_to_fp16=True)
    files = (IR_FILE, IR_FILE.replace(".xml", ".bin"), TOKENIZER_FILE)
    write_json(
        {
            "format": "shoploom-encoder",
            "format_version": FORMAT_VERSION,
            "embedding_size": int(model.output_shape[-1]),
            "max_length": max_length,
            "precision": precision,
            "files": {name: file_sha256(directory / name) for name in files},
            "weights_sha256": weights_digest(model),
        },
        directory / "encoder.json",
    )


def weights_digest(model: Any) -> str:
    """SHA-256 over a Keras model's weights, in order: shape and float32 bytes of each."""
    import numpy as np

    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(weight.numpy(), np.float32)
        digest.update(repr(value.shape).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
