"""The ``shoploom`` command: thin, and quick to answer; each command imports what it needs."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.errors import ShoploomError, near_names

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.settings import Settings


class SuggestingGroup(click.Group):
    """A group that answers an unknown command with the near ones, and a deliberate error with one clear message."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            suggestion = near_names(name, self.commands) or "shoploom --help lists them"
            raise click.UsageError(f"no command {name!r}; {suggestion}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, _interrupt)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("shoploom: stopped\n  -> the same command goes on after the last finished stage", err=True)
            sys.exit(130)
        except ShoploomError as error:
            click.echo(f"shoploom: {error}", err=True)
            sys.exit(1)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            click.echo(f"shoploom: {_of_the_system(error)}", err=True)
            sys.exit(1)


def _of_the_system(error: OSError) -> str:
    """A full disk, a folder that may not be written: what and where, and how to mend it."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    where = f"{error.filename}: " if error.filename else ""
    mend = "free disk space: shoploom gc" if full else "shoploom doctor; SHOPLOOM_HOME moves the state folder"
    return f"{where}{error.strerror or error}\n  -> {mend}"


def _interrupt(number: int, _: object) -> None:
    """Let a closed terminal or a polite kill end as Ctrl-C does, so that what was started is stopped too."""
    raise KeyboardInterrupt(number)


class Day(click.ParamType[date]):
    """A date of the shop's calendar, ``2017-12-03``."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date; write it as 2017-12-03", param, ctx)


class Text(click.ParamType[str]):
    """Words that can be encoded: an argument whose bytes are no text arrives with surrogates in it."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text!r} is not UTF-8", param, ctx)
        return text


models_option = click.option(
    "--models",
    type=Text(),
    metavar="all|NAME,NAME",
    help="Train these models in this run; params.yaml, left as it is, chooses by default.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def _settings() -> Settings:
    import os

    from pydantic import ValidationError

    from pipelines.errors import ConfigError
    from pipelines.orchestration.services import with_running_mlflow
    from pipelines.settings import NO_TELEMETRY, Settings

    os.environ.update(NO_TELEMETRY)
    try:
        return with_running_mlflow(Settings())
    except ValidationError as error:
        first = error.errors()[0]
        name = "SHOPLOOM_" + str(first["loc"][0]).removeprefix("SHOPLOOM_").upper()
        raise ConfigError(
            f"{name}: {first['msg']}; got {first['input']!r}", mend=f"export {name}=... or unset it"
        ) from None


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _print(value: object, as_json: bool, draw: Callable[[Any, Console], None]) -> None:
    if as_json:
        import json

        click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
    else:
        draw(value, _console())


@click.group(cls=SuggestingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shoploom")
def main() -> None:
    """From a shop's raw data to served search and recommendation, every thread traceable.

    \b
    First:   shoploom run          land the data, train, compare, promote
    Then:    shoploom search "frozen pizza"
             shoploom recommend 1158
             shoploom status
    """


@main.command()
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

    _print(run_all(_settings(), until=until, models=models, quiet=as_json), as_json, draw_summary)


@main.command()
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

    _print(ingest_range(_settings(), start, end, quiet=as_json), as_json, draw_ingest)


@main.command()
@models_option
@json_option
def train(models: str | None, as_json: bool) -> None:
    """Train on the newest data version, then gate and promote."""
    from pipelines.orchestration.run import train_latest
    from pipelines.orchestration.summary import draw_summary

    _print(train_latest(_settings(), models=models, quiet=as_json), as_json, draw_summary)


@main.command()
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

    outcome = tune_model(_settings(), model, trials=trials, metric=metric, tell=tell)
    _print(outcome, as_json, draw_tuned)


@main.command()
@click.argument("text", type=Text())
@click.option("--user", type=Text(), help="Personalise for this user.")
@click.option("-k", "--count", default=10, show_default=True, type=click.IntRange(1, 1000), help="Results to show.")
@json_option
def search(text: str, user: str | None, count: int, as_json: bool) -> None:
    """Search the catalogue with the champion."""
    from pipelines.orchestration.ask import draw_results, search_products

    _print(search_products(_settings(), text, count, user), as_json, draw_results)


@main.command()
@click.argument("user", type=Text())
@click.option("-k", "--count", default=10, show_default=True, type=click.IntRange(1, 1000), help="Results to show.")
@click.option("--new", "new_only", is_flag=True, help="Only products that are new to the user.")
@click.option("--why", is_flag=True, help="Show each result's reasons, and what its strongest features added.")
@click.option(
    "--debias", type=click.FloatRange(0, 1), help="Give up on what everybody buys; the package's own if left out."
)
@click.option(
    "--diversity",
    type=click.FloatRange(0, 1, max_open=True),
    help="Avoid products that are alike; the package's own if left out.",
)
@json_option
def recommend(
    user: str, count: int, new_only: bool, why: bool, debias: float | None, diversity: float | None, as_json: bool
) -> None:
    """Recommend products to a user with the champion."""
    from functools import partial

    from pipelines.orchestration.ask import draw_results, recommend_products

    answer = recommend_products(_settings(), user, count, new_only, debias, diversity)
    _print(answer, as_json, partial(draw_results, why=5 if why else 0))


@main.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="To listen on; elsewhere than loopback needs keys."
)
@click.option("--port", type=click.IntRange(1, 65535), help="To listen on; SHOPLOOM_SERVE_PORT (8000) by default.")
@click.option("--rules", type=click.Path(path_type=Path), help="YAML of the shop's rules; SHOPLOOM_RULES by default.")
def serve(host: str, port: int | None, rules: Path | None) -> None:
    """Serve the champion over HTTP: search, recommendations, events; /docs shows every route.

    A new champion is loaded aside, checked, and swapped in without a failed request. Ctrl-C answers what is under way
    and ends.
    """
    from pipelines.serving.server import serve as listen

    settings = _settings()
    listen(settings, host, port or settings.serve_port, rules or settings.rules)


@main.group("api-keys", cls=SuggestingGroup)
def access() -> None:
    """API keys of `shoploom serve`: who may ask for what from other machines."""


@access.command("make")
@click.argument("label", type=Text())
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=Text(), help="read, events or admin; may be repeated."
)
@click.option("--rate", default=600, show_default=True, type=click.IntRange(1), help="Requests a minute.")
@json_option
def make_key(label: str, scopes: tuple[str, ...], rate: int, as_json: bool) -> None:
    """Make a key for LABEL; it is shown this once and stored nowhere."""
    from pipelines.orchestration.api_keys import make

    _print(
        make(_settings(), label, scopes, rate),
        as_json,
        lambda made, console: console.print(made["token"], soft_wrap=True),
    )


@access.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """List the keys, the revoked ones too; none shows its secret."""
    from pipelines.orchestration.api_keys import draw_keys, every

    _print(every(_settings()), as_json, draw_keys)


@access.command("revoke")
@click.argument("key_id", type=Text())
@json_option
def revoke_key(key_id: str, as_json: bool) -> None:
    """Refuse a key from now on, within five seconds."""
    from pipelines.orchestration.api_keys import revoke

    _print(revoke(_settings(), key_id), as_json, lambda gone, console: console.print(f"revoked {gone['key_id']}"))


@main.command()
@json_option
def status(as_json: bool) -> None:
    """Say what was landed, trained and promoted last."""
    from pipelines.orchestration.summary import draw_summary
    from pipelines.registry.summary import latest_summary

    _print(latest_summary(_settings()), as_json, draw_summary)


@main.command()
@click.option("-n", "--count", default=10, show_default=True, type=click.IntRange(1, 1000), help="Decisions to show.")
@json_option
def monitor(count: int, as_json: bool) -> None:
    """Show the last decisions whether to train again, and the numbers behind each."""
    from pipelines.orchestration.monitor import draw_decisions
    from pipelines.registry.decisions import last_decisions

    _print(last_decisions(_settings(), count), as_json, draw_decisions)


@main.group(cls=SuggestingGroup)
def expectations() -> None:
    """What data may pass: the contracts' bounds."""


@expectations.command()
@json_option
def propose(as_json: bool) -> None:
    """Profile what was accepted and propose bounds: a fragment of params.yaml, the numbers behind each beside it."""
    from pipelines.orchestration.expectations import draw_proposals, propose_bounds

    _print(propose_bounds(_settings()), as_json, draw_proposals)


root_option = click.option(
    "--root", type=Text(), default="", help="The root key's fingerprint; SHOPLOOM_ROOT_FINGERPRINT by default."
)
key_option = click.option("--key", type=Text(), help="A private key to sign with; this machine's own by default.")


@main.command()
@click.argument("version", type=Text())
@click.option(
    "--override", metavar="REASON", type=Text(), default="", help="Let it out although gate or approval say no."
)
@key_option
@root_option
@json_option
def promote(version: str, override: str, key: str | None, root: str, as_json: bool) -> None:
    """Make VERSION champion: signatures, bytes, verdict and approval are verified first.

    An override is signed, and shown wherever the version is; nothing overrides a broken signature or a changed byte.
    """
    from dataclasses import asdict
    from pathlib import Path

    from pipelines.lineage.promotions import promote_version

    moved = promote_version(_settings(), version, override, Path(key) if key else None, root)
    text = f"version {moved.champion} is champion: {moved.why}"
    _print(asdict(moved), as_json, lambda _, console: console.print(text, markup=False, soft_wrap=True))


@main.command()
@click.argument("version", type=Text())
@click.option("--key", required=True, type=Text(), help="The approver's private key.")
@click.option("--reason", type=Text(), default="", help="Why, in your words.")
@root_option
@json_option
def approve(version: str, key: str, reason: str, root: str, as_json: bool) -> None:
    """Sign that VERSION may be promoted; the key has to be an approver's, and not the trainer's."""
    from pathlib import Path

    from pipelines.lineage.promotions import approve_version

    name = approve_version(_settings(), version, Path(key), reason, root)
    text = f"version {version} is approved by {name}\n  -> shoploom promote {version}"
    _print({"version": version, "approver": name}, as_json, lambda _, console: console.print(text, markup=False))


@main.command()
@click.argument("version", type=Text(), required=False)
@json_option
def rollback(version: str | None, as_json: bool) -> None:
    """Give the alias champion back to the version that held it before, or to VERSION; it is verified first."""
    from dataclasses import asdict

    from pipelines.lineage.promotions import roll_back_version

    moved = roll_back_version(_settings(), version)
    text = f"champion is version {moved.champion} again; version {moved.previous} is the previous one"
    _print(asdict(moved), as_json, lambda _, console: console.print(text))


@main.command()
@click.argument("version", type=Text())
@root_option
@json_option
def verify(version: str, root: str, as_json: bool) -> None:
    """Check all that speaks for VERSION: signatures, every byte, verdict, approval, run, data and the audit log."""
    from dataclasses import asdict

    from pipelines.lineage.verify_deep import draw_standing, verify_all

    standing = verify_all(_settings(), version, root)
    _print(asdict(standing) if as_json else standing, as_json, draw_standing)
    if standing.broken:
        sys.exit(1)


@main.group(cls=SuggestingGroup, invoke_without_command=True)
@json_option
@click.pass_context
def keys(ctx: click.Context, as_json: bool) -> None:
    """Show the keys that sign here; make one, or turn to a new one."""
    if ctx.invoked_subcommand is None:
        from pipelines.lineage.keys import ring

        found = list(ring(_settings()))
        text = "\n".join(found) or "none yet: the first training makes one"
        _print({"keys": found}, as_json, lambda _, console: console.print(text))


@keys.command("new")
@click.argument("file", type=Text())
def new_pair(file: str) -> None:
    """Make a key pair of an approver or a root: FILE, for its owner alone, and FILE.pub."""
    from pathlib import Path

    from pipelines.lineage.keys import new_key

    made = new_key(Path(file))
    click.echo(f"{file} and {file}.pub, fingerprint {made.fingerprint}")


@keys.command("rotate")
def rotate_keys() -> None:
    """Turn to a new signing key, endorsed by the one before, which goes on verifying what it signed."""
    from pipelines.lineage.keys import rotate

    click.echo(f"key {rotate(_settings()).fingerprint} signs from now on")


@keys.command("sign")
@click.argument("version", type=Text())
def sign_version(version: str) -> None:
    """Sign a VERSION that an older shoploom registered: you vouch that it is what its run made."""
    from pipelines.lineage.adopt import adopt_version

    click.echo(f"version {version} is signed: release {adopt_version(_settings(), version)[:12]}")


@main.group(cls=SuggestingGroup, invoke_without_command=True)
@root_option
@json_option
@click.pass_context
def policy(ctx: click.Context, root: str, as_json: bool) -> None:
    """Show who may approve, by the policy that the root key signed; change it."""
    if ctx.invoked_subcommand is None:
        from dataclasses import asdict

        from pipelines.lineage.policy import asked_root, draw_policy, read_policy

        settings = _settings()
        found = read_policy(settings, asked_root(settings, root))
        _print((asdict(found) if found else None) if as_json else found, as_json, draw_policy)


@policy.command()
@click.argument("name", type=Text())
@click.argument("key", type=Text())
@click.option("--role", required=True, type=click.Choice(["approver", "trainer"]), help="What the key may sign.")
@click.option("--until", type=Text(), default="", help="Last day on which its signatures count: 2027-01-31.")
@click.option("--root-key", required=True, type=Text(), help="The root's private key.")
def trust(name: str, key: str, role: str, until: str, root_key: str) -> None:
    """Add NAME with the public KEY to the policy, or give them another key."""
    from pathlib import Path

    from pipelines.lineage.keys import load_key
    from pipelines.lineage.policy import change_policy, person

    made = change_policy(_settings(), load_key(Path(root_key)), trust=person(name, Path(key), role, until))
    click.echo(f"policy {made.number}: {name} is {role}; root {made.root}")


@policy.command()
@click.argument("name", type=Text())
@click.option("--root-key", required=True, type=Text(), help="The root's private key.")
def revoke(name: str, root_key: str) -> None:
    """Take NAME out of the policy; what they approved counts no more."""
    from pathlib import Path

    from pipelines.lineage.keys import load_key
    from pipelines.lineage.policy import change_policy

    made = change_policy(_settings(), load_key(Path(root_key)), revoke=name)
    click.echo(f"policy {made.number}: without {name}")


@policy.command()
@click.argument("rule", type=click.Choice(["none", "required"]))
@click.option("--root-key", required=True, type=Text(), help="The root's private key.")
def approval(rule: str, root_key: str) -> None:
    """Say whether a promotion needs an approval, whatever params.yaml says: RULE is none or required."""
    from pathlib import Path

    from pipelines.lineage.keys import load_key
    from pipelines.lineage.policy import change_policy

    made = change_policy(_settings(), load_key(Path(root_key)), approval=rule)
    click.echo(f"policy {made.number}: approval {made.approval}")


@main.group(cls=SuggestingGroup, invoke_without_command=True)
@click.option("--action", type=Text(), default="", help="Only of this action: land, gate, promote, refusal ...")
@click.option("--since", type=Day(), help="Only from this day on, UTC.")
@click.option("--run", "run_id", type=Text(), default="", help="Only of this Airflow run.")
@json_option
@click.pass_context
def audit(ctx: click.Context, action: str, since: date | None, run_id: str, as_json: bool) -> None:
    """Show who landed, trained, gated, approved, promoted, rolled back, loaded or was refused what, and when."""
    if ctx.invoked_subcommand is None:
        from pipelines.lineage.audit_display import draw_entries, list_entries

        _print(list_entries(_settings(), action, since, run_id), as_json, draw_entries)


@audit.command("verify")
@json_option
def verify_audit(as_json: bool) -> None:
    """Hold the audit log to itself, git and MLflow; name each entry that was edited, moved, removed or cut off."""
    from dataclasses import asdict

    from pipelines.lineage.audit_check import check as examine_log
    from pipelines.lineage.audit_display import draw_report

    report = examine_log(_settings())
    _print(asdict(report) if as_json else report, as_json, draw_report)
    if report.findings:
        click.echo("  -> shoploom audit restore writes the log again from git's copy, and keeps this one", err=True)
        sys.exit(1)


@audit.command("restore")
@json_option
def restore_audit(as_json: bool) -> None:
    """Write a lost or damaged audit log again from git's copy; the damaged one is kept beside it."""
    from pipelines.lineage.audit_check import restore

    entries = restore(_settings())
    _print({"entries": entries}, as_json, lambda _, console: console.print(f"the audit log has {entries} entries"))


@main.command()
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
        proved = prove_row(_settings(), target, row)
        _print(proved.to_dict() if as_json else proved, as_json, draw_membership)
        return
    settings = _settings()
    found = lineage_of(settings, target)
    if page is not None:
        write_page(found, Path(page))
        click.echo(f"the graph is drawn in {page}", err=True)
    if openlineage is not None:
        click.echo(f"{tell(settings, found, openlineage)} events went to {openlineage}", err=True)
    if (page is None and openlineage is None) or as_json:
        _print(found.to_dict() if as_json else found, as_json, lambda value, console: draw(value, console, everything))
    refuse_gaps(found.missing)


@main.command()
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

    found = compare_versions(_settings(), model_of(before), model_of(after))
    _print(
        found.to_dict() if as_json else found,
        as_json,
        lambda value, console: draw_comparison(value, console, everything),
    )
    refuse_gaps(found.missing)


@main.command()
@click.argument("version", type=Text())
@click.option("--html", "page", type=Text(), metavar="FILE", help="Write it as a page, in place of Markdown here.")
@click.option("--log", is_flag=True, help="Write it again beside the version in MLflow too.")
def card(version: str, page: str | None, log: bool) -> None:
    """Write the model card of a version, by number or alias: data, metrics by segment, limits, lineage.

    A run keeps it beside the version in MLflow, as model_card.md and model_card.html. Every figure is from its records.
    """
    from pipelines.lineage.ask import refuse_gaps
    from pipelines.lineage.card_pages import print_card, publish_card

    settings = _settings()
    if log:
        publish_card(settings, version)
    refuse_gaps(print_card(settings, version, Path(page) if page else None, click.echo))


@main.command()
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

    found = make_again(_settings(), model_of(target), lambda line: click.echo(line, err=True), keep=keep)
    _print(found.to_dict() if as_json else found, as_json, lambda value, console: console.print(summary(value)))
    if not found.identical:
        sys.exit(1)


@main.group(cls=SuggestingGroup)
def users() -> None:
    """Pseudonyms of users: what stands for the shop's own ids."""


@users.command()
@json_option
def rekey(as_json: bool) -> None:
    """Turn to a new key: a new data version with new pseudonyms; older ones, and their models, stay as they are."""
    from dataclasses import asdict

    from pipelines.lineage.audit import record
    from pipelines.runs.user_keys import rekey as turn

    settings = _settings()
    made = turn(settings)
    record(settings, "land", f"data {made.commit}", load="users rekey", changed=made.partitions, key=made.key)
    text = f"data version {made.commit[:12]}: users are known under key {made.key} in {made.partitions} partitions"
    _print(asdict(made), as_json, lambda _, console: console.print(text))


@main.group(cls=SuggestingGroup)
def quarantine() -> None:
    """Rows that the contracts refuse: what and why, and landing them again after the mapping was mended."""


@quarantine.command("list")
@json_option
def list_refused(as_json: bool) -> None:
    """Count the quarantined rows of the newest data version, by table, partition and check; name the stopped loads."""
    from pipelines.orchestration.quarantine import draw_list, list_all

    _print(list_all(_settings()), as_json, draw_list)


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

    found = show_quarantine(_settings(), table, partition, check, rows or (sys.maxsize if edit else 10))
    if edit:
        for line in to_edit(found):
            click.echo(json.dumps(line, ensure_ascii=False))
    else:
        _print(found, as_json, draw_rows)


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

    settings = _settings()
    done = again(settings, edited)
    if done.changed:
        changed, subject = len(done.changed), f"data {done.commit}"
        record(settings, "land", subject, load="quarantine replay", changed=changed, corrected=done.edited)
    text = (
        f"data version {done.commit[:12]}: {done.quarantined[0]:,} rows were in quarantine, {done.quarantined[1]:,} are"
        + (f"; {done.edited:,} were corrected by hand" if edited else "")
    )
    _print(asdict(done), as_json, lambda _, console: console.print(text))


@main.group(cls=SuggestingGroup)
def offers() -> None:
    """Which coupons and campaign offers a shopper gets."""


@offers.command("fit")
@json_option
def fit_offers_command(as_json: bool) -> None:
    """Fit and sign how likely offers are redeemed, on real campaigns; say how well later ones are foretold."""
    from dataclasses import asdict

    from pipelines.serving.fit_offers import fit_offers

    report = fit_offers(_settings())
    _print(asdict(report), as_json, lambda _, console: console.print(str(report), markup=False, soft_wrap=True))


@main.group(cls=SuggestingGroup)
def source() -> None:
    """Where a shop's data comes from: what there is, what a mapping gives, a first mapping."""


@source.command("list")
@json_option
def list_sources(as_json: bool) -> None:
    """Name the sources that come with shoploom, and the one that is set."""
    from pipelines.sources.tabular.check import draw_sources, list_all

    _print(list_all(_settings()), as_json, draw_sources)


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

    found = check_source(_settings(), mapping, rows, files)
    _print(found, as_json, draw_check)
    if any(table["unmapped"] or table["refused"] for table in found["tables"].values()):
        sys.exit(1)


@source.command()
@click.argument("files", type=Text(), nargs=-1, required=True)
def draft(files: tuple[str, ...]) -> None:
    """Write a first mapping of FILES to standard output, for a person to finish."""
    from pipelines.sources.tabular.draft import draft_mapping

    click.echo(draft_mapping([*files]), nl=False)


@main.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check versions, git, places, keys, policy, audit log, databases, weights, the champion; say how to mend them."""
    from pipelines.orchestration.doctor import draw_findings, examine

    findings = examine(_settings())
    _print(findings, as_json, draw_findings)
    if any(finding["state"] == "broken" for finding in findings):
        sys.exit(1)


@main.command()
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

    _print(collect(_settings(), keep=keep, refused_days=refused_days, dry_run=dry_run), as_json, draw_collected)


@main.command()
@json_option
def up(as_json: bool) -> None:
    """Start Airflow, the MLflow server and `shoploom serve` on loopback."""
    from dataclasses import asdict

    from pipelines.orchestration import services

    started = services.up(_settings())
    _print(asdict(started), as_json, lambda _, console: console.print("\n".join(started.lines()), soft_wrap=True))


@main.command()
@json_option
def down(as_json: bool) -> None:
    """Stop what `shoploom up` started, and nothing else."""
    from pipelines.orchestration import services

    stopped = services.down(_settings())
    text = f"stopped {', '.join(stopped)}" if stopped else "nothing was up"
    _print({"stopped": stopped}, as_json, lambda _, console: console.print(text))


@main.command(
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

    settings = _settings()
    command = [sys.executable, "-m", "airflow", *arguments]
    sys.exit(subprocess.run(command, env=environment(settings), cwd=settings.repository).returncode)


if __name__ == "__main__":
    main()
