"""Commands of what comes in: sources, contracts, refused rows, pseudonyms."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipelines.commands.frame import SuggestingGroup, Text, current_settings, json_option, present


@click.group(cls=SuggestingGroup)
def source() -> None:
    """Where a shop's data comes from: what there is, what a mapping gives, a first mapping."""


@source.command("list")
@json_option
def list_sources(as_json: bool) -> None:
    """Name the sources that come with shoploom, and the one that is set."""
    from pipelines.sources.tabular.check import draw_sources, list_all

    present(list_all(current_settings()), as_json, draw_sources)


@source.command()
@click.argument("mapping", type=Text())
@click.option(
    "-n", "--rows", default=1000, show_default=True, type=click.IntRange(1), help="Rows of each feed to read."
)
@click.option(
    "--files",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="Files of each feed to look at, from the first to the last.",
)
@json_option
def check(mapping: str, rows: int, files: int, as_json: bool) -> None:
    """Read a sample by a MAPPING and show what it gives, and all that will not map; nothing is landed.

    MAPPING is a YAML file, or a source with its setting: movielens:ml-25m.
    """
    from pipelines.sources.tabular.check import check_source, draw_check

    found = check_source(current_settings(), mapping, rows, files)
    present(found, as_json, draw_check)
    if any(table["unmapped"] or table["refused"] for table in found["tables"].values()):
        sys.exit(1)


@source.command()
@click.argument("files", type=Text(), nargs=-1, required=True)
def draft(files: tuple[str, ...]) -> None:
    """Write a first mapping of FILES to standard output, for a person to finish."""
    from pipelines.sources.tabular.draft import draft_mapping

    click.echo(draft_mapping([*files]), nl=False)


@click.group(cls=SuggestingGroup)
def expectations() -> None:
    """What data may pass: the contracts' bounds."""


@expectations.command()
@json_option
def propose(as_json: bool) -> None:
    """Profile what was accepted and propose bounds: a fragment of params.yaml, the numbers behind each beside it."""
    from pipelines.orchestration.expectations import draw_proposals, propose_bounds

    present(propose_bounds(current_settings()), as_json, draw_proposals)


@click.group(cls=SuggestingGroup)
def quarantine() -> None:
    """Rows that the contracts refuse: what and why, and landing them again after the mapping was mended."""


@quarantine.command("list")
@json_option
def list_refused(as_json: bool) -> None:
    """Count the quarantined rows of the newest data version, by table, partition and check; name the stopped loads."""
    from pipelines.orchestration.quarantine import draw_list, list_all

    present(list_all(current_settings()), as_json, draw_list)


@quarantine.command()
@click.option("--table", type=Text(), default="", help="Only of this table.")
@click.option("--partition", type=Text(), default="", help="Only of this partition.")
@click.option("--check", type=Text(), default="", help="Only rows that fail this check.")
@click.option("-n", "--rows", type=click.IntRange(1), help="Rows to show; 10 by default, all of them with --edit.")
@click.option("--edit", is_flag=True, help="As JSON lines whose values can be corrected, for replay --rows.")
@json_option
def show(table: str, partition: str, check: str, rows: int | None, edit: bool, as_json: bool) -> None:
    """Show quarantined rows, with every failing check and the source's own values."""
    import json

    from pipelines.orchestration.quarantine import draw_rows, show_quarantine
    from pipelines.orchestration.quarantine_edits import to_edit

    found = show_quarantine(current_settings(), table, partition, check, rows or (sys.maxsize if edit else 10))
    if edit:
        for line in to_edit(found):
            click.echo(json.dumps(line, ensure_ascii=False))
    else:
        present(found, as_json, draw_rows)


@quarantine.command()
@click.option(
    "--rows",
    "edited",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rows with corrected values, as show --edit writes them.",
)
@json_option
def replay(edited: Path | None, as_json: bool) -> None:
    """Map every kept row again by the mapping of today, and version what comes out; the files are not needed."""
    from dataclasses import asdict

    from pipelines.lineage.audit import record
    from pipelines.orchestration.quarantine import replay as again

    settings = current_settings()
    done = again(settings, edited)
    if done.changed:
        changed, subject = len(done.changed), f"data {done.commit}"
        record(settings, "land", subject, load="quarantine replay", changed=changed, corrected=done.edited)
    text = (
        f"data version {done.commit[:12]}: {done.quarantined[0]:,} rows were in quarantine, {done.quarantined[1]:,} are"
        + (f"; {done.edited:,} were corrected by hand" if edited else "")
    )
    present(asdict(done), as_json, lambda _, console: console.print(text))


@click.group(cls=SuggestingGroup)
def users() -> None:
    """Pseudonyms of users: what stands for the shop's own ids."""


@users.command()
@json_option
def rekey(as_json: bool) -> None:
    """Turn to a new key: a new data version with new pseudonyms; older ones, and their models, stay as they are."""
    from dataclasses import asdict

    from pipelines.lineage.audit import record
    from pipelines.runs.user_keys import rekey as turn

    settings = current_settings()
    made = turn(settings)
    record(settings, "land", f"data {made.commit}", load="users rekey", changed=made.partitions, key=made.key)
    text = f"data version {made.commit[:12]}: users are known under key {made.key} in {made.partitions} partitions"
    present(asdict(made), as_json, lambda _, console: console.print(text))


COMMANDS = (
    source,
    expectations,
    quarantine,
    users,
)
