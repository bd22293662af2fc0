"""How the sequence model learns: batches of users' visits, and what each visit is told apart from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories, Texts
from pipelines.models.graph import normalised, spectral_start
from pipelines.models.histories import purchase_counts
from pipelines.models.keras_runtime import import_keras, keras_state, restore_keras
from pipelines.models.sequence_network import first_weights, states
from pipelines.models.sequence_visits import Visits, baskets, tokens_of, windows_of
from pipelines.models.training import State, epoch_generator

if TYPE_CHECKING:
    from pipelines.models.sequence import SequenceSettings

Arrays = dict[str, NDArray[Any]]
Windows = tuple[NDArray[np.int64], NDArray[np.int64]]
"""First visits, and those after the last ones."""


class SequenceLearner:
    """One training of the network and the items' vectors; a :class:`pipelines.models.training.Learner`.

    Args:
        histories: with at least one event.
        texts: of every item.
        settings: see :class:`pipelines.models.sequence.SequenceSettings`.
        seed: of the first weights and of all that is drawn.
    """

    def __init__(self, histories: Histories, texts: Texts, settings: SequenceSettings, seed: int) -> None:
        keras = import_keras()
        self.settings, self.seed = settings, seed
        self.items, self.text_index = histories.items, texts.text_index
        self.visits = Visits.of(histories)
        self.batches = _batches(self.visits, settings)
        self.sold, counts = np.unique(histories.items, return_counts=True)
        self.shares = counts / counts.sum()
        bought = purchase_counts(histories)
        buyers = np.bincount(bought.indices, minlength=histories.num_items)
        self.item_ids = np.flatnonzero(buyers >= min(settings.min_buyers, buyers.max())).astype(np.int32)
        self.columns = np.full(histories.num_items, -1, np.int32)
        self.columns[self.item_ids] = np.arange(len(self.item_ids))
        self.texts = (texts.embeddings - texts.embeddings.mean(axis=0)).astype(np.float32)
        generator, size = np.random.default_rng([seed, 0]), settings.embedding_size
        graph = normalised(bought[:, self.item_ids], buyers[self.item_ids].astype(np.float32))
        first = {
            "ids": spectral_start(graph, size, seed),
            "projection": principal_start(self.texts, size, generator),
            **first_weights(size, settings.layers, settings.heads, generator),
        }
        self.variables = {name: keras.Variable(array, dtype="float32", name=name) for name, array in first.items()}
        decay = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * self.steps())
        self.optimizer = keras.optimizers.Adam(decay)
        self.optimizer.build(list(self.variables.values()))
        like = self.batch(self.batches[0], generator)
        self._step = _compiled(self.variables, self.optimizer, self.texts, settings.dropout, like)

    def steps(self) -> int:
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[float]:
        """Learn from every visit once."""
        import tensorflow as tf

        generator = epoch_generator(self.seed, number)
        for place in generator.permutation(len(self.batches)):
            batch = self.batch(self.batches[place], generator)
            yield float(self._step(**{name: tf.convert_to_tensor(array) for name, array in batch.items()}))

    def batch(self, windows: Windows, generator: np.random.Generator) -> Arrays:
        """What the network reads of some windows, what it is asked for, and what that is told apart from."""
        (low, high), settings = windows, self.settings
        tokens = tokens_of(self.visits, low, high - 1)
        of_event = self.columns[self.items]
        kept = generator.random(len(self.item_ids)) >= settings.id_dropout
        known = (of_event >= 0) & kept[of_event]
        ids = baskets(self.visits, tokens, of_event, len(self.item_ids), known).tocoo()
        content = baskets(self.visits, tokens, self.text_index[self.items], len(self.texts)) @ self.texts
        asked, wanted = self._targets(tokens.visits.shape, low, high, generator)
        others, weights = self._others(generator)
        outputs = {
            name: self._outputs(items, name, generator) for name, items in (("wanted", wanted), ("others", others))
        }
        return {
            "places": np.stack([ids.row, ids.col], axis=1).astype(np.int64),
            "weights": ids.data,
            "content": content,
            "gaps": tokens.gaps,
            "days": tokens.days,
            "apart": tokens.apart,
            "asked": asked,
            "correction": weights,
            "seed": generator.integers(0, 2**31 - 1, 2).astype(np.int32),
            **outputs["wanted"],
            **outputs["others"],
        }

    def _targets(
        self, shape: tuple[int, ...], low: NDArray[np.int64], high: NDArray[np.int64], generator: np.random.Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tokens that are asked, and an item of the visits ahead of each."""
        rows, places = np.nonzero(np.arange(shape[1])[None, :] < (high - low)[:, None])
        visit = low[rows] + places
        last = np.minimum(visit + self.settings.ahead, self._last_of(low)[rows])
        starts, ends = self.visits.events[visit], self.visits.events[last]
        asked = np.repeat(rows * shape[1] + places, self.settings.targets)
        drawn = generator.random((len(visit), self.settings.targets))
        events = starts[:, None] + np.floor(drawn * (ends - starts)[:, None]).astype(np.int64)
        return asked.astype(np.int32), self.items[events.ravel()]

    def _last_of(self, low: NDArray[np.int64]) -> NDArray[np.int64]:
        """One past the last visit of each window's user."""
        return self.visits.users[np.searchsorted(self.visits.users, low, side="right")]

    def _others(self, generator: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items to tell apart from, and what is taken from their scores because they are more or less often drawn."""
        count = self.settings.negatives
        if count >= len(self.sold):
            return self.sold, np.zeros(len(self.sold), np.float32)
        drawn = generator.choice(len(self.sold), count, p=self.shares)
        return self.sold[drawn], np.log(count * self.shares[drawn]).astype(np.float32)

    def _outputs(self, items: NDArray[np.int32], name: str, generator: np.random.Generator) -> Arrays:
        """Where the vectors of items are."""
        column = self.columns[items]
        kept = (column >= 0) & (generator.random(len(items)) >= self.settings.id_dropout)
        return {
            name: items,
            f"{name}_ids": np.maximum(column, 0),
            f"{name}_kept": kept.astype(np.float32)[:, None],
            f"{name}_texts": self.text_index[items],
        }

    def measure(self) -> Mapping[str, float]:
        return {}

    def _owners(self) -> tuple[Any, ...]:
        return (_Variables(list(self.variables.values())), self.optimizer)

    def state(self) -> State:
        """The weights and the optimizer's variables."""
        return {name: np.atleast_1d(array) for name, array in keras_state(*self._owners()).items()}

    def restore(self, state: State) -> None:
        """See :meth:`state`."""
        restore_keras(state, *self._owners())

    def arrays(self) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]:
        """The network's weights, the ids' vectors and the texts', projected."""
        learned = {name: np.asarray(variable.numpy(), np.float32) for name, variable in self.variables.items()}
        projection, ids = learned.pop("projection"), learned.pop("ids")
        return learned, ids, (self.texts @ projection).astype(np.float32)


class _Variables:
    """Variables that belong to no layer."""

    def __init__(self, variables: list[Any]) -> None:
        self.variables = variables


def _batches(visits: Visits, settings: SequenceSettings) -> list[Windows]:
    """Windows of about one length together, as many as have ``batch_size`` visits."""
    low, high = windows_of(visits, settings.visits)
    order = np.argsort(high - low, kind="stable")
    lengths, batches, start = (high - low)[order], [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[stop] * (stop + 1 - start) <= settings.batch_size:
            stop += 1
        batches.append((low[order[start:stop]], high[order[start:stop]]))
        start = stop
    return batches


def principal_start(texts: NDArray[np.float32], size: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """A first projection: onto the texts' principal axes, so that near texts have near vectors from the start.

    Args:
        texts: float32 [num_texts, text_size], centred.
        size: length of a vector.
        generator: of what is random.

    Returns:
        float32 [text_size, size]; what it projects has a root mean square of 0.1, and columns past the axes are small
        and random.
    """
    projection = generator.normal(scale=0.01, size=(texts.shape[1], size))
    _, axes = np.linalg.eigh((texts.T @ texts).astype(np.float64))
    kept = min(size, texts.shape[1])
    top = axes[:, ::-1][:, :kept]
    spread = float(np.sqrt(np.mean((texts @ top) ** 2)))
    if spread > 1e-6:
        projection[:, :kept] = top * np.sign(top[np.abs(top).argmax(axis=0), np.arange(kept)]) * 0.1 / spread
    return projection.astype(np.float32)


def _compiled(
    variables: Mapping[str, Any], optimizer: Any, texts: NDArray[np.float32], dropout: float, like: Arrays
) -> Any:
    """The training step, as a TensorFlow function of arrays ``like`` those of :meth:`SequenceLearner.batch`."""
    import keras
    import tensorflow as tf

    all_texts = tf.constant(texts)
    network = {name: variable for name, variable in variables.items() if name not in ("ids", "projection")}

    def vectors(rows: Any, kept: Any, text_rows: Any) -> Any:
        own = tf.gather(variables["ids"].value, rows) * kept
        return own + tf.matmul(tf.gather(all_texts, text_rows), variables["projection"].value)

    def forward(batch: Mapping[str, Any]) -> Any:
        shape = tf.shape(batch["gaps"])
        ids = tf.SparseTensor(batch["places"], batch["weights"], [shape[0] * shape[1], variables["ids"].shape[0]])
        content = tf.sparse.sparse_dense_matmul(ids, tf.convert_to_tensor(variables["ids"].value))
        content += tf.matmul(batch["content"], variables["projection"].value)
        content = tf.reshape(content, [shape[0], shape[1], content.shape[1]])
        calls = 0

        def drop(array: Any) -> Any:
            nonlocal calls
            calls += 1
            return tf.nn.experimental.stateless_dropout(array, dropout, seed=batch["seed"] + calls)

        tokens = batch["gaps"], batch["days"], batch["apart"]
        hidden = states(keras.ops, network, content, tokens, drop if dropout else lambda array: array)
        users = tf.gather(tf.reshape(hidden, [shape[0] * shape[1], hidden.shape[2]]), batch["asked"])
        wanted = vectors(batch["wanted_ids"], batch["wanted_kept"], batch["wanted_texts"])
        others = vectors(batch["others_ids"], batch["others_kept"], batch["others_texts"])
        negatives = tf.matmul(users, others, transpose_b=True) - batch["correction"]
        same = batch["wanted"][:, None] == batch["others"][None, :]
        negatives = tf.where(same, tf.constant(-1e9, negatives.dtype), negatives)
        positives = tf.reduce_sum(users * wanted, axis=1, keepdims=True)
        return tf.reduce_mean(tf.reduce_logsumexp(tf.concat([positives, negatives], axis=1), axis=1) - positives[:, 0])

    def step(**batch: Any) -> Any:
        values = [variable.value for variable in variables.values()]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            loss = forward(batch)
        gradients = tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients], list(variables.values()))
        return loss

    kinds = {name: tf.TensorSpec([None] * array.ndim, array.dtype) for name, array in like.items()}
    return tf.function(step).get_concrete_function(**kinds)
