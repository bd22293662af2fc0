"""A lineage as one page that needs nothing beside it: the graph, and what stands behind each of its boxes.

The page may load nothing and run nothing but its own script, by its content security policy; without the script a box's
link shows its details all the same. Every text is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence

from pipelines.lineage.layout import HEIGHT, WIDTH, Layout, lay_out
from pipelines.lineage.page_style import SCRIPT, STYLE
from pipelines.lineage.picture import Box, Picture, Table

_TITLE, _TEXT = 27, 32
"""Letters of a line that a box has room for."""


def page(picture: Picture, made: str) -> str:
    """The whole page.

    Args:
        picture: what to draw.
        made: by what and when, for the foot.
    """
    layout = lay_out([box.name for box in picture.boxes], picture.arrows)
    ids = {box.name: f"n{number}" for number, box in enumerate(picture.boxes)}
    policy = (
        f"default-src 'none'; style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    kinds = "".join(f'<li class="{kind}">{kind}</li>' for kind in dict.fromkeys(box.kind for box in picture.boxes))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_plain(picture.title)}: lineage</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{_plain(picture.title)}</h1>
<ul class="kinds" aria-label="Colours">{kinds}</ul>
<p class="tools"><button type="button" data-zoom="1.25">Larger</button>
<button type="button" data-zoom="0.8">Smaller</button> <button type="button" data-zoom="fit">Fit</button>
<span class="soft">Tab or arrow keys go from box to box, + and - and 0 zoom; drag to move.</span></p>
{_missing(picture)}</header>
<main>
<div class="graph" tabindex="-1">
{_svg(picture, layout, ids)}
</div>
<section class="details" aria-live="polite" aria-label="Details">
<p class="hint soft">Choose a box to see what stands behind it.</p>
{"".join(_details(box, ids[box.name], picture, ids) for box in picture.boxes)}</section>
</main>
<footer class="soft">{_plain(made)}</footer>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _svg(picture: Picture, layout: Layout, ids: Mapping[str, str]) -> str:
    boxes = {box.name: box for box in picture.boxes}
    order = sorted(boxes, key=lambda name: (layout.columns[name], layout.corners[name][1]))
    arrows = "".join(
        f'<path data-from="{ids[source]}" data-to="{ids[target]}" d="{_curve(layout.paths[source, target])}"/>'
        for source, target in layout.paths
    )
    drawn = "".join(_box(boxes[name], ids[name], layout) for name in order)
    size = f'width="{layout.width:g}" height="{layout.height:g}" viewBox="0 0 {layout.width:g} {layout.height:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="group" aria-label="Lineage, from sources on the left">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z"/></marker></defs>\n<g class="arrows">{arrows}</g>\n{drawn}</svg>'
    )


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A path through points: level where it passes a column, an S between columns."""
    (x, y), parts = points[0], [f"M{points[0][0]:g} {points[0][1]:g}"]
    for to_x, to_y in points[1:]:
        middle = (x + to_x) / 2
        parts.append(f"C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}" if to_y != y else f"H{to_x:g}")
        x, y = to_x, to_y
    return "".join(parts)


def _box(box: Box, name: str, layout: Layout) -> str:
    x, y = layout.corners[box.name]
    label = f"{box.kind}: {box.title}" + (f", {box.text}" if box.text else "")
    middle = 21 if box.text else 31
    text = f'<text class="soft" x="12" y="40">{_plain(_cut(box.text, _TEXT))}</text>' if box.text else ""
    return (
        f'<a href="#{name}" id="box-{name}" class="box {box.kind}" aria-label="{_plain(label)}" '
        f'transform="translate({x:g} {y:g})"><title>{_plain(label)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="7"/><rect class="edge" width="4" height="{HEIGHT}" rx="2"/>'
        f'<text x="12" y="{middle}">{_plain(_cut(box.title, _TITLE))}</text>{text}</a>\n'
    )


def _details(box: Box, name: str, picture: Picture, ids: Mapping[str, str]) -> str:
    facts = "".join(f"<dt>{_plain(key)}</dt><dd>{_plain(value)}</dd>" for key, value in box.facts)
    titles = {one.name: one.title for one in picture.boxes}
    of = [source for source, target in picture.arrows if target == box.name]
    into = [target for source, target in picture.arrows if source == box.name]
    for heading, others in (("made of", of), ("went into", into)):
        links = ", ".join(f'<a href="#{ids[one]}">{_plain(titles[one])}</a>' for one in dict.fromkeys(others))
        facts += f"<dt>{heading}</dt><dd>{links}</dd>" if links else ""
    tables = "".join(_table(heading, table) for heading, table in box.tables if table.rows)
    text = f' <span class="soft">{_plain(box.text)}</span>' if box.text else ""
    return f'<article id="{name}"><h2>{_plain(box.title)}{text}</h2><dl>{facts}</dl>{tables}</article>\n'


def _table(heading: str, table: Table) -> str:
    head = "".join(f"<th>{_plain(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{_plain(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return (
        f"<h3>{_plain(heading)} ({len(table.rows):,})</h3>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _missing(picture: Picture) -> str:
    if not picture.missing:
        return ""
    rows = "".join(f"<li>{_plain(one.what)} <em>{_plain(one.mend)}</em></li>" for one in picture.missing)
    return f'<section class="missing" role="note"><h2>Not shown</h2><ul>{rows}</ul></section>\n'


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _plain(text: str) -> str:
    """Escaped, and without what no page should hold."""
    return html.escape("".join(letter if letter.isprintable() else " " for letter in text))


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
