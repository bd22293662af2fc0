"""One run at a time drives a state folder; another waits for its end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pipelines.errors import ServiceError
from pipelines.orchestration.dag_runs import hold_alone
from pipelines.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(repository=tmp_path, SHOPLOOM_HOME=tmp_path / "home")


def test_who_waits_gets_the_lock_when_the_other_run_ends(settings: Settings) -> None:
    first = hold_alone(settings)
    told = threading.Event()
    got: list[int] = []
    second = threading.Thread(target=lambda: got.append(hold_alone(settings, told.set)))
    second.start()
    assert told.wait(30)
    second.join(0.2)
    assert second.is_alive()
    assert got == []
    os.close(first)
    second.join(30)
    with pytest.raises(ServiceError, match="another run is under way"):
        hold_alone(settings)
    os.close(got[0])
    os.close(hold_alone(settings))


def test_who_is_told_to_wait_and_gives_up_holds_nothing(settings: Settings) -> None:
    first = hold_alone(settings)

    def give_up() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold_alone(settings, give_up)
    os.close(first)
    os.close(hold_alone(settings, lambda: pytest.fail("nobody holds it")))
