"""Search relevance on graded judgements: the encoder as it comes, fine-tuned on judgements, and with its heads.

    .venv/bin/python tests/benchmarks/bench_search_relevance.py [STEPS]

With STEPS 0 the encoder is not fine-tuned: minutes instead of half an hour. Five folds by query: every query is judged
by models that saw none of its judgements. The data are 5,087 graded pairs of the CrowdFlower search relevance
competition (2015), found at ``../shared/data/search_relevance`` or in the folder that SHOPLOOM_BENCH_DATA names.
NDCG@10 within each query's judged products, mean over queries. Asked: 0.880; BM25 on titles is 0.822, the encoder
untuned on titles 0.853.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from processor import processor

from pipelines.metrics.significance import compare
from pipelines.models.bert import build_encoder, export_encoder, find_weights
from pipelines.models.encoder import TextEncoder
from pipelines.models.judged import Judged, judged_batches
from pipelines.models.judged_head import Evidence, fit_judged
from pipelines.models.keras_runtime import import_keras
from pipelines.models.lexical import Lexical
from pipelines.models.relevance import fit_relevance
from pipelines.models.two_tower import TwoTowerParams, fine_tune
from pipelines.params import EmbedParams, PackageParams, PrepareParams, TrainBertParams, load_params
from pipelines.stages.prepare import item_text, normalise

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SHOPLOOM_BENCH_DATA", ROOT.parent / "shared" / "data"))
FOLDS, SEED = 5, 7
GRADES = 4
Floats = NDArray[np.float32]


def read_judgements() -> tuple[Judged, list[str], list[str]]:
    """The judged pairs; the products' distinct texts (a title, and what the description adds), and their titles."""
    path = DATA / "search_relevance" / "judgements.csv.gz"
    if not path.is_file():
        sys.exit(f"{path} does not exist; name the folder of measuring data by SHOPLOOM_BENCH_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    longest = load_params(PrepareParams, "prepare").text_characters
    described = [
        item_text(normalise(row["product_title"]), [normalise(row["product_description"])], longest) for row in rows
    ]
    texts = sorted(set(described))
    place = {text: row for row, text in enumerate(texts)}
    ids = [str(row) for row in range(len(texts))]
    judgements = pa.table(
        {
            "query": [row["query"] for row in rows],
            "item_id": [ids[place[text]] for text in described],
            "grade": [int(row["median_relevance"]) - 1 for row in rows],
        }
    )
    titles = dict(zip(described, (normalise(row["product_title"]) for row in rows), strict=True))
    judged = Judged.of(judgements, ids, np.arange(len(texts), dtype=np.int32))
    return judged, texts, [titles[text] for text in texts]


def pairwise(queries: Floats, texts: Floats, judged: Judged) -> tuple[Floats, Floats]:
    """The query's and the text's vector of each pair."""
    return queries[judged.query_index], texts[judged.texts]


class Folds:
    """Fine-tunes and scores one fold after another."""

    def __init__(self, steps: int) -> None:
        self.bert, self.embed = load_params(TrainBertParams, "train_bert"), load_params(EmbedParams, "embed")
        self.judged, self.texts, self.titles = read_judgements()
        self.steps = steps
        self.source = find_weights(self.embed.weights, self.embed.weights_sha256)
        self.zero_shot = self.exported(build_encoder(self.source))
        self.lexical = Lexical.fit(self.texts)
        self.vectors = self.zero_shot.encode(self.texts)
        self.queries = self.zero_shot.encode(self.judged.queries)
        self.evidence = Evidence.of_titles(self.lexical, self.titles, self.zero_shot.encode)

    def exported(self, model: object) -> TextEncoder:
        with tempfile.TemporaryDirectory() as folder:
            export_encoder(
                model,
                self.source,
                Path(folder),
                max_length=self.embed.max_length,
                precision=self.embed.precision,
            )
            return TextEncoder.load(Path(folder))

    def untuned(self) -> Floats:
        queries, texts = pairwise(self.queries, self.vectors, self.judged)
        return (queries * texts).sum(1)

    def keywords(self) -> Floats:
        """BM25 of each pair, as a share of the best of its query."""
        judged = self.judged
        scores = np.zeros(len(judged.texts), np.float32)
        for query, words in enumerate(judged.queries):
            mine = judged.query_index == query
            found = self.lexical.score(words)[judged.texts[mine]]
            scores[mine] = found / max(float(found.max()), 1e-9)
        return scores

    def tuned(self, train: Judged, seed: int) -> tuple[Floats, Floats, Floats]:
        """Cosine, head's logit and judged head's relevance of every pair, by models that saw ``train``."""
        head_queries = np.random.default_rng(seed).random(len(train.queries)) < self.bert.calibration_types
        vectors, queries, evidence = self.encoded(train.of_queries(~head_queries), seed)
        part = train.of_queries(head_queries)
        names = {name: row for row, name in enumerate(self.judged.queries)}
        rows = np.array([names[name] for name in part.queries])
        labels = part.grades / np.float32(GRADES - 1)
        asked, told = queries[rows[part.query_index]], vectors[part.texts]
        head = fit_relevance(asked, told, labels, epochs=self.bert.head_epochs, seed=seed)
        judged_head = fit_judged(evidence.of_judged(part, queries[rows], vectors), labels)
        assert judged_head is not None
        asked, told = pairwise(queries, vectors, self.judged)
        logits = ((asked * head.weights) * told).sum(1) + head.bias
        served = judged_head.score(evidence.of_judged(self.judged, queries, vectors))
        return (asked * told).sum(1), logits.astype(np.float32), served

    def encoded(self, train: Judged, seed: int) -> tuple[Floats, Floats, Evidence]:
        """Vectors of texts and queries, and what the judged head reads, by an encoder fine-tuned on ``train``."""
        if not self.steps:
            return self.vectors, self.queries, self.evidence
        model = build_encoder(self.source)
        batches = judged_batches(
            train,
            self.texts,
            self.zero_shot.tokenize,
            steps=self.steps,
            products=self.bert.batch_size,
            seed=seed,
        )
        fine_tune(model, batches, self.bert.settings(TwoTowerParams))
        encoder = self.exported(model)
        evidence = Evidence.of_titles(self.lexical, self.titles, encoder.encode)
        return encoder.encode(self.texts), encoder.encode(self.judged.queries), evidence


def main() -> None:
    """Print a line for each way of ranking."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else load_params(TrainBertParams, "train_bert").judged_steps
    import_keras(SEED)
    folds = Folds(steps)
    judged = folds.judged
    fold_of = np.random.default_rng(SEED).permutation(len(judged.queries)) % FOLDS
    cosine, head, served = np.zeros((3, len(judged.texts)), np.float32)
    started = time.perf_counter()
    for fold in range(FOLDS):
        of_fold = fold_of == fold
        pairs = of_fold[judged.query_index]
        found = folds.tuned(judged.of_queries(~of_fold), SEED + fold)
        cosine[pairs], head[pairs], served[pairs] = (scores[pairs] for scores in found)
        print(f"fold {fold + 1} of {FOLDS}: {time.perf_counter() - started:.0f} s", flush=True)
    untuned, keywords = folds.untuned(), folds.keywords()
    probability = 1 / (1 + np.exp(-head))
    weight = load_params(PackageParams, "package").keyword_weight
    print(f"{len(judged.texts):,} pairs of {len(judged.queries)} queries; {steps} steps a fold; {processor()}")
    base = judged.ndcg(untuned)
    for name, scores in {
        "BM25": keywords,
        "encoder, untuned": untuned,
        "fine-tuned": cosine,
        "fine-tuned + head": head,
        "fine-tuned + head + words at a set weight": probability + weight * keywords,
        "fine-tuned + judged head (as served)": served,
    }.items():
        found = judged.ndcg(scores)
        told = np.isfinite(found)
        against = compare(found[told], base[told], seed=SEED)
        print(f"{name:40s} NDCG@10 {found[told].mean():.4f}   p against untuned {against.p_value:.4f}", flush=True)


if __name__ == "__main__":
    main()
