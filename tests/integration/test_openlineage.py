"""OpenLineage events: what the standard asks of each, versions and data quality of datasets, files and servers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.errors import ConfigError, RunError
from pipelines.lineage.graph import model_lineage
from pipelines.lineage.openlineage import JOBS, events_of, namespace, run_id, send
from tests.lineage_shop import make_lineage_shop, register_run, train
from tests.processes import answering
from tests.toy_pipeline import Shop


@pytest.fixture
def shop(tmp_path: Path, mlflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = make_lineage_shop(tmp_path, mlflow_home, monkeypatch)
    shop.land(1, 2, 3)
    assert register_run(shop, train(shop, "r1"), "r1") == "1"
    return shop


@contextmanager
def server(status: int = 201) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """One that takes events: its address, and path, key and body of what it was sent."""
    taken: list[tuple[str, str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, self.headers.get("Authorization", ""), json.loads(body)))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with answering(Handler) as address:
        yield address, taken


def hold_to_the_standard(event: dict[str, Any]) -> None:
    """What the schema of a RunEvent requires, and of every facet."""
    assert event["eventType"] in ("START", "COMPLETE")
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    UUID(event["run"]["runId"])
    assert re.fullmatch(r"https://openlineage\.io/spec/2-0-2/OpenLineage\.json#/\$defs/RunEvent", event["schemaURL"])
    assert event["producer"].startswith("urn:shoploom:")
    assert (event["job"]["namespace"], bool(event["job"]["name"])) == (JOBS, True)
    holders = [event["run"], event["job"], *event.get("inputs", []), *event.get("outputs", [])]
    for holder in holders:
        for part in ("facets", "inputFacets", "outputFacets"):
            for name, facet in (holder.get(part) or {}).items():
                assert facet["_producer"] == event["producer"], name
                assert facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/"), name
    for dataset in holders[2:]:
        assert dataset["namespace"]
        assert dataset["name"]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_events_of_a_version_tell_its_stages_datasets_versions_and_quality(shop: Shop, tmp_path: Path) -> None:
    lineage = model_lineage(shop.settings, "1")
    assert send(events_of(shop.settings, lineage), str(tmp_path / "events.jsonl")) == 6
    events = lines(tmp_path / "events.jsonl")
    for event in events:
        hold_to_the_standard(event)
    assert [(event["job"]["name"], event["eventType"]) for event in events] == [
        (job, state) for job in ("train.sizes", "train.total", "train") for state in ("START", "COMPLETE")
    ]
    assert lineage.run is not None
    sizes, total, whole = events[1], events[3], events[5]
    assert whole["run"]["runId"] == run_id(lineage.run.commit)
    assert sizes["run"]["facets"]["parent"]["run"]["runId"] == whole["run"]["runId"]
    assert sizes["job"]["facets"]["sourceCodeLocation"]["version"] == lineage.run.code_commit
    written = {out["name"]: out["facets"]["version"]["datasetVersion"] for out in sizes["outputs"]}
    read = {one["name"]: one["facets"]["version"]["datasetVersion"] for one in total["inputs"]}
    assert read["data/sizes"] == written["data/sizes"]
    (events_table,) = [one for one in whole["inputs"] if one["name"] == "data/raw/events"]
    assert events_table["facets"]["version"]["datasetVersion"] == lineage.data["tables"]["events"]
    quality = events_table["inputFacets"]
    assert quality["dataQualityMetrics"]["rowCount"] == 12
    told = {one["assertion"]: (one["success"], one["actual"]) for one in quality["dataQualityAssertions"]["assertions"]}
    assert told == {"price_is_positive": (False, "3"), "rows_are_accepted": (False, "3")}
    assert [out["name"] for out in whole["outputs"]] == ["model/1"]
    again = events_of(shop.settings, lineage)
    assert [event.run.runId for event in again] == [event["run"]["runId"] for event in events]


def test_events_go_to_a_server_with_its_key(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    environment = {"SHOPLOOM_REPOSITORY": str(shop.settings.repository)}
    with server() as (address, taken):
        sent = CliRunner().invoke(main, ["lineage", "model:1", "--openlineage", address], env=environment)
    assert (sent.exit_code, sent.stdout) == (0, ""), sent.output
    assert "6 events" in sent.stderr
    assert {(path, key) for path, key, _ in taken} == {("/api/v1/lineage", "Bearer secret")}
    for _, _, event in taken:
        hold_to_the_standard(event)


def test_events_that_cannot_be_told_or_taken_are_refused_with_a_mend(shop: Shop, tmp_path: Path) -> None:
    events = events_of(shop.settings, model_lineage(shop.settings, "1"))
    with server(400) as (address, _), pytest.raises(RunError, match="took 0 of 6 events"):
        send(events, address)
    with pytest.raises(ConfigError, match="no address of an OpenLineage server"):
        send(events, "ftp://somewhere")
    older = register_run(shop, None)
    with pytest.raises(RunError, match="older shoploom"):
        events_of(shop.settings, model_lineage(shop.settings, older))
    environment = {"SHOPLOOM_REPOSITORY": str(shop.settings.repository)}
    asked = ["lineage", "partition:2017-W01", "--openlineage", str(tmp_path / "events")]
    refused = CliRunner().invoke(main, asked, env=environment)
    assert (refused.exit_code, "is no model" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/srv/remote", "file:///srv/remote"),
        ("s3://bucket/dvc/", "s3://bucket/dvc"),
        ("https://ann:secret@store.example:9000/dvc", "https://store.example/dvc"),
    ],
)
def test_namespace_is_the_object_store_without_its_user(address: str, name: str) -> None:
    assert namespace(address) == name
