"""The server's events land as a source, beside the catalogue's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest

from pipelines.artifacts import read_table
from pipelines.errors import ConfigError
from pipelines.pseudonyms import KeyRing, key_of, write_ring
from pipelines.serving.state import State, StateError
from pipelines.sources import load_source
from pipelines.sources.landing import land
from tests.state_database import an_event

OLD = KeyRing((b"k" * 32,))
MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOPLOOM_HOME", str(tmp_path))
    write_ring(OLD, tmp_path)
    return tmp_path


def test_server_events_land_beside_the_shops_own(home: Path, tmp_path: Path) -> None:
    times = [MONDAY, MONDAY + timedelta(hours=1)]
    state = State.open(f"sqlite:///{home}/serving/state.db", OLD, clock=lambda: times[1])
    user = state.account("user-03")
    last_week = MONDAY - timedelta(days=2)
    bought = [("now", MONDAY), ("late", last_week)]
    state.events.append([an_event(name, identity=user, item_id="item-01", timestamp=time) for name, time in bought])
    # The server goes on while the events are landed.
    source = load_source("serving_events:tests.tiny_shop")
    landing = land(source, None, None, tmp_path / "raw", OLD)
    assert landing.partitions[0] == "2024-W01"
    assert (landing.partitions[-1], landing.late) == ("2026-W48", ("2026-W47",))
    assert len(landing.partitions) == 27

    week = read_table(tmp_path / "raw" / "events" / "2026-W48.parquet")
    assert week["event_id"].to_pylist() == ["now"]
    assert week["user_id"].to_pylist() == [OLD.pseudonym("user-03")]
    assert read_table(tmp_path / "raw" / "events" / "2026-W47.parquet")["event_id"].to_pylist() == ["late"]
    older = read_table(tmp_path / "raw" / "events" / "2024-W03.parquet")
    assert pc.all(pc.equal(pc.utf8_length(older["user_id"]), 32)).as_py()

    again = land(load_source("serving_events:tests.tiny_shop"), None, None, tmp_path / "again", OLD)
    assert again == landing
    for path in sorted((tmp_path / "raw").rglob("*.parquet")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "raw")).read_bytes()
    state.close()


def test_server_events_land_under_the_newest_key(home: Path, tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{home}/serving/state.db", OLD)
    state.events.append([an_event("now", identity=state.account("user-03"), item_id="item-01")])
    state.close()
    new = OLD.rotated()
    write_ring(new, home)
    landing = land(load_source("serving_events:tests.tiny_shop"), None, None, tmp_path / "raw", new)
    week = read_table(tmp_path / "raw" / "events" / f"{landing.partitions[-1]}.parquet")
    assert week["user_id"].to_pylist() == [new.pseudonym("user-03")]
    assert key_of(week.schema) == new.ids[-1]


def test_source_says_what_is_missing(home: Path) -> None:
    with pytest.raises(StateError, match="no such file"):
        load_source("serving_events:tests.tiny_shop").span()
    with pytest.raises(ConfigError, match="wants a setting"):
        load_source("serving_events")
    with pytest.raises(ConfigError, match="beside itself"):
        load_source("serving_events:serving_events:complete_journey")
