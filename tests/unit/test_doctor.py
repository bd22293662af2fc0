import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.orchestration.doctor import examine
from pipelines.settings import Settings


def findings(root: Path, home: Path) -> dict[str, dict[str, str]]:
    return {found["name"]: found for found in examine(Settings(repository=root, SHOPLOOM_HOME=home))}


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
