"""The text encoder, compiled for one query at a time: the catalogue's is compiled for batches, which cost a query twice
the time. Vectors differ from the catalogue's in the last bits alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.encoder import BUCKET_TOKENS, TextEncoder, normalised

STREAMS = 2
"""Queries that are encoded at once, on one thread each."""


class QueryEncoder(TextEncoder):
    """Encodes queries. Made by :meth:`load`, from the same files as :class:`pipelines.models.encoder.TextEncoder`."""

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self._open(directory, manifest, 1, STREAMS)

    def encode(self, texts: Sequence[str], description: str = "") -> NDArray[np.float32]:
        """See :meth:`pipelines.models.encoder.TextEncoder.encode`; one text after another, without a progress bar."""
        vectors = np.zeros((len(texts), self.embedding_size), np.float32)
        for place, ids in enumerate(self.tokenize(texts)):
            length = -(-len(ids) // BUCKET_TOKENS) * BUCKET_TOKENS
            token_ids, padding_mask = np.zeros((1, length), np.int32), np.zeros((1, length), np.int32)
            token_ids[0, : len(ids)] = ids
            padding_mask[0, : max(len(ids), 1)] = 1
            request = self._compiled.create_infer_request()
            request.infer({"token_ids": token_ids, "padding_mask": padding_mask})
            vectors[place] = request.get_output_tensor(0).data[0]
        return normalised(vectors)
