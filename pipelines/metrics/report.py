"""The evaluation as one page that needs nothing beside it: tables, pictures, examples. All text is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.metrics.plots import colour

STYLE = """
:root { color-scheme: light dark; --ink: #20242b; --soft: #6b7480; --line: #e2e6ea; --paper: #fff; --tint: #f6f8fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #9aa5b1; --line: #363c45; --paper: #16191d; --tint: #1e2329 } }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 72rem; margin: 2.5rem auto; padding: 0 1.2rem }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.4rem }
p.lead { font-size: 1.08rem } .soft { color: var(--soft) }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead th { color: var(--soft); font-weight: 500 }
tr.rank td { font-weight: 650 } .bar { display: inline-block; height: .62rem; border-radius: 2px; margin-right: .45rem }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; margin: .4rem 0 }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem }
.card { background: var(--tint); border-radius: 8px; padding: .8rem 1rem }
.card h3 { margin: 0 0 .4rem; font-size: 1rem }
.card ol { margin: 0; padding-left: 1.3rem } .card li { margin: .25rem 0 } .hit { color: #1a8f4c; font-weight: 700 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem } dt { color: var(--soft) } dd { margin: 0 }
"""

COLUMNS = {
    "ndcg_at_10": "NDCG@10",
    "ndcg_at_10_new": "NDCG@10 new",
    "recall_at_10": "Recall@10",
    "recall_at_10_new": "Recall@10 new",
    "map_at_10": "MAP@10",
    "map_at_10_new": "MAP@10 new",
    "coverage_at_10": "Coverage@10",
}


@dataclass(frozen=True)
class Line:
    """One result within an example.

    Args:
        title: what was shown.
        note: why, or how relevant.
        hit: whether the user bought it in the test window; None where that is not asked.
    """

    title: str
    note: str
    hit: bool | None = None


@dataclass(frozen=True)
class Example:
    """A recommendation or search as a person would see it.

    Args:
        heading: whose, or for what.
        lines: best first.
    """

    heading: str
    lines: tuple[Line, ...]


def render(metrics: Mapping[str, Any], pictures: Mapping[str, Path], examples: Sequence[Example]) -> str:
    """The page.

    Args:
        metrics: what ``evaluate`` writes to metrics.json.
        pictures: PNG files by caption, in order; they are put into the page.
        examples: shown as cards.
    """
    body = [
        "<h1>How good are the recommendations?</h1>",
        f'<p class="lead">{_verdict(metrics)}</p>',
        _champion_note(metrics["champion"]),
        *(f"<p><b>Mind:</b> {html.escape(line)}</p>" for line in metrics["warnings"]),
        "<h2>Every model on the test window</h2>",
        f'<p class="soft">{metrics["users"]:,} users, {metrics["candidates"]:,} products each of which may be offered. '
        "“New” leaves out what the user had bought before.</p>",
        _models_table(metrics["models"]),
        *(f"<figure>{picture(path, caption)}</figure>" for caption, path in pictures.items()),
        "<h2>Is the difference real?</h2>",
        '<p class="soft">Rank against every other model, user by user: mean difference of NDCG@10, its interval, and '
        "the chance of one as large if the two were interchangeable.</p>",
        _comparisons_table(metrics["comparisons"]),
        "<h2>Who is served well</h2>",
        _segments_table(metrics),
        "<h2>Products nobody had bought yet</h2>",
        _cold_table(metrics),
        "<h2>As a customer sees it</h2>",
        f'<p class="soft"><span class="hit">✓</span> was bought within the test window.</p>{_cards(examples)}',
        "<h2>How this was measured</h2>",
        _protocol(metrics["protocol"]),
    ]
    return page("evaluation", body)


def page(title: str, body: Sequence[str]) -> str:
    """One self-contained page; the body's texts are escaped already."""
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>shoploom: {html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body>\n{content}\n</body>\n</html>\n"
    )


def _verdict(metrics: Mapping[str, Any]) -> str:
    models, best = metrics["models"], metrics["best_baseline"]
    rank, plain = models["rank"]["ndcg_at_10"], models[best]["ndcg_at_10"]
    judged = metrics["comparisons"][best]["ndcg_at_10"]
    sure = "a significant difference" if judged["significant"] else "not a significant difference"
    return (
        f"The ranker reaches an NDCG@10 of <b>{rank:.3f}</b>; the best plain baseline, {_words(best)}, {plain:.3f} "
        f"({judged['effect']:+.4f}, {_p_value(judged['p_value'])}: {sure}). Over products new to the user it is "
        f"<b>{_number(models['rank']['ndcg_at_10_new'])}</b> against {_number(models[best]['ndcg_at_10_new'])}."
    )


def _champion_note(champion: Mapping[str, Any]) -> str:
    if champion["version"] is None:
        return '<p class="soft">No champion yet: the gate compares with the best plain baseline.</p>'
    name = html.escape(str(champion["version"]))
    if champion.get("not_compared"):
        return f'<p class="soft">Champion version {name} is not among the models below.</p>'
    if champion["saw_test_window"]:
        return (
            f"<p><b>Inconclusive:</b> champion version {name} was trained on events of this test window, so its "
            "figures below flatter it.</p>"
        )
    return (
        f'<p class="soft">Champion version {name} was scored afresh on the same users, products and window, with '
        "histories up to the same moment.</p>"
    )


def _models_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    best = max((row["ndcg_at_10"] or 0.0 for row in models.values()), default=1.0) or 1.0
    rows = []
    for name, row in sorted(models.items(), key=lambda pair: (-(pair[1]["ndcg_at_10"] or 0.0), pair[0])):
        width = 5.0 * (row["ndcg_at_10"] or 0.0) / best
        bar = f'<span class="bar" style="width:{width:.2f}rem;background:{colour(name, row["kind"])}"></span>'
        cells = "".join(f"<td>{_number(row[column])}</td>" for column in COLUMNS)
        rank = ' class="rank"' if name == "rank" else ""
        rows.append(f"<tr{rank}><td>{bar}{_words(name)} <span class='soft'>{row['kind']}</span></td>{cells}</tr>")
    return table(["model", *COLUMNS.values()], rows)


def _comparisons_table(comparisons: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, by_metric in comparisons.items():
        cells = "".join(
            f"<td>{row['effect']:+.4f}</td><td>{row['low']:+.4f} to {row['high']:+.4f}</td>"
            f"<td>{_p_value(row['p_value'])}</td>"
            if row
            else "<td>–</td><td>–</td><td>–</td>"
            for row in (by_metric["ndcg_at_10"], by_metric["ndcg_at_10_new"])
        )
        rows.append(f"<tr><td>{_words(name)}</td>{cells}</tr>")
    return table(["rank minus", "all", "interval", "p-value", "new", "interval", "p-value"], rows)


def _segments_table(metrics: Mapping[str, Any]) -> str:
    segments, sizes = metrics["segments"], metrics["segment_users"]
    limits = metrics["protocol"]["segment_limits"]
    rows = [
        f"<tr{' class=rank' if name == 'rank' else ''}><td>{_words(name)}</td>"
        + "".join(
            f"<td>{_number(segments[segment][name]['ndcg_at_10'])}</td>"
            f"<td>{_number(segments[segment][name]['ndcg_at_10_new'])}</td>"
            for segment in segments
        )
        + "</tr>"
        for name in metrics["models"]
    ]
    head = [title for segment in segments for title in (f"{segment} ({sizes[segment]:,})", "new")]
    note = (
        f"Thirds of the users by purchases before the window: light up to {limits[0]:,}, heavy from {limits[1] + 1:,}."
    )
    return f'<p class="soft">{note} NDCG@10.</p>' + table(["model", *head], rows)


def _cold_table(metrics: Mapping[str, Any]) -> str:
    cold = metrics["cold_items"]
    times = cold["times_category_popularity"]
    rows = [
        f"<tr{' class=rank' if name == 'rank' else ''}><td>{_words(name)}</td>"
        f"<td>{_number(row['recall_at_50'], 4)}</td><td>{_number(times[name], 1)}</td>"
        f"<td>{_number(row['ndcg_at_50'], 4)}</td></tr>"
        for name, row in sorted(cold["models"].items(), key=lambda pair: (-(pair[1]["recall_at_50"] or 0.0), pair[0]))
    ]
    note = (
        f"{cold['items']:,} products without a purchase before the window, offered to the {cold['users']:,} users who "
        "bought at least one of them in it. A model that knows purchases alone cannot tell them apart. Category "
        "popularity is how often products of the same type were bought, by everybody or, own category, by the user "
        "(ties by everybody): the better of the two is what the others are multiples of."
    )
    return f'<p class="soft">{note}</p>' + table(["model", "Recall@50", "times category", "NDCG@50"], rows)


def _cards(examples: Sequence[Example]) -> str:
    cards = []
    for example in examples:
        lines = "".join(
            f"<li>{'<span class=hit>✓</span> ' if line.hit else ''}{html.escape(line.title)}"
            f'<br><span class="soft">{html.escape(line.note)}</span></li>'
            for line in example.lines
        )
        cards.append(f'<div class="card"><h3>{html.escape(example.heading)}</h3><ol>{lines}</ol></div>')
    return f'<div class="cards">{"".join(cards)}</div>'


def _protocol(protocol: Mapping[str, Any]) -> str:
    texts = {name: _value(name, value) for name, value in protocol.items()}
    entries = "".join(f"<dt>{_words(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in texts.items())
    return f"<dl>{entries}</dl>"


def _value(name: str, value: Any) -> str:
    if name in ("test_starts", "test_ends"):
        return f"{datetime.fromtimestamp(round(value * 86_400), UTC):%A %Y-%m-%d %H:%M} UTC"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def picture(path: Path, caption: str) -> str:
    """A PNG as part of the page."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = html.escape(caption)
    return f'<img alt="{text}" src="data:image/png;base64,{data}"><figcaption class="soft">{text}</figcaption>'


def table(head: Sequence[str], rows: Sequence[str]) -> str:
    """A table of rows that are HTML already."""
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    body = "\n".join(rows)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _words(name: str) -> str:
    return html.escape(name.replace("_", " "))


def _number(value: float | None, places: int = 3) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def _p_value(value: float) -> str:
    return f"p = {value:.2g}" if value >= 0.001 else "p &lt; 0.001"
