"""The ledger of answers: written behind, held back while the state is away, bounded, and off where it is set so."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.serving import ledger
from pipelines.serving.ledger import Ledger
from pipelines.serving.state import State, StateError
from pipelines.serving.state.answered import Answered
from pipelines.serving.state.sessions import Session
from tests.state_database import RING

NOW = datetime.now(UTC)


def noted(name: str, days_ago: int = 0) -> Answered:
    return Answered(name, "/search", "7", "e" * 40, NOW - timedelta(days=days_ago))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(f"sqlite:///{tmp_path / 'state.db'}", RING)


def test_ledger_writes_what_was_noted_and_all_that_waits_when_it_stops(state: State) -> None:
    kept, opened = Ledger(30, 30), threading.Event()
    kept.start(lambda: state if opened.is_set() else None)
    assert kept.note(noted("r1"))
    assert state.answers.of("r1") == []
    opened.set()
    kept.stop()
    assert state.answers.of("r1") == [noted("r1")]


def test_ledger_forgets_what_is_older_than_it_is_kept(state: State) -> None:
    kept = Ledger(30, 30)
    for name, days in (("old", 31), ("new", 29)):
        kept.note(noted(name, days))
    kept.start(lambda: state)
    kept.stop()
    assert [len(state.answers.of(name)) for name in ("old", "new")] == [0, 1]


@pytest.mark.parametrize("answers_days", [0, 30])
def test_ledger_forgets_conversations_that_nobody_goes_on_with(tmp_path: Path, answers_days: int) -> None:
    times = [NOW - timedelta(days=8), NOW - timedelta(days=6)]
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}", RING, clock=lambda: times[0])
    state.sessions.put(Session("old", "conversation/1", {}))
    times.pop(0)
    state.sessions.put(Session("new", "conversation/1", {}))
    kept = Ledger(answers_days, 7)
    kept.start(lambda: state)
    kept.stop()
    assert [state.sessions.get(name) is None for name in ("old", "new")] == [True, False]


def test_ledger_holds_what_the_state_cannot_take_and_says_what_is_lost(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MOST_WAITING", 2)
    kept = Ledger(30, 30)
    assert [kept.note(noted(f"r{place}")) for place in range(3)] == [True, True, False]
    state.close()
    with pytest.raises(StateError):
        kept.write(state)
    again = State.open(state._database.place, RING)
    kept.write(again)
    assert [len(again.answers.of(f"r{place}")) for place in range(3)] == [1, 1, 0]
    again.close()


def test_ledger_keeps_nothing_where_it_is_set_to_no_days(state: State) -> None:
    kept = Ledger(0, 30)
    assert kept.note(noted("r1"))
    kept.write(state)
    assert state.answers.of("r1") == []
