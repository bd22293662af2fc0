"""Text similarity: how near an item's text is to what the user bought."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.base import Histories, Model, Serves, Texts, Training
from pipelines.models.files import read_model, read_texts, write_model
from pipelines.models.histories import decayed_counts
from pipelines.models.of_candidates import OfCandidates


class TextSimilarity(Model):
    """Scores an item by the cosine of its text's vector with the user's profile.

    The profile is the sum of the vectors of what the user bought, older purchases worth less, normalised. A user
    without events scores 0 everywhere.

    Args:
        embeddings: float32 [num_texts, embedding_size], L2-normalised.
        text_index: int32 [num_items], each item's row in ``embeddings``.
        weekly_decay: worth of a purchase a week old; in (0, 1].
    """

    name: ClassVar[str] = "text"
    serves: ClassVar[Serves] = Serves(cold_items=True)
    stage: ClassVar[str | None] = "train_bert"
    comparable: ClassVar[bool] = True
    because: ClassVar[str] = "it reads like your purchases"
    reads_texts: ClassVar[bool] = True

    def __init__(
        self, embeddings: NDArray[np.float32], text_index: NDArray[np.int32], weekly_decay: float = 0.95
    ) -> None:
        Texts(embeddings, text_index).check(len(text_index))
        self.embeddings = embeddings
        self.text_index = text_index
        self.weekly_decay = weekly_decay
        self._of_candidates = OfCandidates[tuple[NDArray[np.float32], NDArray[np.intp]]]()

    @classmethod
    def fit(cls, training: Training, settings: Any = None) -> Self:
        """Take the catalogue's vectors; there is nothing to learn from purchases.

        Raises:
            ModelError: there are no text vectors.
        """
        if training.texts is None:
            raise ModelError("text similarity needs the catalogue's text vectors", mend="shoploom run makes them")
        return cls(training.texts.embeddings, training.texts.text_index)

    @property
    def texts(self) -> Texts:
        """The vectors, for models that learn from them."""
        return Texts(self.embeddings, self.text_index)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the catalogue's vectors; see :func:`~pipelines.models.files.read_texts`."""
        texts = read_texts(path)
        return cls(texts.embeddings, texts.text_index)

    def profiles(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [num_users, embedding_size]: L2-normalised profiles; zero for users without events."""
        weights = decayed_counts(self.as_texts(histories), self.weekly_decay)
        profiles = np.asarray(weights @ self.embeddings, np.float32)
        norms = np.linalg.norm(profiles, axis=1, keepdims=True)
        normalised: NDArray[np.float32] = (profiles / np.where(norms > 0, norms, np.float32(1))).astype(np.float32)
        return normalised

    def as_texts(self, histories: Histories) -> Histories:
        """The same histories with texts in the place of items: products of one text become one."""
        return Histories(
            indptr=histories.indptr,
            items=self.text_index[histories.items],
            ages=histories.ages,
            quantities=histories.quantities,
            num_items=len(self.embeddings),
        )

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        vectors, position = self._of_candidates.of(candidates, self._distinct)
        scores: NDArray[np.float32] = (self.profiles(histories) @ vectors.T)[:, position]
        return scores

    def _distinct(self, candidates: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """The vectors of the candidates' distinct texts, and the row among them of each candidate."""
        texts, position = np.unique(self.text_index[candidates], return_inverse=True)
        return self.embeddings[texts], position

    def save(self, directory: Path) -> None:
        arrays = {"embeddings": self.embeddings, "text_index": self.text_index}
        write_model(directory, self.name, arrays, {"weekly_decay": self.weekly_decay})

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, settings = read_model(directory, cls.name, ("embeddings", "text_index"), ("weekly_decay",))
        return cls(arrays["embeddings"], arrays["text_index"], float(settings["weekly_decay"]))
