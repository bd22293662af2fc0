"""LightGCN against the formula written out with dense matrices, and how it trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ModelError
from pipelines.models.base import Histories
from pipelines.models.graph import GraphLearner, LightGCN, normalised
from pipelines.models.histories import purchase_counts
from pipelines.models.training import read_curves
from tests.tiny_models import GRAPH, NUM_ITEMS, NUM_USERS, TinyShop


@pytest.fixture(scope="module")
def shop() -> TinyShop:
    return TinyShop()


def dense_graph(shop: TinyShop) -> tuple[np.ndarray, np.ndarray]:
    """The items that were bought, and the whole graph's adjacency, users first: ``D^-1/2 A D^-1/2``."""
    bought = (purchase_counts(shop.histories).toarray() > 0).astype(np.float64)
    items = np.flatnonzero(bought.any(axis=0))
    bought = bought[:, items]
    size = NUM_USERS + len(items)
    adjacency = np.zeros((size, size))
    adjacency[:NUM_USERS, NUM_USERS:], adjacency[NUM_USERS:, :NUM_USERS] = bought, bought.T
    scale = 1.0 / np.sqrt(np.maximum(adjacency.sum(axis=1), 1.0))
    return items, adjacency * scale[:, None] * scale[None, :]


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_graph_equals_lightgcn_of_dense_matrices_with_user_vectors_of_zero(shop: TinyShop, layers: int) -> None:
    items, adjacency = dense_graph(shop)
    settings = GRAPH.model_copy(update={"layers": layers, "min_buyers": 1})
    buyers = np.bincount(purchase_counts(shop.histories).indices, minlength=NUM_ITEMS)[items].astype(np.float32)
    graph = normalised(purchase_counts(shop.histories)[:, items], buyers)
    np.testing.assert_allclose(graph.toarray(), adjacency[:NUM_USERS, NUM_USERS:], rtol=1e-6)
    learner = GraphLearner(graph, settings, seed=3)
    layer = np.vstack([np.zeros((NUM_USERS, settings.embedding_size)), learner.vectors.numpy().astype(np.float64)])
    total = layer.copy()
    for _ in range(2 * layers + 1):
        layer = adjacency @ layer
        total += layer
    expected = total / (2 * layers + 2)
    vectors = learner.propagated()
    np.testing.assert_allclose(vectors, expected[NUM_USERS:], rtol=1e-4, atol=1e-6)
    model = LightGCN(items.astype(np.int32), vectors, buyers, NUM_ITEMS)
    np.testing.assert_allclose(model.fold_in(shop.histories), expected[:NUM_USERS], rtol=1e-4, atol=1e-6)
    scores = model.score(shop.histories, shop.candidates)
    np.testing.assert_allclose(scores[:, items], expected[:NUM_USERS] @ expected[NUM_USERS:].T, rtol=1e-3, atol=1e-6)


def test_graph_learns_with_every_epoch(shop: TinyShop, tmp_path: Path) -> None:
    settings = GRAPH.model_copy(update={"epochs": 5, "steps": 10})
    LightGCN.fit(shop.training(side=tmp_path), settings)
    losses = [point["loss"] for point in read_curves(tmp_path)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.97 * losses[0]


def test_graph_serves_a_user_that_it_never_saw(shop: TinyShop) -> None:
    model = LightGCN.fit(shop.training(histories=shop.histories.take(0, 40)), GRAPH)
    stranger = Histories(np.array([0, 1]), np.array([3], np.int32), np.ones(1, np.float32), np.ones(1, np.float32), 60)
    scores = model.score(stranger, shop.candidates)[0]
    same_taste = shop.candidates[3:-1:4]
    assert scores[same_taste].mean() > np.delete(scores, same_taste).mean()


def test_graph_leaves_out_items_of_few_buyers_unless_all_are(shop: TinyShop) -> None:
    model = LightGCN.fit(shop.training(), GRAPH.model_copy(update={"min_buyers": 15, "epochs": 1}))
    assert 0 < len(model.item_ids) < NUM_ITEMS - 1
    assert not model.score(shop.histories, np.setdiff1d(shop.candidates, model.item_ids)).any()
    every = LightGCN.fit(shop.training(), GRAPH.model_copy(update={"min_buyers": 1000, "epochs": 1}))
    assert len(every.item_ids) >= 1


def test_graph_that_diverges_says_so(shop: TinyShop) -> None:
    with pytest.raises(ModelError, match=r"train graph diverged in epoch \d") as caught:
        LightGCN.fit(shop.training(), GRAPH.model_copy(update={"learning_rate": 1e30}))
    assert "train_graph.learning_rate" in str(caught.value.mend)
