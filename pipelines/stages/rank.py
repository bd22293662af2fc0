"""``rank``: every signal -> the learned blend, trained on the validation window, applied to the final models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import atomic_directory, write_json
from pipelines.errors import DataError
from pipelines.models.base import USERS_AT_ONCE, Histories
from pipelines.models.blend import AnyBlend, LinearBlend, TreeBlend
from pipelines.models.blend_settings import BlendSettings
from pipelines.models.features import FEATURES
from pipelines.models.fused import Fused
from pipelines.models.linear import Linear
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.neural_blend import NeuralBlend
from pipelines.models.popularity import Popularity
from pipelines.models.ranker import Ranker, TrainingRows, training_rows
from pipelines.models.repeat import RepeatTiming
from pipelines.models.signals import Signals
from pipelines.models.text import TextSimilarity
from pipelines.params import RankParams, SeedParams, WindowParams, load_params
from pipelines.prepared import read_events, read_histories, read_space
from pipelines.progress import track
from pipelines.stages import run_main

OUTPUT = Path("data/rank")
TEXTS = Path("data/train_bert/texts.safetensors")
PARTS = {"matrix_factorization": Path("data/train_mf"), "linear": Path("data/train_linear"), "fused": Path("data/fuse")}
"""Folders that hold a model for each window."""

Kind = type[TreeBlend] | type[LinearBlend] | type[NeuralBlend]
KINDS: tuple[Kind, ...] = (TreeBlend, LinearBlend, NeuralBlend)


@dataclass(frozen=True)
class Window:
    """What the blend is trained and judged on.

    Args:
        histories: purchases before the window.
        candidates: int32 [num_candidates], ascending.
        purchases: int64, ascending: ``user * num_items + item`` of every purchase in the window.
    """

    histories: Histories
    candidates: NDArray[np.int32]
    purchases: NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """The blend that was kept, and why.

    Args:
        blend: trained on every user of the window.
        held_out: for each kind, NDCG@10 on users that it was not trained on.
        rows: pairs trained on.
        bought: of these, pairs that were bought.
    """

    blend: AnyBlend
    held_out: dict[str, dict[str, float]]
    rows: int
    bought: int


def load_signals(window: str, popularity: Popularity, repeat: RepeatTiming) -> Signals:
    """The component models that were fitted before ``window``: ``validation`` or ``final``."""
    return Signals(
        popularity=popularity,
        repeat=repeat,
        matrix_factorization=MatrixFactorization.load(PARTS["matrix_factorization"] / window),
        linear=Linear.load(PARTS["linear"] / window),
        fused=Fused.load(PARTS["fused"] / window),
        text=TextSimilarity.from_file(TEXTS),
    )


def rank(signals: Signals, window: Window, params: RankParams, seed: int) -> Choice:
    """Train every kind of blend on most users, keep the one that ranks best for the others, train it on all.

    Raises:
        DataError: nothing was bought in the window.
    """
    rows = _all_rows(signals, window, params.per_signal)
    if not rows.bought.any():
        raise DataError("no shortlisted item was bought in the validation window", mend="land more partitions")
    settings = BlendSettings(
        rounds=params.rounds,
        learning_rate=params.learning_rate,
        leaves=params.leaves,
        min_leaf_rows=params.min_leaf_rows,
        negative_share=params.negative_share,
        bins=params.bins,
        seed=seed,
        threads=params.threads,
    )
    order = np.random.default_rng(seed).permutation(window.histories.num_users)
    held_out = np.isin(rows.users, order[: max(1, round(params.held_out_share * len(order)))])
    train = ~held_out if rows.bought[~held_out].any() else np.ones(len(held_out), bool)
    scores = {}
    for kind in KINDS:
        blend = kind.fit(rows.rows[train], rows.bought[train], FEATURES, settings)
        scores[kind.kind] = _judge(blend, rows, held_out, window)
        print(f"{kind.kind}: NDCG@10 on held-out users {scores[kind.kind]}")
    best = max(KINDS, key=lambda kind: scores[kind.kind]["ndcg_at_10"])
    blend = best.fit(rows.rows, rows.bought, FEATURES, settings)
    return Choice(blend, scores, len(rows.rows), int(rows.bought.sum()))


def _all_rows(signals: Signals, window: Window, per_signal: int) -> TrainingRows:
    chunks = training_rows(signals, window.histories, window.candidates, window.purchases, per_signal)
    total = -(-window.histories.num_users // USERS_AT_ONCE)
    parts = list(track(chunks, "describe shortlisted products", total))
    return TrainingRows(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.bought for part in parts]),
        np.concatenate([part.users for part in parts]),
    )


def _judge(blend: AnyBlend, rows: TrainingRows, chosen: NDArray[np.bool_], window: Window) -> dict[str, float]:
    """NDCG@10 of the shortlists of some users; what the shortlist misses counts as relevant all the same."""
    size = window.histories.num_items
    users, bought = rows.users[chosen], rows.bought[chosen]
    own = rows.rows[chosen, FEATURES.index("own_counts")] > 0
    chances = blend.predict(rows.rows[chosen])
    wanted = window.purchases[np.isin(window.purchases % size, window.candidates)]
    histories = window.histories
    known = np.unique(histories.users_of_events().astype(np.int64) * size + histories.items)
    return {
        "ndcg_at_10": _ndcg(users, bought, chances, wanted // size),
        "ndcg_at_10_new": _ndcg(users[~own], bought[~own], chances[~own], wanted[~np.isin(wanted, known)] // size),
    }


def _ndcg(
    users: NDArray[np.int64], bought: NDArray[np.bool_], chances: NDArray[np.float32], wanted: NDArray[np.int64]
) -> float:
    """Mean NDCG@10; ``wanted`` holds a user's id once for each relevant item."""
    order = np.lexsort((-chances, users))
    users, bought = users[order], bought[order]
    starts = np.flatnonzero(np.append(True, users[1:] != users[:-1])) if len(users) else np.zeros(0, np.int64)
    place = np.arange(len(users)) - np.repeat(starts, np.diff(np.append(starts, len(users))))
    discounts = 1.0 / np.log2(np.arange(2, 12))
    top = (place < 10) & bought
    gain = np.bincount(users[top], discounts[place[top]], minlength=int(wanted.max(initial=0)) + 1)
    relevant = np.bincount(wanted, minlength=len(gain))
    ideal = np.append(0.0, np.cumsum(discounts))[np.minimum(relevant, 10)]
    judged = np.unique(users)
    judged = judged[judged < len(ideal)]
    judged = judged[ideal[judged] > 0]
    return round(float((gain[judged] / ideal[judged]).mean()), 6) if len(judged) else 0.0


def main() -> None:
    """Train on the validation window; keep the blend beside popularity and repeat timing of everything before test."""
    params, seed = load_params(RankParams, "rank"), load_params(SeedParams, "seed").value
    settings, space = load_params(WindowParams, "window"), read_space()
    histories = read_histories("validation", space)
    popularity = Popularity.fit(histories)
    signals = load_signals("validation", popularity, RepeatTiming.fit(histories, popularity.buyers))
    purchases = read_events(["validation"]).keys(space)
    window = Window(histories, popularity.candidates(settings.min_buyers), purchases)
    choice = rank(signals, window, params, seed)
    everything = read_histories("test", space)
    final = Popularity.fit(everything)
    final_signals = load_signals("final", final, RepeatTiming.fit(everything, final.buyers))
    ranker = Ranker(final_signals, choice.blend, params.per_signal, settings.min_buyers)
    with atomic_directory(OUTPUT / "ranker") as directory:
        ranker.save_own(directory)
    importance = choice.blend.importance() if isinstance(choice.blend, TreeBlend) else {}
    facts = {
        "choice": choice.blend.kind,
        "held_out": choice.held_out,
        "rows": choice.rows,
        "bought": choice.bought,
        "importance": importance,
    }
    write_json(facts, OUTPUT / "metrics.json")


if __name__ == "__main__":
    run_main(main)
