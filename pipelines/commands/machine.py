"""Commands of this machine: what runs on it, what is broken, what may go."""

from __future__ import annotations

import sys

import click

from pipelines.commands.frame import current_settings, json_option, present


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check versions, git, places, keys, policy, audit log, databases, weights, the champion; say how to mend them."""
    from pipelines.orchestration.doctor import draw_findings, examine

    findings = examine(current_settings())
    present(findings, as_json, draw_findings)
    if any(finding["state"] == "broken" for finding in findings):
        sys.exit(1)


@click.command()
@click.option("--keep", default=5, show_default=True, type=click.IntRange(1), help="Newest runs to keep.")
@click.option(
    "--refused-days",
    default=30,
    show_default=True,
    type=click.IntRange(0),
    help="Days that the Data Docs of a refused load stay.",
)
@click.option("--dry-run", is_flag=True, help="Only list what may go.")
@json_option
def gc(keep: int, refused_days: int, dry_run: bool, as_json: bool) -> None:
    """Remove what no kept run, the champion or its predecessor needs."""
    from pipelines.orchestration.collect import collect, draw_collected

    present(collect(current_settings(), keep=keep, refused_days=refused_days, dry_run=dry_run), as_json, draw_collected)


@click.command()
@json_option
def up(as_json: bool) -> None:
    """Start Airflow, the MLflow server and `shoploom serve` on loopback."""
    from dataclasses import asdict

    from pipelines.orchestration import services

    started = services.up(current_settings())
    present(asdict(started), as_json, lambda _, console: console.print("\n".join(started.lines()), soft_wrap=True))


@click.command()
@json_option
def down(as_json: bool) -> None:
    """Stop what `shoploom up` started, and nothing else."""
    from pipelines.orchestration import services

    stopped = services.down(current_settings())
    text = f"stopped {', '.join(stopped)}" if stopped else "nothing was up"
    present({"stopped": stopped}, as_json, lambda _, console: console.print(text))


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []}, short_help="Airflow's own command line."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def airflow(arguments: tuple[str, ...]) -> None:
    """Airflow's own command line, on what `shoploom up` started.

    \b
    shoploom airflow backfill create --dag-id ingest --from-date 2017-11-06 --to-date 2017-11-27
    """
    import subprocess

    from pipelines.orchestration.airflow import environment

    settings = current_settings()
    command = [sys.executable, "-m", "airflow", *arguments]
    sys.exit(subprocess.run(command, env=environment(settings), cwd=settings.repository).returncode)


COMMANDS = (
    doctor,
    gc,
    up,
    down,
    airflow,
)
