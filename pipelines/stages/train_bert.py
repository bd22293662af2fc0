"""Stage ``train_bert``: the encoder fine-tuned on this shop's texts, the relevance head, the catalogue re-encoded.

What teaches are judgements of queries and products, where the shop has them, and weak pairs made from the catalogue and
from purchases before the validation window, so that what comes out serves both windows. Judged queries and product
types are divided by hash into three parts: most train the encoder, some train the head, the rest are held out and
measure.

Judgements also teach the order that search serves: a second head reads the cosine beside the words and letters that
query and title share.

A shop with fewer product types than ``min_types`` and fewer judged queries than ``min_judged_queries`` has too little
to train and measure on: it gets the pre-trained encoder as it is, and a head that was not trained. The metrics, the
package and the report say so.
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
from pipelines.models.judged import GRADES, Judged, judged_batches
from pipelines.models.judged_head import Evidence, JudgedHead, fit_judged
from pipelines.models.keras_runtime import import_keras
from pipelines.models.lexical import Lexical
from pipelines.models.relevance import RelevanceHead, calibration_error, fit_relevance
from pipelines.models.text_batches import Index, LabelledPairs, labelled_pairs, training_batches
from pipelines.models.text_pairs import Query, TextTable, bought_together, queries_by_type, split_by_type
from pipelines.models.text_pictures import draw_calibration, draw_loss
from pipelines.models.texts import distinct_texts, titles_of_texts
from pipelines.models.two_tower import PairBatch, TwoTowerParams, fine_tune
from pipelines.params import EmbedParams, SeedParams, TrainBertParams, load_params
from pipelines.stages import run_main

ITEMS = Path("data/prepared/items.parquet")
HISTORY = Path("data/prepared/history.parquet")
JUDGEMENTS = Path("data/accepted/judgements.parquet")
ZERO_SHOT = Path("data/embed")
OUTPUT = Path("data/train_bert")

Floats = NDArray[np.float32]


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


@dataclass(frozen=True)
class Part:
    """Texts and judgements of one of the three parts; either may be empty.

    Args:
        texts: int64, texts of the part's product types.
        judged: judgements of the part's queries.
    """

    texts: NDArray[np.int64]
    judged: Judged


def divide(table: TextTable, judged: Judged, params: TrainBertParams) -> tuple[Part, Part, Part]:
    """Divide into what trains the encoder, what trains the head and what measures.

    Product types, or judged queries, that are too few are in no part.
    """
    few_types = len(table.values["product_type"]) < params.min_types
    few_queries = len(judged.queries) < params.min_judged_queries
    shares = params.held_out_types, params.calibration_types
    nothing = np.zeros(0, np.int64)
    texts = (nothing, nothing, nothing) if few_types else split_by_type(table, *shares)
    none = judged.of_queries(np.zeros(len(judged.queries), np.bool_))
    graded = (none, none, none) if few_queries else judged.split(*shares)
    training, head, held_out = (Part(*part) for part in zip(texts, graded, strict=True))
    return training, head, held_out


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


def pairs_of(
    table: TextTable, part: Part, params: TrainBertParams, generator: np.random.Generator
) -> tuple[list[Query], list[str], LabelledPairs]:
    """Attribute queries for the part's texts, the words of these and of its judged queries, and pairs with labels.

    A judged pair's label is its grade as a share of the highest.
    """
    queries = queries_by_type(table, part.texts, params.queries_per_type, generator)
    weak = labelled_pairs(table, queries, params.pairs_per_query, generator)
    judged = part.judged
    pairs = LabelledPairs(
        np.concatenate([weak.queries, len(queries) + judged.query_index]),
        np.concatenate([weak.texts, judged.texts]),
        np.concatenate([weak.labels, judged.grades / np.float32(GRADES)]),
    )
    return queries, [*(query.words for query in queries), *judged.queries], pairs


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
    evidence = Evidence(Lexical.fit(table.texts))
    features = evidence.of_judged(judged, titles, encoder.encode(judged.queries), vectors)
    head = fit_judged(features, judged.grades / np.float32(GRADES))
    return None if head is None else (head, evidence)


def measure_order(
    head: JudgedHead,
    evidence: Evidence,
    titles: list[str],
    held_out: Judged,
    zero_shot: tuple[TextEncoder, Floats],
    tuned: tuple[TextEncoder, Floats],
    seed: int,
) -> dict[str, Any]:
    """NDCG@10 of held-out judged queries in the order that search serves, against the pre-trained encoder's cosine."""
    (zero_shot_encoder, before), (encoder, after) = zero_shot, tuned
    cosines = (zero_shot_encoder.encode(held_out.queries)[held_out.query_index] * before[held_out.texts]).sum(1)
    scores = head.score(evidence.of_judged(held_out, titles, encoder.encode(held_out.queries), after))
    found = gained(held_out.ndcg(scores), held_out.ndcg(cosines), "served_", seed)
    return {name.replace("fine_tuned", "judged"): value for name, value in found.items()}


def measure(
    table: TextTable,
    held_out: Part,
    zero_shot: tuple[TextEncoder, Floats],
    tuned: tuple[TextEncoder, Floats],
    head: RelevanceHead,
    params: TrainBertParams,
    seed: int,
) -> tuple[dict[str, Any], Floats, Floats]:
    """Measure on product types and judged queries that neither the encoder nor the head was trained on.

    Args:
        table: the catalogue's texts.
        held_out: the held-out part.
        zero_shot: the pre-trained encoder and its text vectors.
        tuned: the fine-tuned encoder and its text vectors.
        head: the relevance head, on the fine-tuned vectors.
        params: section ``train_bert``.
        seed: of the queries, pairs and resampling.

    Returns:
        The metrics, and of each pair the probability and the label.
    """
    queries, words, pairs = pairs_of(table, held_out, params, np.random.default_rng(seed))
    (zero_shot_encoder, zero_shot_vectors), (encoder, vectors) = zero_shot, tuned
    before, after = zero_shot_encoder.encode(words), encoder.encode(words)
    scores = head.score_pairs(after[pairs.queries], vectors[pairs.texts])
    metrics: dict[str, Any] = {"attribute_queries": len(queries), "judged_queries": len(held_out.judged.queries)}
    weak = len(queries)
    if queries:
        untrained = ndcg_at_10(table, queries, before[:weak], zero_shot_vectors)
        metrics |= gained(ndcg_at_10(table, queries, after[:weak], vectors), untrained, "", seed)
    judged = held_out.judged
    if judged.queries:
        cosines = (before[weak:][judged.query_index] * zero_shot_vectors[judged.texts]).sum(1)
        metrics |= gained(judged.ndcg(scores[-len(judged.texts) :]), judged.ndcg(cosines), "judged_", seed)
    metrics |= {"relevance_pairs": len(pairs.labels)} | weighed(scores, pairs.labels)
    return metrics, scores, pairs.labels


def gained(after: NDArray[np.float64], before: NDArray[np.float64], prefix: str, seed: int) -> dict[str, Any]:
    """What training changed of a metric, by query; queries without a value count in neither."""
    told = np.isfinite(after) & np.isfinite(before)
    if not told.any():
        return {}
    return {
        f"{prefix}zero_shot_ndcg_at_10": float(before[told].mean()),
        f"{prefix}fine_tuned_ndcg_at_10": float(after[told].mean()),
        f"{prefix}fine_tuned_over_zero_shot": compare(after[told], before[told], seed=seed).as_dict(),
    }


def weighed(scores: Floats, labels: Floats) -> dict[str, float | None]:
    """How well the head tells pairs of the upper half of the grades from others, and how calibrated it is."""
    from sklearn.metrics import roc_auc_score

    answers = labels > 0.5
    telling = len(labels) > 0 and 0 < answers.mean() < 1
    return {
        "relevance_auroc": float(roc_auc_score(answers, scores)) if telling else None,
        "relevance_calibration_error": calibration_error(scores, labels) if len(labels) else None,
    }


def main() -> None:
    """Read, fine-tune, re-encode, fit the head, measure on what was held out, write."""
    params, seed = load_params(TrainBertParams, "train_bert"), load_params(SeedParams, "seed").value
    pretrained = load_params(EmbedParams, "embed")
    items, history = read_table(ITEMS), read_table(HISTORY, ["item", "session"])
    texts, text_index = distinct_texts(items)
    table = TextTable.of(items, texts, text_index)
    judged = Judged.of(read_table(JUDGEMENTS), items["item_id"].to_pylist(), text_index)
    training, calibration, held_out = divide(table, judged, params)
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
    losses = fine_tune(model, batches, params.settings(TwoTowerParams))
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
            metrics |= measure_order(judged_head, evidence, titles, held_out.judged, before, (encoder, vectors), seed)
        sizes = {"texts": len(texts), "steps": len(losses), "final_loss": float(losses[-5:].mean())}
        write_json(metrics | sizes, output / "metrics.json")
        draw_loss(losses, output / "loss.png")
        draw_calibration(scores, labels, output / "calibration.png")
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
