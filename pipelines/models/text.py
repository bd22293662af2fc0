"""Text similarity: how near an item's text is to what the user bought."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import read_arrays
from pipelines.errors import DataError, ModelError
from pipelines.models.base import Histories, Model
from pipelines.models.files import read_model, write_model
from pipelines.models.histories import weighted


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

    def __init__(
        self, embeddings: NDArray[np.float32], text_index: NDArray[np.int32], weekly_decay: float = 0.95
    ) -> None:
        if len(text_index) and (int(text_index.min()) < 0 or int(text_index.max()) >= len(embeddings)):
            raise ModelError(f"a text index lies outside 0..{len(embeddings) - 1}", mend="shoploom run makes it again")
        self.embeddings = embeddings
        self.text_index = text_index
        self.weekly_decay = weekly_decay

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the catalogue's vectors (``embeddings``, ``text_index``) as ``embed`` and ``train_bert`` write them.

        Raises:
            ModelError: the file is missing, unreadable or lacks an array.
        """
        try:
            arrays = read_arrays(path)
            embeddings, text_index = arrays["embeddings"], arrays["text_index"]
        except DataError as error:
            raise ModelError(error.message, mend=error.mend) from error
        except KeyError as error:
            raise ModelError(f"{path} lacks the array {error}", mend="shoploom run makes it again") from error
        return cls(embeddings.astype(np.float32), text_index.astype(np.int32))

    def profiles(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [num_users, embedding_size]: L2-normalised profiles; zero for users without events."""
        weights = np.float32(self.weekly_decay) ** (histories.ages / np.float32(7))
        profiles = np.asarray(weighted(self.as_texts(histories), weights) @ self.embeddings, np.float32)
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
        texts, position = np.unique(self.text_index[candidates], return_inverse=True)
        scores: NDArray[np.float32] = (self.profiles(histories) @ self.embeddings[texts].T)[:, position]
        return scores

    def save(self, directory: Path) -> None:
        arrays = {"embeddings": self.embeddings, "text_index": self.text_index}
        write_model(directory, self.name, arrays, {"weekly_decay": self.weekly_decay})

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, settings = read_model(directory, cls.name, ("embeddings", "text_index"))
        return cls(arrays["embeddings"], arrays["text_index"], float(settings.get("weekly_decay", 0.95)))
