"""What README promises, on the real default data, in a fresh clone."""

import json
import re
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import ROOT, Shop
from tests.processes import await_answer, champion_served
from tests.tabular_shop import order_lines, write_shop

pytestmark = [pytest.mark.weights, pytest.mark.services]

MODELS = ("matrix_factorization", "linear", "text", "fused", "rank")
OWN_SHOP = ("shoploom source", "export SHOPLOOM_SOURCE", "shoploom quarantine")
"""Commands that README types where the shop's own files lie."""
APPROVAL = (
    "shoploom keys new",
    "shoploom policy",
    "export SHOPLOOM_ROOT_FINGERPRINT",
    "shoploom approve",
    "shoploom promote",
)
"""Commands that README types for a policy of approvers: here they would bind the shop to it."""
MANY_FITS = ("shoploom run --models", "shoploom tune", "git apply")
"""Commands that fit many models; typed in that small shop too."""
SERVED = ("shoploom serve", "curl")
UNREADABLE = "7777;0;customer-00@shop.example;P1;many;1,00;02.01.2024 10:00;paid"
BASELINES = ("popularity", "own_counts", "decayed_counts")


def status(shop: Shop) -> dict[str, Any]:
    return json.loads(shop.run("shoploom", "status", "--json").stdout)


@pytest.fixture(scope="module")
def first(shop: Shop) -> dict[str, Any]:
    """What ``status`` says after the first run."""
    return status(shop)


def test_first_run_ends_with_a_champion_above_every_baseline(first: dict[str, Any]) -> None:
    said = first
    ndcg = {name: said["models"][name]["ndcg_at_10"] for name in (*MODELS, *BASELINES)}

    assert said["champion"]["version"] == "1"
    assert said["gate"]["decision"] == "promote"
    assert said["gate"]["p_value"] < 0.05
    assert all(ndcg["rank"] > ndcg[name] for name in BASELINES)
    assert said["rows"]["quarantined"] > 10_000
    assert said["rows"]["accepted"] > 1_400_000
    for stage in said["stages"].values():
        assert not stage["cached"]


def test_first_run_prints_what_a_person_wants_to_know(shop: Shop) -> None:
    for word in ("accepted", "quarantined", "own_counts", "rank", "promote", "champion", "frozen pizza", "report"):
        assert word in shop.first, word


def test_first_run_leaves_the_clone_as_it_was(shop: Shop) -> None:
    assert shop.run("git", "status", "--porcelain").stdout == ""
    assert shop.run("git", "log", "--format=%H", "-1").stdout == subprocess.check_output(
        ["git", "-C", str(ROOT), "log", "--format=%H", "-1"], text=True
    )


def test_run_commit_has_two_parents_and_the_finished_lock(shop: Shop, first: dict[str, Any]) -> None:
    commit = first["run"]["run_commit"]
    parents = shop.run("git", "log", "-1", "--format=%P", commit).stdout.split()
    assert len(parents) == 2
    assert parents[0] == shop.run("git", "rev-parse", "HEAD").stdout.strip()
    assert parents[1] == shop.run("git", "rev-parse", "data/main").stdout.strip()
    lock = shop.run("git", "show", f"{commit}:dvc.lock").stdout
    assert all(f"  {stage}:" in lock for stage in first["stages"])


def test_search_and_recommend_name_products(shop: Shop) -> None:
    found = json.loads(shop.run("shoploom", "search", "frozen pizza", "--json").stdout)["results"]
    assert sum("PIZZA" in row["title"].upper() for row in found) >= 8
    answer = json.loads(shop.run("shoploom", "recommend", "1158", "--json").stdout)
    assert len({row["item_id"] for row in answer["results"]}) == 10


@pytest.mark.parametrize("arguments", [["recommend", "no-such-user"], ["search", ""]])
def test_a_wrong_question_gets_one_clear_error(shop: Shop, arguments: list[str]) -> None:
    ended = shop.run("shoploom", *arguments, check=False)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 3


def test_second_run_with_nothing_new_runs_no_stage_and_promotes_nothing(shop: Shop, first: dict[str, Any]) -> None:
    printed = shop.run("shoploom", "run").stdout
    after = status(shop)
    assert "nothing new" in printed
    assert all(stage["cached"] for stage in after["stages"].values())
    assert after["champion"] == first["champion"]
    assert after["data_version"] == first["data_version"]


def readme_commands() -> list[str]:
    """What README types, each command once, in order."""
    text = (ROOT / "README.md").read_text()
    return list(dict.fromkeys(re.findall(r"^\$ (.+)$", text, re.MULTILINE)))


def test_readme_commands_work(shop: Shop) -> None:
    long = (
        "make",
        "source",
        "mlflow models serve",
        "shoploom up",
        "shoploom down",
        "shoploom train",
        "shoploom ingest",
        "shoploom airflow",
        *OWN_SHOP,
        *APPROVAL,
        *MANY_FITS,
        *SERVED,
        "shoploom lineage model:champion --row",
        "shoploom lineage model:champion --openlineage https:",
        "shoploom lineage served:",
        "git log -1 --format=%B RUN_COMMIT",
        "python infra/verify_proof.py",
        "shoploom reproduce",
    )
    ran = [command for command in readme_commands() if not command.startswith(long)]
    assert len(ran) >= 4
    for command in ran:
        shop.run("bash", "-c", command.replace("model:6 model:7", "model:1 model:1"))


def test_readme_commands_for_ones_own_shop_work(shop: Shop, tmp_path: Path) -> None:
    own = replace(shop, folder=tmp_path / "shop")
    subprocess.run(["git", "clone", "--quiet", str(shop.folder), str(own.folder)], check=True)
    (own.folder / ".venv").symlink_to(shop.folder / ".venv")
    finished = write_shop(own.folder, [*order_lines(), UNREADABLE]).read_text()
    commands = [command for command in readme_commands() if command.startswith(OWN_SHOP)]
    draft, check, export, *quarantine = commands
    own.run("bash", "-c", draft)
    assert "item_id: sku" in (own.folder / "shop.yaml").read_text()
    (own.folder / "shop.yaml").write_text(finished)  # what a person makes of the draft
    assert "everything that was read maps" in own.run("bash", "-c", check).stdout
    ran = own.run("bash", "-c", f"{export}; shoploom run --json")
    done = json.loads(ran.stdout)
    assert (done["rows"]["accepted"], done["rows"]["quarantined"]) == (1188, 1)
    assert done["gate"]["users"] == 12
    assert len(quarantine) == 3
    for command in quarantine:
        printed = own.run("bash", "-c", f"{export}; {command}").stdout
        assert "row_is_mapped" in printed or command == quarantine[-1], command
    many = [command for command in readme_commands() if command.startswith(MANY_FITS)]
    assert len(many) == len(MANY_FITS)
    for command in many:
        own.run("bash", "-c", f"{export}; {command}")
    models = status(own)["models"]
    assert {"graph", "sequence", "transitions"} <= set(models)


def test_readme_commands_for_serving_work(shop: Shop) -> None:
    serve, *asked = [command for command in readme_commands() if command.startswith(SERVED)]
    log = shop.folder.parent / "shoploom-serve.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {serve}"], cwd=shop.folder, env=shop.environment, stdout=output, stderr=output
        )
    try:
        await_answer("http://127.0.0.1:8000/readyz", server, log)
        for command in asked:
            answer = json.loads(shop.run("bash", "-c", command).stdout)
            assert len(answer["results"]) == (3 if '"k": 3' in command else 10), answer
    finally:
        server.terminate()
        assert server.wait(30) == 0, log.read_text()
    (trace,) = [command for command in readme_commands() if command.startswith("shoploom lineage served:")]
    assert "version 1" in shop.run("bash", "-c", trace.replace("REQUEST_ID", answer["request_id"])).stdout


def test_champion_is_served_by_mlflow_alone(shop: Shop) -> None:
    export = next(command for command in readme_commands() if command.startswith("export MLFLOW_TRACKING_URI="))
    tracking = shop.run("bash", "-c", f'{export} && printf %s "$MLFLOW_TRACKING_URI"').stdout
    environment = shop.environment | {"MLFLOW_TRACKING_URI": tracking, "SHOPLOOM_HOME": str(shop.folder / ".shoploom")}
    with champion_served(shop.folder / ".venv" / "bin" / "mlflow", environment, shop.folder.parent) as address:
        for question in (
            {"task": "recommend", "user_id": "1158", "k": 5},
            {"task": "search", "query": "pizza", "k": 5},
        ):
            row = {"task": None, "user_id": None, "query": None, "k": 5} | question
            body = json.dumps({"dataframe_records": [row]}).encode()
            request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
            answer = json.load(urllib.request.urlopen(request, timeout=60))
            assert len(answer["predictions"]) == 5
            assert all(line["title"] for line in answer["predictions"])


def without_vocabulary(path: Path) -> bytes:
    """A file's bytes; of a vocabulary, which has "user" and "household" among its words, all but the words' numbers."""
    if path.name in ("words.json", "vocab.index.json"):
        return json.dumps(sorted(json.loads(path.read_bytes()))).encode()
    if path.name != "tokenizer.json":
        return path.read_bytes()
    document = json.loads(path.read_bytes())
    assert document["model"].pop("vocab")
    return json.dumps(document).encode()


def test_no_table_page_or_log_of_the_run_holds_a_raw_user_id(shop: Shop, first: dict[str, Any]) -> None:
    home = shop.folder / ".shoploom"
    # The default data's households are numbered from 1: "user_id": 0 is a count of missing ids, in a profile.
    named, tables = re.compile(rb"(?i)(?:user|household)(?:_id)?[ \"':=]{1,4}[1-9]\d{0,3}\b"), 0
    for path in (path for path in home.rglob("*") if path.is_file() and path.stat().st_size):
        with path.open("rb") as stream:
            kind = stream.read(4)
        if kind == b"PAR1":
            schema = pq.ParquetFile(path).schema_arrow
            if "user_id" in schema.names:
                tables += 1
                users = pc.unique(pq.ParquetFile(path).read(["user_id"])["user_id"]).to_pylist()
                assert all(len(user) == 32 for user in users), path
        elif path.suffix in (".log", ".json", ".html", ".yaml", ".txt", ".progress", ".db"):
            # What a person asked for on the command line goes to the terminal alone.
            assert not named.search(without_vocabulary(path)), path
    assert tables > 100


def test_no_dependency_called_home(shop: Shop) -> None:
    assert not shop.attempts.exists(), shop.attempts.read_text()
