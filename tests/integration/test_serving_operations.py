"""What happens around a running server: champions that come and break, a lost state, keys, cut bodies, fuzzing."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode

from pipelines.artifacts import read_table, write_table
from pipelines.errors import ConfigError
from pipelines.models.manifest import Facts, write_manifest
from pipelines.orchestration import api_keys
from pipelines.pseudonyms import KeyRing, open_ring
from pipelines.registry.promotion import champion, roll_back
from pipelines.serving import front
from pipelines.serving.app import create_app
from pipelines.serving.rules import Rules
from pipelines.serving.server import check_free
from pipelines.serving.service import Service
from pipelines.serving.state import State
from pipelines.settings import Settings
from tests.crashes import can_mount, mount
from tests.integration import test_package_and_evaluate as tiny
from tests.serving_shop import Served, place, registered, served

shop = tiny.shop
OPERATIONS = {
    "/search",
    "/recommend",
    "/items",
    "/events",
    "/identities",
    "/households",
    "/offers",
    "/offers/terms",
    "/reservations",
    "/stock",
}
"""Some of those that are fuzzed."""
REQUESTS = 150
"""Of each of two clients, while the model is swapped; the benchmark asks 10,000."""


@pytest.fixture(scope="module")
def settings(mlflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return place(mlflow_home, tmp_path_factory.mktemp("operations"))


@pytest.fixture(scope="module")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that was started before there was a champion."""
    with served(settings, tmp_path_factory.mktemp("serve"), ready=False) as server:
        yield alive(server)


def alive(server: Served) -> Served:
    """The server, once it answers at all."""
    while server.process.poll() is None:
        try:
            if server.ask("/healthz")[0] == 200:
                break
        except OSError:
            time.sleep(0.05)
    return server


def renamed(package: Path, folder: Path, suffix: str) -> Path:
    """The same package with a suffix on every title: another version, whose answers can be told."""
    shutil.copytree(package, folder)
    items = read_table(folder / "catalogue" / "items.parquet")
    place = items.schema.get_field_index("title")
    titles = [title + suffix for title in items["title"].to_pylist()]
    write_table(items.set_column(place, items.schema.field(place), [titles]), folder / "catalogue" / "items.parquet")
    return listed(folder)


def listed(folder: Path) -> Path:
    """A package whose manifest is right again after its files were changed."""
    write_manifest(folder, Facts(**json.loads((folder / "manifest.json").read_text())["facts"]))
    return folder


def until(server: Served, condition: Any, seconds: float = 60) -> dict[str, Any]:
    """Ask ``/readyz`` until it says what is wanted."""
    deadline = time.monotonic() + seconds
    while True:
        _, told = server.ask("/readyz")
        if condition(told):
            facts: dict[str, Any] = told
            return facts
        assert time.monotonic() < deadline, (told, server.log.read_text())
        time.sleep(0.05)


def test_server_waits_for_the_first_champion_and_says_so(
    server: Served, settings: Settings, shop: Path, tmp_path: Path
) -> None:
    told = until(server, lambda told: "champion" in told["trouble"])
    assert not told["ready"]
    assert "no model is promoted" in told["trouble"]["champion"]
    status, problem = server.ask("/recommend", {})
    assert (status, problem["code"]) == (503, "not_ready")
    registered(settings, shop / "data/package", tmp_path)
    assert until(server, lambda told: told["ready"])["model"]["version"] == "1"


def test_champion_is_swapped_under_load_without_a_failed_or_mixed_answer(
    server: Served, settings: Settings, shop: Path, tmp_path: Path
) -> None:
    answers: list[list[tuple[int, Any]]] = [[], []]
    moved = threading.Event()

    def client(mine: list[tuple[int, Any]]) -> None:
        connection = HTTPConnection(urlsplit(server.address).netloc, timeout=30)
        while len(mine) < REQUESTS or not moved.is_set() or mine[-1][1]["model"]["version"] != "2":
            user = f"u{len(mine) % 40:02}"
            connection.request("POST", "/recommend", json.dumps({"user": user}), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            mine.append((reply.status, json.load(reply)))

    clients = [threading.Thread(target=client, args=(mine,)) for mine in answers]
    for each in clients:
        each.start()
    registered(settings, renamed(shop / "data/package", tmp_path / "package", " II"), tmp_path, "second")
    moved.set()
    for each in clients:
        each.join(120)
    for mine in answers:
        assert {status for status, _ in mine} == {200}
        versions = [answer["model"]["version"] for _, answer in mine]
        assert set(versions) == {"1", "2"}
        assert versions == sorted(versions), "a model came back"
        for _, answer in mine:
            second = {result["title"].endswith(" II") for result in answer["results"]}
            assert second == {answer["model"]["version"] == "2"}


def test_version_that_cannot_be_read_is_not_served_and_rollback_mends_it(
    server: Served, settings: Settings, shop: Path, tmp_path: Path
) -> None:
    broken = renamed(shop / "data/package", tmp_path / "package", " III")
    (broken / "ranker" / "model.json").write_text("{}")
    registered(settings, listed(broken), tmp_path, "third")
    told = until(server, lambda told: "version 3" in told["trouble"].get("champion", ""))
    assert told["ready"]
    assert told["model"]["version"] == "2"
    assert "/" not in told["trouble"]["champion"].replace("n/a", "")
    assert server.ask("/recommend", {"user": "u01"})[0] == 200
    assert 'shoploom_swaps_total{outcome="refused"} 1.0' in server.ask("/metrics")[1]
    roll_back(settings)
    assert until(server, lambda told: not told["trouble"])["model"]["version"] == "2"
    found = champion(settings)
    assert found is not None
    assert found.version == "2"


def test_model_that_was_let_out_by_an_override_says_so_in_every_answer(
    server: Served, settings: Settings, shop: Path, tmp_path: Path
) -> None:
    assert until(server, lambda told: not told["trouble"])["model"]["override"] is None
    other = renamed(shop / "data/package", tmp_path / "package", " IV")
    version = registered(settings, other, tmp_path, "overridden", override="the shop needs soap")
    told = until(server, lambda told: told["model"]["version"] == version)
    assert told["model"]["override"] == "the shop needs soap"
    for path, body in (
        ("/recommend", {"user": "u01"}),
        ("/search", {"query": "milk"}),
        ("/converse", {"text": "milk"}),
    ):
        assert server.ask(path, body)[1]["model"] == told["model"]
    assert "shoploom_model_overridden 1.0" in server.ask("/metrics")[1]
    assert server.said(event="serving", version=version)["override"] == "the shop needs soap"


def test_second_server_on_the_same_state_file_is_refused(server: Served, settings: Settings, tmp_path: Path) -> None:
    with served(settings, tmp_path, ready=False) as second:
        assert second.process.wait(60) == 1
        assert "another shoploom serve runs" in second.log.read_text()
    assert server.ask("/readyz")[0] == 200


def test_body_that_is_cut_short_or_never_ends_harms_nobody(server: Served) -> None:
    address = urlsplit(server.address)
    head = b"POST /recommend HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    for piece in (head, head + b'{"user"', b"POST /recommend HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00"):
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as cut:
            cut.sendall(piece)
    assert server.ask("/recommend", {"user": "u01"})[0] == 200


def test_body_that_is_too_long_or_does_not_come_is_refused_as_documented(
    server: Served, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = urlsplit(server.address)
    head = b"POST /recommend HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30) as long:
        long.sendall(head + piece * 20 + b"0\r\n\r\n")
        refused = HTTPResponse(long)
        refused.begin()
        assert (refused.status, json.loads(refused.read())["code"]) == (413, "too_large")
    monkeypatch.setattr(front, "SECONDS_FOR_A_BODY", 0.05)

    async def never() -> dict[str, Any]:
        await asyncio.sleep(10)
        raise AssertionError

    sent: list[dict[str, Any]] = []

    async def keep(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/recommend", "raw_path": b"/recommend", "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"9")], "app": None,
    }  # fmt: skip
    asyncio.run(create_app(Service(settings))(scope, never, keep))
    assert (sent[0]["status"], json.loads(sent[1]["body"])["code"]) == (408, "too_slow")


def test_what_a_browser_sends_for_another_site_is_refused(server: Served) -> None:
    status, problem = server.ask("/recommend", {}, {"Sec-Fetch-Site": "cross-site"})
    assert (status, problem["code"], problem["where"]) == (403, "forbidden", "header.sec-fetch-site")
    for site in ("same-origin", "none"):
        assert server.ask("/recommend", {}, {"Sec-Fetch-Site": site})[0] == 200
    assert server.ask("/healthz", None, {"Sec-Fetch-Site": "cross-site"})[0] == 200


def test_only_the_names_of_this_machine_are_answered_without_keys(server: Served) -> None:
    port = urlsplit(server.address).port
    for name in ("shop.example", f"rebound.example:{port}", "127.0.0.1.example", "10.0.0.1", "[", ""):
        status, problem = server.ask("/recommend", {}, {"Host": name})
        assert (status, problem["code"], problem["where"]) == (403, "forbidden", "header.host"), name
    for name in ("localhost", f"LOCALHOST:{port}", f"127.0.0.1:{port}", "[::1]:8000", "127.9.9.9"):
        assert server.ask("/recommend", {}, {"Host": name})[0] == 200, name


def test_fuzzing_from_the_openapi_document_finds_no_fault_of_the_server(server: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= OPERATIONS
    for operation in operations:
        for mode in GenerationMode:
            if mode is GenerationMode.NEGATIVE and operation.method == "get":
                continue

            @hypothesis_settings(
                max_examples=12,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                reply = case.call(base_url=server.address, timeout=30)
                assert reply.status_code < 500, reply.text
                if reply.status_code >= 400:
                    assert reply.json().keys() == {"code", "reason", "where", "mend", "request_id"}

            ask()


def test_keys_guard_a_server_that_others_can_reach_and_a_lost_state_stops_no_recommendation(
    shop: Path, mlflow_home: Path, tmp_path: Path
) -> None:
    guarded = place(mlflow_home, tmp_path)
    registered(guarded, shop / "data/package", tmp_path)
    (tmp_path / "refused").mkdir()
    with served(guarded, tmp_path / "refused", "--host", "0.0.0.0", ready=False) as refused:
        assert refused.process.wait(60) == 1
        assert "API keys" in refused.log.read_text()
    reader = api_keys.make(guarded, "reader", ["read"], 5)
    writer = api_keys.make(guarded, "writer", ["events"], 600)
    asking = {"X-API-Key": str(api_keys.make(guarded, "fast", ["read"], 1000)["token"])}
    with served(guarded, tmp_path, "--host", "0.0.0.0") as server:
        reading = {"Authorization": f"Bearer {reader['token']}"}
        writing = {"X-API-Key": str(writer["token"])}
        event = {"event_id": "e1", "type": "view", "user": "u01", "item_id": "i001"}
        assert server.ask("/recommend", {})[0] == 401
        assert server.ask("/recommend", {}, {"X-API-Key": "sl_000000000000_guess"})[1]["code"] == "unauthorized"
        assert server.ask("/recommend", {}, writing)[1]["code"] == "forbidden"
        assert server.ask("/events", {"events": [event]}, reading)[1]["code"] == "forbidden"
        assert server.ask("/offers/terms", None, writing)[1]["code"] == "forbidden"
        assert (
            server.ask("/reservations", {"reservation_id": "a", "action": "redeem"}, reading)[1]["code"] == "forbidden"
        )
        assert server.ask("/events", {"events": [event]}, writing)[0] == 200
        assert server.ask("/households", None, asking)[1]["code"] == "forbidden"
        household = {"device": "d", "household": "0" * 32}
        assert server.ask("/identities", household, writing)[1]["code"] == "forbidden"
        assert server.ask("/")[0] == 200
        statuses = [server.ask("/recommend", {}, reading)[0] for _ in range(7)]
        assert (statuses[0], statuses[-1]) == (200, 429)
        assert reader["token"] not in server.log.read_text()
        assert server.ask("/recommend", {}, asking)[0] == 200
        file = guarded.home / "serving" / "state.db"
        file.rename(file.with_name("elsewhere.db"))
        status, problem = server.ask("/events", {"events": [{**event, "event_id": "e2"}]}, writing)
        assert (status, problem["code"]) == (503, "state_unavailable")
        assert "state" in until(server, lambda told: not told["ready"])["trouble"]
        assert server.ask("/recommend", {"user": "u01"}, asking)[0] == 200
        assert server.ask("/search", {"query": "milk", "user": "u02"}, asking)[0] == 200


def test_full_disk_turns_readiness_false_until_there_is_room_and_loses_nothing_acknowledged(
    shop: Path, mlflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this process may not mount a file system: run as root")
    full = place(mlflow_home, tmp_path)
    registered(full, shop / "data/package", tmp_path)
    disk = tmp_path / "disk"
    address = f"sqlite:///{disk}/state.db"
    monkeypatch.setenv("SHOPLOOM_STATE_URL", address)
    with mount(Path("tmpfs"), disk, "-o", "size=4m"):
        ballast, acknowledged = disk / "ballast", list[str]()
        ballast.write_bytes(b"x" * 2_000_000)

        def batch(number: int) -> list[dict[str, Any]]:
            event = {"type": "search", "user": "u01", "query": "q" * 500}
            return [{**event, "event_id": f"full-{number}-{place}"} for place in range(100)]

        with served(full, tmp_path) as server:
            for number in range(100):
                status, answer = server.ask("/events", {"events": batch(number)})
                if status != 200:
                    break
                acknowledged += [receipt["event_id"] for receipt in answer["receipts"]]
            assert acknowledged
            assert (status, answer["code"]) == (503, "state_unavailable")
            for _ in range(3):
                # Whether there is room is looked at once a second.
                ready, told = server.ask("/readyz")
                assert (ready, told["trouble"]["state"]) == (503, "the state does not answer: full")
                assert server.ask("/recommend", {"user": "u01"})[0] == 200
                assert server.ask("/search", {"query": "milk"})[0] == 200
                time.sleep(1)
            ballast.unlink()
            until(server, lambda told: told["ready"])
            status, answer = server.ask("/events", {"events": batch(number)})
            assert status == 200
            acknowledged += [receipt["event_id"] for receipt in answer["receipts"]]
        state = State.open(address, open_ring(full.home))
        assert state.events.get(acknowledged).keys() == {*acknowledged}
        state.close()


def test_state_of_another_key_ring_is_told_until_the_right_one_is_back_and_champions_are_still_taken_up(
    shop: Path, mlflow_home: Path, tmp_path: Path
) -> None:
    settings = place(mlflow_home, tmp_path)
    registered(settings, shop / "data/package", tmp_path)
    file = settings.home / "serving" / "state.db"
    file.parent.mkdir(mode=0o700)
    file.write_bytes(b"no database at all" * 100)
    foreign = tmp_path / "foreign.db"
    State.open(f"sqlite:///{foreign}", KeyRing((b"o" * 32,))).close()
    with served(settings, tmp_path, ready=False) as server:
        until(alive(server), lambda told: told["model"] is not None and "damaged" in told["trouble"].get("state", ""))
        assert server.ask("/recommend", {"user": "u01"})[0] == 200
        foreign.replace(file)
        told = until(server, lambda told: "the state knows users by key" in told["trouble"].get("state", ""))
        assert not told["ready"]
        registered(settings, renamed(shop / "data/package", tmp_path / "package", " II"), tmp_path, "second")
        until(server, lambda told: told["model"]["version"] == "2")
        file.unlink()
        assert until(server, lambda told: told["ready"])["trouble"] == {}


@pytest.mark.parametrize("taken", [True, False])
def test_address_that_cannot_be_listened_on_is_told_with_a_mend(taken: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        host, said = ("127.0.0.1", "Address already in use") if taken else ("192.0.2.1", "Cannot assign")
        with pytest.raises(ConfigError, match=said) as told:
            check_free(host, there.getsockname()[1])
    assert "--port" in told.value.mend


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pin: 3", "pin may not be 3"),
        ("pins: [a]", "did you mean 'pin'"),
        ("- a", "holds no rules"),
        ("per_brand: 0", "per_brand may not be 0"),
        ("boost: {a: -1}", "boost may not be"),
        ("a: [", "cannot be read"),
    ],
)
def test_rules_file_that_is_wrong_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        Rules.read(tmp_path / "rules.yaml")
    assert said in str(refused.value)
