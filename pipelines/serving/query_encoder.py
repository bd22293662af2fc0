"""The text encoder, compiled for a few queries at a time: the catalogue's is compiled for full batches, which cost a
query twice the time. Vectors differ from the catalogue's in the last bits alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.encoder import Running, TextEncoder, length_batches, normalised
from pipelines.models.together import Together


class QueryEncoder(TextEncoder):
    """Encodes queries; those that come from several threads at once, together.

    Made by :meth:`load`, from the same files as :class:`pipelines.models.encoder.TextEncoder`.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self._open(directory, manifest, -1, 1)
        self._together = Together(self._vectors)

    def encode(self, texts: Sequence[str], description: str = "") -> NDArray[np.float32]:
        """See :meth:`pipelines.models.encoder.TextEncoder.encode`; without a progress bar."""
        return self._together.of(texts)

    def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.embedding_size), np.float32)
        running = Running(self._compiled, 1, vectors)
        for batch in length_batches(self.tokenize(texts)):
            running.start(batch, {"token_ids": batch.token_ids, "padding_mask": batch.padding_mask})
        running.finish()
        return normalised(vectors)
