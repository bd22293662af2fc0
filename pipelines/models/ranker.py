"""The ranker: shortlist by every signal, describe each pair, and let the learned blend order them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.base import Histories, Model
from pipelines.models.blend import AnyBlend, load_blend
from pipelines.models.features import FEATURES, features
from pipelines.models.files import read_model, write_model
from pipelines.models.fused import Fused
from pipelines.models.linear import Linear
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.popularity import Popularity, tie_breaker
from pipelines.models.repeat import RepeatTiming
from pipelines.models.signals import Scored, Shortlist, Signals, score_densely, shortlist
from pipelines.models.text import TextSimilarity


class Ranker(Model):
    """Scores shortlisted items by the chance that the user buys them, all others below.

    The shortlist is what the user bought and the best new items of every signal; an item outside it gets a score
    in [-1, 0) that grows with its buyers. A user without events is ranked like any other, on what is popular.

    Args:
        signals: the component models.
        blend: from features to a chance.
        per_signal: new items that each signal puts on the shortlist.
        min_buyers: distinct buyers that make an item a candidate of :meth:`recommend`.
    """

    name: ClassVar[str] = "rank"

    def __init__(self, signals: Signals, blend: AnyBlend, per_signal: int, min_buyers: int) -> None:
        self.signals = signals
        self.blend = blend
        self.per_signal = per_signal
        self.min_buyers = min_buyers

    @classmethod
    def assemble(cls, *, rank: Path, matrix_factorization: Path, linear: Path, fused: Path, texts: Path) -> Self:
        """Put a ranker together from the outputs of the stages.

        Args:
            rank: the ranker's own part: blend, popularity and repeat timing.
            matrix_factorization: a folder of that model.
            linear: a folder of that model.
            fused: a folder of that model.
            texts: ``texts.safetensors``.

        Raises:
            ModelError: a part is missing or unreadable.
        """
        signals = Signals(
            popularity=Popularity.load(rank / "popularity"),
            repeat=RepeatTiming.load(rank / "repeat"),
            matrix_factorization=MatrixFactorization.load(matrix_factorization),
            linear=Linear.load(linear),
            fused=Fused.load(fused),
            text=TextSimilarity.from_file(texts),
        )
        return cls._with(signals, rank)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        fallback = tie_breaker(self.signals.popularity.buyers)[candidates] - np.float32(1)
        scores = np.tile(fallback, (histories.num_users, 1))
        for start, chunk in histories.chunks():
            scored = score_densely(self.signals, chunk, candidates)
            rows = shortlist(self.signals, scored, self.per_signal)
            chances = self.blend.predict(features(self.signals, chunk, scored, rows))
            scores[start + rows.users, rows.positions] = chances
        return scores

    def recommend(
        self,
        histories: Histories,
        k: int,
        candidates: NDArray[np.int32] | None = None,
        *,
        new_only: bool = False,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best items of every user.

        Args:
            histories: whom to recommend to.
            k: items a user.
            candidates: int32, ascending dense item ids; by default items with ``min_buyers`` buyers.
            new_only: leave out what the user bought.

        Returns:
            int32 [num_users, k] dense item ids, best first, ties by id, -1 where there are not enough; and float32
            [num_users, k], their scores, 0 where there are not enough.
        """
        if candidates is None:
            candidates = self.signals.popularity.candidates(self.min_buyers)
        items = np.full((histories.num_users, k), -1, np.int32)
        scores = np.zeros((histories.num_users, k), np.float32)
        for start, chunk in histories.chunks():
            chunk_scores = self.score(chunk, candidates)
            for user, row in enumerate(chunk_scores):
                allowed = np.arange(len(candidates))
                if new_only:
                    own = chunk.items[chunk.indptr[user] : chunk.indptr[user + 1]]
                    allowed = allowed[~np.isin(candidates, own)]
                best = allowed[np.argsort(-row[allowed], kind="stable")[:k]]
                items[start + user, : len(best)] = candidates[best]
                scores[start + user, : len(best)] = row[best]
        return items, scores

    def save_own(self, directory: Path) -> None:
        """Write the ranker's own part, without the models that other stages wrote: what :meth:`assemble` reads."""
        for name, part in (("popularity", self.signals.popularity), ("repeat", self.signals.repeat)):
            part.save(directory / name)
        self._save_blend(directory)

    def save(self, directory: Path) -> None:
        self.signals.save(directory)
        self._save_blend(directory)

    def _save_blend(self, directory: Path) -> None:
        (directory / "blend").mkdir()
        self.blend.save(directory / "blend")
        settings = {"per_signal": self.per_signal, "min_buyers": self.min_buyers}
        write_model(directory, self.name, {"candidates": self.signals.popularity.candidates(self.min_buyers)}, settings)

    @classmethod
    def load(cls, directory: Path) -> Self:
        return cls._with(Signals.load(directory), directory)

    @classmethod
    def _with(cls, signals: Signals, directory: Path) -> Self:
        _, settings = read_model(directory, cls.name, ())
        try:
            per_signal, min_buyers = int(settings["per_signal"]), int(settings["min_buyers"])
        except KeyError as error:
            raise ModelError(f"{directory}: settings lack {error}", mend="shoploom run makes it again") from error
        return cls(signals, load_blend(directory / "blend", FEATURES), per_signal, min_buyers)


@dataclass(frozen=True)
class TrainingRows:
    """Shortlisted pairs with their answers.

    Args:
        rows: float32 [num_rows, len(FEATURES)].
        bought: bool [num_rows], whether the user bought the item in the window.
        users: int64 [num_rows].
    """

    rows: NDArray[np.float32]
    bought: NDArray[np.bool_]
    users: NDArray[np.int64]


def training_rows(
    signals: Signals,
    histories: Histories,
    candidates: NDArray[np.int32],
    purchases: NDArray[np.int64],
    per_signal: int,
) -> Iterator[TrainingRows]:
    """Describe the shortlisted pairs of users, a chunk of users at a time.

    Args:
        signals: component models fitted before the window.
        histories: purchases before the window.
        candidates: int32 [num_candidates], dense item ids.
        purchases: int64, sorted, ``user * num_items + item`` of every purchase in the window.
        per_signal: new items that each signal puts on the shortlist.
    """
    for start, chunk in histories.chunks():
        scored: Scored = score_densely(signals, chunk, candidates)
        pairs: Shortlist = shortlist(signals, scored, per_signal)
        users = pairs.users + start
        keys = users * histories.num_items + candidates[pairs.positions]
        yield TrainingRows(features(signals, chunk, scored, pairs), np.isin(keys, purchases), users)
