import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.orchestration.display import Display
from pipelines.progress import PROGRESS_VARIABLE, STAGE_VARIABLE, report, track


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "progress.jsonl"
    monkeypatch.setenv(PROGRESS_VARIABLE, str(path))
    monkeypatch.setenv(STAGE_VARIABLE, "embed")
    return path


def test_track_yields_every_step_and_reports_the_last(listener: Path) -> None:
    assert list(track(range(5), "encode")) == [0, 1, 2, 3, 4]
    last = json.loads(listener.read_text().splitlines()[-1])
    assert (last["stage"], last["done"], last["total"]) == ("embed", 5, 5)


def test_display_prints_one_line_a_finished_task(listener: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    with Display(listener, console) as display:
        report("task", state="running")
        list(track(range(3), "encode"))
        display.update()
        report("task", state="success", note="cached")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "+ embed" in text
    assert "cached" in text


def test_display_waits_for_the_rest_of_a_half_written_line(listener: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    line = json.dumps({"event": "task", "stage": "fuse", "time": 1.0, "state": "failed", "note": "disk full"})
    with Display(listener, console) as display:
        listener.write_text(line[:30])
        display.update()
        with listener.open("a") as events:
            events.write(line[30:] + "\n")
    assert "disk full" in console.file.getvalue()  # type: ignore[attr-defined]
