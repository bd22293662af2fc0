"""The served model: a package's parts behind three questions: recommend, search, score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.metrics.ranking import top_k
from pipelines.models.base import Histories
from pipelines.models.catalogue import Catalogue, NamedHistories
from pipelines.models.contributions import Contribution, strongest_words
from pipelines.models.diversity import debiased, diversified
from pipelines.models.histories import look_up
from pipelines.models.manifest import CATALOGUE_FOLDER, RANKER_FOLDER, Facts, verify
from pipelines.models.near_items import NearItems
from pipelines.models.ranker import Ranker
from pipelines.models.reasons import explain
from pipelines.models.search import Matches, Search, places_of

if TYPE_CHECKING:
    from pipelines.models.intent import Intent

POOL = 5
"""Times k: of how many of the best a diverse list is made."""
LOUD = 0.5
"""Log odds that features of one kind must add to be named among the reasons."""


@dataclass(frozen=True)
class Recommendation:
    """One item of an answer.

    Args:
        item_id: as the shop spells it.
        title: of the item.
        score: higher is better; comparable within one answer only.
        reasons: why, in words, the strongest first; may be empty.
        contributions: what each feature of the ranking added to a recommendation, the strongest first; empty in search
            and outside the user's shortlist.
    """

    item_id: str
    title: str
    score: float
    reasons: tuple[str, ...] = ()
    contributions: tuple[Contribution, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        results: best first.
        corrected: the query that was searched for, where it is not the one that was typed.
    """

    results: list[Recommendation]
    corrected: str | None = None


class Recommender:
    """Answers from a package. Made by :meth:`load`.

    Args:
        catalogue: items, known users and their purchases.
        ranker: orders recommendations; holds the fitted component models.
        finder: search.
        facts: from the manifest.
        near_items: what is worth scoring for a shopper; None where all candidates are.

    Raises:
        ModelError: the parts are of different catalogues.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        ranker: Ranker,
        finder: Search,
        facts: Facts,
        near_items: NearItems | None = None,
    ) -> None:
        self.buyers = ranker.signals.popularity.buyers
        """int32 [num_items], distinct buyers of every item."""
        for part, size in (("text", len(finder.text_index)), ("count of buyers", len(self.buyers))):
            if size != catalogue.num_items:
                raise ModelError(
                    f"{size} items have a {part}, and {catalogue.num_items} are in the catalogue",
                    mend="shoploom run makes the package again",
                )
        self.catalogue = catalogue
        self.ranker = ranker
        self.finder = finder
        self.facts = facts
        self.near_items = near_items
        self.candidates = ranker.signals.popularity.candidates(ranker.min_buyers)
        """int32, ascending: dense ids of the items that may be recommended."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read a package after checking every file against its manifest.

        Raises:
            ModelError: a file is missing, changed, not listed, or of another format version.
        """
        facts = verify(directory)
        ranker = Ranker.load(directory / RANKER_FOLDER)
        texts = ranker.signals.texts
        catalogue = Catalogue.load(directory / CATALOGUE_FOLDER)
        finder = Search(directory, texts.embeddings, texts.text_index, catalogue.titles)
        candidates = ranker.signals.popularity.candidates(ranker.min_buyers)
        near_items = NearItems.load(directory / RANKER_FOLDER, ranker, candidates)
        return cls(catalogue, ranker, finder, facts, near_items)

    def recommend(
        self,
        user_id: str,
        k: int,
        new_only: bool = False,
        popularity_debias: float | None = None,
        diversity: float | None = None,
    ) -> list[Recommendation]:
        """The k best items for a known user.

        Args:
            user_id: as the catalogue knows the user (:func:`pipelines.pseudonyms.stored_id`).
            k: items wanted; k >= 1. Fewer are returned when fewer may be recommended.
            new_only: leave out what the user has bought.
            popularity_debias: 0..1, see :func:`pipelines.models.diversity.debiased`; the package's own by default.
            diversity: 0..1 (1 excluded), see :func:`pipelines.models.diversity.diversified`; the package's own by
                default.

        Returns:
            Best first, ties by id.

        Raises:
            ModelError: the user is not known, k is below 1, or a strength lies outside its range.
        """
        _check_count(k)
        debias = self.facts.popularity_debias if popularity_debias is None else popularity_debias
        variety = self.facts.diversity if diversity is None else diversity
        if not (0 <= debias <= 1 and 0 <= variety < 1):
            raise ModelError(
                f"popularity_debias is {debias} and diversity {variety}", mend="choose 0..1, for diversity below 1"
            )
        history = self.catalogue.history(user_id)
        explained = self.ranker.explained(history, self.candidates)
        scores = debiased(explained.scores, self.buyers[self.candidates], debias)
        bought = np.isin(self.candidates, history.items) if new_only else None
        columns = self.arranged(scores, k, variety, bought)
        items = self.candidates[columns]
        parts = self.ranker.contributions(explained, columns)
        reasons = explain(self.ranker.signals, self.catalogue.titles, history, items)
        return [
            self._answer(int(item), float(scores[column]), _said(why, part), part)
            for item, column, why, part in zip(items, columns, reasons, parts, strict=True)
        ]

    def search(self, query: str, k: int, user_id: str | None = None) -> list[Recommendation]:
        """The results of :meth:`find`."""
        return self.find(query, k, user_id).results

    def find(self, query: str, k: int, user_id: str | None = None) -> Found:
        """The k items that answer a query best, one of each distinct text; misspelt words are set right first.

        The score is the head's relevance (0..1) plus ``keyword_weight`` times the text's BM25 as a share of the
        best one's, plus ``popularity_weight`` times the item's share of the most bought one's log buyers and, for a
        user, ``personal_weight`` times the item's place (1 best, 0 last) in the user's own ranking of the shortlist.
        Where the head learned from judgements, it weighs the words itself, and ``keyword_weight`` is not added.

        Args:
            query: free text.
            k: items wanted; k >= 1.
            user_id: whose taste may move results, as in :meth:`recommend`; None for nobody's.

        Raises:
            ModelError: the query is blank, k is below 1, or the user is not known.
        """
        _check_count(k)
        history = None if user_id is None else self.catalogue.history(user_id)
        corrected = self.finder.correct(query)
        matches = self.finder.match(corrected or query, max(self.facts.shortlist, k))
        own = np.zeros(0, np.int32) if history is None else history.items
        items, rows = self.finder.best_items(matches.texts, self.buyers, own)
        scores = self.before_taste(matches, items, rows)
        if history is not None:
            scores = scores + self.facts.personal_weight * places_of(self.ranker.score(history, items)[0], items)
        order = np.lexsort((items, -matches.similarity, -scores))[:k]
        results = [
            self._answer(int(items[row]), float(scores[row]), (f"relevance {matches.relevance[row]:.2f}",))
            for row in order
        ]
        return Found(results, corrected)

    def before_taste(self, matches: Matches, items: NDArray[np.int32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 [num_items]: the scores of :meth:`find` for nobody.

        Args:
            matches: of a query.
            items: int32 [num_items].
            rows: int64 [num_items], of each item's text in ``matches``.
        """
        parts = self.parts_before_taste(matches, items, rows).values()
        return np.asarray(sum(weight * values for values, weight in parts), np.float64)

    def parts_before_taste(
        self, matches: Matches, items: NDArray[np.int32], rows: NDArray[np.int64]
    ) -> dict[str, tuple[NDArray[np.floating], float]]:
        """What :meth:`before_taste` sums up: values within 0..1, and what each counts, by name."""
        return {
            "relevance": (matches.relevance[rows], 1.0),
            "popularity": (self._popularity[items], self.facts.popularity_weight),
            "keywords": (matches.keywords[rows], 0.0 if matches.judged else self.facts.keyword_weight),
        }

    @cached_property
    def _popularity(self) -> NDArray[np.float64]:
        """float64 [num_items]: an item's share of the most bought one's log buyers."""
        buyers = np.log1p(self.buyers.astype(np.float64))
        return np.asarray(buyers / max(float(buyers.max(initial=0.0)), 1.0))

    def intent(self, query: str) -> Intent | None:
        """What a query wants: one of ``INTENTS``, and how likely it is out of scope.

        Returns:
            None where the package holds no intent head.

        Raises:
            ModelError: the query is blank, or the head's encoder is not installed as it was.
        """
        return None if self.finder.intent is None else self.finder.intent.of(query)

    def score(self, histories: NamedHistories, item_ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.float32]:
        """Score items by id for histories by id, so that packages with different item spaces can be compared.

        Args:
            histories: whom to score for; purchases of items unknown here are left out.
            item_ids: the candidates.

        Returns:
            float32 [num_users, num_candidates]; -inf for an item that is not known here, never NaN.
        """
        rows = self.catalogue.rows_of(item_ids)
        known = rows >= 0
        scores = np.full((histories.num_users, len(rows)), -np.inf, np.float32)
        scores[:, known] = self.score_dense(self.catalogue.dense(histories), rows[known])
        return scores

    def score_dense(
        self, histories: Histories, items: NDArray[np.int32], known: Mapping[str, NDArray[np.float32]] | None = None
    ) -> NDArray[np.float32]:
        """As :meth:`score`, in this package's own item space.

        Args:
            histories: whom to score for.
            items: int32 [num_candidates], dense ids.
            known: see :meth:`pipelines.models.ranker.Ranker.score`.
        """
        chances = self.ranker.score(histories, items, known)
        return debiased(chances, self.buyers[items], self.facts.popularity_debias)

    def allowed(self, items: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of int32 [num_items] items, ascending, that may be recommended."""
        allowed: NDArray[np.int32] = items[look_up(self.candidates, items)[1]]
        return allowed

    def arranged(
        self, scores: NDArray[np.float32], k: int, diversity: float, excluded: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int32]:
        """Places of the k best candidates; of a pool of the best by maximal marginal relevance, where that is wanted.

        Args:
            scores: float32 [num_candidates] of one user.
            k: items wanted; k >= 1.
            diversity: see :meth:`recommend`.
            excluded: bool [num_candidates], what may not be shown.

        Returns:
            int32 [at most k], indices into ``candidates``, best first.
        """
        columns: NDArray[np.int32] = top_k(
            scores[None, :], k if diversity == 0 else POOL * k, None if excluded is None else excluded[None, :]
        )[0]
        columns = columns[columns >= 0]
        if diversity == 0:
            return columns
        listed = columns[scores[columns] > 0]
        vectors = self.finder.embeddings[self.finder.text_index[self.candidates[listed]]]
        chosen = listed[diversified(scores[listed], vectors, k, diversity)]
        best: NDArray[np.int32] = np.concatenate([chosen, columns[scores[columns] <= 0]])[:k]
        return best

    def _answer(
        self, item: int, score: float, reasons: tuple[str, ...], parts: tuple[Contribution, ...] = ()
    ) -> Recommendation:
        return Recommendation(str(self.catalogue.item_ids[item]), self.catalogue.titles[item], score, reasons, parts)


def _said(reasons: tuple[str, ...], parts: tuple[Contribution, ...]) -> tuple[str, ...]:
    """The reasons, then what the features say together where they say it loudly."""
    words = strongest_words(parts, LOUD)
    return reasons if words is None else (*reasons, words)


def _check_count(k: int) -> None:
    if k < 1:
        raise ModelError(f"k must be 1 or more; it is {k}", mend="ask for at least one item")
