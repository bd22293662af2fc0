"""Stage ``train_bert``: the encoder fine-tuned on this shop's texts, the relevance head, the catalogue re-encoded.

What teaches are judgements of queries and products, where the shop has them, and weak pairs made from the catalogue and
from purchases before the validation window, so that what comes out serves both windows. Judged queries and product
types are divided by hash into three parts: most train the encoder, some train the head, the rest are held out and
measure.

Judgements also teach the order that search serves: a second head reads the cosines of text and title beside the words
and letters that query and title share.

A shop with fewer product types than ``min_types`` and fewer judged queries than ``min_judged_queries`` has too little
to train and measure on: it gets the pre-trained encoder as it is, and a head that was not trained. The metrics, the
package and the report say so.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.artifacts import atomic_directory, read_arrays, read_table, write_arrays, write_json
from pipelines.errors import DataError
from pipelines.metrics.encoder_gain import measure, measure_order
from pipelines.models.bert import build_encoder, export_encoder, find_weights
from pipelines.models.encoder import TextEncoder
from pipelines.models.judged import GRADES, Judged, judged_batches
from pipelines.models.judged_head import Evidence, JudgedHead, fit_judged
from pipelines.models.keras_runtime import import_keras
from pipelines.models.lexical import Lexical
from pipelines.models.relevance import RelevanceHead, fit_relevance
from pipelines.models.text_batches import Index, training_batches
from pipelines.models.text_pairs import TextTable, bought_together
from pipelines.models.text_parts import Part, divide, pairs_of
from pipelines.models.text_pictures import draw_calibration, draw_loss
from pipelines.models.texts import distinct_texts, titles_of_texts
from pipelines.models.training import CURVES_FILE, forget
from pipelines.models.two_tower import PairBatch, TwoTowerParams, fine_tune
from pipelines.params import EmbedParams, SeedParams, TrainBertParams, load_params
from pipelines.stage_environment import side_folder
from pipelines.stages import run_main

ITEMS = Path("data/prepared/items.parquet")
HISTORY = Path("data/prepared/history.parquet")
JUDGEMENTS = Path("data/accepted/judgements.parquet")
ZERO_SHOT = Path("data/embed")
OUTPUT = Path("data/train_bert")

Floats = NDArray[np.float32]


def batches_of(
    table: TextTable, part: Part, together: NDArray[np.int32], params: TrainBertParams, index: Index, seed: int
) -> list[PairBatch]:
    """The steps of training, weak pairs and judged ones mixed."""
    weak = training_batches(table, part.texts, together, params, index, seed) if len(part.texts) else []
    steps = params.judged_steps if part.judged.queries else 0
    judged = judged_batches(
        part.judged, table.texts, index.tokenize, steps=steps, products=params.batch_size, seed=seed
    )
    both = [*weak, *judged]
    if not weak or not judged:
        return both
    return [both[place] for place in np.random.default_rng(seed).permutation(len(both))]


def fit_head(
    table: TextTable, part: Part, encoder: TextEncoder, vectors: Floats, params: TrainBertParams, seed: int
) -> RelevanceHead:
    """Train the relevance head on product types and judged queries that the encoder was not trained on.

    Where every product answers every query, it stays as training starts.
    """
    _, words, pairs = pairs_of(table, part, params, np.random.default_rng(seed))
    if not len(pairs.labels) or not 0 < float(pairs.labels.mean()) < 1:
        return RelevanceHead.prior(vectors.shape[1], "no product fails to answer a query for another")
    asked, answered = encoder.encode(words)[pairs.queries], vectors[pairs.texts]
    return fit_relevance(asked, answered, pairs.labels, epochs=params.head_epochs, seed=seed)


def fit_order(
    titles: list[str], table: TextTable, judged: Judged, encoder: TextEncoder, vectors: Floats
) -> tuple[JudgedHead, Evidence] | None:
    """Learn from judgements how cosine, words and letters together tell relevance.

    Args:
        titles: of every text.
        table: the catalogue's texts.
        judged: of queries that the encoder was not trained on.
        encoder: fine-tuned.
        vectors: its vectors of the texts.

    Returns:
        The head and what it reads; None where there are no judgements, or all are alike.
    """
    if not judged.queries:
        return None
    evidence = Evidence.of_titles(
        Lexical.fit(table.texts), titles, partial(encoder.encode, description="encode titles")
    )
    features = evidence.of_judged(judged, encoder.encode(judged.queries), vectors)
    head = fit_judged(features, judged.grades / np.float32(GRADES))
    return None if head is None else (head, evidence)


def main() -> None:
    """Read, fine-tune, re-encode, fit the head, measure on what was held out, write."""
    params, seed = load_params(TrainBertParams, "train_bert"), load_params(SeedParams, "seed").value
    pretrained = load_params(EmbedParams, "embed")
    items, history = read_table(ITEMS), read_table(HISTORY, ["item", "session"])
    texts, text_index = distinct_texts(items)
    table = TextTable.of(items, texts, text_index)
    judged = Judged.of(read_table(JUDGEMENTS), items["item_id"].to_pylist(), text_index)
    training, calibration, held_out = divide(table, judged, params)
    forget(side_folder(OUTPUT.name), CURVES_FILE)
    zero_shot, zero_shot_vectors = TextEncoder.load(ZERO_SHOT / "encoder"), read_zero_shot(text_index)
    index = Index(zero_shot.tokenize, zero_shot.encode, zero_shot_vectors)
    together = training_pairs(table, training.texts, history, params)
    batches = batches_of(table, training, together, params, index, seed)
    if not batches:
        types = len(table.values["product_type"])
        keep_pretrained(
            text_index,
            f"training wants {params.min_types} product types or {params.min_judged_queries} judged queries, found "
            f"{types} and {len(judged.queries)}",
        )
        return

    source = find_weights(pretrained.weights, pretrained.weights_sha256)
    import_keras(seed)
    model = build_encoder(source)
    side = side_folder(OUTPUT.name)
    losses = fine_tune(model, batches, params.settings(TwoTowerParams), side)
    print(f"{len(losses)} steps of {params.batch_size} products: {losses[:5].mean():.3f} -> {losses[-5:].mean():.3f}")
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
        titles = titles_of_texts(items["title"].to_pylist(), text_index)
        order = fit_order(titles, table, calibration.judged, encoder, vectors)
        if order is not None:
            judged_head, evidence = order
            judged_head.save(output / "relevance")
            evidence.save(output / "relevance")
            metrics |= measure_order(judged_head, evidence, held_out.judged, before, (encoder, vectors), seed)
        sizes = {"texts": len(texts), "steps": len(losses), "final_loss": float(losses[-5:].mean())}
        write_json(metrics | sizes, output / "metrics.json")
        draw_loss(losses, output / "loss.png")
        draw_calibration(scores, labels, output / "calibration.png")
    forget(side)
    tell(metrics, head)


def tell(metrics: dict[str, Any], head: RelevanceHead) -> None:
    """Say what was measured, a line each."""
    for prefix, what in (("", "product types"), ("judged_", "judged queries")):
        if f"{prefix}fine_tuned_ndcg_at_10" in metrics:
            print(
                f"held-out {what}: NDCG@10 {metrics[f'{prefix}zero_shot_ndcg_at_10']:.4f} zero-shot -> "
                f"{metrics[f'{prefix}fine_tuned_ndcg_at_10']:.4f} fine-tuned "
                f"(p {metrics[f'{prefix}fine_tuned_over_zero_shot']['p_value']:.4f})"
            )
    if "served_judged_ndcg_at_10" in metrics:
        print(f"with shared words, weighed by judgements: NDCG@10 {metrics['served_judged_ndcg_at_10']:.4f}")
    if head.untrained or metrics["relevance_auroc"] is None:
        print(f"the relevance head was not measured: {head.untrained or 'every product answers every query'}")
        return
    print(
        f"relevance head: AUROC {metrics['relevance_auroc']:.4f}, "
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
