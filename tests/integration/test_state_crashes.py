"""What was acknowledged is there after a kill and after a power cut. The full counts are in ``bench_state.py``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipelines.serving.state import Event, State, StateError, database
from tests.crashes import acknowledged, can_mount, cut_power, examine, kill, mount
from tests.processes import free_port
from tests.state_database import RING, an_event
from tests.state_database import url as url


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder in which file systems may be mounted."""
    if not can_mount(tmp_path):
        pytest.skip("this process may not mount a file system: run as root")
    return tmp_path


def test_kills_lose_nothing_and_repeat_nothing(url: str, tmp_path: Path) -> None:
    log = tmp_path / "acknowledged"
    for number, more in enumerate((20, 300)):
        kill(url, log, f"run{number}", more)
        trial = examine(url, acknowledged(log))
        assert (trial.lost, trial.twice) == (0, 0)
    assert trial.acknowledged >= 320


@pytest.mark.parametrize("more", [50, 600])
def test_power_cut_loses_nothing(disk: Path, more: int) -> None:
    trial = cut_power(disk, more)
    assert (trial.lost, trial.twice) == (0, 0)
    assert trial.acknowledged >= more


def test_power_cut_does_lose_when_the_disk_is_not_waited_for(disk: Path) -> None:
    assert cut_power(disk, 300, synchronous="OFF").lost > 0


def test_full_disk_refuses_and_goes_on_when_there_is_space(disk: Path) -> None:
    with mount(Path("tmpfs"), disk / "mounted", "-o", "size=4m"):
        address = f"sqlite:///{disk}/mounted/state.db"
        state = State.open(address, RING)
        ballast = disk / "mounted" / "ballast"
        ballast.write_bytes(b"x" * 2_000_000)
        promised = []
        with pytest.raises(StateError, match="disk is full") as caught:
            for number in range(100):
                events = [an_event(f"e{number}-{place}", query="q" * 500) for place in range(100)]
                promised += [receipt.event_id for receipt in state.events.append(events)]
        assert caught.value.reason == "full"
        assert promised
        assert state.events.get(promised).keys() == {*promised}
        ballast.unlink()
        promised.append(state.events.append([an_event("after")])[0].event_id)
        state.close()
        assert examine(address, promised).lost == 0


def test_removed_file_is_noticed_before_anything_is_acknowledged(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    state = State.open(f"sqlite:///{file}", RING)
    state.check()
    file.rename(tmp_path / "elsewhere")
    for call in (lambda: state.events.append([an_event("e1")]), state.check):
        with pytest.raises(StateError, match="removed or replaced") as caught:
            call()
        assert caught.value.reason == "lost"
    (tmp_path / "elsewhere").rename(file)
    state.check()
    state.events.append([an_event("e1")])
    state.close()


def test_locked_database_is_told_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.2)
    state = State.open(f"sqlite:///{tmp_path}/state.db", RING)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="database is locked") as caught:
        state.events.append([an_event("e1")])
    assert caught.value.reason == "locked"
    assert state.events.of(RING.pseudonym("ann")) == []
    other.execute("COMMIT")
    other.close()
    state.events.append([an_event("e1")])
    state.close()


def test_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    file.write_bytes(b"a letter to my aunt\n" * 100)
    with pytest.raises(StateError, match="not a database") as caught:
        State.open(f"sqlite:///{file}", RING)
    assert caught.value.reason == "damaged"
    assert file.read_bytes().startswith(b"a letter")


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError) as caught:
        State.open(f"sqlite:///{tmp_path}/file/state.db", RING)
    assert caught.value.reason == "lost"


def test_server_that_is_not_there_is_told_without_its_password() -> None:
    with pytest.raises(StateError, match="refused") as caught:
        State.open(f"postgresql://shoploom:secret@127.0.0.1:{free_port()}/shoploom", RING)
    assert caught.value.reason == "unreachable"
    assert "secret" not in str(caught.value)


@pytest.mark.services
def test_broken_connections_are_made_again(postgresql: str) -> None:
    import psycopg

    from tests.state_database import new_database

    address = new_database(postgresql)
    state = State.open(address, RING)
    state.events.append([an_event("e1")])
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    state.events.append([an_event("e2")])
    assert [event.event_id for event in _all(state)] == ["e1", "e2"]
    state.close()


def test_closed_state_refuses(tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{tmp_path}/state.db", RING)
    waiting = [state.events.submit([an_event(f"e{number}")]) for number in range(20)]
    state.close()
    assert all(future.result() for future in waiting)
    with pytest.raises(StateError, match="is closed"):
        state.events.append([an_event("late")])


def _all(state: State) -> list[Event]:
    return state.events.of(RING.pseudonym("ann"))
