import io

from rich.console import Console

from pipelines.orchestration.ask import draw_results


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
