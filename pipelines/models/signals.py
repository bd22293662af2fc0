"""The component models that the ranker asks, and the shortlist that they agree on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories, Model
from pipelines.models.fused import Fused
from pipelines.models.histories import decayed_counts, dense_columns, purchase_counts
from pipelines.models.linear import Linear
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.popularity import Popularity, tie_breaker
from pipelines.models.repeat import DecayedCounts, OwnCounts, RepeatTiming
from pipelines.models.text import TextSimilarity

DENSE = ("matrix_factorization", "linear", "fused", "text", "same_text")
"""Signals that rank every candidate for every user, in the order of :attr:`Scored.dense`."""


@dataclass(frozen=True)
class Signals:
    """Fitted component models of one item space, fitted up to one moment.

    Args:
        popularity: distinct buyers, in all and of late.
        repeat: chance of buying again.
        matrix_factorization: behaviour, by ALS.
        linear: behaviour, by EASE.
        fused: behaviour and text.
        text: similarity of text.
    """

    popularity: Popularity
    repeat: RepeatTiming
    matrix_factorization: MatrixFactorization
    linear: Linear
    fused: Fused
    text: TextSimilarity

    def models(self) -> dict[str, Model]:
        """Every model by its name in the report, baselines first."""
        models: tuple[Model, ...] = (
            self.popularity,
            OwnCounts(self.popularity.buyers),
            DecayedCounts(self.popularity.buyers),
            self.repeat,
            self.matrix_factorization,
            self.linear,
            self.text,
            self.fused,
        )
        return {model.name: model for model in models}

    @classmethod
    def of_stages(
        cls,
        popularity: Popularity,
        repeat: RepeatTiming,
        *,
        matrix_factorization: Path,
        linear: Path,
        fused: Path,
        texts: Path,
    ) -> Self:
        """Put counts of the histories beside what other stages fitted on them.

        Args:
            popularity: of the histories.
            repeat: of the histories.
            matrix_factorization: a folder of that model.
            linear: a folder of that model.
            fused: a folder of that model.
            texts: ``texts.safetensors``.

        Raises:
            ModelError: a model is missing, unreadable or of another format version.
        """
        return cls(
            popularity=popularity,
            repeat=repeat,
            matrix_factorization=MatrixFactorization.load(matrix_factorization),
            linear=Linear.load(linear),
            fused=Fused.load(fused),
            text=TextSimilarity.from_file(texts),
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read every component from a folder of its name.

        Raises:
            ModelError: a component is missing, unreadable or of another format version.
        """
        return cls(
            Popularity.load(directory / "popularity"),
            RepeatTiming.load(directory / "repeat"),
            MatrixFactorization.load(directory / "matrix_factorization"),
            Linear.load(directory / "linear"),
            Fused.load(directory / "fused"),
            TextSimilarity.load(directory / "text"),
        )


@dataclass(frozen=True)
class Scored:
    """Candidates scored for a few users.

    Args:
        candidates: int32 [num_candidates], dense item ids.
        dense: float32 [num_signals, num_users, num_candidates], see :data:`DENSE`.
        bought: bool [num_users, num_candidates], whether the user bought the item.
    """

    candidates: NDArray[np.int32]
    dense: NDArray[np.float32]
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


def score_densely(signals: Signals, histories: Histories, candidates: NDArray[np.int32]) -> Scored:
    """Ask every signal that can rank the whole catalogue."""
    text = signals.text
    same_text = dense_columns(decayed_counts(text.as_texts(histories), text.weekly_decay), text.text_index[candidates])
    dense = np.stack(
        [
            signals.matrix_factorization.score(histories, candidates),
            signals.linear.score(histories, candidates),
            signals.fused.score(histories, candidates),
            text.score(histories, candidates),
            same_text,
        ]
    )
    bought = dense_columns(purchase_counts(histories), candidates) > 0
    return Scored(candidates, dense, bought)


def shortlist(signals: Signals, scored: Scored, per_signal: int) -> Shortlist:
    """What a user bought, and the best ``per_signal`` new items of every signal and of popularity; ties by id."""
    buyers = signals.popularity.buyers
    chosen = scored.bought.copy()
    for name, scores in zip(DENSE, scored.dense, strict=True):
        ties = np.float32(1e-3) * tie_breaker(buyers)[scored.candidates] if name == "same_text" else np.float32(0)
        _add_best(chosen, np.where(scored.bought, np.float32(-np.inf), scores + ties), per_signal)
    for demand in (buyers, signals.popularity.recent[:, 1]):
        _add_first(chosen, scored.bought, np.argsort(-demand[scored.candidates], kind="stable"), per_signal)
    users, positions = np.nonzero(chosen)
    return Shortlist(users, positions)


def _add_best(chosen: NDArray[np.bool_], scores: NDArray[np.float32], count: int) -> None:
    """Mark the ``count`` best of every row, in place."""
    size = scores.shape[1]
    if count >= size:
        chosen[:] = True
        return
    worst = np.partition(scores, size - count, axis=1)[:, size - count, None]
    above = scores > worst
    level = scores == worst
    level &= np.cumsum(level, axis=1, dtype=np.int32) <= count - above.sum(axis=1, keepdims=True)
    chosen |= above
    chosen |= level


def _add_first(chosen: NDArray[np.bool_], bought: NDArray[np.bool_], order: NDArray[np.intp], count: int) -> None:
    """Mark, in place, the first ``count`` of ``order`` that each user did not buy."""
    longest = count + int(bought.sum(axis=1).max(initial=0))
    order = order[:longest]
    new = ~bought[:, order]
    chosen[:, order] |= new & (np.cumsum(new, axis=1, dtype=np.int32) <= count)
