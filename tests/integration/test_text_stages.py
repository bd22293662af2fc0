"""The stages embed and train_bert, run on a tiny catalogue and a tiny encoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from pipelines.artifacts import read_arrays, write_table
from pipelines.errors import DataError
from pipelines.models.encoder import TextEncoder
from pipelines.models.judged_head import JudgedHead
from pipelines.models.relevance import RelevanceHead
from pipelines.models.training import CHECKPOINT_FILE, read_curves
from pipelines.stages import embed, train_bert
from pipelines.tables import JUDGEMENTS
from tests.tiny_bert import WIDTH, WORDS, tiny_bert
from tests.tiny_models import files_of

REPOSITORY = Path(__file__).parent.parent.parent
SIZES = ["2 oz", "9 oz", "16 oz"]


def write_catalogue(folder: Path, types: int = 30) -> None:
    rows = [
        {
            "item_id": f"{kind}-{size}-{copy}",
            "title": f"{WORDS[kind % 7]} {kind}",
            "text": f"{WORDS[kind % 7]} {kind}, {size}, {department.lower()}",
            "category": [department, f"Shelf {kind % 5}", f"{WORDS[kind % 7]} {kind}"],
            "department": department,
            "product_type": f"{WORDS[kind % 7]} {kind}",
            "brand": "Private" if kind % 2 else "National",
            "size": size,
        }
        for kind in range(types)
        for department in [("Produce", "Grocery")[kind % 2]]
        for size in SIZES
        for copy in range(2)
    ]
    items = pa.Table.from_pylist(rows).add_column(0, "item", pa.array(range(len(rows)), pa.int32()))
    write_table(items, folder / "data/prepared/items.parquet")
    generator = np.random.default_rng(0)
    sessions = np.repeat(np.arange(400, dtype=np.int32), 4)
    bought = generator.integers(0, len(rows), len(sessions)).astype(np.int32)
    write_table(pa.table({"item": bought, "session": sessions}), folder / "data/prepared/history.parquet")
    write_judgements(folder, [])


def write_judgements(folder: Path, rows: list[tuple[str, str, int]]) -> None:
    named = [dict(zip(JUDGEMENTS.schema.names, row, strict=True)) for row in rows]
    write_table(pa.Table.from_pylist(named, JUDGEMENTS.schema), folder / "data/accepted/judgements.parquet")


@pytest.fixture
def worktree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worktree's root, which is also the current directory: the stages' paths are relative to it."""
    write_catalogue(tmp_path)
    weights = tiny_bert(tmp_path / "bert")
    params = {
        "seed": {"value": 7},
        "embed": {"weights": str(weights), "weights_sha256": "", "max_length": 32, "precision": "f32"},
        "train_bert": {
            "steps": 6,
            "batch_size": 12,
            "trained_layers": 1,
            "bought_min_count": 1,
            "learning_rate": 0.01,
            "judged_steps": 4,
            "hard_negatives": 3,
        },
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOPLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SHOPLOOM_NO_CACHE", raising=False)
    return tmp_path


def test_text_stages_write_what_the_next_stages_read_and_the_same_bytes_again(
    worktree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed.main()
    assert "180 items, 90 distinct texts: 90 encoded" in capsys.readouterr().out
    arrays = read_arrays(worktree / "data/embed/texts.safetensors")
    assert arrays["embeddings"].shape == (90, WIDTH)
    assert arrays["text_index"].dtype == np.int32
    assert arrays["text_index"].shape == (180,)
    embedded = files_of(worktree / "data/embed")

    train_bert.main()
    said = capsys.readouterr().out
    assert "AUROC" in said
    assert "calibration error" in said
    output = worktree / "data/train_bert"
    metrics = json.loads((output / "metrics.json").read_text())
    assert 0 <= metrics["relevance_calibration_error"] <= 1
    assert metrics["fine_tuned_over_zero_shot"]["users"] == metrics["attribute_queries"] > 0
    encoder = TextEncoder.load(output / "encoder")
    retrained = read_arrays(output / "texts.safetensors")
    assert np.array_equal(retrained["text_index"], arrays["text_index"])
    assert not np.array_equal(retrained["embeddings"], arrays["embeddings"])
    query = encoder.encode(["red 7"])
    assert RelevanceHead.load(output / "relevance").score(query, retrained["embeddings"]).shape == (1, 90)
    assert all((output / name).read_bytes().startswith(b"\x89PNG") for name in ("loss.png", "calibration.png"))
    assert JudgedHead.find(output / "relevance") is None
    side = worktree / "home/side/train_bert"
    assert [point["epoch"] for point in read_curves(side)] == [1]
    assert not (side / CHECKPOINT_FILE).exists(), "what was trained is saved"
    fine_tuned = files_of(output)

    monkeypatch.setenv("SHOPLOOM_NO_CACHE", "1")
    embed.main()
    assert "90 encoded" in capsys.readouterr().out
    assert files_of(worktree / "data/embed") == embedded
    train_bert.main()
    assert files_of(output) == fine_tuned


def test_embed_encodes_only_new_texts(worktree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embed.main()
    assert "90 encoded" in capsys.readouterr().out
    write_catalogue(worktree, types=32)
    embed.main()
    assert "96 distinct texts: 6 encoded" in capsys.readouterr().out
    known = files_of(worktree / "data/embed")
    next((worktree / "home/embedding_cache").iterdir()).write_bytes(b"not a database, though of some length" * 50)
    embed.main()
    assert "96 encoded" in capsys.readouterr().out
    assert files_of(worktree / "data/embed") == known


def test_embed_refuses_weights_of_another_hash_and_writes_nothing(worktree: Path) -> None:
    params = yaml.safe_load((worktree / "params.yaml").read_text())
    params["embed"]["weights_sha256"] = "0" * 64
    (worktree / "params.yaml").write_text(yaml.safe_dump(params))
    refused = subprocess.run(
        [sys.executable, "-m", "pipelines.stages.embed"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert refused.returncode == 1
    assert "has SHA-256" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (worktree / "data/embed").exists()


def test_few_product_types_leave_the_encoder_as_it_was_pretrained_and_say_so(
    worktree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalogue(worktree, types=2)
    embed.main()
    train_bert.main()
    why = "training wants 10 product types or 30 judged queries, found 2 and 0"
    assert f"warning: the encoder stays as it was pre-trained: {why}" in capsys.readouterr().out
    output = worktree / "data/train_bert"
    assert files_of(output / "encoder") == files_of(worktree / "data/embed/encoder")
    assert json.loads((output / "metrics.json").read_text())["untrained"] == why
    head = RelevanceHead.load(output / "relevance")
    assert head.untrained == why
    same = np.full((1, WIDTH), WIDTH**-0.5, np.float32)
    assert head.score(same, same)[0, 0] > 0.99
    assert head.score(same, same * 0.4)[0, 0] == pytest.approx(0.5, abs=1e-4)
    assert all((output / name).read_bytes().startswith(b"\x89PNG") for name in ("loss.png", "calibration.png"))


def test_judgements_teach_where_product_types_are_too_few(worktree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_catalogue(worktree, types=6)
    judged = [
        (f"{WORDS[kind]} {size} {number}", f"{other}-{size}-0", 4 * (kind == other))
        for kind in range(6)
        for size in SIZES
        for number in range(4)
        for other in range(6)
    ]
    write_judgements(worktree, judged)
    embed.main()
    train_bert.main()
    said = capsys.readouterr().out
    assert "held-out judged queries: NDCG@10" in said
    assert "product types: NDCG@10" not in said
    output = worktree / "data/train_bert"
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["steps"] == 4
    assert metrics["attribute_queries"] == 0
    assert metrics["judged_fine_tuned_over_zero_shot"]["users"] == metrics["judged_queries"] > 0
    assert metrics["relevance_pairs"] == 6 * metrics["judged_queries"]
    assert files_of(output / "encoder") != files_of(worktree / "data/embed/encoder")
    assert not RelevanceHead.load(output / "relevance").untrained
    assert JudgedHead.find(output / "relevance") is not None
    assert metrics["served_judged_ndcg_at_10"] >= metrics["judged_fine_tuned_ndcg_at_10"]
    assert "with shared words, weighed by judgements: NDCG@10" in said


def test_judgements_and_product_types_teach_together(worktree: Path) -> None:
    judged = [
        (f"{WORDS[kind % 7]} {kind} {size}", f"{other}-{size}-0", 4 * (kind == other))
        for kind in range(30)
        for size in SIZES
        for other in (kind, (kind + 7) % 30)
    ]
    write_judgements(worktree, judged)
    embed.main()
    train_bert.main()
    metrics = json.loads((worktree / "data/train_bert/metrics.json").read_text())
    assert metrics["steps"] == 6 + 4
    assert metrics["attribute_queries"] > 0
    assert metrics["judged_queries"] > 0


def test_train_bert_refuses_vectors_of_another_catalogue(worktree: Path) -> None:
    embed.main()
    write_catalogue(worktree, types=32)
    with pytest.raises(DataError, match="different catalogues"):
        train_bert.main()
    assert not (worktree / "data/train_bert").exists()
