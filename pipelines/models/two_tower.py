"""Fine-tune the text encoder so that a query lies near the products it asks for.

Both towers are the same encoder: one reads queries, the other product texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.keras_runtime import Variables, import_keras, keras_state, restore_keras
from pipelines.models.training import Plan, State, code_of, train_epochs

EPOCH_STEPS = 10
"""Steps between two checkpoints, and two points of the curve."""


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one training step.

    Args:
        queries: n token-id arrays.
        products: m >= n token-id arrays. Without ``targets`` product ``i`` answers query ``i``, and those past the
            n-th are hard negatives.
        excluded: bool [n, m]; true where product ``j`` answers query ``i`` as well and so is no negative.
            False where a target is positive.
        weights: float32 [n], what each query counts in the loss.
        targets: float32 [n, m], rows that sum to 1: what the softmax of each query should be. None means all of it
            on product ``i``.
    """

    queries: Sequence[NDArray[np.int32]]
    products: Sequence[NDArray[np.int32]]
    excluded: NDArray[np.bool_]
    weights: NDArray[np.float32]
    targets: NDArray[np.float32] | None = None

    def wanted(self) -> NDArray[np.float32]:
        """``targets``, or what stands for them: float32 [n, m]."""
        if self.targets is not None:
            return self.targets
        return np.eye(len(self.queries), len(self.products), dtype=np.float32)


@dataclass(frozen=True)
class TwoTowerParams:
    """How to fine-tune.

    Args:
        learning_rate: the highest; it rises over the first tenth of the steps and falls to zero.
        temperature: cosines are divided by it before the softmax.
        trained_layers: Transformer layers that change, counted from the top; the token embeddings stay.
        query_tokens: tokens kept of a query in training.
        product_tokens: tokens kept of a product text in training.
    """

    learning_rate: float
    temperature: float
    trained_layers: int
    query_tokens: int
    product_tokens: int


class TwoTowerLearner:
    """One training of the encoder, in place; a :class:`pipelines.models.training.Learner`.

    Args:
        model: what ``build_encoder`` returned.
        batches: all with the same numbers of queries and of products.
        params: how.
    """

    def __init__(self, model: Any, batches: Sequence[PairBatch], params: TwoTowerParams) -> None:
        keras = import_keras()
        self.batches, self.params = batches, params
        self.variables = trained_variables(model, params.trained_layers)
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0,
            decay_steps=max(len(batches) - len(batches) // 10, 1),
            warmup_target=params.learning_rate,
            warmup_steps=max(len(batches) // 10, 1),
        )
        self.optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.01, global_clipnorm=1.0)
        self.optimizer.build(self.variables)
        self.losses = np.zeros(len(batches), np.float32)
        self._step = _compiled_step(model, self.optimizer, self.variables, params.temperature)

    def steps(self) -> int:
        return min(EPOCH_STEPS, len(self.batches))

    def epoch(self, number: int) -> Iterator[float]:
        """Learn from the next ``EPOCH_STEPS`` batches."""
        for place in range((number - 1) * EPOCH_STEPS, min(number * EPOCH_STEPS, len(self.batches))):
            batch = self.batches[place]
            inputs = (
                *padded(batch.queries, self.params.query_tokens),
                *padded(batch.products, self.params.product_tokens),
            )
            self.losses[place] = float(self._step(*inputs, batch.excluded, batch.weights, batch.wanted()))
            yield float(self.losses[place])

    def measure(self) -> Mapping[str, float]:
        return {}

    def state(self) -> State:
        """The weights that change, the optimizer's variables, and the losses so far."""
        return keras_state(Variables(self.variables), self.optimizer) | {"losses": self.losses}

    def restore(self, state: State) -> None:
        """See :meth:`state`."""
        self.losses = np.array(state["losses"])
        kept = {name: array for name, array in state.items() if name != "losses"}
        restore_keras(kept, Variables(self.variables), self.optimizer)


def fine_tune(
    model: Any, batches: Sequence[PairBatch], params: TwoTowerParams, side: Path | None = None
) -> NDArray[np.float32]:
    """Train the encoder in place, one step a batch: softmax over the batch's products, AdamW.

    Dropout is off: with so few steps it costs more than it gives, and the result needs no generator.

    Args:
        model: what ``build_encoder`` returned.
        batches: all with the same numbers of queries and of products.
        params: how.
        side: where a checkpoint is kept every ``EPOCH_STEPS`` steps, and the curve; None keeps neither.

    Returns:
        float32 [num_batches], the loss of each step before its update.

    Raises:
        ModelError: the training diverges.

    Source: Yi et al. 2019 (in-batch softmax); Reimers and Gurevych 2019.
    """
    learner = TwoTowerLearner(model, batches, params)
    plan = Plan(
        "fine-tune the encoder",
        epochs=-(-len(batches) // EPOCH_STEPS),
        identity=_identity(model, batches, params),
        mend="lower train_bert.learning_rate",
    )
    train_epochs(learner, plan, side)
    return learner.losses


def _identity(model: Any, batches: Sequence[PairBatch], params: TwoTowerParams) -> str:
    """SHA-256 of what a training's result depends on: code, settings, the weights at its start, batches."""
    digest = hashlib.sha256(repr((code_of(fine_tune), params)).encode())
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).data)
    for batch in batches:
        for tokens in (*batch.queries, *batch.products):
            digest.update(np.append(tokens, -1).astype(np.int32).data)
        for array in (batch.excluded, batch.weights, batch.wanted()):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def trained_variables(model: Any, layers: int) -> list[Any]:
    """The variables of the encoder's top ``layers`` Transformer layers.

    Raises:
        ModelError: the encoder has fewer layers.
    """
    backbone = next(layer for layer in model.layers if hasattr(layer, "transformer_layers"))
    if layers > len(backbone.transformer_layers):
        raise ModelError(
            f"train_bert.trained_layers is {layers}; the encoder has {len(backbone.transformer_layers)} layers",
            mend="lower it",
        )
    return [variable for layer in backbone.transformer_layers[-layers:] for variable in layer.trainable_variables]


def padded(tokens: Iterable[NDArray[np.int32]], length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Cut or pad token ids to one length; the last token kept of a cut text is its separator.

    Args:
        tokens: n arrays of token ids, with their first and last special token.
        length: columns of the result.

    Returns:
        Token ids and mask, int32 [n, length] each.
    """
    rows = list(tokens)
    token_ids = np.zeros((len(rows), length), np.int32)
    mask = np.zeros((len(rows), length), np.int32)
    for row, ids in enumerate(rows):
        kept = ids if len(ids) <= length else np.append(ids[: length - 1], ids[-1])
        token_ids[row, : len(kept)] = kept
        mask[row, : len(kept)] = 1
    return token_ids, mask


def _compiled_step(model: Any, optimizer: Any, variables: list[Any], temperature: float) -> Any:
    import tensorflow as tf

    @tf.function  # type: ignore[untyped-decorator]
    def step(
        query_ids: Any, query_mask: Any, product_ids: Any, product_mask: Any, excluded: Any, weights: Any, wanted: Any
    ) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in variables:
                tape.watch(variable.value)
            queries = model({"token_ids": query_ids, "padding_mask": query_mask}, training=False)
            products = model({"token_ids": product_ids, "padding_mask": product_mask}, training=False)
            logits = tf.matmul(queries, products, transpose_b=True) / temperature
            logits = tf.where(excluded, tf.constant(-1e9, logits.dtype), logits)
            losses = tf.nn.softmax_cross_entropy_with_logits(wanted, logits)
            loss = tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    return step
