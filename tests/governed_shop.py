"""A shop with a policy: a finished run, two signed versions, an approver, a root key that lies elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from pipelines.artifacts import write_json
from pipelines.lineage.audit import record
from pipelines.lineage.evidence import FOLDER
from pipelines.lineage.keys import new_key
from pipelines.lineage.policy import change_policy, person
from pipelines.lineage.promotions import approve_version, promote_judged, promote_version
from pipelines.lineage.release import Made, sign_release
from pipelines.registry.books import RunStart, open_run
from pipelines.registry.gate_books import record_verdict
from pipelines.registry.gate_verdict import Verdict
from pipelines.registry.package import RunInfo, register
from pipelines.registry.store import CHAMPION, EXPERIMENT, MODEL, PREVIOUS, at_alias, connect, existing
from pipelines.runs.git import Git
from pipelines.runs.run_commits import RunCommit, fetch_output, read_lock
from pipelines.runs.start import start_run
from pipelines.settings import Settings
from tests.integration.test_registry_promotion import make_package
from tests.toy_pipeline import Shop, make_shop

GRAPH = """\
stages:
  validate:
    cmd: python sizes.py
    deps: [sizes.py, data/raw/events]
    outs: [data/validate]
"""
VALIDATE = """\
import json, pathlib
where = pathlib.Path("data/validate")
where.mkdir(parents=True)
files = sorted(path.name for path in pathlib.Path("data/raw/events").iterdir())
(where / "quarantine.json").write_text(json.dumps([{"row": 3, "reasons": ["quantity_is_positive"]}]))
report = {"tables": {"events": {"accepted": 4 * len(files), "quarantined": 1}}, "files": files}
(where / "report.json").write_text(json.dumps(report))
"""
PARAMS = {"alpha": 0.05, "min_effect": 0.0, "resamples": 10000, "seed": 7}


@dataclass
class Governed:
    """The shop and what somebody who attacks it can reach.

    Args:
        shop: repository, state folder, object store.
        keys: folder with ``root.pem``, ``ann.pem`` (an approver), ``bob.pem`` (nobody), ``old.pem`` (until 2020).
        root: the root's fingerprint, as the auditor knows it.
        run: the finished run.
        evaluate: the folder whose metrics register reads.
    """

    shop: Shop
    keys: Path
    root: str
    run: RunCommit
    evaluate: Path

    @property
    def settings(self) -> Settings:
        return self.shop.settings

    @property
    def git(self) -> Git:
        return self.shop.git

    def key(self, name: str) -> Path:
        return self.keys / f"{name}.pem"

    def verdict(self, decision: str = "promote", champion: str | None = None) -> Verdict:
        reference = "champion" if champion else "own_counts"
        return Verdict(decision, reference, 0.1, (0.05, 0.15), 0.001, 40, "because", champion_version=champion)  # type: ignore[arg-type]

    def release(self, title: str, decision: str = "promote", champion: str | None = None) -> str:
        """Register a package, judge it, sign it; returns its version."""
        package = self.keys.parent / f"package-{title}"
        if not package.exists():
            make_package(self.keys.parent, title)
        parent = open_run(self.settings, RunStart(f"run-{title}", self.run.start, data_commit=self.run.data_commit))
        info = RunInfo(parent, self.run.commit, self.run.data_commit, self.run.code_commit)
        made = register(self.settings, package, self.evaluate, info)
        verdict = self.verdict(decision, champion)
        record_verdict(self.settings, parent, verdict, version=made.version)
        record(self.settings, "gate", f"version {made.version}", decision=decision)
        facts = (self.run.commit, self.run.code_commit, self.run.data_commit, self.run.run_id, "none")
        report = fetch_output(self.settings, self.run, "data/validate/report.json", self.evaluate / "report.json")
        lock = read_lock(self.settings, self.run)
        whole = Made(made.version, made.digest, package, *facts)
        sign_release(self.settings, whole, lock, (verdict.as_dict(), PARAMS), report)
        return made.version

    def digest(self, version: str) -> str:
        return str(existing(connect(self.settings), version).tags["package_digest"])

    def artifacts(self, version: str) -> Path:
        """Where MLflow keeps a version's model."""
        return _path(connect(self.settings).get_model_version_download_uri(MODEL, version))

    def evidence(self, version: str, name: str) -> Path:
        """A file of a version's evidence, in MLflow."""
        client = connect(self.settings)
        run = client.get_run(existing(client, version).run_id)
        return _path(run.info.artifact_uri) / FOLDER / name

    def package_file(self, version: str, name: str) -> Path:
        """A file of a version's package, in MLflow."""
        return next(self.artifacts(version).rglob(f"artifacts/package*/{name}"))

    def cached(self, stage_output: str, name: str) -> Path:
        """A file of an output in DVC's cache."""
        from pipelines.runs.store import Store

        lock = read_lock(self.settings, self.run)
        outs = {out["path"]: out["md5"] for entry in lock.values() for out in (*entry["outs"], *entry["deps"])}
        store = Store(self.settings)
        try:
            return store.cache_path(next(file.md5 for file in store.files(outs[stage_output]) if file.path == name))
        finally:
            store.close()

    def tag(self, version: str, name: str, value: str) -> None:
        connect(self.settings).set_model_version_tag(MODEL, version, name, value)

    def alias(self, name: str, version: str) -> None:
        connect(self.settings).set_registered_model_alias(MODEL, name, version)

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Whatever is done inside to files, refs, tags and aliases is undone after it."""
        client, home = connect(self.settings), self.settings.home
        files = {path: (path.read_bytes(), path.stat().st_mode) for path in _files(home)}
        experiment = client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None
        refs = self.git.refs("refs/")
        tags = {one.version: dict(one.tags) for one in client.search_model_versions(f"name = '{MODEL}'")}
        aliases = {name: at_alias(client, name) for name in (CHAMPION, PREVIOUS)}
        try:
            yield
        finally:
            for path in _files(home):
                if path not in files:
                    path.unlink()
            for path, (content, mode) in files.items():
                if not path.is_file() or path.read_bytes() != content:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.unlink(missing_ok=True)
                    path.write_bytes(content)
                path.chmod(mode)
            for name, value in experiment.tags.items():
                client.set_experiment_tag(experiment.experiment_id, name, value)
            for ref, commit in self.git.refs("refs/").items():
                if ref not in refs:
                    self.git.run("update-ref", "-d", ref, commit)
            now = self.git.refs("refs/")
            for ref, commit in refs.items():
                if now.get(ref) != commit:
                    self.git.run("update-ref", ref, commit)
            for version, kept in tags.items():
                tagged = client.get_model_version(MODEL, version).tags
                for name in tagged.keys() - kept.keys():
                    client.delete_model_version_tag(MODEL, version, name)
                for name, value in kept.items():
                    if tagged.get(name) != value:
                        client.set_model_version_tag(MODEL, version, name, value)
            for name, holder in aliases.items():
                if holder is not None:
                    client.set_registered_model_alias(MODEL, name, str(holder.version))
                elif at_alias(client, name) is not None:
                    client.delete_registered_model_alias(MODEL, name)


def make_governed(mlflow_home: Path, folder: Path, patch: pytest.MonkeyPatch) -> Governed:
    """Version 1 is approved by ann and champion; version 2 is better, and waits for an approval."""
    shop = make_shop(folder, patch)
    shutil.copytree(mlflow_home, shop.settings.home, dirs_exist_ok=True)
    code = shop.settings.repository
    shutil.copy(Path(__file__).parents[1] / "requirements.lock", code)
    (code / "dvc.yaml").write_text(GRAPH)
    (code / "sizes.py").write_text(VALIDATE)
    data = shop.land(1, 2)
    record(shop.settings, "land", f"data {data.commit}", rows=8)
    start = start_run(shop.settings, None)
    from pipelines.runs.run_commits import finish_run

    result = shop.stage(start, "validate", "run-1")
    assert result["error"] is None
    run = finish_run(shop.settings, start, shop.entries, "run-1")
    keys = folder / "keys"
    root = new_key(keys / "root.pem")
    for name in ("ann", "bob", "old"):
        new_key(keys / f"{name}.pem")
    patch.setenv("SHOPLOOM_ROOT_FINGERPRINT", root.fingerprint)
    shop.settings = Settings(repository=code, SHOPLOOM_HOME=shop.settings.home)
    evaluate = folder / "evaluate"
    evaluate.mkdir()
    write_json({"models": {"rank": {"kind": "model", "ndcg_at_10": 0.5}}}, evaluate / "metrics.json")
    governed = Governed(shop, keys, root.fingerprint, run, evaluate)
    change_policy(shop.settings, root, trust=person("old", keys / "old.pem.pub", "approver", "2020-01-01"))
    change_policy(shop.settings, root, trust=person("ann", keys / "ann.pem.pub", "approver"), approval="required")
    first = governed.release("milk")
    assert not promote_judged(shop.settings, first, governed.verdict(), "run-1").moved
    approve_version(shop.settings, first, governed.key("ann"))
    assert promote_version(shop.settings, first).moved
    governed.release("bread", champion="1")
    return governed


def _files(home: Path) -> list[Path]:
    """Files that may be attacked; MLflow's database is kept by its own client."""
    chosen = ("audit", "keys", "mlflow", "cache", "champions", "data_docs", "serving", "policy.dsse.json")
    found = []
    for name in chosen:
        place = home / name
        found += [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return [path for path in found if not path.name.startswith("mlflow.db") and path.name != ".lock"]


def _path(address: str) -> Path:
    return Path(unquote(urlsplit(address).path))
