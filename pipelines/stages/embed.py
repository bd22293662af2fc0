"""Stage ``embed``: one vector for every distinct product text, from the pre-trained encoder as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import atomic_directory, read_table, write_arrays
from pipelines.models.bert import build_encoder, export_encoder, find_weights
from pipelines.models.encoder import TextEncoder
from pipelines.models.texts import distinct_texts
from pipelines.models.vector_cache import VectorCache
from pipelines.params import EmbedParams, load_params
from pipelines.stages import run_main

ITEMS = Path("data/prepared/items.parquet")
OUTPUT = Path("data/embed")


@dataclass(frozen=True)
class TextVectors:
    """The catalogue as vectors.

    Args:
        embeddings: float32 [num_texts, embedding_size], L2-normalised, one a distinct text.
        text_index: int32 [num_items], the row of ``embeddings`` that an item's text has.
        encoded: texts that the encoder had to encode; the others were known.
    """

    embeddings: NDArray[np.float32]
    text_index: NDArray[np.int32]
    encoded: int


def embed(texts: Sequence[str], text_index: NDArray[np.int32], encoder: TextEncoder, cache: VectorCache) -> TextVectors:
    """Encode the texts that the cache does not know, and keep them there.

    Args:
        texts: distinct.
        text_index: int32 [num_items].
        encoder: what encodes.
        cache: vectors of the same encoder.
    """
    known = cache.read(texts)
    missing = [text for text in texts if text not in known]
    vectors = encoder.encode(missing, "encode product texts")
    cache.write(missing, vectors)
    known.update(zip(missing, vectors, strict=True))
    embeddings = np.stack([known[text] for text in texts]) if texts else vectors
    return TextVectors(embeddings, text_index, len(missing))


def main() -> None:
    """Read the items, export the pre-trained encoder, encode, write."""
    params = load_params(EmbedParams, "embed")
    texts, text_index = distinct_texts(read_table(ITEMS, ["item", "text"]))
    source = find_weights(params.weights, params.weights_sha256)
    with atomic_directory(OUTPUT) as output:
        (output / "encoder").mkdir()
        export_encoder(
            build_encoder(source), source, output / "encoder", max_length=params.max_length, precision=params.precision
        )
        encoder = TextEncoder.load(output / "encoder")
        vectors = embed(texts, text_index, encoder, VectorCache.of(encoder.identity, encoder.embedding_size))
        write_arrays({"embeddings": vectors.embeddings, "text_index": vectors.text_index}, output / "texts.safetensors")
    print(f"{len(text_index)} items, {len(texts)} distinct texts: {vectors.encoded} encoded, the others were known")


if __name__ == "__main__":
    run_main(main)
