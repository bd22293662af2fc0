"""Search: texts near in meaning and texts that share words, fused, then judged by the relevance head; by the one that
learned from judgements, where the shop has them.

A query in a script that the encoder cannot read is asked of the second encoder's index, where the package holds one.

Source of the fusion: Cormack, Clarke and Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual
rank learning methods".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.histories import look_up
from pipelines.models.lexical import Lexical
from pipelines.models.manifest import (
    ENCODER_FOLDER,
    INTENT_FOLDER,
    MULTILINGUAL_FOLDER,
    RELEVANCE_FOLDER,
    SEARCH_FOLDER,
)
from pipelines.models.members import Members
from pipelines.models.nearest import Nearest
from pipelines.models.spelling import Speller
from pipelines.models.texts import titles_of_texts

if TYPE_CHECKING:
    from pipelines.models.encoder import TextEncoder
    from pipelines.models.intent import IntentHead
    from pipelines.models.judged_head import Evidence, JudgedHead
    from pipelines.models.multilingual import MultilingualIndex
    from pipelines.models.relevance import RelevanceHead


FUSION_OFFSET = 60
"""Added to every rank before it is inverted; the number of the source."""


@dataclass(frozen=True)
class Matches:
    """Texts that match a query.

    Args:
        texts: int64 [num_matches], rows of the text vectors, most relevant first.
        relevance: float32 [num_matches], the head's probability, within 0..1.
        similarity: float32 [num_matches], cosine of query and text.
        keywords: float32 [num_matches], BM25 as a share of the best text's, within 0..1.
        judged: whether the relevance weighs the shared words already, as judgements taught it.
    """

    texts: NDArray[np.int64]
    relevance: NDArray[np.float32]
    similarity: NDArray[np.float32]
    keywords: NDArray[np.float32]
    judged: bool = False

    def of(self, kept: NDArray[np.bool_]) -> Matches:
        """Some of the matches.

        Args:
            kept: bool [num_matches].
        """
        return Matches(self.texts[kept], self.relevance[kept], self.similarity[kept], self.keywords[kept], self.judged)


def places_of(scores: NDArray[np.float32], items: NDArray[np.int32]) -> NDArray[np.float64]:
    """float64 [num_items]: 1 for the best score, 0 for the last, evenly between; ties by id."""
    places = np.empty(len(scores))
    places[np.lexsort((items, -scores))] = np.linspace(1.0, 0.0, len(scores)) if len(scores) > 1 else 1.0
    return places


class Search:
    """The fine-tuned encoder, its relevance head, the catalogue's vectors and words; each part is read at first use.

    Args:
        directory: the package.
        embeddings: float32 [num_texts, embedding_size], L2-normalised.
        text_index: int32 [num_items], the text of every item.
        titles: of every item.

    Raises:
        ModelError: an item has no text, or a text no item.
    """

    def __init__(
        self,
        directory: Path,
        embeddings: NDArray[np.float32],
        text_index: NDArray[np.int32],
        titles: Sequence[str],
    ) -> None:
        if not np.array_equal(np.unique(text_index), np.arange(len(embeddings))):
            raise ModelError(f"{directory}: items and texts do not fit together", mend="shoploom run makes it again")
        self.directory = directory
        self.embeddings = embeddings
        self.text_index = text_index
        self.titles = titles

    @cached_property
    def encoder(self) -> TextEncoder:
        from pipelines.models.encoder import TextEncoder

        return TextEncoder.load(self.directory / ENCODER_FOLDER)

    @cached_property
    def lexical(self) -> Lexical:
        found = Lexical.load(self.directory / SEARCH_FOLDER)
        if found.num_texts != len(self.embeddings):
            raise ModelError(
                f"{self.directory}: {found.num_texts} texts are indexed by words, {len(self.embeddings)} by vectors",
                mend="shoploom run makes it again",
            )
        return found

    @cached_property
    def near(self) -> Nearest:
        return Nearest.load(self.directory / SEARCH_FOLDER, self.embeddings)

    @cached_property
    def speller(self) -> Speller:
        return Speller(self.lexical.counts, self.encoder.knows)

    @cached_property
    def relevance(self) -> RelevanceHead:
        from pipelines.models.relevance import RelevanceHead

        return RelevanceHead.load(self.directory / RELEVANCE_FOLDER)

    @cached_property
    def judged(self) -> JudgedHead | None:
        """What learned from judgements; None where the package holds no such head."""
        from pipelines.models.judged_head import JudgedHead

        return JudgedHead.find(self.directory / RELEVANCE_FOLDER)

    @cached_property
    def titles_of_texts(self) -> list[str]:
        """By which the head of judgements knows a text."""
        return titles_of_texts(self.titles, self.text_index)

    @cached_property
    def evidence(self) -> Evidence:
        """What the head of judgements reads."""
        from pipelines.models.judged_head import Evidence

        return Evidence.load(self.directory / RELEVANCE_FOLDER, self.lexical, self.titles_of_texts)

    @cached_property
    def multilingual(self) -> MultilingualIndex | None:
        """The index for queries in scripts that the encoder cannot read; None where the package holds none.

        Raises:
            ModelError: it is of another catalogue, or cannot be read.
        """
        from pipelines.models.multilingual import MultilingualIndex

        folder = self.directory / MULTILINGUAL_FOLDER
        if not folder.is_dir():
            return None
        index = MultilingualIndex.load(folder)
        if len(index.form_index) != len(self.embeddings):
            raise ModelError(f"{folder} is of another catalogue", mend="shoploom run makes it again")
        return index

    @cached_property
    def intent(self) -> IntentHead | None:
        """What tells the intent of a query; None where the package holds no such head."""
        from pipelines.models.intent import IntentHead

        folder = self.directory / INTENT_FOLDER
        return IntentHead.load(folder) if folder.is_dir() else None

    def is_foreign(self, query: str) -> bool:
        """Whether a query belongs to the multilingual index and not to the encoder."""
        if self.multilingual is None:
            return False
        return float(self.encoder.reader.unread_share([query])[0]) >= self.multilingual.unread_share

    @cached_property
    def items_of_texts(self) -> Members:
        """The items of each text."""
        return Members(self.text_index, len(self.embeddings))

    def best_items(
        self,
        texts: NDArray[np.int64],
        buyers: NDArray[np.int32],
        own: NDArray[np.int32],
        passing: NDArray[np.bool_] | None = None,
        gained: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """One item of each text: of those that pass, the one that gains most, then the one that a user bought most,
        then the most bought, then the first.

        Args:
            texts: int64 [num_texts].
            buyers: int32 [num_items], distinct buyers.
            own: int32 [num_purchases], the user's items.
            passing: bool [num_items], what may be shown; None for everything.
            gained: float32 [num_items]; None for nothing.

        Returns:
            int32 [num_found] items and, ascending, the int64 [num_found] row of each in ``texts``; a text of which
            nothing passes has none.
        """
        items, rows = self.items_of_texts.of(texts)
        if passing is not None:
            keep = passing[items]
            items, rows = items[keep], rows[keep]
        mine, times = np.unique(own, return_counts=True)
        bought = np.zeros(len(items), np.int64)
        if len(mine):
            place, known = look_up(mine, items)
            bought = np.where(known, times[place], 0)
        worth = np.zeros(len(items), np.float32) if gained is None else gained[items]
        ranked = np.lexsort((items, -buyers[items], -bought, -worth, rows))
        first = np.ones(len(ranked), bool)
        first[1:] = rows[ranked][1:] != rows[ranked][:-1]
        return items[ranked[first]], rows[ranked[first]]

    def correct(self, query: str) -> str | None:
        """The query with misspelt words replaced by the catalogue's; None where nothing had to be."""
        return self.speller.correct(query)

    def match(self, query: str, shortlist: int) -> Matches:
        """Find texts near in meaning or sharing words, best first by the head, equal ones by cosine and row.

        Args:
            query: what a person typed, not blank.
            shortlist: texts that the head sees; >= 1.

        Raises:
            ModelError: the query is blank.
        """
        if not query.strip():
            raise ModelError("the query is blank", mend='shoploom search "greek yogurt"')
        asked = " ".join(query.lower().split())
        if self.multilingual is not None and self.is_foreign(asked):
            return self._match_foreign(asked, shortlist, self.multilingual)
        vector, keywords = self.encoder.encode([asked])[0], self.lexical.score(query)
        found = self.weigh(asked, vector, keywords, self._fused(vector, keywords, shortlist))
        order = np.lexsort((found.texts, -found.similarity, -found.relevance))
        return replace(
            found,
            texts=found.texts[order],
            relevance=found.relevance[order],
            similarity=found.similarity[order],
            keywords=found.keywords[order],
        )

    def weigh(
        self, asked: str, vector: NDArray[np.float32], keywords: NDArray[np.float32], texts: NDArray[np.int64]
    ) -> Matches:
        """What the head that is served says of texts, in their order: the one of judgements, where there is one.

        Args:
            asked: the query in lower case, with single spaces.
            vector: float32 [embedding_size], the query's.
            keywords: float32 [num_texts], BM25 of every text.
            texts: int64, rows of the text vectors.
        """
        similarity = self.embeddings[texts] @ vector
        share = keywords[texts] / max(float(keywords.max(initial=0)), 1e-9)
        if self.judged is None:
            relevance = self.relevance.score(vector[None], self.embeddings[texts])[0]
        else:
            relevance = self.judged.score(self.evidence.of(asked, vector, texts, similarity, share))
        relevance, similarity, share = (column.astype(np.float32) for column in (relevance, similarity, share))
        return Matches(texts, relevance, similarity, share, self.judged is not None)

    def _fused(self, vector: NDArray[np.float32], keywords: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """int64, ascending: the ``count`` best texts by the sum of their inverted ranks in both lists."""
        dense = self.near.nearest(vector, count)
        dense = dense[np.lexsort((dense, -(self.embeddings[dense] @ vector)))]
        shared = np.flatnonzero(keywords)
        shared = shared[np.lexsort((shared, -keywords[shared]))][:count]
        texts = np.concatenate([dense, shared])
        worth = np.concatenate([1.0 / (FUSION_OFFSET + 1 + np.arange(len(ranked))) for ranked in (dense, shared)])
        distinct, place = np.unique(texts, return_inverse=True)
        total = np.bincount(place, worth)
        best: NDArray[np.int64] = np.sort(distinct[np.lexsort((distinct, -total))[:count]]).astype(np.int64)
        return best

    def _match_foreign(self, query: str, shortlist: int, index: MultilingualIndex) -> Matches:
        """The texts nearest in the second encoder's space, best first, equal ones by row."""
        similarity = index.similarity(query)
        nearest = np.argsort(-similarity, kind="stable")[:shortlist].astype(np.int64)
        keywords = self.lexical.score(query)
        share = (keywords[nearest] / max(float(keywords.max(initial=0)), 1e-9)).astype(np.float32)
        return Matches(nearest, index.relevance(similarity[nearest]), similarity[nearest], share)
