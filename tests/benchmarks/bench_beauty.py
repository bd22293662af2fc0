"""Next-item ranking on Beauty over all items, the project's models beside published figures.

    .venv/bin/python tests/benchmarks/bench_beauty.py [ENCODER]

The last item of each user is held out, choices (the weights of the sum) are made on the item before it, the candidates
are all items but the user's own. An item is a day, since the data says the order alone. ENCODER is a folder that
``embed`` wrote (``data/embed/encoder`` of a run); without it text is left out, and the sequence model learns ids alone.
Also: the fit time of the exact linear
model beside NumPy's closed form.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories, Model, Texts, Training
from pipelines.models.histories import dense_columns, purchase_counts
from pipelines.models.linear import Linear, LinearSettings
from pipelines.models.sequence import Sequence, SequenceSettings
from pipelines.models.text import TextSimilarity
from pipelines.models.transitions import Transitions, TransitionSettings

DATA = Path(os.environ.get("SHOPLOOM_BENCH_DATA", Path(__file__).parents[3] / "shared" / "data")) / "beauty"
NUM_ITEMS = 12_101
ITEMS = np.arange(NUM_ITEMS, dtype=np.int32)
CHOSEN_ON = 4
"""Choices are made on every fourth user."""
LINEAR = LinearSettings(regularization=50.0, power=0.0, half_life_days=2.0)
NEAR = LINEAR.model_copy(update={"exact_items": 0})
FOLLOWING = TransitionSettings(
    step_decay=0.8, steps=8, source_power=0.5, target_power=0.0, history_decay=0.55, successors=512
)
VISITS = SequenceSettings(
    visits=50,
    epochs=5,
    batch_size=2048,
    targets=1,
    negatives=1024,
    min_buyers=1,
    demand_days=1000.0,
    learning_rate=0.003,
)
TEXT_DECAY = 0.75**7
PUBLISHED = {"SASRec (published)": (0.0318, 0.0605), "S3-Rec (published)": (0.0327, 0.0647)}
ASKED = (0.062, 0.095)


def read() -> list[NDArray[np.int32]]:
    """The items of each user in their order."""
    with gzip.open(DATA / "sequences.txt.gz", "rt") as lines:
        return [np.array(line.split()[1:], np.int32) - 1 for line in lines]


def histories(sequences: list[NDArray[np.int32]], held_out: int) -> Histories:
    """All but the last items of every user, a day between one and the next."""
    kept = [items[:-held_out] for items in sequences]
    indptr = np.concatenate([[0], np.cumsum([len(items) for items in kept])]).astype(np.int64)
    ages = np.concatenate([np.arange(len(items), 0, -1) for items in kept]).astype(np.float32)
    return Histories(indptr, np.concatenate(kept), ages, np.ones(len(ages), np.float32), NUM_ITEMS)


def texts(encoder: str) -> TextSimilarity:
    """The items' texts in the encoder's space."""
    from pipelines.models.encoder import TextEncoder

    lines = (DATA / "items.tsv").read_text(encoding="utf-8").splitlines()[1:]
    words = [line.split("\t")[2] if line.count("\t") > 1 else "" for line in lines]
    return TextSimilarity(TextEncoder.load(Path(encoder)).encode(words), ITEMS, TEXT_DECAY)


def places(scores: NDArray[np.float32], own: NDArray[np.bool_], wanted: NDArray[np.int32]) -> NDArray[np.int64]:
    """int64 [num_users]: the place of the held-out item, from 0; ties by id."""
    scores = np.where(own, np.float32(-np.inf), scores)
    mine = scores[np.arange(len(wanted)), wanted][:, None]
    earlier = (scores > mine) | ((scores == mine) & (ITEMS[None, :] < wanted[:, None]))
    return np.asarray(earlier.sum(axis=1), np.int64)


def ranked(
    models: list[Model], past: Histories, wanted: NDArray[np.int32], mixes: list[tuple[float, ...]]
) -> list[tuple[float, float]]:
    """NDCG@10 and HR@10 of every weighted sum of the models' scores, each over its own deviation of the first users."""
    found: list[list[NDArray[np.int64]]] = [[] for _ in mixes]
    scale: list[float] = []
    for start, chunk in past.chunks():
        scores = [model.score(chunk, ITEMS) for model in models]
        scale = scale or [float(max(part.std(), 1e-9)) for part in scores]
        own = dense_columns(purchase_counts(chunk), ITEMS) > 0
        target = wanted[start : start + chunk.num_users]
        for place, mix in enumerate(mixes):
            total = sum(np.float32(weight / size) * part for weight, size, part in zip(mix, scale, scores, strict=True))
            found[place].append(places(np.asarray(total), own, target))
    ends = [np.concatenate(parts) for parts in found]
    return [(float(np.where(end < 10, 1 / np.log2(end + 2.0), 0).mean()), float((end < 10).mean())) for end in ends]


def models_of(past: Histories, text: TextSimilarity | None) -> list[Model]:
    """Fitted on the past; the linear model on neighbourhoods, which is as good here and takes seconds."""
    nothing = Texts(np.zeros((1, 1), np.float32), np.zeros(NUM_ITEMS, np.int32))
    training = Training(past, nothing if text is None else text.texts)
    start = time.perf_counter()
    sequence = Sequence.fit(training, VISITS)
    print(f"fit of the sequence model: {time.perf_counter() - start:.1f} s")
    fitted: list[Model] = [Linear.fit(training, NEAR), Transitions.fit(training, FOLLOWING), sequence]
    return fitted if text is None else [*fitted, text]


def time_linear(past: Histories) -> None:
    """Print the seconds of the exact fit and of NumPy's closed form on the same purchases."""
    start = time.perf_counter()
    Linear.fit(Training(past), LINEAR)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    rows = purchase_counts(past)
    inverse = np.linalg.inv(
        (rows.T @ rows).toarray() + np.float32(LINEAR.regularization) * np.eye(NUM_ITEMS, dtype="f")
    )
    weights = -inverse / inverse.diagonal()
    np.fill_diagonal(weights, 0)
    direct = time.perf_counter() - start
    print(
        f"fit of the linear model: {ours:.1f} s, NumPy {direct:.1f} s: asked 1.00 at most, reached {ours / direct:.2f}"
    )


def main() -> None:
    """Choose on the item before the last, measure on the last."""
    if not DATA.is_dir():
        print(f"left out: {DATA} is absent; set SHOPLOOM_BENCH_DATA to the folder that holds beauty/")
        return
    sequences = read()
    text = texts(sys.argv[1]) if len(sys.argv) > 1 else None
    some = np.arange(0, len(sequences), CHOSEN_ON, dtype=np.int32)
    past, wanted = histories(sequences, 2), np.array([items[-2] for items in sequences], np.int32)
    shares = product(
        (0.25, 0.4, 0.55), (0.6,), (0.0, 0.3, 0.6), *([(0.15, 0.3, 0.45, 0.6)] if text is not None else [])
    )
    mixes = [tuple(mix) for mix in shares]
    chosen = ranked(models_of(past, text), past.pick(some), wanted[some], mixes)
    best = mixes[int(np.argmax([ndcg for ndcg, _ in chosen]))]
    print(f"weights chosen {best}: NDCG@10 {max(chosen)[0]:.4f} on the item before the last")
    past, wanted = histories(sequences, 1), np.array([items[-1] for items in sequences], np.int32)
    fitted = models_of(past, text)
    alone = [tuple(float(row == column) for column in range(len(fitted))) for row in range(len(fitted))]
    reached = ranked(fitted, past, wanted, [*alone, best])
    rows = {**PUBLISHED, **dict(zip([*(model.name for model in fitted), "sum"], reached, strict=True))}
    print(f"{'model':22s} {'NDCG@10':>9s} {'HR@10':>9s}")
    for name, (ndcg, hits) in rows.items():
        print(f"{name:22s} {ndcg:9.4f} {hits:9.4f}")
    print(f"asked {ASKED[0]:.3f} and {ASKED[1]:.3f}, reached {reached[-1][0]:.4f} and {reached[-1][1]:.4f}", flush=True)
    time_linear(past)


if __name__ == "__main__":
    main()
