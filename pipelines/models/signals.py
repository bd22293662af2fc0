"""The component models that the ranker asks, and the shortlist that they agree on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories, Model
from pipelines.models.files import load_trained
from pipelines.models.found import model_named
from pipelines.models.histories import decayed_counts, dense_columns, purchase_counts
from pipelines.models.popularity import Popularity
from pipelines.models.repeat import DecayedCounts, OwnCounts
from pipelines.models.text import TextSimilarity

SAME_TEXT = "same_text"
"""The signal beside text similarity: purchases of products of the very same text."""


@dataclass(frozen=True)
class Signals:
    """Fitted component models of one item space, fitted up to one moment.

    Args:
        popularity: distinct buyers, in all and of late; always there.
        texts: the catalogue's text vectors, which search reads too; always there.
        chosen: the models chosen in ``params.yaml``, by name, in the order of names.
    """

    popularity: Popularity
    texts: TextSimilarity
    chosen: Mapping[str, Model]

    def models(self) -> dict[str, Model]:
        """Every model by its name in the report, baselines first."""
        buyers = self.popularity.buyers
        baselines = (self.popularity, OwnCounts(buyers), DecayedCounts(buyers))
        return {**{model.name: model for model in baselines}, **self.chosen}

    @property
    def text(self) -> TextSimilarity | None:
        """Text similarity, where it is chosen."""
        return self.texts if TextSimilarity.name in self.chosen else None

    @cached_property
    def dense(self) -> tuple[str, ...]:
        """Signals that rank every candidate for every user, in the order of :attr:`Scored.dense`."""
        names = [name for name, model in self.chosen.items() if model.dense]
        return (*names, SAME_TEXT) if self.text else tuple(names)

    @cached_property
    def shared(self) -> tuple[int, ...]:
        """Rows of :attr:`Scored.dense` whose scores are compared with the user's best."""
        models = [self.chosen.get(name) for name in self.dense]
        return tuple(row for row, model in enumerate(models) if model is not None and not model.comparable)

    @classmethod
    def of_stages(
        cls, popularity: Popularity, names: Iterable[str], window: str, texts: Path, data: Path = Path("data")
    ) -> Self:
        """Put what the stages fitted beside the popularity of the same purchases.

        Args:
            popularity: of the histories.
            names: the chosen models, in the order of names.
            window: ``validation`` or ``final``, the folder of each.
            texts: ``texts.safetensors``.
            data: holds the stages' folders.

        Raises:
            ModelError: a model is missing, unreadable, of another format version, or was not trained.
        """
        vectors = TextSimilarity.from_file(texts)

        def model(name: str) -> Model:
            kind = model_named(name)
            return vectors if kind is TextSimilarity else load_trained(kind, data / str(kind.stage) / window)

        return cls(popularity, vectors, {name: model(name) for name in names})

    def save(self, directory: Path) -> None:
        """Write every model into a folder of its name in ``directory``, popularity aside."""
        for name, model in {**self.chosen, TextSimilarity.name: self.texts}.items():
            model.save(directory / name)

    @classmethod
    def load(cls, directory: Path, names: Iterable[str]) -> Self:
        """Read every component from a folder of its name.

        Raises:
            ModelError: a component is missing, unreadable or of another format version.
        """
        texts = TextSimilarity.load(directory / TextSimilarity.name)
        chosen = {name: model_named(name) for name in names}
        loaded = {
            name: texts if kind is TextSimilarity else kind.load(directory / name) for name, kind in chosen.items()
        }
        return cls(Popularity.load(directory / "popularity"), texts, loaded)


@dataclass(frozen=True)
class Scored:
    """Candidates scored for a few users.

    Args:
        candidates: int32 [num_candidates], dense item ids.
        dense: float32 [num_users, num_candidates] of every signal, see :attr:`Signals.dense`.
        bought: bool [num_users, num_candidates], whether the user bought the item.
    """

    candidates: NDArray[np.int32]
    dense: tuple[NDArray[np.float32], ...]
    bought: NDArray[np.bool_]


@dataclass(frozen=True)
class Shortlist:
    """Pairs that are worth ranking, by user, then by candidate.

    Args:
        users: int64 [num_rows], index of the user.
        positions: int64 [num_rows], index into the candidates.
    """

    users: NDArray[np.int64]
    positions: NDArray[np.int64]


def score_densely(
    signals: Signals,
    histories: Histories,
    candidates: NDArray[np.int32],
    known: Mapping[str, NDArray[np.float32]] | None = None,
) -> Scored:
    """Ask every signal that can rank the whole catalogue.

    Args:
        signals: component models.
        histories: of a few users: all of them are scored at once.
        candidates: int32 [num_candidates], dense item ids.
        known: by model, what it was asked before for these users and candidates.
    """
    known, text = known or {}, signals.text
    asked = [(name, model) for name, model in signals.chosen.items() if model.dense]
    dense = [known[name] if name in known else model.score(histories, candidates) for name, model in asked]
    if text is not None:
        counts = decayed_counts(text.as_texts(histories), text.weekly_decay)
        dense.append(dense_columns(counts, text.text_index[candidates]))
    return Scored(candidates, tuple(dense), dense_columns(purchase_counts(histories), candidates) > 0)


def shortlist(signals: Signals, scored: Scored, per_signal: int) -> Shortlist:
    """What a user bought, and the best ``per_signal`` new items of every signal and of popularity; ties by id."""
    popularity = signals.popularity
    chosen = scored.bought.copy()
    for name, scores in zip(signals.dense, scored.dense, strict=True):
        new = scores + np.float32(1e-3) * popularity.ties[scored.candidates] if name == SAME_TEXT else scores
        _add_best(chosen, np.where(scored.bought, np.float32(-np.inf), new), per_signal)
    for demand in (popularity.buyers, popularity.last_month):
        _add_first(chosen, scored.bought, demand[scored.candidates], per_signal)
    return Shortlist(*np.divmod(np.flatnonzero(chosen), chosen.shape[1]))


def _add_best(chosen: NDArray[np.bool_], scores: NDArray[np.float32], count: int) -> None:
    """Mark the ``count`` best of every row, in place; ties by position."""
    size = scores.shape[1]
    if count >= size:
        chosen[:] = True
        return
    worst = np.partition(scores, size - count, axis=1)[:, size - count, None]
    reached = scores >= worst
    for row in np.flatnonzero(np.count_nonzero(reached, axis=1) > count):
        level = np.flatnonzero(scores[row] == worst[row])
        too_many = np.count_nonzero(reached[row]) - count
        reached[row, level[len(level) - too_many :]] = False
    chosen |= reached


def _add_first(chosen: NDArray[np.bool_], bought: NDArray[np.bool_], demand: NDArray[Any], count: int) -> None:
    """Mark, in place, the ``count`` most in demand that each user did not buy; ties by position."""
    order = most(demand, count + int(bought.sum(axis=1).max(initial=0)))
    new = ~bought[:, order]
    chosen[:, order] |= new & (np.cumsum(new, axis=1, dtype=np.int32) <= count)


def most(demand: NDArray[Any], count: int) -> NDArray[np.intp]:
    """int [min(count, num_items)]: positions of the most in demand, ties by position."""
    size = len(demand)
    if count >= size:
        return np.argsort(-demand, kind="stable")
    among = np.flatnonzero(demand >= np.partition(demand, size - count)[size - count])
    return among[np.argsort(-demand[among], kind="stable")][:count]
