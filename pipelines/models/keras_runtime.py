"""Keras on TensorFlow, imported the one way that gives the same numbers every time."""

from __future__ import annotations

import os
from typing import Any

from pipelines.errors import ModelError


def import_keras(seed: int | None = None) -> Any:
    """Import Keras on TensorFlow with reproducible kernels.

    Environment variables are read once, when TensorFlow loads, so this must come before any other import of it:
    ``KERAS_BACKEND=tensorflow``, ``TF_DETERMINISTIC_OPS=1``, quiet logs. Thread counts are fixed to two within
    an operation and one across operations: a sum that is split over threads depends on how many there are.

    Args:
        seed: the start of every generator that Keras owns (dropout, initial weights); ``None`` leaves them.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise ModelError(f"Keras runs on {keras.backend.backend()!r}", mend="unset KERAS_BACKEND")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(2)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass
    if seed is not None:
        keras.utils.set_random_seed(seed)
    return keras
