import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.orchestration.doctor import examine
from pipelines.registry.digests import package_digest
from pipelines.registry.store import CHAMPION, MODEL, connect
from pipelines.runs.git import Git
from pipelines.runs.run_commits import finish_run
from pipelines.runs.start import Start
from pipelines.settings import Settings
from tests.processes import free_port


def findings(root: Path, home: Path, **places: str) -> dict[str, dict[str, str]]:
    return {found["name"]: found for found in examine(Settings(repository=root, SHOPLOOM_HOME=home, **places))}


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "TRACKING_URL"):
        monkeypatch.delenv(f"SHOPLOOM_{name}", raising=False)


def test_doctor_names_a_damaged_database_and_how_to_mend_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("airflow", "mlflow"):
        (home / name).mkdir(parents=True)
    with closing(sqlite3.connect(home / "airflow" / "airflow.db")) as sound:
        sound.execute("CREATE TABLE t (x)")
    damaged = home / "mlflow" / "mlflow.db"
    damaged.write_text("this is no database")
    found = [one for one in examine(Settings(repository=tmp_path, SHOPLOOM_HOME=home)) if one["name"] == "database"]
    broken = [one for one in found if one["state"] == "broken"]
    assert [str(damaged) in one["detail"] for one in broken] == [True]
    assert f"rm {damaged}" in broken[0]["mend"]


def test_doctor_says_what_is_missing_in_a_folder_that_is_no_clone(tmp_path: Path) -> None:
    found = findings(tmp_path, tmp_path / "home")
    assert found["requirements.lock"]["state"] == "broken"
    assert found["encoder weights"]["state"] == "broken"
    assert found["champion"] == {"name": "champion", "state": "fine", "detail": "none yet", "mend": ""}
    assert not (tmp_path / "home").exists(), "looking made something"


def test_doctor_refuses_a_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    found = findings(tmp_path, tmp_path / "home")
    assert found["state"]["state"] == "broken"
    assert "SHOPLOOM_HOME" in found["state"]["mend"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("garbage", "SHOPLOOM_DATABASE_URL is not an address"),
        ("postgresql://u:secret@h:abc/x", "SHOPLOOM_DATABASE_URL is not an address"),
        ("mysql://u:secret@h/x", "SHOPLOOM_DATABASE_URL names 'mysql'; only PostgreSQL is supported"),
    ],
)
def test_doctor_names_a_database_address_that_is_none(
    address: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOPLOOM_DATABASE_URL", address)
    found = findings(tmp_path, tmp_path / "home")
    for name in ("database", "champion"):
        assert (found[name]["state"], found[name]["detail"]) == ("broken", said)
        assert "postgresql://user:password@host:port/database" in found[name]["mend"]


def test_doctor_names_a_database_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("SHOPLOOM_DATABASE_URL", f"postgresql://u:secret@127.0.0.1:{port}/x")
    found = findings(tmp_path, tmp_path / "home")
    assert found["database"]["state"] == "broken"
    assert f"127.0.0.1:{port}/x" in found["database"]["detail"]
    assert "Connection refused" in found["database"]["detail"]
    assert "secret" not in str(found)


def test_doctor_names_a_tracking_address_without_a_port_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLOOM_TRACKING_URL", "http://localhost:abc")
    found = findings(tmp_path, tmp_path / "home")
    assert found["champion"]["state"] == "broken"
    assert "http://localhost:abc" in found["champion"]["detail"]


def test_doctor_measures_the_disk_that_the_state_folder_lies_on(tmp_path: Path) -> None:
    found = findings(tmp_path, Path("/proc/no/such/home"))
    assert (found["disk"]["state"], found["disk"]["detail"]) == ("note", "0 GiB free")


def test_doctor_tries_local_places_and_says_which_it_did_not_look_at(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    places = {"remote_url": f"{tmp_path}/a file/remote", "artifacts_url": (tmp_path / "a file").as_uri()}
    found = findings(tmp_path, tmp_path / "home", **places)
    assert found["DVC remote"]["state"] == found["MLflow artifacts"]["state"] == "broken"
    assert "SHOPLOOM_REMOTE_URL" in found["DVC remote"]["mend"]
    assert "SHOPLOOM_ARTIFACTS_URL" in found["MLflow artifacts"]["mend"]
    places = {"remote_url": "s3://bucket/dvc", "artifacts_url": (tmp_path / "a b" / "é").as_uri()}
    found = findings(tmp_path, tmp_path / "home", **places)
    assert (found["DVC remote"]["state"], found["DVC remote"]["detail"]) == ("note", "s3://bucket/dvc: not looked at")
    assert found["MLflow artifacts"]["state"] == "fine"


def test_doctor_makes_a_lost_package_of_the_champion_again_from_its_run(mlflow_home: Path, tmp_path: Path) -> None:
    repository, home = tmp_path / "code", shutil.copytree(mlflow_home, tmp_path / "home")
    settings = Settings(repository=repository, SHOPLOOM_HOME=home)
    package = tmp_path / "package"
    package.mkdir()
    (package / "model.txt").write_text("weights")
    digest = package_digest(package)
    register_without_artifacts(settings, digest, finished_run(settings, "weights"))
    found = findings(repository, home)
    assert (found["champion"]["state"], found["champion"]["detail"]) == ("fine", "version 1")
    assert package_digest(home / "champions" / digest) == digest

    shutil.rmtree(home / "champions")
    shutil.rmtree(home / "cache")
    found = findings(repository, home)
    assert found["champion"]["state"] == "broken"
    assert "the package of version 1 is lost" in found["champion"]["detail"]


def finished_run(settings: Settings, content: str) -> str:
    """A run commit whose package, one file, lies in DVC's cache; gives the commit."""

    def cached(data: bytes, suffix: str = "") -> str:
        md5 = hashlib.md5(data).hexdigest() + suffix
        path = settings.home / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return md5

    listing = json.dumps([{"md5": cached(content.encode()), "relpath": "model.txt"}])
    entry = {"cmd": "true", "outs": [{"path": "data/package", "md5": cached(listing.encode(), ".dir")}]}
    git = Git(settings.repository)
    settings.repository.mkdir()
    git.run("init", "--quiet", "--initial-branch=main")
    (settings.repository / "dvc.yaml").write_text("stages: {package: {cmd: 'true', outs: [data/package]}}\n")
    git.run("add", "--all")
    tree = git.text("write-tree")
    code, data, start = (git.commit(tree, [], word, 1_500_000_000) for word in ("Code", "Data", "Start"))
    return finish_run(settings, Start(start, code, data, False), {"package": entry}, "manual").commit


def register_without_artifacts(settings: Settings, digest: str, run: str) -> None:
    """A champion in the registry whose files are lost."""
    client = connect(settings)
    client.create_registered_model(MODEL)
    lost = (settings.home / "lost").as_uri()
    client.create_model_version(MODEL, source=lost, tags={"package_digest": digest, "run_commit": run})
    client.set_registered_model_alias(MODEL, CHAMPION, "1")
