"""The ranker: shortlist by every signal, describe each pair, and let the learned blend order them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ConfigError, ModelError
from pipelines.models.base import MADE_AGAIN, Histories, Scoring, Serves
from pipelines.models.blend import AnyBlend, load_blend
from pipelines.models.contributions import Contribution, contributions, words_of
from pipelines.models.features import feature_names, features
from pipelines.models.files import read_model, write_model
from pipelines.models.found import checked
from pipelines.models.popularity import Popularity
from pipelines.models.signals import Scored, Shortlist, Signals, score_densely, shortlist


class Ranker(Scoring):
    """Scores shortlisted items by the chance that the user buys them, all others below.

    The shortlist is what the user bought and the best new items of every signal; an item outside it gets a score
    in [-1, 0) that grows with its buyers. A user without events is ranked like any other, on what is popular.

    Args:
        signals: the component models.
        blend: from features to a chance.
        per_signal: new items that each signal puts on the shortlist.
        min_buyers: distinct buyers that make an item a candidate.
    """

    name: ClassVar[str] = "rank"
    serves: ClassVar[Serves] = Serves(cold_users=True, cold_items=True)

    def __init__(self, signals: Signals, blend: AnyBlend, per_signal: int, min_buyers: int) -> None:
        self.signals = signals
        self.blend = blend
        self.per_signal = per_signal
        self.min_buyers = min_buyers

    @classmethod
    def assemble(cls, rank: Path, texts: Path, data: Path = Path("data")) -> Self:
        """Put a ranker together from what the stages fitted on everything before the test window.

        Args:
            rank: what :class:`RankerPart` wrote.
            texts: ``texts.safetensors``.
            data: holds the stages' folders.

        Raises:
            ModelError: a part is missing or unreadable.
        """
        settings = cls._settings(rank)
        popularity = Popularity.load(rank / "popularity")
        return cls._with(Signals.of_stages(popularity, settings["models"], "final", texts, data), rank, settings)

    def score(
        self,
        histories: Histories,
        candidates: NDArray[np.int32],
        known: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> NDArray[np.float32]:
        """See :meth:`Model.score`.

        Args:
            histories: whom to score for.
            candidates: int32 [num_candidates], dense item ids.
            known: what component models said of these users and candidates, by name; the others are asked.
        """
        fallback = self.signals.popularity.ties[candidates] - np.float32(1)
        scores = np.tile(fallback, (histories.num_users, 1))
        for start, chunk in histories.chunks():
            of_chunk = {name: of_all[start : start + chunk.num_users] for name, of_all in (known or {}).items()}
            rows, described = self.described(chunk, candidates, of_chunk)
            scores[start + rows.users, rows.positions] = self.blend.predict(described)
        return scores

    def explained(self, history: Histories, candidates: NDArray[np.int32]) -> Explained:
        """One user's scores, as :meth:`score` gives them, with what they were made of.

        Args:
            history: of one user.
            candidates: int32 [num_candidates], dense item ids.
        """
        fallback = self.signals.popularity.ties[candidates] - np.float32(1)
        rows, described = self.described(history, candidates)
        fallback[rows.positions] = self.blend.predict(described)
        return Explained(fallback, rows.positions, described)

    def contributions(self, explained: Explained, positions: NDArray[np.integer]) -> list[tuple[Contribution, ...]]:
        """What each feature added to some results, the strongest first; nothing for one outside the shortlist.

        Args:
            explained: of the user.
            positions: int [num_results], index of each result into the candidates.
        """
        places = np.searchsorted(explained.positions, positions)
        listed = explained.positions[np.minimum(places, len(explained.positions) - 1)] == positions
        rows = explained.rows[places[listed]]
        added = iter(zip(rows, self.blend.contributions(rows)[:, :-1], strict=True))
        names, words = self.blend.feature_names, words_of(self.signals)
        return [contributions(names, words, *next(added)) if inside else () for inside in listed]

    def described(
        self,
        chunk: Histories,
        candidates: NDArray[np.int32],
        known: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> tuple[Shortlist, NDArray[np.float32]]:
        """The shortlist of a few users, and float32 [num_rows, num_features] for the blend.

        Args:
            chunk: a few users': all of them are scored at once.
            candidates: int32 [num_candidates], dense item ids.
            known: see :meth:`score`.
        """
        scored = score_densely(self.signals, chunk, candidates, known)
        rows = shortlist(self.signals, scored, self.per_signal)
        return rows, features(self.signals, chunk, scored, rows)

    @property
    def part(self) -> RankerPart:
        """What is the ranker's own."""
        signals = self.signals
        return RankerPart(signals.popularity, tuple(signals.chosen), self.blend, self.per_signal, self.min_buyers)

    def save(self, directory: Path) -> None:
        self.part.save(directory)
        self.signals.save(directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        settings = cls._settings(directory)
        return cls._with(Signals.load(directory, settings["models"]), directory, settings)

    @classmethod
    def _settings(cls, directory: Path) -> dict[str, Any]:
        """The ranker's settings.

        Raises:
            ModelError: one is missing, or a model is named that this code does not have.
        """
        _, settings = read_model(directory, cls.name, (), ("models", "per_signal", "min_buyers"))
        try:
            return {**settings, "models": checked(settings["models"])}
        except (ConfigError, TypeError) as error:
            raise ModelError(f"{directory} is of another version: {error}", mend=MADE_AGAIN) from error

    @classmethod
    def _with(cls, signals: Signals, directory: Path, settings: Mapping[str, Any]) -> Self:
        blend = load_blend(directory / "blend", feature_names(signals))
        return cls(signals, blend, int(settings["per_signal"]), int(settings["min_buyers"]))


@dataclass(frozen=True)
class Explained:
    """One user's scores and what they were made of.

    Args:
        scores: float32 [num_candidates].
        positions: int64 [num_rows], ascending: shortlisted candidates.
        rows: float32 [num_rows, num_features], what the blend saw of each.
    """

    scores: NDArray[np.float32]
    positions: NDArray[np.int64]
    rows: NDArray[np.float32]


@dataclass(frozen=True)
class RankerPart:
    """What is the ranker's own: all but the models that other stages fit.

    Args:
        popularity: distinct buyers, in all and of late.
        models: names of the chosen models, in order.
        blend: from features to a chance.
        per_signal: new items that each signal puts on the shortlist.
        min_buyers: distinct buyers that make an item a candidate.
    """

    popularity: Popularity
    models: tuple[str, ...]
    blend: AnyBlend
    per_signal: int
    min_buyers: int

    def save(self, directory: Path) -> None:
        """Write what :meth:`Ranker.assemble` reads into ``directory``."""
        self.popularity.save(directory / "popularity")
        (directory / "blend").mkdir()
        self.blend.save(directory / "blend")
        settings = {
            "models": list(self.models),
            "per_signal": self.per_signal,
            "min_buyers": self.min_buyers,
        }
        write_model(directory, Ranker.name, {"candidates": self.popularity.candidates(self.min_buyers)}, settings)


@dataclass(frozen=True)
class TrainingRows:
    """Shortlisted pairs with their answers.

    Args:
        rows: float32 [num_rows, num_features].
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
