"""What hard negatives do to the fine-tuned encoder: as it comes, fine-tuned without them, and with.

    .venv/bin/python tests/benchmarks/bench_hard_negatives.py [WORKTREE] [COUNT ...]

WORKTREE holds the outputs of the stages up to ``embed``; without it the default data is landed and they run in a
temporary folder. A COUNT is a step's hard negatives (``train_bert.hard_negatives``), 16 and 48 by default. They are
mined from the index of the encoder as it is before training. NDCG@10 of attribute queries over all texts; the choice is
made on the product types that train the head, and confirmed on the held-out ones; the encoder is trained on neither.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from processor import processor
from worktree import worktree

from pipelines.artifacts import read_table
from pipelines.metrics.encoder_gain import ndcg_at_10
from pipelines.metrics.significance import compare
from pipelines.models.bert import build_encoder, export_encoder, find_weights
from pipelines.models.encoder import TextEncoder
from pipelines.models.judged import Judged
from pipelines.models.keras_runtime import import_keras
from pipelines.models.text_batches import Index, training_batches
from pipelines.models.text_pairs import Query, TextTable, queries_by_type
from pipelines.models.text_parts import divide
from pipelines.models.texts import distinct_texts
from pipelines.models.two_tower import TwoTowerParams, fine_tune
from pipelines.params import EmbedParams, SeedParams, TrainBertParams, load_params
from pipelines.stages.train_bert import (
    HISTORY,
    ITEMS,
    JUDGEMENTS,
    ZERO_SHOT,
    read_zero_shot,
    training_pairs,
)

Floats = NDArray[np.float32]
COUNTS = (16, 48)
PARTS = ("validation", "held out")


class FineTuning:
    """The default shop's texts, and training as the stage ``train_bert`` does it."""

    def __init__(self) -> None:
        self.params, self.seed = load_params(TrainBertParams, "train_bert"), load_params(SeedParams, "seed").value
        self.embed = load_params(EmbedParams, "embed")
        items = read_table(ITEMS)
        self.texts, text_index = distinct_texts(items)
        self.table = TextTable.of(items, self.texts, text_index)
        judged = Judged.of(read_table(JUDGEMENTS), items["item_id"].to_pylist(), text_index)
        self.training, *measured = divide(self.table, judged, self.params)
        self.zero_shot, self.vectors = TextEncoder.load(ZERO_SHOT / "encoder"), read_zero_shot(text_index)
        history = read_table(HISTORY, ["item", "session"])
        self.together = training_pairs(self.table, self.training.texts, history, self.params)
        self.source = find_weights(self.embed.weights, self.embed.weights_sha256)
        self.queries: list[list[Query]] = [
            queries_by_type(
                self.table, part.texts, self.params.queries_per_type, np.random.default_rng(self.seed + place)
            )
            for place, part in enumerate(measured)
        ]

    def measure(self, encoder: TextEncoder, vectors: Floats) -> list[NDArray[np.float64]]:
        """NDCG@10 of each query, for both parts."""
        return [
            ndcg_at_10(self.table, queries, encoder.encode([query.words for query in queries]), vectors)
            for queries in self.queries
        ]

    def tuned(self, count: int) -> list[NDArray[np.float64]]:
        """What an encoder reaches that was fine-tuned with ``count`` hard negatives a step."""
        import_keras(self.seed)
        model = build_encoder(self.source)
        index = Index(self.zero_shot.tokenize, self.zero_shot.encode, self.vectors)
        chosen = self.params.model_copy(update={"hard_negatives": count})
        batches = training_batches(self.table, self.training.texts, self.together, chosen, index, self.seed)
        fine_tune(model, batches, self.params.settings(TwoTowerParams))
        with tempfile.TemporaryDirectory() as folder:
            export_encoder(
                model, self.source, Path(folder), max_length=self.embed.max_length, precision=self.embed.precision
            )
            encoder = TextEncoder.load(Path(folder))
        return self.measure(encoder, encoder.encode(self.texts))


def main() -> None:
    """Print a line for each way of training."""
    numbers = [argument for argument in sys.argv[1:] if argument.isdigit()]
    sys.argv = [argument for argument in sys.argv if argument not in numbers]
    with worktree(("validate", "prepare", "embed")):
        tuning = FineTuning()
        sizes = ", ".join(f"{len(queries)} {name}" for name, queries in zip(PARTS, tuning.queries, strict=True))
        print(f"{len(tuning.texts):,} texts; queries: {sizes}; {tuning.params.steps} steps; {processor()}")
        print(f"{'zero-shot':26s}{shown(tuning.measure(tuning.zero_shot, tuning.vectors))}", flush=True)
        without: list[NDArray[np.float64]] = []
        for count in (0, *(int(number) for number in numbers or COUNTS)):
            started = time.perf_counter()
            found = tuning.tuned(count)
            without = without or found
            gains = "" if found is without else f"   against none: {against(found, without, tuning.seed)}"
            took = f"{time.perf_counter() - started:5.0f} s"
            print(f"{count:3d} hard negatives a step   {shown(found)}{took}{gains}", flush=True)


def shown(found: list[NDArray[np.float64]]) -> str:
    """The mean of each part."""
    return "".join(f"  {name} {values.mean():.4f}" for name, values in zip(PARTS, found, strict=True))


def against(found: list[NDArray[np.float64]], without: list[NDArray[np.float64]], seed: int) -> str:
    """The paired difference of each part, and how likely one as large is by chance."""
    tested = [compare(values, before, seed=seed) for values, before in zip(found, without, strict=True)]
    return ", ".join(
        f"{name} {each.effect:+.4f} (p {each.p_value:.4f})" for name, each in zip(PARTS, tested, strict=True)
    )


if __name__ == "__main__":
    main()
