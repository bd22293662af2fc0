"""LightGCN: vectors of items, smoothed over the graph of users and items, learned in Keras on TensorFlow.

The user vectors of the first layer are fixed at zero, so the items' are all that is learned, and a user, known or not,
is the propagation from the items of its history:

    layer      0   1   2   3   ...            items   Z = sum_k (R'R)^k E / (2 layers + 2)
    items      E   .  R'RE  .                 user    u = R Z,  its own row of R
    users      .   RE  .  RR'RE               R_ui = 1 / sqrt(items of u * buyers of i), where u bought i

Source: He et al. 2020, "LightGCN", with the loss of Wu et al. 2022 (sampled softmax in the place of BPR).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import ModelError
from pipelines.models.base import Histories, Model, Serves, Span, Training
from pipelines.models.files import read_model, write_model
from pipelines.models.histories import purchase_counts, vectors_of_items
from pipelines.models.keras_runtime import import_keras
from pipelines.models.training import Plan, State, epoch_generator, identity_of, train_epochs
from pipelines.params import Section

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class GraphSettings(Section):
    """LightGCN (section ``train_graph``)."""

    embedding_size: int = Field(default=64, ge=1, le=1024)
    """Length of a vector."""
    layers: int = Field(default=1, ge=0, le=8)
    """Times that vectors go from items to users and back; 0 learns plain factors of items."""
    epochs: int = Field(default=3, ge=1, le=1000)
    """Passes, a checkpoint each."""
    steps: int = Field(default=10, ge=1)
    """Batches of a pass."""
    batch_size: int = Field(default=4096, ge=1)
    """Purchases a batch."""
    negatives: int = Field(default=2048, ge=1)
    """Items that a batch's purchases are told from, drawn evenly and shared by the batch."""
    learning_rate: float = Field(default=0.002, gt=0)
    """Of Adam."""
    temperature: float = Field(default=0.1, gt=0)
    """Scores are divided by it before the softmax."""
    regularization: float = Field(default=1e-4, ge=0)
    """Weight of the mean squared length of a batch's item vectors."""
    min_buyers: int = Field(default=2, ge=1)
    """Items with fewer distinct buyers are no part of the graph, unless no item has as many."""


class LightGCN(Model):
    """Scores an item by the dot product of its vector with the user's; 0 everywhere for a user without events.

    Args:
        item_ids: int32 [num_vectors], ascending: items of the graph.
        vectors: float32 [num_vectors, embedding_size], propagated.
        buyers: float32 [num_vectors], distinct buyers of each at the time of fitting; >= 1.
        num_items: size of the item space.
    """

    name: ClassVar[str] = "graph"
    quick: ClassVar[bool] = False
    serves: ClassVar[Serves] = Serves()
    stage: ClassVar[str | None] = "train_graph"
    Settings: ClassVar[type[Section]] = GraphSettings
    spans: ClassVar[Mapping[str, Span]] = {
        "learning_rate": Span(3e-4, 3e-2, log=True),
        "temperature": Span(0.01, 1.0, log=True),
        "regularization": Span(1e-6, 1e-2, log=True),
    }

    def __init__(
        self,
        item_ids: NDArray[np.int32],
        vectors: NDArray[np.float32],
        buyers: NDArray[np.float32],
        num_items: int,
    ) -> None:
        self.item_ids = item_ids
        self.vectors = vectors
        self.buyers = buyers
        self.num_items = num_items
        self.loss = 0.0
        """Of the last epoch; 0 for a model that was loaded."""

    @classmethod
    def fit(cls, training: Training, settings: GraphSettings) -> Self:
        """Learn the items' vectors.

        Raises:
            ModelError: there is no event, or the training diverged.
        """
        counts = purchase_counts(training.histories)
        degrees = np.bincount(counts.indices, minlength=training.histories.num_items)
        item_ids = np.flatnonzero(degrees >= min(settings.min_buyers, degrees.max(initial=0))).astype(np.int32)
        if not counts.nnz:
            raise ModelError("the graph needs at least one purchase", mend="shoploom ingest --from DAY")
        buyers = degrees[item_ids].astype(np.float32)
        learner = GraphLearner(normalised(counts[:, item_ids], buyers), settings, training.seed)
        plan = Plan(
            "train graph", settings.epochs, identity_of(cls, training, settings), "lower train_graph.learning_rate"
        )
        curves = train_epochs(learner, plan, training.side)
        model = cls(item_ids, learner.propagated(), buyers, training.histories.num_items)
        model.loss = curves[-1]["loss"]
        return model

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Propagate from the items of each history.

        Returns:
            float32 [num_users, embedding_size]; zero for a user without an item of the graph.
        """
        users: NDArray[np.float32] = (
            normalised(purchase_counts(histories)[:, self.item_ids], self.buyers) @ self.vectors
        )
        return users

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        vectors = vectors_of_items(candidates, self.item_ids, self.vectors)
        scores: NDArray[np.float32] = self.fold_in(histories) @ vectors.T
        return scores

    def facts(self) -> dict[str, float]:
        return {"items": len(self.item_ids), "loss": round(self.loss, 6)}

    def save(self, directory: Path) -> None:
        arrays = {"item_ids": self.item_ids, "vectors": self.vectors, "buyers": self.buyers}
        write_model(directory, self.name, arrays, {"num_items": self.num_items})

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, settings = read_model(directory, cls.name, ("item_ids", "vectors", "buyers"), ("num_items",))
        return cls(arrays["item_ids"], arrays["vectors"], arrays["buyers"], int(settings["num_items"]))


def normalised(bought: csr_matrix[Any], buyers: NDArray[np.float32]) -> csr_matrix[Any]:
    """The users' rows of the graph.

    Args:
        bought: sparse [num_users, num_vectors], non-zero where bought.
        buyers: float32 [num_vectors], >= 1.

    Returns:
        Sparse float32 of the same shape: ``1 / sqrt(items of u * buyers of i)``.
    """
    rows = bought.tocsr()
    degrees = np.repeat(np.diff(rows.indptr), np.diff(rows.indptr)).astype(np.float32)
    rows.data = (1.0 / np.sqrt(degrees * buyers[rows.indices])).astype(np.float32)
    return rows


def spectral_start(graph: csr_matrix[Any], size: int, seed: int) -> NDArray[np.float32]:
    """The items' first vectors: the graph's leading right singular vectors, which propagation keeps most of.

    Training starts from what a long training of random vectors would find first, so a few passes are enough.

    Returns:
        float32 [num_vectors, size], of root mean square 0.1; columns past the graph's rank are small and random.

    Source: Peng et al. 2022, "SVD-GCN".
    """
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    noise = np.random.default_rng([seed, 0]).normal(scale=0.01, size=(graph.shape[1], size))
    kept = min(size, *graph.shape)
    with threadpool_limits(limits=1):
        _, values, axes = randomized_svd(graph.astype(np.float64), kept, n_iter=4, random_state=seed)
    rows = axes.T * np.sqrt(values)
    noise[:, :kept] += 0.1 * rows / max(float(np.sqrt(np.mean(rows**2))), 1e-12)
    return noise.astype(np.float32)


class GraphLearner:
    """One training of the items' vectors; a :class:`pipelines.models.training.Learner`.

    Each step propagates over the whole graph, which is exact and cheap beside the softmax. A purchase is predicted from
    the user's other purchases: its own share is taken out of the user's vector first.

    Args:
        graph: sparse float32 [num_users, num_vectors], see :func:`normalised`.
        settings: see :class:`GraphSettings`.
        seed: of the first vectors and of the batches.
    """

    def __init__(self, graph: csr_matrix[Any], settings: GraphSettings, seed: int) -> None:
        keras = import_keras()
        self.settings, self.seed = settings, seed
        self.graph = graph
        self.owners = np.repeat(np.arange(graph.shape[0], dtype=np.int32), np.diff(graph.indptr))
        first = spectral_start(graph, settings.embedding_size, seed)
        self.vectors = keras.Variable(first, dtype="float32", name="item_vectors")
        self.optimizer = keras.optimizers.Adam(settings.learning_rate)
        self.optimizer.build([self.vectors])
        self._propagate, self._step = _compiled(graph, settings, self.vectors, self.optimizer)

    def steps(self) -> int:
        return self.settings.steps

    def epoch(self, number: int) -> Iterator[float]:
        """Learn from random purchases."""
        generator = epoch_generator(self.seed, number)
        for _ in range(self.settings.steps):
            rows = generator.integers(0, self.graph.nnz, self.settings.batch_size)
            items = self.graph.indices[rows].astype(np.int32)
            others = generator.integers(0, self.graph.shape[1], self.settings.negatives).astype(np.int32)
            yield float(self._step(self.owners[rows], items, self.graph.data[rows], others))

    def measure(self) -> Mapping[str, float]:
        return {}

    def state(self) -> State:
        """The vectors and the optimizer's variables."""
        kept = {f"optimizer_{place}": value.numpy() for place, value in enumerate(self.optimizer.variables)}
        return {"vectors": self.vectors.numpy(), **{name: np.atleast_1d(array) for name, array in kept.items()}}

    def restore(self, state: State) -> None:
        """See :meth:`state`."""
        self.vectors.assign(state["vectors"])
        for place, variable in enumerate(self.optimizer.variables):
            variable.assign(state[f"optimizer_{place}"].reshape(variable.shape))

    def propagated(self) -> NDArray[np.float32]:
        """float32 [num_vectors, embedding_size]: the items' vectors after propagation."""
        return np.asarray(self._propagate().numpy(), np.float32)


def _compiled(graph: csr_matrix[Any], settings: GraphSettings, variable: Any, optimizer: Any) -> tuple[Any, Any]:
    """The propagation and the training step, as TensorFlow functions."""
    import tensorflow as tf

    down, up = _tensor(graph), _tensor(graph.T.tocsr())
    multiply = tf.sparse.sparse_dense_matmul

    def propagate(first: Any) -> Any:
        layer = total = first
        for _ in range(settings.layers):
            layer = multiply(up, multiply(down, layer))
            total += layer
        return total / (2.0 * settings.layers + 2.0)

    @tf.function  # type: ignore[untyped-decorator]
    def step(owners: Any, items: Any, weights: Any, others: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variable.value)
            vectors = propagate(tf.convert_to_tensor(variable.value))
            own = tf.gather(vectors, items)
            users = tf.gather(multiply(down, vectors), owners) - weights[:, None] * own
            negatives = tf.matmul(users, tf.gather(vectors, others), transpose_b=True)
            negatives = tf.where(items[:, None] == others[None, :], tf.constant(-1e6, negatives.dtype), negatives)
            positives = tf.reduce_sum(users * own, axis=1, keepdims=True)
            logits = tf.concat([positives, negatives], axis=1) / settings.temperature
            losses = tf.reduce_logsumexp(logits, axis=1) - logits[:, 0]
            squares = tf.reduce_sum(tf.gather(variable.value, items) ** 2, axis=1)
            loss = tf.reduce_mean(losses) + settings.regularization * tf.reduce_mean(squares)
        optimizer.apply(tape.gradient(loss, [variable.value]), [variable])
        return loss

    return tf.function(lambda: propagate(tf.convert_to_tensor(variable.value))), step


def _tensor(matrix: csr_matrix[Any]) -> Any:
    """A SciPy matrix as TensorFlow's, in row order."""
    import tensorflow as tf

    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    indices = np.stack([rows, matrix.indices], axis=1).astype(np.int64)
    return tf.sparse.reorder(tf.SparseTensor(indices, matrix.data.astype(np.float32), matrix.shape))
