"""Where boxes go: in columns from left to right, each right of all that it was made of, with few arrows crossing.

    1. a box's column is one more than the largest of its sources' (the longest path)
    2. an arrow over several columns passes a point in each of those between, so that it runs between boxes
    3. columns are ordered by the mean place of what each box is joined with, forth and back, a few times

Source: Sugiyama, Tagawa and Toda 1981.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

WIDTH, HEIGHT = 214, 52
"""Of a box."""
GAP_X, GAP_Y, PASS = 78, 20, 12
"""Between columns, between boxes, and the height of a place where an arrow passes."""
MARGIN = 16
SWEEPS = 8


@dataclass(frozen=True)
class Layout:
    """Places.

    Args:
        corners: box -> its left upper corner.
        paths: arrow -> the points that it goes through, from box to box.
        columns: box -> its column, from 0.
        width: of all of it.
        height: of all of it.
    """

    corners: dict[str, tuple[float, float]]
    paths: dict[tuple[str, str], list[tuple[float, float]]]
    columns: dict[str, int]
    width: float
    height: float


def lay_out(names: Sequence[str], arrows: Sequence[tuple[str, str]]) -> Layout:
    """Place boxes.

    Args:
        names: of the boxes.
        arrows: from and to, both of them names; without a cycle.

    Raises:
        ValueError: the arrows make a cycle.
    """
    columns = _columns(names, arrows)
    chains = {arrow: _chain(arrow, columns) for arrow in dict.fromkeys(arrows)}
    for (source, target), chain in chains.items():
        for offset, name in enumerate(chain[1:-1], start=columns[source] + 1):
            columns[name] = offset
        assert columns[target] == columns[source] + len(chain) - 1
    ordered = _ordered(columns, [pair for chain in chains.values() for pair in pairwise(chain)])
    boxes = set(names)
    corners, middles, height = _places(ordered, boxes)
    paths = {arrow: _path(chain, corners, middles) for arrow, chain in chains.items()}
    width = 2 * MARGIN + len(ordered) * WIDTH + max(len(ordered) - 1, 0) * GAP_X
    return Layout(corners, paths, {name: columns[name] for name in names}, width, height)


def _columns(names: Sequence[str], arrows: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest path to each; what has no source stands right before the first that it goes to."""
    sources: dict[str, list[str]] = {name: [] for name in names}
    targets: dict[str, list[str]] = {name: [] for name in names}
    for source, target in arrows:
        sources[target].append(source)
        targets[source].append(target)
    columns: dict[str, int] = {}
    waiting = list(names)
    while waiting:
        ready = [name for name in waiting if all(source in columns for source in sources[name])]
        if not ready:
            raise ValueError(f"arrows in a circle: {', '.join(sorted(waiting)[:5])}")
        columns |= {name: max((columns[source] + 1 for source in sources[name]), default=0) for name in ready}
        waiting = [name for name in waiting if name not in columns]
    for name in names:
        if not sources[name] and targets[name]:
            columns[name] = min(columns[target] for target in targets[name]) - 1
    return columns


def _chain(arrow: tuple[str, str], columns: Mapping[str, int]) -> list[str]:
    source, target = arrow
    between = range(columns[source] + 1, columns[target])
    return [source, *(f"{source}\0{target}\0{column}" for column in between), target]


def _ordered(columns: Mapping[str, int], pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Names by column, each column in its order."""
    ordered: list[list[str]] = [[] for _ in range(max(columns.values(), default=-1) + 1)]
    for name, column in columns.items():
        ordered[column].append(name)
    before: dict[str, list[str]] = {name: [] for name in columns}
    after: dict[str, list[str]] = {name: [] for name in columns}
    for source, target in pairs:
        before[target].append(source)
        after[source].append(target)
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        joined, moved = (before, ordered[1:]) if forth else (after, ordered[-2::-1])
        for names in moved:
            places = {name: place / max(len(row), 1) for row in ordered for place, name in enumerate(row)}
            names.sort(key=lambda name: mean(places[other] for other in joined[name] or [name]))
    return ordered


def _places(
    ordered: Sequence[Sequence[str]], boxes: set[str]
) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]], float]:
    """Corners of boxes, points of passing arrows, and the height of all; each column is centred."""

    def size(name: str) -> int:
        return (HEIGHT if name in boxes else PASS) + GAP_Y

    height = max((sum(map(size, column)) for column in ordered), default=0) + 2 * MARGIN - GAP_Y
    corners: dict[str, tuple[float, float]] = {}
    points: dict[str, tuple[float, float]] = {}
    for number, column in enumerate(ordered):
        x = float(MARGIN + number * (WIDTH + GAP_X))
        y = (height - sum(map(size, column)) + GAP_Y) / 2
        for name in column:
            if name in boxes:
                corners[name] = (x, y)
            else:
                points[name] = (x, y + PASS / 2)
            y += size(name)
    return corners, points, float(height)


def _path(
    chain: Sequence[str], corners: Mapping[str, tuple[float, float]], points: Mapping[str, tuple[float, float]]
) -> list[tuple[float, float]]:
    """From the right side of the first box to the left side of the last, straight over the columns between."""
    first, last = corners[chain[0]], corners[chain[-1]]
    path = [(first[0] + WIDTH, first[1] + HEIGHT / 2)]
    for name in chain[1:-1]:
        x, y = points[name]
        path += [(x, y), (x + WIDTH, y)]
    return [*path, (last[0], last[1] + HEIGHT / 2)]
