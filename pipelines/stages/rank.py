"""``rank``: every signal -> the learned blend, trained on the validation window and on windows before it.

Each window is described by models fitted before it: those of the stages for the validation window, and the same models
fitted again for the earlier ones. ``package`` joins it with the models fitted before the test window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import atomic_directory, write_json
from pipelines.chosen import chosen_models
from pipelines.errors import DataError
from pipelines.metrics.ranking import RankedUsers, mean, ndcg
from pipelines.models.base import USERS_AT_ONCE
from pipelines.models.blend import AnyBlend
from pipelines.models.blend_settings import BlendSettings
from pipelines.models.features import feature_names
from pipelines.models.linear_blend import LinearBlend
from pipelines.models.mixed_blend import MixedBlend
from pipelines.models.neural_blend import NeuralBlend
from pipelines.models.popularity import Popularity
from pipelines.models.ranker import RankerPart, TrainingRows, training_rows
from pipelines.models.signals import Signals
from pipelines.models.tree_blend import TreeBlend
from pipelines.params import RankParams, SeedParams, WindowParams, load_params
from pipelines.prepared import read_events, read_histories, read_space
from pipelines.progress import track
from pipelines.rolling import Window, earlier_windows
from pipelines.stages import run_main
from pipelines.validation import TEXTS

OUTPUT = Path("data/rank")

Kind = type[TreeBlend] | type[LinearBlend] | type[NeuralBlend] | type[MixedBlend]
KINDS: tuple[Kind, ...] = (TreeBlend, LinearBlend, NeuralBlend, MixedBlend)


@dataclass(frozen=True)
class Choice:
    """The blend that was kept, and why.

    Args:
        blend: trained on every user of every window.
        held_out: for each kind, NDCG@10 on users that it was not trained on.
        windows: trained on.
        rows: pairs trained on.
        bought: of these, pairs that were bought.
    """

    blend: AnyBlend
    held_out: dict[str, dict[str, float]]
    windows: int
    rows: int
    bought: int


@dataclass(frozen=True)
class Judged:
    """Shortlisted pairs of held-out users, and what these users bought.

    Args:
        rows: the pairs.
        own: bool [num_rows], whether the user had bought the item before the window.
        wanted: int64, a user's id once for each candidate bought in the window.
        wanted_new: int64, of these, once for each candidate that was new to the user.
    """

    rows: TrainingRows
    own: NDArray[np.bool_]
    wanted: NDArray[np.int64]
    wanted_new: NDArray[np.int64]


def rank(window: Window, earlier: Iterable[Window], params: RankParams, seed: int) -> Choice:
    """Train every kind of blend on most users, keep the one that ranks best for the others, train it on all.

    Args:
        window: the validation window; the held-out users are judged on it alone.
        earlier: windows that are trained on beside it.
        params: of the shortlist and the blends.
        seed: of the blends, and of which users are held out.

    Raises:
        DataError: nothing was bought in the window.
    """
    latest = _all_rows(window, params.per_signal)
    if not latest.bought.any():
        raise DataError(
            "no shortlisted item was bought in the validation window", mend="shoploom ingest --from DAY lands more"
        )
    past = [_all_rows(one, params.per_signal) for one in earlier]
    names, settings = feature_names(window.signals), params.settings(BlendSettings, seed=seed)
    order = np.random.default_rng(seed).permutation(window.histories.num_users)
    held_out = order[: max(1, round(params.held_out_share * len(order)))]
    judged = _judged(latest, names.index("own_counts"), np.isin(latest.users, held_out), window)
    every = _joined([latest, *past])
    scores = _compare(every, names, np.isin(every.users, held_out), judged, settings)
    best = max(KINDS, key=lambda kind: scores[kind.kind]["ndcg_at_10"])
    blend = best.fit(every.rows, every.bought, names, settings)
    return Choice(blend, scores, 1 + len(past), len(every.rows), int(every.bought.sum()))


def _all_rows(window: Window, per_signal: int) -> TrainingRows:
    chunks = training_rows(window.signals, window.histories, window.candidates, window.purchases, per_signal)
    total = -(-window.histories.num_users // USERS_AT_ONCE)
    return _joined(list(track(chunks, "describe shortlisted products", total)))


def _joined(parts: Sequence[TrainingRows]) -> TrainingRows:
    return TrainingRows(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.bought for part in parts]),
        np.concatenate([part.users for part in parts]),
    )


def _compare(
    rows: TrainingRows, names: Sequence[str], held_out: NDArray[np.bool_], judged: Judged, settings: BlendSettings
) -> dict[str, dict[str, float]]:
    """NDCG@10 of every kind of blend, trained on some users' pairs and judged on those held out."""
    train = ~held_out if rows.bought[~held_out].any() else np.ones(len(held_out), bool)
    given = rows.rows[train], rows.bought[train], names, settings
    trees, network = TreeBlend.fit(*given), NeuralBlend.fit(*given)
    blends: tuple[AnyBlend, ...] = (trees, LinearBlend.fit(*given), network, MixedBlend(trees, network))
    scores = {blend.kind: _judge(blend, judged) for blend in blends}
    for kind, score in scores.items():
        print(f"{kind}: NDCG@10 on held-out users {score}")
    return scores


def _judged(rows: TrainingRows, own_counts: int, chosen: NDArray[np.bool_], window: Window) -> Judged:
    histories, size = window.histories, window.histories.num_items
    wanted = window.purchases[np.isin(window.purchases % size, window.candidates)]
    known = np.unique(histories.users_of_events().astype(np.int64) * size + histories.items)
    kept = TrainingRows(rows.rows[chosen], rows.bought[chosen], rows.users[chosen])
    own = kept.rows[:, own_counts] > 0
    return Judged(kept, own, wanted // size, wanted[~np.isin(wanted, known)] // size)


def _judge(blend: AnyBlend, judged: Judged) -> dict[str, float]:
    """NDCG@10 of the shortlists; what a shortlist misses counts as relevant all the same."""
    rows, new = judged.rows, ~judged.own
    chances = blend.predict(rows.rows)
    return {
        "ndcg_at_10": _ndcg(rows.users, rows.bought, chances, judged.wanted),
        "ndcg_at_10_new": _ndcg(rows.users[new], rows.bought[new], chances[new], judged.wanted_new),
    }


def _ndcg(
    users: NDArray[np.int64], bought: NDArray[np.bool_], chances: NDArray[np.float32], wanted: NDArray[np.int64]
) -> float:
    """Mean NDCG@10; ``wanted`` holds a user's id once for each relevant item."""
    judged, rows = np.unique(users, return_inverse=True)
    order = np.lexsort((-chances, rows))
    rows, bought = rows[order], bought[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    first = place < 10
    hits = np.zeros((len(judged), 10), bool)
    hits[rows[first], place[first]] = bought[first]
    relevant = np.bincount(wanted, minlength=int(judged.max(initial=-1)) + 1)[judged]
    unnamed = np.full(hits.shape, -1, np.int32)
    return round(mean(ndcg(RankedUsers(unnamed, hits, relevant))) or 0.0, 6)


def main() -> None:
    """Train on the validation window; keep the blend beside the popularity of everything before the test window."""
    params, seed = load_params(RankParams, "rank"), load_params(SeedParams, "seed").value
    settings, space = load_params(WindowParams, "window"), read_space()
    histories = read_histories("validation", space)
    popularity, chosen = Popularity.of(histories), chosen_models()
    signals = Signals.of_stages(popularity, chosen, "validation", TEXTS)
    purchases = read_events(["validation"]).keys(space)
    window = Window(signals, histories, popularity.candidates(settings.min_buyers), purchases)
    earlier = earlier_windows(
        chosen,
        read_events(["history"]),
        space,
        count=params.windows - 1,
        min_buyers=settings.min_buyers,
        seed=seed,
        texts=TEXTS,
    )
    choice = rank(window, earlier, params, seed)
    final = Popularity.of(read_histories("test", space))
    with atomic_directory(OUTPUT / "ranker") as directory:
        RankerPart(final, chosen, choice.blend, params.per_signal, settings.min_buyers).save(directory)
    importance = choice.blend.importance() if isinstance(choice.blend, TreeBlend | MixedBlend) else {}
    facts = {
        "models": list(chosen),
        "choice": choice.blend.kind,
        "held_out": choice.held_out,
        "windows": choice.windows,
        "rows": choice.rows,
        "bought": choice.bought,
        "importance": importance,
    }
    write_json(facts, OUTPUT / "metrics.json")


if __name__ == "__main__":
    run_main(main)
