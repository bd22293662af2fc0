"""A sequence model: a causal Transformer over a user's visits, learned in Keras on TensorFlow.

An item's vector is one that is learned for its id plus its text's, projected; the same vectors make up the baskets that
the network reads and score what comes next. While it learns, ids are left out at random, so that text alone is enough:
items of few or no buyers have nothing else.

Source: Kang and McAuley 2018, "SASRec", with sampled softmax as Klenitskiy and Vasilev 2023; ids left out as Volkovs et
al. 2017, "DropoutNet".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import ModelError
from pipelines.models.base import Histories, Model, Serves, Span, Training
from pipelines.models.files import read_model, write_model
from pipelines.models.histories import vectors_of_items
from pipelines.models.sequence_batches import Batches, demand_of
from pipelines.models.sequence_learner import SequenceLearner
from pipelines.models.sequence_network import states
from pipelines.models.sequence_visits import Visits, baskets, tokens_of
from pipelines.models.training import Plan, code_of, identity_of, train_epochs
from pipelines.params import Section


class SequenceSettings(Section):
    """The sequence model (section ``train_sequence``)."""

    embedding_size: int = Field(default=64, ge=1, le=1024)
    """Length of a vector."""
    layers: int = Field(default=1, ge=0, le=8)
    """Blocks of attention; 0 knows the last visit alone."""
    heads: int = Field(default=2, ge=1, le=64)
    """Of the attention."""
    visits: int = Field(default=64, ge=1, le=4096)
    """Visits of a user that are read, the last ones."""
    epochs: int = Field(default=3, ge=1, le=1000)
    """Passes over all visits, a checkpoint each."""
    batch_size: int = Field(default=256, ge=1)
    """Visits a batch."""
    targets: int = Field(default=4, ge=1, le=64)
    """Purchases that a visit is asked for in a pass, drawn evenly."""
    repeats: bool = True
    """Whether a visit is asked for what the user bought before, too; other models may know these better."""
    ahead: int = Field(default=1, ge=1, le=64)
    """Visits ahead that these are drawn from."""
    negatives: int = Field(default=512, ge=1)
    """Items that a batch's purchases are told from, drawn by how often they were bought and weighed back; where there
    are no more items than that, the softmax is over all of them."""
    demand_days: float = Field(default=30.0, gt=0)
    """Half-life, since their last purchase, of the buyers whose shares are added to the scores."""
    learning_rate: float = Field(default=0.005, gt=0)
    """Of Adam at the start; it falls to nothing along a cosine."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the network's numbers left out."""
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of items and purchases known by their text alone in a batch."""
    min_buyers: int = Field(default=5, ge=1)
    """Items with fewer distinct buyers have no vector of their id, and are known by their text."""


class Sequence(Model):
    """Scores an item by the logarithm of its share of buyers, plus its vector's dot product with the user's state.

    A user without events gets what the start token says: what first visits hold.

    Args:
        weights: of the network, see :func:`pipelines.models.sequence_network.first_weights`.
        item_ids: int32 [num_ids], ascending: items that have a vector of their own.
        ids: float32 [num_ids, embedding_size].
        texts: float32 [num_texts, embedding_size], projected.
        text_index: int32 [num_items], each item's row in ``texts``.
        demand: float32 [num_items], logarithm of each item's share of buyers, which the network learns beside.
        visits: of a user that are read.
    """

    name: ClassVar[str] = "sequence"
    quick: ClassVar[bool] = False
    serves: ClassVar[Serves] = Serves(cold_users=True, cold_items=True)
    stage: ClassVar[str | None] = "train_sequence"
    reads_texts: ClassVar[bool] = True
    Settings: ClassVar[type[Section]] = SequenceSettings
    spans: ClassVar[Mapping[str, Span]] = {
        "learning_rate": Span(3e-4, 1e-2, log=True),
        "dropout": Span(0.0, 0.5),
        "id_dropout": Span(0.0, 0.5),
    }

    def __init__(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        item_ids: NDArray[np.int32],
        ids: NDArray[np.float32],
        texts: NDArray[np.float32],
        text_index: NDArray[np.int32],
        demand: NDArray[np.float32],
        visits: int,
    ) -> None:
        self.weights = weights
        self.item_ids, self.ids = item_ids, ids
        self.texts, self.text_index = texts, text_index
        self.demand = demand
        self.visits = visits
        self.loss = 0.0
        """Of the last epoch; 0 for a model that was loaded."""

    @classmethod
    def fit(cls, training: Training, settings: SequenceSettings) -> Self:
        """Learn the network and the items' vectors.

        Raises:
            ModelError: there is no event, there are no text vectors, or the training diverged.
        """
        if training.texts is None:
            raise ModelError("the sequence model needs the catalogue's text vectors", mend="shoploom run makes them")
        if not len(training.histories.items):
            raise ModelError("the sequence model needs at least one purchase", mend="shoploom ingest --from DAY")
        learner = SequenceLearner(training.histories, training.texts, settings, training.seed)
        identity = identity_of(cls, training, settings, *map(code_of, (SequenceLearner, Batches, Visits, states)))
        plan = Plan("train sequence", settings.epochs, identity, "lower train_sequence.learning_rate")
        curves = train_epochs(learner, plan, training.side)
        network, ids, texts = learner.arrays()
        demand = demand_of(training.histories, settings.demand_days)
        model = cls(network, learner.batches.item_ids, ids, texts, training.texts.text_index, demand, settings.visits)
        model.loss = curves[-1]["loss"]
        return model

    def item_vectors(self, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [len(items), embedding_size]: of the text, and of the id where it has one."""
        return vectors_of_items(items, self.item_ids, self.ids) + self.texts[self.text_index[items]]

    def states(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [num_users, visits read + 1, embedding_size]: after the start and each visit; rows are filled up."""
        visits = Visits.of(histories)
        high = visits.users[1:]
        tokens = tokens_of(visits, np.maximum(visits.users[:-1], high - self.visits), high)
        items, columns = np.unique(histories.items, return_inverse=True)
        content = baskets(visits, tokens, columns.astype(np.int32), len(items)) @ self.item_vectors(items)
        content = content.reshape(*tokens.visits.shape, -1)
        return np.asarray(states(np, self.weights, content, (tokens.gaps, tokens.days, tokens.apart)), np.float32)

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """What the network makes of each user's last visit.

        Returns:
            float32 [num_users, embedding_size].
        """
        users = np.zeros((histories.num_users, self.ids.shape[1]), np.float32)
        for start, chunk in histories.chunks():
            length = np.minimum(np.diff(Visits.of(chunk).users), self.visits)
            users[start : start + chunk.num_users] = self.states(chunk)[np.arange(chunk.num_users), length]
        return users

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        scores: NDArray[np.float32] = (
            self.fold_in(histories) @ self.item_vectors(candidates).T + self.demand[candidates]
        )
        return scores

    def facts(self) -> dict[str, float]:
        return {"items": len(self.item_ids), "loss": round(self.loss, 6)}

    def save(self, directory: Path) -> None:
        arrays = {"item_ids": self.item_ids, "ids": self.ids, "texts": self.texts, "text_index": self.text_index}
        arrays["demand"] = self.demand
        named = {f"network_{name}": array for name, array in self.weights.items()}
        write_model(directory, self.name, {**arrays, **named}, {"visits": self.visits})

    @classmethod
    def load(cls, directory: Path) -> Self:
        names = ("item_ids", "ids", "texts", "text_index", "demand")
        arrays, settings = read_model(directory, cls.name, names, ("visits",))
        network = {name.removeprefix("network_"): arrays[name] for name in arrays if name.startswith("network_")}
        item_ids, ids, texts, text_index, demand = (arrays[name] for name in names)
        return cls(network, item_ids, ids, texts, text_index, demand, int(settings["visits"]))
