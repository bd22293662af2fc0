"""The learned blend: from a pair's features to the chance that it is bought.

Its kinds are measured beside each other by the stage ``rank``, and the best is kept: gradient-boosted trees
(:mod:`pipelines.models.tree_blend`), a linear blend (:mod:`pipelines.models.linear_blend`), a small network
(:mod:`pipelines.models.neural_blend`), and trees and network together (:mod:`pipelines.models.mixed_blend`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.artifacts import read_json
from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN
from pipelines.models.blend_settings import BLEND_FILE, FORMAT_VERSION
from pipelines.models.files import model_errors
from pipelines.models.linear_blend import LinearBlend
from pipelines.models.mixed_blend import NETWORK_FOLDER, TREES_FOLDER, MixedBlend
from pipelines.models.neural_blend import NeuralBlend
from pipelines.models.tree_blend import TreeBlend

AnyBlend = TreeBlend | LinearBlend | NeuralBlend | MixedBlend


def load_blend(directory: Path, feature_names: Sequence[str]) -> AnyBlend:
    """Read a saved blend of any kind.

    Raises:
        ModelError: a file is missing or unreadable, or the blend was trained on other features.
    """
    with model_errors():
        header = read_json(directory / BLEND_FILE)
    try:
        if header["format"] != FORMAT_VERSION or tuple(header["features"]) != tuple(feature_names):
            raise ModelError(
                f"{directory / BLEND_FILE} is of another version: its features or format differ from this code's",
                mend="load it with the code of its run commit, or train again with shoploom run",
            )
        if header["kind"] == TreeBlend.kind:
            return TreeBlend.load(directory, header["trees_sha256"], header["features"], int(header["threads"]))
        if header["kind"] == NeuralBlend.kind:
            return NeuralBlend.load(directory, int(header["layers"]), header["features"])
        if header["kind"] == MixedBlend.kind:
            parts = (load_blend(directory / folder, feature_names) for folder in (TREES_FOLDER, NETWORK_FOLDER))
            return MixedBlend.of(*parts)
        arrays = [np.asarray(header[name], np.float64) for name in ("weights", "centre", "scale")]
        return LinearBlend(arrays[0], float(header["bias"]), arrays[1], arrays[2], header["features"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ModelError(f"{directory} holds no readable blend: {error}", mend=MADE_AGAIN) from error
