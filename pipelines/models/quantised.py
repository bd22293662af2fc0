"""The encoder in 8 bits: weights as whole numbers, and what they are multiplied with too, while it is computed.

The library NNCF rounds the weights, each output's in a range of its own. OpenVINO rounds the other side of a product as
it comes, some neighbouring numbers of one token in a range of their own: nothing is calibrated on texts, so the encoder
does not change with the catalogue, and what a text becomes depends on no other text.
"""

from __future__ import annotations

import logging
from typing import Any


def quantised(graph: Any) -> Any:
    """An encoder's graph with its weights in 8 bits.

    Args:
        graph: what :func:`pipelines.models.encoder_graph.encoder_graph` returns; it is changed.
    """
    import nncf

    nncf.set_log_level(logging.WARNING)
    return nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_ASYM)
