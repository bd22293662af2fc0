"""Transitions: what is bought after what, counted in one direction, the near and the recent most."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import ModelError
from pipelines.models.base import Histories, Model, Serves, Span, Training
from pipelines.models.files import SPARSE, read_model, read_sparse, sparse_arrays, write_model
from pipelines.models.histories import dense_columns, strongest_of_rows, visits_of, visits_since, weighted
from pipelines.params import Section

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ITEMS_AT_ONCE = 2048
"""Items whose successors are counted at once: bounds memory, changes no result."""
FORGOTTEN = np.float32(1e-3)
"""A purchase that weighs less says nothing."""


class TransitionSettings(Section):
    """What is bought after what (section ``train_transitions``)."""

    step_decay: float = Field(default=0.8, ge=0, lt=1)
    """A purchase ``k`` visits later counts ``step_decay ** (k - 1)``; 0 counts the next visit alone."""
    steps: int = Field(default=4, ge=1, le=100)
    """Visits ahead that count."""
    half_life_days: float | None = Field(default=None, gt=0)
    """Age at which a transition counts half; null counts all alike."""
    source_power: float = Field(default=1.0, ge=0, le=1)
    """What an item is followed by is divided by its sum to this power: 1 makes chances, 0 leaves counts."""
    target_power: float = Field(default=0.3, ge=0, le=1)
    """The same of what precedes an item: more favours the rare."""
    history_decay: float = Field(default=0.9, gt=0, lt=1)
    """A user's purchase ``k`` visits ago counts ``history_decay ** k``."""
    successors: int = Field(default=256, ge=1)
    """Kept of each item, the strongest."""


class Transitions(Model):
    """Scores an item by how often it followed what the user bought last.

    Purchases of one moment are one visit, and have no order among themselves. A user without events scores 0
    everywhere, and so does an item that followed nothing.

    Args:
        following: sparse float32 [num_items, num_items]; row ``i`` says what follows item ``i``.
        history_decay: a purchase ``k`` visits ago counts ``history_decay ** k``.

    Source: Rendle et al. 2010 (factorized Markov chains), without the factors; Ludewig and Jannach 2018, section 3.1
    (sequential rules).
    """

    name: ClassVar[str] = "transitions"
    serves: ClassVar[Serves] = Serves()
    stage: ClassVar[str | None] = "train_transitions"
    Settings: ClassVar[type[Section]] = TransitionSettings
    spans: ClassVar[Mapping[str, Span]] = {
        "step_decay": Span(0.2, 0.95),
        "source_power": Span(0.0, 1.0),
        "target_power": Span(0.0, 1.0),
        "history_decay": Span(0.3, 0.98),
    }

    def __init__(self, following: csr_matrix[Any], history_decay: float) -> None:
        self.following = following
        self.history_decay = history_decay

    @classmethod
    def fit(cls, training: Training, settings: TransitionSettings) -> Self:
        """Count, from every visit to the later ones of the same user.

        Raises:
            ModelError: there is no event.
        """
        if not len(training.histories.items):
            raise ModelError("transitions need at least one purchase", mend="shoploom ingest --from DAY")
        earlier, later = _visits(training.histories, settings)
        following = _strongest(earlier, later, settings.successors, settings.target_power)
        sources = np.maximum(_totals(earlier, later), 1e-9) ** -settings.source_power
        following.data *= np.repeat(sources, np.diff(following.indptr)).astype(np.float32)
        return cls(following, settings.history_decay)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        weights = np.float32(self.history_decay) ** visits_since(histories)
        recent = weighted(histories, np.where(weights < FORGOTTEN, np.float32(0), weights))
        recent.eliminate_zeros()
        return dense_columns(recent @ self.following, candidates)

    def facts(self) -> dict[str, float]:
        return {"transitions": self.following.nnz}

    def save(self, directory: Path) -> None:
        settings = {"num_items": self.following.shape[0], "history_decay": self.history_decay}
        write_model(directory, self.name, sparse_arrays(self.following), settings)

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, settings = read_model(directory, cls.name, SPARSE, ("num_items", "history_decay"))
        following = read_sparse(arrays, int(settings["num_items"]), directory)
        return cls(following, float(settings["history_decay"]))


def _visits(histories: Histories, settings: TransitionSettings) -> tuple[csr_matrix[Any], csr_matrix[Any]]:
    """What was bought on each visit, and what on the visits after it.

    Returns:
        Sparse float32 [num_visits, num_items] twice: purchases, and later purchases by the weight of their transition.
    """
    from scipy.sparse import csr_matrix

    visits, owners, ages = visits_of(histories)
    shape = (len(owners), histories.num_items)
    ones = np.ones(len(visits), np.float32)
    bought = csr_matrix((ones, (visits, histories.items)), shape=shape, dtype=np.float32)
    bought.sum_duplicates()
    bought.data[:] = 1.0
    worth = np.float32(0.5) ** (ages / np.float32(settings.half_life_days)) if settings.half_life_days else None
    later = csr_matrix(shape, dtype=np.float32)
    for step in range(1, 1 + settings.steps):
        start = np.flatnonzero(owners[step:] == owners[:-step])
        weights = np.full(len(start), settings.step_decay ** (step - 1), np.float32)
        if worth is not None:
            weights *= worth[start + step]
        picked = csr_matrix((weights, (start, start + step)), shape=(len(owners), len(owners)))
        later = later + picked @ bought
    later.eliminate_zeros()
    return bought, later


def _totals(earlier: csr_matrix[Any], later: csr_matrix[Any]) -> NDArray[np.float64]:
    """float64 [num_items]: the sum of all that follows each item."""
    return np.asarray(earlier.T @ later.sum(axis=1), np.float64).ravel()


def _strongest(earlier: csr_matrix[Any], later: csr_matrix[Any], kept: int, target_power: float) -> csr_matrix[Any]:
    """Sparse float32 [num_items, num_items]: the ``kept`` strongest successors of each item; ties by id."""
    from scipy.sparse import vstack

    incoming = np.asarray(later.T @ earlier.sum(axis=1), np.float64).ravel()
    targets = (np.maximum(incoming, 1e-9) ** -target_power).astype(np.float32)
    by_item = earlier.T.tocsr()
    blocks = []
    for start in range(0, by_item.shape[0], ITEMS_AT_ONCE):
        block = (by_item[start : start + ITEMS_AT_ONCE] @ later).tocsr()
        block.data *= targets[block.indices]
        blocks.append(strongest_of_rows(block, kept))
    return vstack(blocks, format="csr")
