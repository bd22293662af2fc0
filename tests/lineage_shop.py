"""The toy pipeline with a split and a validation report, its runs registered as versions: what lineage traces."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.lineage.proof import training_root
from pipelines.registry.books import RunStart, open_run
from pipelines.registry.store import MODEL, connect, experiment_id
from pipelines.runs.run_commits import RunCommit, finish_run
from pipelines.runs.start import start_run
from tests import toy_pipeline
from tests.toy_pipeline import Shop, make_shop

OUTPUTS = "data/sizes, data/prepared/split.json, data/validate/report.json, data/seal/tree, data/seal/seal.json"
GRAPH = toy_pipeline.GRAPH.replace("outs: [data/sizes]", f"outs: [{OUTPUTS}]")
DESCRIBE = """\
weeks = sorted(path.stem for path in pathlib.Path("data/raw/events").iterdir())
rows = {week: {"accepted": 3, "quarantined": 1, "reasons": {"price_is_positive": 1}} for week in weeks}
table = {"accepted": 3 * len(weeks), "quarantined": len(weeks), "reasons": {"price_is_positive": len(weeks)}}
for name, value in {
    "prepared/split.json": {"first_validation_partition": weeks[-2], "first_test_partition": weeks[-1]},
    "validate/report.json": {"partitions": rows, "tables": {"events": table}, "warnings": []},
}.items():
    path = pathlib.Path("data", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
salt = pathlib.Path(os.environ["FLAGS"], "salt")
(where / "salt.txt").write_text(salt.read_text() if salt.exists() else "0")
import pyarrow.parquet
from pipelines.merkle import leaf_of, write_levels
read = pyarrow.parquet.read_table
ids = [i for week in weeks[:-1] for i in read(f"data/raw/events/{week}.parquet")["event_id"].to_pylist()]
tree = pathlib.Path("data/seal/tree")
tree.mkdir(parents=True)
(tree / "leaves.bin").write_bytes(b"".join(sorted(map(leaf_of, ids))))
count, root = write_levels(tree / "leaves.bin", tree / "levels.bin", 2)
sealed = {"count": count, "root": root, "skipped_levels": 2, "first_partition": weeks[0], "last_partition": weeks[-2]}
pathlib.Path("data/seal/seal.json").write_text(json.dumps(sealed))
"""


def make_lineage_shop(tmp_path: Path, mlflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A fresh shop with books of its own."""
    shop = make_shop(tmp_path, monkeypatch)
    code = shop.settings.repository
    shutil.copytree(mlflow_home, shop.settings.home, dirs_exist_ok=True)
    (code / "dvc.yaml").write_text(GRAPH)
    (code / "sizes.py").write_text((code / "sizes.py").read_text() + DESCRIBE)
    (code / "requirements.lock").write_text("numpy==2.4.6 \\\n    --hash=sha256:0\n")
    shop.git.run("add", "--all")
    commit = shop.git.commit(shop.git.text("write-tree"), [shop.git.resolve("main")], "Describe weeks", 1_500_000_001)
    shop.git.run("update-ref", "refs/heads/main", commit)
    return shop


def train(shop: Shop, run_id: str) -> RunCommit:
    """A finished run on what there is now, as the train DAG ends one."""
    start, shop.entries = start_run(shop.settings, None), {}
    assert [shop.stage(start, stage, run_id)["error"] for stage in ("sizes", "total")] == [None, None]
    root = training_root(shop.settings, shop.entries)
    return finish_run(shop.settings, start, shop.entries, run_id, training_root=root)


def register_run(shop: Shop, run: RunCommit | None, run_id: str = "", **tags: str) -> str:
    """A version of a run, by its tags alone; of an older shoploom, which wrote none, without a run."""
    client = connect(shop.settings)
    if not client.search_registered_models(f"name='{MODEL}'"):
        client.create_registered_model(MODEL)
    if run is None:
        experiment = experiment_id(shop.settings)
        parent, named = client.create_run(experiment).info.run_id, {}
    else:
        parent = open_run(shop.settings, RunStart(run_id, run.start, run.code_commit, run.data_commit))
        named = {"package_digest": "a" * 64, "run_commit": run.commit, "code_commit": run.code_commit}
        named["data_version"] = run.data_commit
    made = client.create_model_version(MODEL, source=shop.settings.artifacts, run_id=parent, tags={**named, **tags})
    return str(made.version)
