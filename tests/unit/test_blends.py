import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ModelError
from pipelines.models.blend import AnyBlend, load_blend
from pipelines.models.blend_settings import log_odds
from pipelines.models.linear_blend import LinearBlend
from pipelines.models.mixed_blend import NETWORK_FOLDER, TREES_FOLDER, MixedBlend
from pipelines.models.neural_blend import LAYERS_FILE, NeuralBlend
from pipelines.models.tree_blend import TREES_FILE, TreeBlend
from tests.tiny_models import BLEND

NAMES = ("own_counts", "age", "noise")


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(3)
    values = drawn.gamma(2.0, 2.0, (200_000, len(NAMES))).astype(np.float32)
    chance = 1 / (1 + np.exp(-(values[:, 0] - values[:, 1])))
    return values, drawn.random(len(values)) < chance


@pytest.fixture(scope="module")
def blend(rows: tuple[np.ndarray, np.ndarray]) -> NeuralBlend:
    return NeuralBlend.fit(*rows, NAMES, BLEND)


def test_neural_blend_learns_what_decides(blend: NeuralBlend) -> None:
    often, rarely = blend.predict(np.array([[9, 1, 4], [1, 9, 4]], np.float32))
    assert often > 0.9
    assert rarely < 0.1


def test_neural_blend_is_the_same_for_the_same_seed(rows: tuple[np.ndarray, np.ndarray], blend: NeuralBlend) -> None:
    again = NeuralBlend.fit(*rows, NAMES, BLEND)
    assert all(np.array_equal(one, other) for one, other in zip(blend.kernels, again.kernels, strict=True))


def test_neural_blend_is_read_as_it_was_written(
    rows: tuple[np.ndarray, np.ndarray], blend: NeuralBlend, tmp_path: Path
) -> None:
    blend.save(tmp_path)
    assert np.array_equal(load_blend(tmp_path, NAMES).predict(rows[0]), blend.predict(rows[0]))
    (tmp_path / LAYERS_FILE).write_bytes(b"cut short")
    with pytest.raises(ModelError, match=LAYERS_FILE):
        load_blend(tmp_path, NAMES)


def test_mixed_blend_asks_both_of_what_was_bought_before_and_trees_alone_of_what_is_new(
    rows: tuple[np.ndarray, np.ndarray], blend: NeuralBlend, tmp_path: Path
) -> None:
    trees = TreeBlend.fit(*rows, NAMES, BLEND)
    mixed, some = MixedBlend(trees, blend), rows[0][:1000].copy()
    some[::2, 0] = 0
    told = mixed.predict(some)
    assert np.array_equal(told[::2], trees.predict(some[::2]))
    mean = (log_odds(trees.predict(some[1::2])) + log_odds(blend.predict(some[1::2]))) / 2
    np.testing.assert_allclose(log_odds(told[1::2]), mean, atol=1e-3)
    assert len(mixed.predict(some[:0])) == 0

    mixed.save(tmp_path)
    assert np.array_equal(load_blend(tmp_path, NAMES).predict(some), told)
    (tmp_path / TREES_FOLDER / TREES_FILE).write_text("tree")
    with pytest.raises(ModelError, match=TREES_FILE):
        load_blend(tmp_path, NAMES)
    (tmp_path / TREES_FOLDER).rename(tmp_path / "aside")
    (tmp_path / NETWORK_FOLDER).rename(tmp_path / TREES_FOLDER)
    (tmp_path / "aside").rename(tmp_path / NETWORK_FOLDER)
    trees.save(tmp_path / NETWORK_FOLDER)
    with pytest.raises(ModelError, match="of trees and a network"):
        load_blend(tmp_path, NAMES)


def test_a_column_that_never_varied_in_training_does_not_decide_later() -> None:
    drawn = np.random.default_rng(5)
    values = drawn.gamma(2.0, 2.0, (4_000, len(NAMES))).astype(np.float32)
    values[:, 2] = 1e-9 * drawn.standard_normal(len(values))
    bought = drawn.random(len(values)) < 1 / (1 + np.exp(-(values[:, 0] - values[:, 1])))
    later = values.copy()
    later[:, 2] = drawn.random(len(values)) / 100
    for kind in (LinearBlend, NeuralBlend):
        blend = kind.fit(values, bought, NAMES, BLEND)
        assert np.corrcoef(blend.predict(values), blend.predict(later))[0, 1] > 0.99, kind


@pytest.mark.parametrize(
    ("kind", "error"), [(TreeBlend, 1e-6), (LinearBlend, 1e-6), (NeuralBlend, 0.05), (MixedBlend, 0.05)]
)
def test_contributions_add_up_to_the_log_odds_and_name_what_decides(
    rows: tuple[np.ndarray, np.ndarray], kind: type[AnyBlend], error: float
) -> None:
    blend = kind.fit(rows[0][:20_000], rows[1][:20_000], NAMES, BLEND)
    some = rows[0][-500:]
    added, chances = blend.contributions(some), blend.predict(some).astype(np.float64)
    assert added.shape == (500, len(NAMES) + 1)
    inner = (chances > 1e-4) & (chances < 1 - 1e-4)
    np.testing.assert_allclose(added.sum(axis=1)[inner], np.log(chances / (1 - chances))[inner], atol=error, rtol=0.01)
    weight = np.abs(added[:, :-1]).mean(axis=0)
    assert weight[2] < 0.5 * min(weight[0], weight[1])
    assert blend.contributions(some[:0]).shape == (0, len(NAMES) + 1)


def test_trees_are_read_without_scikit_learn_which_stays_importable() -> None:
    asked = (
        "import sys; from pipelines.models.boosting import lightgbm; lightgbm().Booster;"
        "assert 'sklearn' not in sys.modules; import sklearn.linear_model; assert lightgbm() is sys.modules['lightgbm']"
    )
    subprocess.run([sys.executable, "-c", asked], check=True)
