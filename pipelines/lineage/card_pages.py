"""A model card as Markdown and as one HTML page; kept beside the version in MLflow."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.artifacts import atomic_file
from pipelines.lineage.card import CARD, Rows, Section, card_of, records_of
from pipelines.lineage.graph import Missing
from pipelines.registry.versions import keep_beside
from pipelines.settings import Settings

_STYLE = """
:root { color-scheme: light dark; --ink: #20242b; --soft: #5d6673; --line: #d9dee4; --paper: #fff }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a0abb8; --line: #3a414b; --paper: #14171b } }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 64rem;
  margin: 2rem auto; padding: 0 1.2rem; overflow-wrap: anywhere }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-top: 1px solid var(--line);
  padding-top: 1rem }
h3 { font-size: 1rem; margin-top: 1.5rem } h4 { font-size: .95rem; margin: 1rem 0 .2rem; color: var(--soft) }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .2rem 1.2rem } dt { color: var(--soft) }
dd { margin: 0 } .wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
thead th { color: var(--soft); font-weight: 500 }
@media print { :root { --ink: #000; --soft: #444; --line: #999; --paper: #fff } body { max-width: none; margin: 0 } }
"""


def publish_card(settings: Settings, version: str) -> None:
    """Write the card of a version beside it in MLflow, over one that is there.

    Raises:
        RegistryError: MLflow does not answer or has no such version.
        RunError: git failed.
    """
    records = records_of(settings, version)
    name = records.lineage.version.version
    sections = card_of(records)
    pages = {f"{CARD}.md": markdown(name, sections), f"{CARD}.html": page(name, sections)}
    keep_beside(settings, records.lineage.version, pages)


def print_card(settings: Settings, version: str, file: Path | None, say: Callable[[str], None]) -> tuple[Missing, ...]:
    """Say the card of a version as Markdown, or write it to a file as a page; gives what could not be told.

    Raises:
        RegistryError, RunError: as :func:`publish_card`.
    """
    records = records_of(settings, version)
    name, sections = records.lineage.version.version, card_of(records)
    if file is None:
        say(markdown(name, sections))
    else:
        with atomic_file(file) as temporary:
            temporary.write_text(page(name, sections), encoding="utf-8")
        say(f"the card is in {file}")
    return records.missing


def markdown(version: str, sections: Sequence[Section]) -> str:
    """The card as GitHub's Markdown."""
    parts = [f"# Model card: version {_line(version)}"]
    for section in sections:
        parts.append(f"{'#' * section.level} {_line(section.title)}")
        parts += [_line(text) for text in section.texts]
        if section.facts:
            parts.append("\n".join(f"- **{_line(name)}**: {_line(value)}" for name, value in section.facts))
        for heading, table in section.tables:
            parts += [f"{'#' * (section.level + 1)} {_line(heading)}", _markdown_table(table)]
    return "\n\n".join(parts) + "\n"


def page(version: str, sections: Sequence[Section]) -> str:
    """The card as a page that loads nothing and runs nothing."""
    body = "".join(map(_section, sections))
    title = f"Model card: version {_plain(version)}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    level = section.level
    texts = "".join(f"<p>{_plain(text)}</p>" for text in section.texts)
    facts = "".join(f"<dt>{_plain(name)}</dt><dd>{_plain(value)}</dd>" for name, value in section.facts)
    tables = "".join(
        f"<h{level + 1}>{_plain(heading)}</h{level + 1}>{_table(table)}" for heading, table in section.tables
    )
    listed = f"<dl>{facts}</dl>" if facts else ""
    return f"<section><h{level}>{_plain(section.title)}</h{level}>{texts}{listed}{tables}</section>\n"


def _table(table: Rows) -> str:
    head = "".join(f"<th>{_plain(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{_plain(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _markdown_table(table: Rows) -> str:
    rows = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(map(_line, row))} |" for row in rows)


def _line(text: str) -> str:
    """One line of Markdown in which nothing of a shop's text is markup."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in plain)


def _plain(text: str) -> str:
    return html.escape("".join(letter if letter.isprintable() else " " for letter in text))
