import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.orchestration.ask import _example_query, draw_results


def test_answers_are_one_line_each_and_cannot_steer_the_terminal() -> None:
    row = {"position": 1, "item_id": "7\x1b[2J", "title": "Pizza [red]\x1b]0;t\x07\n" + "long " * 20, "score": 0.5}
    answer = {"question": "search: a\x1b[31mb\n" + "c" * 500, "model_version": "1", "results": [row]}
    sink = io.StringIO()
    draw_results(answer, Console(file=sink, width=80))
    lines = sink.getvalue().splitlines()
    assert len(lines) == 2
    assert all(character.isprintable() for line in lines for character in line)
    assert len(lines[0]) < 240
    assert "Pizza [red]" in lines[1]
    assert lines[1].endswith("0.500")


@pytest.mark.parametrize(
    ("types", "query"),
    [
        (["Black tea", "Frozen pizza"], "frozen pizza"),
        (["Soap", "Black tea"], "black tea"),
        ([None, None], "strong tea"),
    ],
)
def test_the_example_at_a_runs_end_is_a_question_of_this_shop(types: list[str | None], query: str) -> None:
    catalogue = SimpleNamespace(items=pa.table({"product_type": types}), titles=np.array(["Mild soap", "Strong tea"]))
    model: Any = SimpleNamespace(catalogue=catalogue, buyers=np.array([1, 9], np.int32))
    assert _example_query(model) == query
