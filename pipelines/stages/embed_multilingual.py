"""Stage ``embed_multilingual``: the catalogue for queries in scripts that the text encoder's vocabulary lacks.

Texts that the encoder cannot read, and those of a small catalogue, are encoded as they are; of the others only the
distinct pairs of type and category, some thousands: a text takes this encoder three times as long as the first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.artifacts import atomic_directory, read_table, write_json
from pipelines.models.bert import find_weights
from pipelines.models.encoder import TOKENIZER_SOURCE
from pipelines.models.files import CHOSEN_FILE, NOT_CHOSEN
from pipelines.models.intent_templates import product_names
from pipelines.models.multilingual import MultilingualEncoder, MultilingualIndex
from pipelines.models.scripts import Reader
from pipelines.models.texts import distinct_texts
from pipelines.models.vector_cache import VectorCache
from pipelines.params import EmbedMultilingualParams, EmbedParams, load_params
from pipelines.stages import run_main

ITEMS = Path("data/prepared/items.parquet")
OUTPUT = Path("data/embed_multilingual")


def forms_of(
    items: pa.Table, texts: list[str], text_index: NDArray[np.int32], unread: NDArray[np.bool_], full: bool
) -> list[str]:
    """The form in which each distinct text is encoded.

    Args:
        items: of ``prepare``.
        texts: the distinct texts.
        text_index: int32 [num_items], the text of each item.
        unread: bool [num_texts], texts that the first encoder cannot read: they stand as they are.
        full: whether all texts do.

    Returns:
        One form a text: the text, or ``"type, category"`` of the first item that has it.
    """
    if full:
        return texts
    first = pa.array(np.unique(text_index, return_index=True)[1])
    types = items.column("product_type").take(first).to_pylist()
    paths = items.column("category").take(first).to_pylist()
    forms = []
    for text, kind, path, kept in zip(texts, types, paths, unread, strict=True):
        names = [kind, path[-2] if path and len(path) >= 3 else ""]
        forms.append(text if kept or not kind else ", ".join(name for name in names if name).lower())
    return forms


def index(encoder: MultilingualEncoder, forms: list[str], cache: VectorCache, unread_share: float) -> MultilingualIndex:
    """Encode the distinct forms that the cache does not know.

    Args:
        encoder: the second encoder.
        forms: one a text.
        cache: of the encoder's product vectors.
        unread_share: the share of a query's unread tokens from which it is asked here.
    """
    distinct = sorted(set(forms))
    known = cache.read(distinct)
    missing = [form for form in distinct if form not in known]
    vectors = encoder.encode_products(missing, "encode types and categories")
    cache.write(missing, vectors)
    known.update(zip(missing, vectors, strict=True))
    place = {form: row for row, form in enumerate(distinct)}
    return MultilingualIndex(
        np.stack([known[form] for form in distinct]),
        np.array([place[form] for form in forms], np.int32),
        encoder.encode_queries(product_names()).mean(0),
        encoder.distribution,
        encoder.sha256,
        unread_share,
    )


def main() -> None:
    """Read the items, encode their forms, write; or say that no second encoder is chosen."""
    params, first = load_params(EmbedMultilingualParams, "embed_multilingual"), load_params(EmbedParams, "embed")
    with atomic_directory(OUTPUT) as output:
        if not params.weights:
            write_json(NOT_CHOSEN, output / CHOSEN_FILE)
            print("no second encoder is chosen (embed_multilingual.weights)")
            return
        items = read_table(ITEMS, ["item", "text", "product_type", "category"])
        texts, text_index = distinct_texts(items)
        from tokenizers import Tokenizer

        reader = Reader(Tokenizer.from_file(str(find_weights(first.weights, first.weights_sha256) / TOKENIZER_SOURCE)))
        unread = reader.unread_share(texts) >= params.unread_share
        forms = forms_of(items, texts, text_index, unread, len(texts) <= params.full_texts)
        encoder = MultilingualEncoder(params.weights, params.weights_sha256)
        cache = VectorCache.of(encoder.identity, encoder.embedding_size)
        foreign = float(unread.mean()) >= params.foreign_share
        found = index(encoder, forms, cache, 0.0 if foreign else params.unread_share)
        found.save(output)
        print(
            f"{len(texts)} distinct texts in {len(found.embeddings)} forms; {int(unread.sum())} that embed cannot read"
        )


if __name__ == "__main__":
    run_main(main)
