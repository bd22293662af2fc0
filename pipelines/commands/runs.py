"""Commands that make a version: land, train, tune, and what decided to."""

from __future__ import annotations

import sys
from datetime import date

import click

from pipelines.commands.frame import Day, Text, current_settings, json_option, present

models_option = click.option(
    "--models",
    type=Text(),
    metavar="all|NAME,NAME",
    help="Train these models in this run; params.yaml, left as it is, chooses by default.",
)


@click.command()
@click.option("--until", type=Day(), help="Land only the partitions up to this day.")
@models_option
@json_option
def run(until: date | None, models: str | None, as_json: bool) -> None:
    """Land what is new, train on it, gate and promote; unchanged stages are not run again.

    The gate is set in params.yaml: what has to be gained, what may not be lost, and whether its verdict moves the
    champion (gate.mode: enforce) or is only told (dry_run).
    """
    from pipelines.orchestration.run import run_all
    from pipelines.orchestration.summary import draw_summary

    present(run_all(current_settings(), until=until, models=models, quiet=as_json), as_json, draw_summary)


@click.command()
@click.option("--from", "start", type=Day(), help="First day to land; the source's first by default.")
@click.option("--to", "end", type=Day(), help="Last day to land; the source's last by default.")
@json_option
def ingest(start: date | None, end: date | None, as_json: bool) -> None:
    """Land a range of days, a partition an interval, and version them.

    The same days landed again change nothing. Late events and corrections make new versions of the partitions of their
    own time. With `shoploom up`, intervals are landed side by side: shoploom airflow backfill create --help
    """
    from pipelines.orchestration.run import ingest_range
    from pipelines.orchestration.summary import draw_ingest

    present(ingest_range(current_settings(), start, end, quiet=as_json), as_json, draw_ingest)


@click.command()
@models_option
@json_option
def train(models: str | None, as_json: bool) -> None:
    """Train on the newest data version, then gate and promote."""
    from pipelines.orchestration.run import train_latest
    from pipelines.orchestration.summary import draw_summary

    present(train_latest(current_settings(), models=models, quiet=as_json), as_json, draw_summary)


@click.command()
@click.argument("model", type=Text())
@click.option("-n", "--trials", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Trials in all.")
@click.option(
    "--metric",
    default="ndcg_at_10",
    show_default=True,
    type=click.Choice(["ndcg_at_10", "ndcg_at_10_new"]),
    help="What is to grow on the validation window; _new counts only products new to the user.",
)
@json_option
def tune(model: str, trials: int, metric: str, as_json: bool) -> None:
    """Look for better settings of a model, and write them as a patch to params.yaml.

    Trials are fitted on the newest run's data, judged on its validation window and logged to MLflow; the same command
    goes on where it stopped.
    """
    from pipelines.orchestration.tune import draw_tuned, tune_model

    def tell(line: str) -> None:
        if not as_json:
            click.echo(line, err=True)

    outcome = tune_model(current_settings(), model, trials=trials, metric=metric, tell=tell)
    present(outcome, as_json, draw_tuned)


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Say what was landed, trained and promoted last."""
    from pipelines.orchestration.summary import draw_summary
    from pipelines.registry.summary import latest_summary

    present(latest_summary(current_settings()), as_json, draw_summary)


@click.command()
@click.option("-n", "--count", default=10, show_default=True, type=click.IntRange(1, 1000), help="Decisions to show.")
@json_option
def monitor(count: int, as_json: bool) -> None:
    """Show the last decisions whether to train again, and the numbers behind each."""
    from pipelines.orchestration.monitor import draw_decisions
    from pipelines.registry.decisions import last_decisions

    present(last_decisions(current_settings(), count), as_json, draw_decisions)


@click.command()
@click.argument("target", type=Text())
@click.option("--keep", is_flag=True, help="Leave what was made in .shoploom/reproduce.")
@json_option
def reproduce(target: str, keep: bool, as_json: bool) -> None:
    """Make a model again and compare every output: bit-identical, or which stage differs first and by how much.

    TARGET is model:7 or model:champion. A clean worktree of its run, the environment of its lock, its raw data and no
    cache; nothing of it reaches the books.
    """
    from pipelines.lineage.ask import model_of
    from pipelines.lineage.reproduce import reproduce as make_again
    from pipelines.lineage.reproduce import summary

    found = make_again(current_settings(), model_of(target), lambda line: click.echo(line, err=True), keep=keep)
    present(found.to_dict() if as_json else found, as_json, lambda value, console: console.print(summary(value)))
    if not found.identical:
        sys.exit(1)


COMMANDS = (
    run,
    ingest,
    train,
    tune,
    status,
    monitor,
    reproduce,
)
