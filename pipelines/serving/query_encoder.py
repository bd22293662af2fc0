"""The text encoder, compiled for a few queries at a time: the catalogue's is compiled for full batches, which cost a
query twice the time. Vectors differ from the catalogue's in the last bits alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.encoder import TextEncoder
from pipelines.models.together import Together


class QueryEncoder(TextEncoder):
    """Encodes queries; those that come from several threads at once, together.

    Made by :meth:`load`, from the same files as :class:`pipelines.models.encoder.TextEncoder`.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self._open(directory, manifest, None, 1)
        self._together = Together(super().encode)

    def encode(self, texts: Sequence[str], description: str = "") -> NDArray[np.float32]:
        """See :meth:`pipelines.models.encoder.TextEncoder.encode`; without a progress bar."""
        return self._together.of(texts)
