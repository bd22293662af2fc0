"""What fine-tuning the encoder gained, on product types and judged queries that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.metrics.ranking import ndcg, rank_users
from pipelines.metrics.significance import compare
from pipelines.models.encoder import TextEncoder
from pipelines.models.judged import Judged
from pipelines.models.judged_head import Evidence, JudgedHead
from pipelines.models.relevance import RelevanceHead, calibration_error
from pipelines.models.text_pairs import Query, TextTable
from pipelines.models.text_parts import Part, pairs_of
from pipelines.params import TrainBertParams

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


def measure_order(
    head: JudgedHead,
    evidence: Evidence,
    held_out: Judged,
    zero_shot: tuple[TextEncoder, Floats],
    tuned: tuple[TextEncoder, Floats],
    seed: int,
) -> dict[str, Any]:
    """NDCG@10 of held-out judged queries in the order that search serves, against the pre-trained encoder's cosine."""
    (zero_shot_encoder, before), (encoder, after) = zero_shot, tuned
    cosines = (zero_shot_encoder.encode(held_out.queries)[held_out.query_index] * before[held_out.texts]).sum(1)
    scores = head.score(evidence.of_judged(held_out, encoder.encode(held_out.queries), after))
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
