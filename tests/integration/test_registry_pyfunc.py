"""The registered model as others meet it: its files, what importing it loads, and ``mlflow models serve``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from pipelines.artifacts import write_json
from pipelines.registry.books import RunStart, open_run
from pipelines.registry.gate_verdict import Verdict
from pipelines.registry.package import RunInfo, refuse_pickles, register
from pipelines.registry.promotion import promote
from pipelines.registry.store import MODEL, connect
from pipelines.settings import Settings, child_environment
from tests.integration import test_package_and_evaluate as tiny
from tests.processes import champion_served

shop = tiny.shop

ASK = """
import json, sys
import mlflow
model = mlflow.pyfunc.load_model("models:/shoploom@champion")
import pandas as pd
asked = pd.DataFrame([{"task": "recommend", "user_id": "u01", "k": 3}, {"task": "search", "query": "milk", "k": 2}])
answer = model.predict(asked)
modules = sorted({name.partition(".")[0] for name in sys.modules})
from pipelines.models import recommender
print(json.dumps({"answer": answer.to_dict("records"), "modules": modules, "code": recommender.__file__}))
"""


@pytest.fixture(scope="module")
def settings(shop: Path, mlflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A registry whose champion is the tiny shop's package."""
    settings = Settings(SHOPLOOM_HOME=shutil.copytree(mlflow_home, tmp_path_factory.mktemp("pyfunc") / "home"))
    evaluate = tmp_path_factory.mktemp("evaluate")
    write_json({"models": {"rank": {"kind": "model", "ndcg_at_10": 0.5}}}, evaluate / "metrics.json")
    parent = open_run(settings, RunStart("run", "c" * 40))
    version = register(settings, shop / "data/package", evaluate, RunInfo(parent, "e" * 40, "d" * 40))
    promote(settings, version.version, Verdict("promote", "own_counts", 0.1, (0.05, 0.15), 0.001, 40, "because"))
    return settings


@pytest.fixture(scope="module")
def model_folder(settings: Settings) -> Path:
    address = connect(settings).get_model_version_download_uri(MODEL, "1")
    return Path(unquote(urlsplit(address).path))


@pytest.fixture(scope="module")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``mlflow models serve`` as README shows it; gives its address."""
    folder = tmp_path_factory.mktemp("serve")
    with champion_served(Path(sys.executable).parent / "mlflow", environment(settings), folder) as address:
        yield address


def environment(settings: Settings) -> dict[str, str]:
    return child_environment(settings, MLFLOW_TRACKING_URI=settings.tracking)


def ask(address: str, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    body = json.dumps({"dataframe_records": list(requests)}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        answers: list[dict[str, Any]] = json.load(reply)["predictions"]
        return answers


def test_registered_model_holds_no_pickle(model_folder: Path) -> None:
    files = [path for path in model_folder.rglob("*") if path.is_file()]
    assert {"MLmodel", "pyfunc_model.py", "manifest.json", "requirements.txt"} <= {path.name for path in files}
    refuse_pickles(files)


def test_registered_model_pins_what_serving_needs_and_no_more(model_folder: Path) -> None:
    pinned = (model_folder / "requirements.txt").read_text().split()
    assert all("==" in line for line in pinned)
    names = {line.partition("==")[0] for line in pinned}
    assert {"mlflow", "lightgbm", "openvino"} <= names
    assert not names & {"apache-airflow", "dvc", "great-expectations", "tensorflow", "keras"}


def test_registered_code_is_the_recommender_and_what_it_imports(model_folder: Path) -> None:
    folders = {path.parent.name for path in (model_folder / "code" / "pipelines").rglob("*.py")}
    assert folders == {"pipelines", "models", "metrics"}


def test_registered_model_answers_without_airflow_dvc_or_gx(settings: Settings, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment(settings), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert [row["position"] for row in told["answer"]] == [1, 2, 3, 1, 2]
    assert all(set(row) == {"position", "item_id", "title", "score"} for row in told["answer"])
    assert not {"airflow", "dvc", "great_expectations", "tensorflow", "keras", "torch"} & set(told["modules"])
    assert "/code/pipelines/" in told["code"]


def test_mlflow_serves_recommendations_and_search(server: str) -> None:
    recommended = ask(server, {"task": "recommend", "user_id": "u01", "k": 4})
    assert [row["position"] for row in recommended] == [1, 2, 3, 4]
    scores = [row["score"] for row in recommended]
    assert scores == sorted(scores, reverse=True)
    assert all(row["item_id"].startswith("i0") for row in recommended)
    (found,) = ask(server, {"task": "search", "query": "cheese", "k": 1})
    assert "cheese" in found["title"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"task": "browse", "k": 1}, "'browse' is unknown"),
        ({"task": "recommend", "k": 1}, "needs a user_id"),
        ({"task": "recommend", "user_id": "u0l", "k": 1}, "user is not known"),
        ({"task": "search", "query": "milk", "k": 0}, "k must lie in 1..1000"),
    ],
)
def test_mlflow_refuses_a_wrong_request(server: str, request_: dict[str, Any], said: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server, request_)
    assert caught.value.code == 400
    assert said in caught.value.read().decode()


def test_mlflow_says_which_request_is_wrong(server: str) -> None:
    right = {"task": "search", "query": "milk", "k": 1}
    for wrong in ({**right, "query": " "}, {**right, "task": "browse"}, {**right, "k": 1001}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, right, wrong)
        assert caught.value.code == 400
        assert "request 1: " in caught.value.read().decode()
