"""The page of a lineage: where boxes lie, that it loads nothing, and that no text of a shop becomes a tag."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipelines.lineage.graph import Missing
from pipelines.lineage.layout import HEIGHT, WIDTH, lay_out
from pipelines.lineage.page import page
from pipelines.lineage.picture import Box, Picture, Table

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\x00"
EMPTY = {"meta", "br", "img", "link", "input"}


@some.composite
def graphs(draw: some.DrawFn) -> tuple[list[str], list[tuple[str, str]]]:
    """Names, and arrows that go from an earlier one to a later one."""
    names = [f"b{number}" for number in range(draw(some.integers(1, 14)))]
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    return names, draw(some.lists(some.sampled_from(pairs), unique=True)) if pairs else []


@given(graphs())
def test_boxes_lie_right_of_what_they_are_made_of_and_nothing_lies_on_a_box(
    graph: tuple[list[str], list[tuple[str, str]]],
) -> None:
    names, arrows = graph
    found = lay_out(names, arrows)
    assert found.corners.keys() == set(names)
    for source, target in arrows:
        assert found.corners[source][0] + WIDTH < found.corners[target][0]
        assert found.paths[source, target][-1] == (found.corners[target][0], found.corners[target][1] + HEIGHT / 2)
    corners = list(found.corners.values())
    for place, (x, y) in enumerate(corners):
        assert 0 <= x <= found.width - WIDTH
        assert 0 <= y <= found.height - HEIGHT
        assert all(abs(x - a) >= WIDTH or abs(y - b) >= HEIGHT for a, b in corners[:place])
        for points in found.paths.values():
            assert not any(x <= a <= x + WIDTH and y < b < y + HEIGHT for a, b in points[1:-1])


def test_arrows_in_a_circle_are_refused() -> None:
    with pytest.raises(ValueError, match="in a circle: a, b"):
        lay_out(["a", "b"], [("a", "b"), ("b", "a")])


def picture() -> Picture:
    drawn = Picture(HOSTILE, missing=(Missing(HOSTILE, HOSTILE),))
    table = Table((HOSTILE,), ((HOSTILE,),))
    first = drawn.add(Box("one", "source", HOSTILE, HOSTILE, ((HOSTILE, HOSTILE),), ((HOSTILE, table),)))
    drawn.add(Box("two", "model", "Model version 7"), first)
    return drawn


class Tags(HTMLParser):
    """Tags with their attributes, and the text of the script and the style; refuses tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data


def test_page_loads_nothing_and_runs_its_own_script_alone() -> None:
    text = page(picture(), "shoploom")
    tags = Tags(text)
    names = {name for name, _ in tags.found}
    assert not names & {"img", "link", "iframe", "object", "embed", "base", "form", "image", "use"}
    assert [name for name, _ in tags.found].count("script") == 1
    for name, attributes in tags.found:
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "srcset", "style")], name
        assert attributes.get("href", "#").startswith("#")
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\((?!#)", text)
    policy = next(attributes["content"] or "" for name, attributes in tags.found if name == "meta" and "http-equiv" in
                  attributes)  # fmt: skip
    assert policy.startswith("default-src 'none'")
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(tags.texts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_every_box_can_be_reached_by_the_keyboard_and_leads_to_its_details() -> None:
    tags = Tags(page(picture(), "shoploom"))
    boxes = [one for name, one in tags.found if name == "a" and "box" in str(one.get("class"))]
    details = {one["id"] for name, one in tags.found if name == "article"}
    assert {str(box["href"]).removeprefix("#") for box in boxes} == details
    assert len(details) == 2
    assert all(box["aria-label"] for box in boxes)
