"""How the sequence model learns: its variables, their start, and the step that changes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories, Texts
from pipelines.models.graph import normalised, spectral_start
from pipelines.models.histories import purchase_counts
from pipelines.models.keras_runtime import Variables, import_keras, keras_state, restore_keras
from pipelines.models.sequence_batches import Arrays, Batches
from pipelines.models.sequence_network import first_weights, states
from pipelines.models.training import State, epoch_generator

if TYPE_CHECKING:
    from pipelines.models.sequence import SequenceSettings


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
        self.batches = Batches(histories, texts, settings)
        generator, size = np.random.default_rng([seed, 0]), settings.embedding_size
        item_ids, texts_centred = self.batches.item_ids, self.batches.texts
        graph = normalised(purchase_counts(histories)[:, item_ids], self.batches.buyers[item_ids].astype(np.float32))
        first = {
            "ids": spectral_start(graph, size, seed),
            "projection": principal_start(texts_centred, size, generator),
            **first_weights(size, settings.layers, settings.heads, generator),
        }
        self.variables = {name: keras.Variable(array, dtype="float32", name=name) for name, array in first.items()}
        decay = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * self.steps())
        self.optimizer = keras.optimizers.Adam(decay)
        self.optimizer.build(list(self.variables.values()))
        like = self.batches.batch(self.batches.windows[0], generator)
        self._step = _compiled(self.variables, self.optimizer, texts_centred, settings.dropout, like)

    def steps(self) -> int:
        return len(self.batches.windows)

    def epoch(self, number: int) -> Iterator[float]:
        """Learn from every visit once."""
        import tensorflow as tf

        generator = epoch_generator(self.seed, number)
        for place in generator.permutation(self.steps()):
            batch = self.batches.batch(self.batches.windows[place], generator)
            yield float(self._step(**{name: tf.convert_to_tensor(array) for name, array in batch.items()}))

    def measure(self) -> Mapping[str, float]:
        return {}

    def _owners(self) -> tuple[Any, ...]:
        return (Variables(list(self.variables.values())), self.optimizer)

    def state(self) -> State:
        """The weights and the optimizer's variables."""
        return keras_state(*self._owners())

    def restore(self, state: State) -> None:
        """See :meth:`state`."""
        restore_keras(state, *self._owners())

    def arrays(self) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]:
        """The network's weights, the ids' vectors and the texts', projected."""
        from threadpoolctl import threadpool_limits

        learned = {name: np.asarray(variable.numpy(), np.float32) for name, variable in self.variables.items()}
        projection, ids = learned.pop("projection"), learned.pop("ids")
        with threadpool_limits(limits=1, user_api="blas"):
            return learned, ids, (self.batches.texts @ projection).astype(np.float32)


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
    from threadpoolctl import threadpool_limits

    projection = generator.normal(scale=0.01, size=(texts.shape[1], size))
    kept = min(size, texts.shape[1])
    with threadpool_limits(limits=1, user_api="blas"):
        _, axes = np.linalg.eigh((texts.T @ texts).astype(np.float64))
        top = axes[:, ::-1][:, :kept]
        spread = float(np.sqrt(np.mean((texts @ top) ** 2)))
    if spread > 1e-6:
        projection[:, :kept] = top * np.sign(top[np.abs(top).argmax(axis=0), np.arange(kept)]) * 0.1 / spread
    return projection.astype(np.float32)


def _compiled(
    variables: Mapping[str, Any], optimizer: Any, texts: NDArray[np.float32], dropout: float, like: Arrays
) -> Any:
    """The training step, as a TensorFlow function of arrays ``like`` those of :meth:`Batches.batch`."""
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
        negatives = tf.matmul(users, others, transpose_b=True) + batch["others_demand"]
        same = batch["wanted"][:, None] == batch["others"][None, :]
        negatives = tf.where(same, tf.constant(-1e9, negatives.dtype), negatives)
        positives = tf.reduce_sum(users * wanted, axis=1, keepdims=True) + batch["asked_demand"]
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
