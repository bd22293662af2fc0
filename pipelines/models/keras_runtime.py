"""Keras on TensorFlow, imported the one way that gives the same numbers every time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def keras_state(*owners: Any) -> dict[str, NDArray[Any]]:
    """The variables of models and (built) optimizers, for a checkpoint: weights, moments, counts, seeds.

    A single number is an array of one, as the files of checkpoints want it.

    Args:
        owners: whatever has ``variables``; always in the same order.
    """
    return {
        f"variable_{place:04d}": np.atleast_1d(np.asarray(variable))
        for place, variable in enumerate(_variables(owners))
    }


def restore_keras(state: Mapping[str, NDArray[Any]], *owners: Any) -> None:
    """Assign what :func:`keras_state` gave.

    Raises:
        ModelError: the variables are not those of this architecture.
    """
    variables = _variables(owners)
    if len(state) != len(variables):
        raise ModelError(f"a checkpoint of {len(state)} variables does not fit {len(variables)}", mend="remove it")
    for place, variable in enumerate(variables):
        variable.assign(state[f"variable_{place:04d}"].reshape(variable.shape))


class Variables:
    """Variables that belong to no layer, or to some of a model's."""

    def __init__(self, variables: list[Any]) -> None:
        self.variables = variables


def _variables(owners: tuple[Any, ...]) -> list[Any]:
    return [variable for owner in owners for variable in owner.variables]
