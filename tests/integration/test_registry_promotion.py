"""Registration, promotion and summary on a real MLflow store, with packages too small to serve."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.errors import RegistryError
from pipelines.models.base import Histories
from pipelines.models.catalogue import ITEM_COLUMNS, Catalogue
from pipelines.models.manifest import CATALOGUE_FOLDER
from pipelines.orchestration.summary import draw_summary
from pipelines.registry.books import RunStart, book_stage, close_run, open_run, tag_run
from pipelines.registry.digests import package_digest
from pipelines.registry.gate_books import record_verdict
from pipelines.registry.gate_verdict import Guardrail, Verdict
from pipelines.registry.package import RunInfo, Version, locked_versions, register
from pipelines.registry.promotion import champion, previous_champion, promote, put_forward, roll_back
from pipelines.registry.store import MODEL, connect, existing
from pipelines.registry.summary import latest_summary, summarise
from pipelines.settings import Settings

METRICS = {
    "models": {
        "own_counts": {"kind": "baseline", "ndcg_at_10": 0.4, "recall_at_10": 0.1},
        "rank": {"kind": "model", "ndcg_at_10": 0.5, "recall_at_10": 0.2},
    }
}


@pytest.fixture
def settings(mlflow_home: Path, tmp_path: Path) -> Settings:
    return Settings(SHOPLOOM_HOME=shutil.copytree(mlflow_home, tmp_path / "home"))


def verdict(decision: str = "promote", champion_version: str | None = None) -> Verdict:
    reference = "champion" if champion_version else "own_counts"
    return Verdict(decision, reference, 0.1, (0.05, 0.15), 0.001, 40, "because", champion_version=champion_version)  # type: ignore[arg-type]


def make_package(folder: Path, title: str = "milk") -> Path:
    package = folder / f"package-{title}"
    (package / CATALOGUE_FOLDER).mkdir(parents=True)
    items = pa.table({name: [title if name == "title" else f"{name}1"] for name in ITEM_COLUMNS})
    one = Histories(np.array([0, 1]), np.array([0], np.int32), np.ones(1, np.float32), np.ones(1, np.float32), 1)
    Catalogue(items, ("u1",), one).save(package / CATALOGUE_FOLDER)
    return package


def registered(settings: Settings, folder: Path, title: str = "milk") -> Version:
    evaluate = folder / "evaluate"
    evaluate.mkdir(exist_ok=True)
    (evaluate / "metrics.json").write_text(json.dumps(METRICS))
    parent = open_run(settings, RunStart(f"run-{title}", "c" * 40, data_commit="d" * 40))
    package = folder / f"package-{title}"
    if not package.exists():
        make_package(folder, title)
    return register(settings, package, evaluate, RunInfo(parent, "e" * 40, "d" * 40))


def test_register_returns_the_version_that_holds_the_same_package(settings: Settings, tmp_path: Path) -> None:
    first, again, other = (registered(settings, tmp_path, title) for title in ("milk", "milk", "bread"))
    assert (first.version, first.created) == ("1", True)
    assert (again.version, again.created) == ("1", False)
    assert (other.version, other.created) == ("2", True)
    tags = connect(settings).get_model_version(MODEL, "1").tags
    assert tags["package_digest"] == package_digest(tmp_path / "package-milk")
    assert (tags["run_commit"], tags["ndcg_at_10"]) == ("e" * 40, "0.500000")


def test_register_refuses_a_package_with_a_pickle(settings: Settings, tmp_path: Path) -> None:
    import pickle

    package = make_package(tmp_path)
    (package / "model.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(RegistryError, match=r"model\.bin is a pickle"):
        registered(settings, tmp_path)


def test_promote_moves_the_alias_and_keeps_the_previous_version(settings: Settings, tmp_path: Path) -> None:
    assert champion(settings) is None
    first, second = registered(settings, tmp_path), registered(settings, tmp_path, "bread")
    assert promote(settings, first.version, verdict()).moved
    moved = promote(settings, second.version, verdict(champion_version="1"))
    assert (moved.champion, moved.previous, moved.moved) == ("2", "1", True)
    holder, earlier = champion(settings), previous_champion(settings)
    assert holder is not None
    assert earlier is not None
    assert (holder.version, holder.digest, holder.run) == ("2", second.digest, "e" * 40)
    assert earlier.version == "1"
    assert not promote(settings, second.version, verdict(champion_version="1")).moved


def test_promote_leaves_the_alias_when_the_gate_does_not_say_promote(settings: Settings, tmp_path: Path) -> None:
    version = registered(settings, tmp_path).version
    outcome = promote(settings, version, verdict("inconclusive"))
    assert (outcome.champion, outcome.moved) == (None, False)
    assert "inconclusive" in outcome.why


def test_promote_leaves_the_alias_when_the_gate_ran_dry(settings: Settings, tmp_path: Path) -> None:
    version = registered(settings, tmp_path).version
    outcome = promote(settings, version, replace(verdict(), mode="dry_run"))
    assert (outcome.champion, outcome.moved) == (None, False)
    assert outcome.why == "the gate ran dry: it says promote, and shoploom promote 1 does so"
    assert put_forward(settings, version, "a person says so").moved


def test_promote_refuses_when_the_champion_changed_since_the_comparison(settings: Settings, tmp_path: Path) -> None:
    first, second = registered(settings, tmp_path), registered(settings, tmp_path, "bread")
    promote(settings, first.version, verdict())
    with pytest.raises(RegistryError, match="the champion is version 1"):
        promote(settings, second.version, verdict())


def test_roll_back_returns_the_previous_version_and_stays(settings: Settings, tmp_path: Path) -> None:
    first, second = registered(settings, tmp_path), registered(settings, tmp_path, "bread")
    promote(settings, first.version, verdict())
    with pytest.raises(RegistryError, match="no previous champion"):
        roll_back(settings)
    promote(settings, second.version, verdict(champion_version="1"))
    assert roll_back(settings).champion == "1"
    outcome = promote(settings, second.version, verdict(champion_version="1"))
    assert (outcome.champion, outcome.moved) == ("1", False)
    assert roll_back(settings).champion == "2"


def test_fetch_package_refuses_a_changed_artifact(settings: Settings, tmp_path: Path) -> None:
    promote(settings, registered(settings, tmp_path).version, verdict())
    holder = champion(settings)
    assert holder is not None
    fetched = holder.fetch_package(tmp_path / "fetched")
    assert package_digest(fetched) == holder.digest
    root = Path(unquote(urlsplit(connect(settings).get_model_version_download_uri(MODEL, "1")).path))
    stored = next(root.rglob("artifacts/package/**/users.parquet"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"\x00")
    with pytest.raises(RegistryError, match="has digest"):
        holder.fetch_package(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_missing_version_is_answered_with_those_that_exist(settings: Settings, tmp_path: Path) -> None:
    registered(settings, tmp_path)
    with pytest.raises(RegistryError, match="no version '7'") as caught:
        existing(connect(settings), "7")
    assert caught.value.mend == "there are 1"


def test_summary_gathers_the_run_from_the_books(settings: Settings, tmp_path: Path) -> None:
    assert latest_summary(settings) is None
    version = registered(settings, tmp_path).version
    tree = tmp_path / "tree"
    documents = {
        "validate": {"tables": {"events": {"accepted": 8, "quarantined": 2}, "items": {"accepted": 3}}},
        "evaluate": METRICS,
    }
    lines = ["stages:"]
    parent = open_run(settings, RunStart("run-milk", "c" * 40))
    for stage, name in (("validate", "report"), ("evaluate", "metrics")):
        folder = tree / "data" / stage
        folder.mkdir(parents=True)
        (folder / f"{name}.json").write_text(json.dumps(documents[stage]))
        lines += [f"  {stage}:", f"    cmd: x {stage}", f"    metrics: [data/{stage}/{name}.json]"]
        (tree / "dvc.yaml").write_text("\n".join(lines))
        book_stage(settings, parent, stage, {"lock_entry": {"cmd": "x"}, "cached": False, "seconds": 2.5}, tree)
    rail = Guardrail("light_users", "held", 0.05, "+1.0%", candidate=0.5, reference=0.4, interval=(0.1, 0.3))
    judged = replace(verdict(), guardrails=(rail,), serving_seconds=4.25)
    record_verdict(settings, parent, judged, version=version, page="<h1>Gate</h1>")
    promote(settings, version, verdict())
    tag_run(settings, parent, run_commit="e" * 40)
    summary = summarise(settings, parent, promoted=True)
    close_run(settings, parent)
    assert summary["data_version"] == "d" * 40
    assert summary["run"]["run_commit"] == "e" * 40
    assert summary["run"]["model_version"] == "1"
    assert (summary["champion"]["version"], summary["champion"]["run_commit"]) == ("1", "e" * 40)
    assert summary["gate"]["decision"] == "promote"
    assert (summary["rows"]["accepted"], summary["rows"]["quarantined"]) == (11, 2)
    assert summary["stages"]["evaluate"] == {"seconds": 2.5, "cached": False}
    assert summary["models"]["rank"] == {
        "kind": "model",
        "ndcg_at_10": 0.5,
        "ndcg_at_10_new": None,
        "recall_at_10": 0.2,
        "map_at_10": None,
        "coverage_at_10": None,
    }
    assert latest_summary(settings) == json.loads(json.dumps(summary))
    tags = connect(settings).get_model_version(MODEL, "1").tags
    assert (tags["gate.decision"], tags["gate.mode"]) == ("promote", "enforce")
    assert tags["gate.guardrails"] == "light_users held"
    page = Path(unquote(urlsplit(summary["run"]["verdict"]).path))
    assert page.read_text() == "<h1>Gate</h1>"
    assert Verdict.from_dict(summary["gate"]) == judged
    shown = drawn(summary)
    assert f"verdict  {page}" in shown
    assert "guardrails  light_users held" in shown
    assert "40 users, tried in servers for 4 s)" in shown
    assert connect(settings).get_run(parent).data.metrics["gate.serving_seconds"] == 4.25
    older = {**summary, "gate": {**verdict().as_dict(), "guardrails": None}, "run": {**summary["run"], "verdict": None}}
    assert "guardrails" not in drawn(older)
    assert "promote (dry run, the champion stays): because" in drawn(
        {**summary, "gate": {**judged.as_dict(), "mode": "dry_run"}}
    )


def drawn(summary: dict[str, Any]) -> str:
    console = Console(width=200, file=io.StringIO())
    draw_summary(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_damaged_summary_is_refused_by_run_and_name(settings: Settings) -> None:
    parent = open_run(settings, RunStart("run", "c" * 40))
    summarise(settings, parent)
    client = connect(settings)
    root = Path(unquote(urlsplit(client.get_run(parent).info.artifact_uri).path))
    (root / "summary.json").write_text("{")
    with pytest.raises(RegistryError, match=rf"summary\.json of run {parent} is damaged") as caught:
        latest_summary(settings)
    assert "shoploom run" in caught.value.mend


def test_locked_versions_names_what_the_lock_lacks(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "numpy==2.4.6 \\\n    --hash=sha256:00\n"
        "Py_Arrow==20.0 ; python_version >= '3'\npy-arrow==19.0 ; python_version < '3' \\\n"
    )
    assert locked_versions(lock, ["numpy", "py-arrow"]) == ["numpy==2.4.6", "py-arrow==20.0"]
    with pytest.raises(RegistryError, match="no version of mlflow"):
        locked_versions(lock, ["numpy", "mlflow"])
