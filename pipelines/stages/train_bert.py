"""Stage ``train_bert``: the encoder fine-tuned on this shop's texts, the relevance head, the catalogue re-encoded.

Only purchases before the validation window are read, so what comes out serves both windows. Product types are
divided by hash into three parts: most train the encoder, some train the head, the rest are held out and measure.

A shop with fewer product types than ``min_types`` has too little to train and measure on: it gets the pre-trained
encoder as it is, and a head that was not trained. The metrics, the package and the report say so.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.artifacts import atomic_directory, read_arrays, read_table, write_arrays, write_json
from pipelines.errors import DataError
from pipelines.metrics.ranking import ndcg, rank_users
from pipelines.metrics.significance import compare
from pipelines.models.bert import build_encoder, export_encoder, find_weights
from pipelines.models.encoder import TextEncoder
from pipelines.models.keras_runtime import import_keras
from pipelines.models.relevance import RelevanceHead, calibration_error, fit_relevance
from pipelines.models.text_pairs import (
    Query,
    TextTable,
    attribute_query,
    bought_together,
    excluded_negatives,
    queries_by_type,
    split_by_type,
)
from pipelines.models.text_pictures import draw_calibration, draw_loss
from pipelines.models.texts import distinct_texts
from pipelines.models.two_tower import PairBatch, TwoTowerParams, fine_tune
from pipelines.params import EmbedParams, SeedParams, TrainBertParams, load_params
from pipelines.stages import run_main

ITEMS = Path("data/prepared/items.parquet")
HISTORY = Path("data/prepared/history.parquet")
ZERO_SHOT = Path("data/embed")
OUTPUT = Path("data/train_bert")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LabelledPairs:
    """Queries with products that answer them and products of the same department that do not.

    Args:
        queries: int64 [num_pairs], position in the list of queries.
        texts: int64 [num_pairs].
        labels: float32 [num_pairs], 1 where the text answers the query.
    """

    queries: NDArray[np.int64]
    texts: NDArray[np.int64]
    labels: Floats


def training_batches(
    table: TextTable,
    texts: NDArray[np.int64],
    together: NDArray[np.int32],
    params: TrainBertParams,
    tokenizer: Any,
    seed: int,
) -> list[PairBatch]:
    """Draw the batches: attribute queries, then pairs bought together.

    A third of the products asked for come from anywhere, a third from one department and a third from one of its
    product types (:func:`draw_near_misses`), so that many of a batch's other products are near misses: another size,
    another brand, a neighbouring type.

    Args:
        table: the catalogue's texts.
        texts: int64, the texts that may be asked for.
        together: int32 [num_pairs, 2], texts bought together.
        params: section ``train_bert``.
        tokenizer: texts to token ids, ``TextEncoder.tokenize``.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    bought = min(int(params.batch_size * params.bought_share), len(together))
    attribute = params.batch_size - bought
    weights = np.repeat(np.array([1.0, params.bought_weight], np.float32), [attribute, bought])
    batches = []
    for _ in range(params.steps):
        products = draw_near_misses(table, texts, attribute, generator)
        queries: list[Query | int] = [attribute_query(table, int(text), generator) for text in products]
        pairs = together[generator.choice(len(together), bought, replace=False)] if bought else together[:0]
        pairs = generator.permuted(pairs, axis=1)
        queries += [int(text) for text in pairs[:, 0]]
        products = np.concatenate([products, pairs[:, 1].astype(np.int64)])
        asked = [query.words if isinstance(query, Query) else table.texts[query] for query in queries]
        batches.append(
            PairBatch(
                tokenizer(asked),
                tokenizer([table.texts[text] for text in products]),
                excluded_negatives(queries, products, table),
                weights,
            )
        )
    return batches


def draw_near_misses(
    table: TextTable, texts: NDArray[np.int64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw ``count`` texts: a third from anywhere, a third of one department, a third of one of its product types.

    Args:
        table: the catalogue's texts.
        texts: int64, what to draw from.
        count: texts wanted.
        generator: what to draw from.

    Returns:
        int64 [count]; a text may occur twice when its group is small.
    """
    anywhere = generator.choice(texts, count - 2 * (count // 3))
    first = anywhere[0]
    department = texts[table.codes["department"][texts] == table.codes["department"][first]]
    kind = texts[table.codes["product_type"][texts] == table.codes["product_type"][first]]
    near = [generator.choice(group, count // 3) for group in (department, kind)]
    return np.concatenate([anywhere, *near])


def labelled_pairs(
    table: TextTable, queries: list[Query], per_query: int, generator: np.random.Generator
) -> LabelledPairs:
    """For each query up to ``per_query`` texts that answer it, and as many of the same department that do not.

    Where nothing else is in the department, those that do not answer come from the whole catalogue.

    Args:
        table: the catalogue's texts.
        queries: attribute queries.
        per_query: the most texts of each label.
        generator: what to draw from.
    """
    rows = []
    for position, query in enumerate(queries):
        answering = query.answers(table)
        fitting = np.flatnonzero(answering)
        departments = np.unique(table.codes["department"][fitting])
        near = np.isin(table.codes["department"], departments) & ~answering
        others = np.flatnonzero(near if near.any() else ~answering)
        count = min(per_query, len(fitting), len(others))
        for group, label in ((fitting, 1.0), (others, 0.0)):
            rows += [(position, int(text), label) for text in generator.choice(group, count, replace=False)]
    columns = np.array(rows, np.float64).reshape(-1, 3)
    return LabelledPairs(
        columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), columns[:, 2].astype(np.float32)
    )


def ndcg_at_10(
    table: TextTable, queries: list[Query], query_vectors: Floats, text_vectors: Floats
) -> NDArray[np.float64]:
    """NDCG@10 of each query over the whole catalogue's texts; binary gain, ties by position.

    Returns:
        float64 [num_queries].
    """
    ranked = (
        rank_users((text_vectors @ vector)[None], query.answers(table)[None], 10)
        for query, vector in zip(queries, query_vectors, strict=True)
    )
    return np.array([ndcg(one)[0] for one in ranked])


def fit_head(
    table: TextTable,
    texts: NDArray[np.int64],
    encoder: TextEncoder,
    vectors: Floats,
    params: TrainBertParams,
    seed: int,
) -> RelevanceHead:
    """Train the relevance head on queries for ``texts``, whose product types the encoder was not trained on.

    Where every product answers every query, it stays as training starts.
    """
    generator = np.random.default_rng(seed)
    queries = queries_by_type(table, texts, params.queries_per_type, generator)
    pairs = labelled_pairs(table, queries, params.pairs_per_query, generator)
    query_vectors = encoder.encode([query.words for query in queries])
    if not len(pairs.labels):
        return RelevanceHead.prior(vectors.shape[1], "no product fails to answer a query for another")
    return fit_relevance(
        query_vectors[pairs.queries], vectors[pairs.texts], pairs.labels, epochs=params.head_epochs, seed=seed
    )


def measure(
    table: TextTable,
    held_out: NDArray[np.int64],
    zero_shot: tuple[TextEncoder, Floats],
    tuned: tuple[TextEncoder, Floats],
    head: RelevanceHead,
    params: TrainBertParams,
    seed: int,
) -> tuple[dict[str, Any], Floats, Floats]:
    """Measure on product types that neither the encoder nor the head was trained on.

    Args:
        table: the catalogue's texts.
        held_out: int64, the held-out texts.
        zero_shot: the pre-trained encoder and its text vectors.
        tuned: the fine-tuned encoder and its text vectors.
        head: the relevance head, on the fine-tuned vectors.
        params: section ``train_bert``.
        seed: of the queries, pairs and resampling.

    Returns:
        The metrics, and of each pair the probability and the label.
    """
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(seed)
    queries = queries_by_type(table, held_out, params.queries_per_type, generator)
    words = [query.words for query in queries]
    (zero_shot_encoder, zero_shot_vectors), (encoder, vectors) = zero_shot, tuned
    asked = encoder.encode(words)
    before = ndcg_at_10(table, queries, zero_shot_encoder.encode(words), zero_shot_vectors)
    after = ndcg_at_10(table, queries, asked, vectors)
    pairs = labelled_pairs(table, queries, params.pairs_per_query, generator)
    scores = np.array(
        [
            head.score(asked[q : q + 1], vectors[t : t + 1])[0, 0]
            for q, t in zip(pairs.queries, pairs.texts, strict=True)
        ],
        np.float32,
    )
    metrics = {
        "attribute_queries": len(queries),
        "zero_shot_ndcg_at_10": float(before.mean()),
        "fine_tuned_ndcg_at_10": float(after.mean()),
        "fine_tuned_over_zero_shot": compare(after, before, seed=seed).as_dict(),
        "relevance_pairs": len(pairs.labels),
        "relevance_auroc": float(roc_auc_score(pairs.labels, scores)) if len(scores) else None,
        "relevance_calibration_error": calibration_error(scores, pairs.labels) if len(scores) else None,
    }
    return metrics, scores, pairs.labels


def main() -> None:
    """Read, fine-tune, re-encode, fit the head, measure on held-out types, write."""
    params, seed = load_params(TrainBertParams, "train_bert"), load_params(SeedParams, "seed").value
    pretrained = load_params(EmbedParams, "embed")
    items, history = read_table(ITEMS), read_table(HISTORY, ["item", "session"])
    texts, text_index = distinct_texts(items)
    table = TextTable.of(items, texts, text_index)
    types = len(table.values["product_type"])
    if types < params.min_types:
        keep_pretrained(text_index, f"training wants {params.min_types} product types, found {types}")
        return
    training, calibration, held_out = split_by_type(table, params.held_out_types, params.calibration_types)
    zero_shot, zero_shot_vectors = TextEncoder.load(ZERO_SHOT / "encoder"), read_zero_shot(text_index)
    batches = training_batches(
        table, training, training_pairs(table, training, history, params), params, zero_shot.tokenize, seed
    )

    source = find_weights(pretrained.weights, pretrained.weights_sha256)
    import_keras(seed)
    model = build_encoder(source)
    losses = fine_tune(model, batches, params.settings(TwoTowerParams))
    print(f"{len(losses)} steps of {params.batch_size} pairs: loss {losses[:5].mean():.3f} -> {losses[-5:].mean():.3f}")
    with atomic_directory(OUTPUT) as output:
        (output / "encoder").mkdir()
        export_encoder(
            model, source, output / "encoder", max_length=pretrained.max_length, precision=pretrained.precision
        )
        encoder = TextEncoder.load(output / "encoder")
        vectors = encoder.encode(texts, "re-encode the catalogue")
        write_arrays({"embeddings": vectors, "text_index": text_index}, output / "texts.safetensors")
        head = fit_head(table, calibration, encoder, vectors, params, seed)
        (output / "relevance").mkdir()
        head.save(output / "relevance")
        before = (zero_shot, zero_shot_vectors)
        metrics, scores, labels = measure(table, held_out, before, (encoder, vectors), head, params, seed + 1)
        sizes = {"texts": len(texts), "steps": len(losses), "final_loss": float(losses[-5:].mean())}
        write_json(metrics | sizes, output / "metrics.json")
        draw_loss(losses, output / "loss.png")
        draw_calibration(scores, labels, output / "calibration.png")
    print(
        f"held-out product types: NDCG@10 {metrics['zero_shot_ndcg_at_10']:.4f} zero-shot -> "
        f"{metrics['fine_tuned_ndcg_at_10']:.4f} fine-tuned (p {metrics['fine_tuned_over_zero_shot']['p_value']:.4f})"
    )
    if head.untrained or not len(labels):
        print(f"the relevance head was not measured: {head.untrained or 'every product answers every query'}")
        return
    print(
        f"relevance head: AUROC {metrics['relevance_auroc']:.4f} against the same department, "
        f"calibration error {metrics['relevance_calibration_error']:.4f}"
    )


def keep_pretrained(text_index: NDArray[np.int32], why: str) -> None:
    """Write the pre-trained encoder, its vectors and a head that was not trained.

    Args:
        text_index: int32 [num_items], the text of each item as it is now.
        why: one clause, for the log, the metrics and the report.
    """
    vectors = read_zero_shot(text_index)
    none = np.zeros(0, np.float32)
    with atomic_directory(OUTPUT) as output:
        shutil.copytree(ZERO_SHOT / "encoder", output / "encoder", copy_function=shutil.copyfile)
        write_arrays({"embeddings": vectors, "text_index": text_index}, output / "texts.safetensors")
        (output / "relevance").mkdir()
        RelevanceHead.prior(vectors.shape[1], why).save(output / "relevance")
        write_json({"texts": len(vectors), "steps": 0, "untrained": why}, output / "metrics.json")
        draw_loss(none, output / "loss.png")
        draw_calibration(none, none, output / "calibration.png")
    print(f"warning: the encoder stays as it was pre-trained: {why}")


def read_zero_shot(text_index: NDArray[np.int32]) -> Floats:
    """The pre-trained encoder's text vectors, float32 [num_texts, embedding_size].

    Args:
        text_index: int32 [num_items], the text of each item as it is now.

    Raises:
        DataError: the vectors are of another catalogue.
    """
    path = ZERO_SHOT / "texts.safetensors"
    arrays = read_arrays(path)
    if not np.array_equal(arrays["text_index"], text_index):
        raise DataError(f"{path} and {ITEMS} are of different catalogues", mend="SHOPLOOM_NO_CACHE=1 shoploom run")
    return arrays["embeddings"]


def training_pairs(
    table: TextTable, training: NDArray[np.int64], history: pa.Table, params: TrainBertParams
) -> NDArray[np.int32]:
    """Texts bought together, int32 [num_pairs, 2], both of product types that may be trained on."""
    bought = table.text_index[history.column("item").to_numpy()]
    kept = np.isin(bought, training)
    sessions = history.column("session").to_numpy()[kept]
    return bought_together(sessions, bought[kept], table, min_count=params.bought_min_count, limit=params.bought_pairs)


if __name__ == "__main__":
    run_main(main)
