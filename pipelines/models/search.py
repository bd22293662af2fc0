"""Dense search: the query's vector against the catalogue's, re-ranked by the relevance head."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.manifest import ENCODER_FOLDER, RELEVANCE_FOLDER

if TYPE_CHECKING:
    from pipelines.models.encoder import TextEncoder
    from pipelines.models.relevance import RelevanceHead


@dataclass(frozen=True)
class Matches:
    """Texts that match a query.

    Args:
        texts: int64 [num_matches], rows of the text vectors, most relevant first.
        relevance: float32 [num_matches], the head's probability, within 0..1.
        similarity: float32 [num_matches], cosine of query and text.
    """

    texts: NDArray[np.int64]
    relevance: NDArray[np.float32]
    similarity: NDArray[np.float32]


class Search:
    """The fine-tuned encoder, its relevance head and the catalogue's vectors; the encoder is compiled at first use.

    Args:
        directory: the package.
        embeddings: float32 [num_texts, embedding_size], L2-normalised.
        text_index: int32 [num_items], the text of every item.

    Raises:
        ModelError: an item has no text, or a text no item.
    """

    def __init__(self, directory: Path, embeddings: NDArray[np.float32], text_index: NDArray[np.int32]) -> None:
        if not np.array_equal(np.unique(text_index), np.arange(len(embeddings))):
            raise ModelError(f"{directory}: items and texts do not fit together", mend="shoploom run makes it again")
        self.directory = directory
        self.embeddings = embeddings
        self.text_index = text_index

    @cached_property
    def encoder(self) -> TextEncoder:
        from pipelines.models.encoder import TextEncoder

        return TextEncoder.load(self.directory / ENCODER_FOLDER)

    @cached_property
    def relevance(self) -> RelevanceHead:
        from pipelines.models.relevance import RelevanceHead

        return RelevanceHead.load(self.directory / RELEVANCE_FOLDER)

    @cached_property
    def items_of_texts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``order, indptr``: the items of text ``t`` are ``order[indptr[t]:indptr[t + 1]]``, ascending."""
        order = np.argsort(self.text_index, kind="stable")
        counts = np.bincount(self.text_index, minlength=len(self.embeddings))
        return order.astype(np.int64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def items_of(self, text: int) -> NDArray[np.int64]:
        """int64: dense ids of the items that a text describes, ascending."""
        order, indptr = self.items_of_texts
        return order[indptr[text] : indptr[text + 1]]

    def match(self, query: str, shortlist: int) -> Matches:
        """Find the texts nearest in meaning, best first by the head, equal ones by cosine and row.

        Args:
            query: what a person typed, not blank.
            shortlist: texts that the head sees; >= 1.

        Raises:
            ModelError: the query is blank.
        """
        if not query.strip():
            raise ModelError("the query is blank", mend='shoploom search "greek yogurt"')
        vector = self.encoder.encode([" ".join(query.lower().split())])
        similarity = self.embeddings @ vector[0]
        kept = min(shortlist, len(similarity))
        nearest = np.sort(np.argpartition(-similarity, kept - 1)[:kept])
        relevance = self.relevance.score(vector, self.embeddings[nearest])[0]
        order = np.lexsort((nearest, -similarity[nearest], -relevance))
        return Matches(
            nearest[order].astype(np.int64),
            relevance[order].astype(np.float32),
            similarity[nearest][order].astype(np.float32),
        )
