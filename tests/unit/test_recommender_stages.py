"""train_*, fuse and rank, from files to files, on the tiny shop; there is no test window to peep at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from pipelines.artifacts import write_arrays, write_json, write_table
from pipelines.errors import DataError, ModelError
from pipelines.metrics.ranking import top_k
from pipelines.models.blend_settings import BlendSettings
from pipelines.models.features import feature_names
from pipelines.models.ranker import Ranker
from pipelines.models.reasons import explain
from pipelines.params import RankParams
from pipelines.prepared import read_histories, read_space
from pipelines.stages import fuse, rank, train
from pipelines.stages.rank import _ndcg
from tests.tiny_models import NUM_ITEMS, NUM_USERS, TASTES, TinyShop, files_of

TRAINED = ("matrix_factorization", "linear", "recent_linear", "repeat")
MODELS = {
    "fused": True,
    "linear": True,
    "matrix_factorization": True,
    "recent_linear": True,
    "repeat": True,
    "text": True,
}
PARAMS = {
    "window": {"min_buyers": 2},
    "seed": {"value": 7},
    "models": MODELS,
    "train_repeat": {},
    "train_mf": {"factors": 8, "iterations": 4, "regularization": 1.0},
    "train_linear": {"regularization": 5.0},
    "train_recent_linear": {"regularization": 3.0},
    "fuse": {"components": 12, "text_components": 6, "picture_items": 40},
    "rank": {"per_signal": 10, "rounds": 20, "leaves": 7, "min_leaf_rows": 10},
}


def write_shop(root: Path) -> None:
    shop = TinyShop()
    prepared = root / "data/prepared"
    before = shop.days < 180.0
    for part, rows in (("history", before), ("validation", ~before)):
        columns = {
            "user": shop.users[rows],
            "item": shop.items[rows],
            "days": shop.days[rows],
            "quantity": np.ones(int(rows.sum()), np.float32),
        }
        write_table(pa.table(columns), prepared / f"{part}.parquet")
    ids = np.arange(NUM_ITEMS, dtype=np.int32)
    departments = [None if item == 5 else f"department {item % TASTES}" for item in ids]
    write_table(pa.table({"item": ids, "department": departments}), prepared / "items.parquet")
    write_table(pa.table({"user": np.arange(NUM_USERS, dtype=np.int32)}), prepared / "users.parquet")
    write_json({"validation_starts": 180.0, "test_starts": 210.0, "test_ends": 240.0}, prepared / "split.json")
    texts = {"embeddings": shop.texts.embeddings, "text_index": shop.texts.text_index}
    write_arrays(texts, root / "data/train_bert/texts.safetensors")
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS), encoding="utf-8")


def run_stages(root: Path, models: Mapping[str, bool] = MODELS) -> dict[str, bytes]:
    write_shop(root)
    (root / "params.yaml").write_text(yaml.safe_dump({**PARAMS, "models": dict(models)}), encoding="utf-8")
    with chdir(root):
        for name in TRAINED:
            train.main([name])
        fuse.main()
        rank.main()
    return files_of(root / "data")


@pytest.fixture(scope="module")
def worktree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A worktree in which the stages have run."""
    root = tmp_path_factory.mktemp("worktree")
    run_stages(root)
    return root


def test_recommender_stages_leave_a_ranker_that_recommends(worktree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(worktree)
    ranker = Ranker.assemble(Path("data/rank/ranker"), Path("data/train_bert/texts.safetensors"))
    candidates = ranker.signals.popularity.candidates(ranker.min_buyers)
    items = top_k(ranker.score(read_histories("test", read_space()), candidates), 3)
    assert items.shape == (NUM_USERS, 3)
    assert (items >= 0).all()
    metrics = json.loads(Path("data/rank/metrics.json").read_text())
    assert set(metrics["held_out"]) == {"trees", "linear", "neural", "mixed"}
    best = max(metrics["held_out"], key=lambda kind: metrics["held_out"][kind]["ndcg_at_10"])
    assert metrics["choice"] == best == ranker.blend.kind
    assert metrics["held_out"][best]["ndcg_at_10"] > 0.5
    for picture in ("tsne", "pca"):
        assert Path(f"data/fuse/{picture}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path("data/fuse/metrics.json").read_text())["cold_items"] >= 1


def test_recommender_stages_give_equal_bytes_for_equal_input(worktree: Path, tmp_path: Path) -> None:
    first, second = files_of(worktree / "data"), run_stages(tmp_path)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.parametrize("names", [("linear", "repeat"), ("text",), ()])
def test_stages_follow_from_the_models_that_are_chosen(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = run_stages(tmp_path, {name: name in names for name in MODELS})
    monkeypatch.chdir(tmp_path)
    for model, stage in (("matrix_factorization", "train_mf"), ("linear", "train_linear"), ("fused", "fuse")):
        left = {name for name in files if name.startswith(f"{stage}/")}
        unchosen = {f"{stage}/{file}" for file in ("validation/chosen.json", "final/chosen.json", "metrics.json")}
        assert (unchosen <= left) == (model not in names)
        assert all(json.loads(files[name]) == {"chosen": False} for name in unchosen & left if model not in names)
    ranker = Ranker.assemble(Path("data/rank/ranker"), Path("data/train_bert/texts.safetensors"))
    assert tuple(ranker.signals.chosen) == names
    assert set(ranker.signals.models()) == {"popularity", "own_counts", "decayed_counts", *names}
    columns = feature_names(ranker.signals)
    assert ("repeat" in columns, "same_text" in columns) == ("repeat" in names, "text" in names)
    histories = read_histories("test", read_space())
    items = np.arange(NUM_ITEMS, dtype=np.int32)
    scores = ranker.score(histories, items)
    assert np.isfinite(scores).all()
    (tmp_path / "kept").mkdir()
    ranker.save(tmp_path / "kept")
    np.testing.assert_array_equal(Ranker.load(tmp_path / "kept").score(histories, items), scores)
    titles = [f"item {item}" for item in items]
    reasons = explain(ranker.signals, titles, histories.take(0, 1), ranker.recommend(histories.take(0, 1), 5)[0])
    assert all(reasons)
    assert json.loads(files["rank/metrics.json"])["models"] == list(names)


def test_rank_refuses_a_folder_of_a_model_that_was_not_chosen(
    worktree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(worktree, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_json({"chosen": False}, Path("data/train_linear/validation/chosen.json"))
    with pytest.raises(ModelError, match="holds no linear: it was not chosen"):
        rank.main()


def test_rank_names_the_missing_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shop(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="data/fuse/validation"):
        rank.main()
    assert not (tmp_path / "data/rank").exists()


def test_rank_refuses_a_window_in_which_nothing_known_was_bought(
    worktree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(worktree, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    empty = pa.table({"user": [], "item": [], "days": [], "quantity": []})
    types = (pa.int32(), pa.int32(), pa.float64(), pa.float32())
    fields = [pa.field(name, kind) for name, kind in zip(empty.column_names, types, strict=True)]
    write_table(empty.cast(pa.schema(fields)), tmp_path / "data/prepared/validation.parquet")
    with pytest.raises(DataError, match="validation window"):
        rank.main()


def test_rank_reads_no_model_that_was_fitted_after_the_validation_window(
    worktree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(worktree, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for stage in ("train_mf", "train_linear", "train_recent_linear", "train_repeat", "fuse"):
        shutil.rmtree(tmp_path / "data" / stage / "final")
    rank.main()
    assert files_of(tmp_path / "data/rank") == files_of(worktree / "data/rank")


def test_settings_hold_the_parameters_of_the_same_names_and_what_is_given_beside_them() -> None:
    params = RankParams(rounds=3, leaves=5, threads=1)
    settings = params.settings(BlendSettings, seed=11)
    assert (settings.rounds, settings.leaves, settings.threads, settings.seed) == (3, 5, 1, 11)
    assert settings.negative_share == params.negative_share
    with pytest.raises(TypeError, match="seed"):
        params.settings(BlendSettings)


def test_rank_judges_by_hand() -> None:
    users = np.array([0, 0, 0, 4, 4], np.int64)
    bought = np.array([False, True, True, False, False])
    chances = np.array([0.5, 0.9, 0.1, 0.2, 0.3], np.float32)
    wanted = np.array([0, 0, 0, 4, 7], np.int64)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    expected = ((1 + 1 / np.log2(4)) / ideal + 0) / 2
    assert _ndcg(users, bought, chances, wanted) == pytest.approx(expected, abs=1e-6)
