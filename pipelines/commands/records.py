"""Commands for auditors: what happened, what a model was made of, what changed."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import click

from pipelines.commands.frame import Day, SuggestingGroup, Text, current_settings, json_option, present


@click.group(cls=SuggestingGroup, invoke_without_command=True)
@click.option("--action", type=Text(), default="", help="Only of this action: land, gate, promote, refusal ...")
@click.option("--since", type=Day(), help="Only from this day on, UTC.")
@click.option("--run", "run_id", type=Text(), default="", help="Only of this Airflow run.")
@json_option
@click.pass_context
def audit(ctx: click.Context, action: str, since: date | None, run_id: str, as_json: bool) -> None:
    """Show who landed, trained, gated, approved, promoted, rolled back, loaded or was refused what, and when."""
    if ctx.invoked_subcommand is None:
        from pipelines.lineage.audit_display import draw_entries, list_entries

        present(list_entries(current_settings(), action, since, run_id), as_json, draw_entries)


@audit.command("verify")
@json_option
def verify_audit(as_json: bool) -> None:
    """Hold the audit log to itself, git and MLflow; name each entry that was edited, moved, removed or cut off."""
    from dataclasses import asdict

    from pipelines.lineage.audit_check import check as examine_log
    from pipelines.lineage.audit_display import draw_report

    report = examine_log(current_settings())
    present(asdict(report) if as_json else report, as_json, draw_report)
    if report.findings:
        click.echo("  -> shoploom audit restore writes the log again from git's copy, and keeps this one", err=True)
        sys.exit(1)


@audit.command("restore")
@json_option
def restore_audit(as_json: bool) -> None:
    """Write a lost or damaged audit log again from git's copy; the damaged one is kept beside it."""
    from pipelines.lineage.audit_check import restore

    entries = restore(current_settings())
    present({"entries": entries}, as_json, lambda _, console: console.print(f"the audit log has {entries} entries"))


@click.command()
@click.argument("target", type=Text())
@click.option(
    "--row", type=Text(), metavar="EVENT_ID", help="Whether the model was trained on this event, with a proof."
)
@click.option("--all", "everything", is_flag=True, help="Cut no list short.")
@click.option(
    "--html", "page", type=Text(), metavar="FILE", help="Draw the graph, as one page that needs nothing else."
)
@click.option("--openlineage", type=Text(), metavar="FILE|URL", help="Tell of a model's run as OpenLineage events.")
@json_option
def lineage(
    target: str, row: str | None, everything: bool, page: str | None, openlineage: str | None, as_json: bool
) -> None:
    """Say what a model was made of, what a partition touched, or what stands behind an answer.

    \b
    TARGET is  model:7, model:champion    run, code, data, stages by hash, partitions, loads
               partition:2017-W12         tables, runs, models; items/items names another table's file
               served:REQUEST_ID          the model that gave this answer, who let it out, and what it was made of
    """
    from pipelines.lineage.ask import draw, draw_membership, lineage_of, prove_row, refuse_gaps, tell, write_page

    if row is not None:
        proved = prove_row(current_settings(), target, row)
        present(proved.to_dict() if as_json else proved, as_json, draw_membership)
        return
    settings = current_settings()
    found = lineage_of(settings, target)
    if page is not None:
        write_page(found, Path(page))
        click.echo(f"the graph is drawn in {page}", err=True)
    if openlineage is not None:
        click.echo(f"{tell(settings, found, openlineage)} events went to {openlineage}", err=True)
    if (page is None and openlineage is None) or as_json:
        present(found.to_dict() if as_json else found, as_json, lambda value, console: draw(value, console, everything))
    refuse_gaps(found.missing)


@click.command()
@click.argument("before", type=Text())
@click.argument("after", type=Text())
@click.option("--all", "everything", is_flag=True, help="Cut no list short.")
@json_option
def diff(before: str, after: str, everything: bool, as_json: bool) -> None:
    """Say what changed between two versions: code, data, parameters, libraries, stages, and metrics with significance.

    BEFORE and AFTER are versions as model:6, model:champion.
    """
    from pipelines.lineage.ask import model_of, refuse_gaps
    from pipelines.lineage.compare import compare_versions
    from pipelines.lineage.compare_display import draw_comparison

    found = compare_versions(current_settings(), model_of(before), model_of(after))
    present(
        found.to_dict() if as_json else found,
        as_json,
        lambda value, console: draw_comparison(value, console, everything),
    )
    refuse_gaps(found.missing)


@click.command()
@click.argument("version", type=Text())
@click.option("--html", "page", type=Text(), metavar="FILE", help="Write it as a page, in place of Markdown here.")
@click.option("--log", is_flag=True, help="Write it again beside the version in MLflow too.")
def card(version: str, page: str | None, log: bool) -> None:
    """Write the model card of a version, by number or alias: data, metrics by segment, limits, lineage.

    A run keeps it beside the version in MLflow, as model_card.md and model_card.html. Every figure is from its records.
    """
    from pipelines.lineage.ask import refuse_gaps
    from pipelines.lineage.card_pages import print_card, publish_card

    settings = current_settings()
    if log:
        publish_card(settings, version)
    refuse_gaps(print_card(settings, version, Path(page) if page else None, click.echo))


COMMANDS = (
    audit,
    lineage,
    diff,
    card,
)
