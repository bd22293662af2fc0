"""Commands that ask the champion, and those of who may ask it over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands.frame import SuggestingGroup, Text, current_settings, json_option, present


@click.command()
@click.argument("text", type=Text())
@click.option("--user", type=Text(), help="Personalise for this user.")
@click.option("-k", "--count", default=10, show_default=True, type=click.IntRange(1, 1000), help="Results to show.")
@json_option
def search(text: str, user: str | None, count: int, as_json: bool) -> None:
    """Search the catalogue with the champion."""
    from pipelines.orchestration.ask import draw_results, search_products

    present(search_products(current_settings(), text, count, user), as_json, draw_results)


@click.command()
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

    answer = recommend_products(current_settings(), user, count, new_only, debias, diversity)
    present(answer, as_json, partial(draw_results, why=5 if why else 0))


@click.command()
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
    import gc

    # What a server imports stays: it is not looked through again and again until the first model is loaded.
    gc.disable()
    from pipelines.serving.server import serve as listen

    settings = current_settings()
    listen(settings, host, port or settings.serve_port, rules or settings.rules)


@click.group("api-keys", cls=SuggestingGroup)
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

    present(
        make(current_settings(), label, scopes, rate),
        as_json,
        lambda made, console: console.print(made["token"], soft_wrap=True),
    )


@access.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """List the keys, the revoked ones too; none shows its secret."""
    from pipelines.orchestration.api_keys import draw_keys, every

    present(every(current_settings()), as_json, draw_keys)


@access.command("revoke")
@click.argument("key_id", type=Text())
@json_option
def revoke_key(key_id: str, as_json: bool) -> None:
    """Refuse a key from now on, within five seconds."""
    from pipelines.orchestration.api_keys import revoke

    present(
        revoke(current_settings(), key_id), as_json, lambda gone, console: console.print(f"revoked {gone['key_id']}")
    )


@click.group(cls=SuggestingGroup)
def offers() -> None:
    """Which coupons and campaign offers a shopper gets."""


@offers.command("fit")
@json_option
def fit_offers_command(as_json: bool) -> None:
    """Fit and sign how likely offers are redeemed, on real campaigns; say how well later ones are foretold."""
    from dataclasses import asdict

    from pipelines.serving.fit_offers import fit_offers

    report = fit_offers(current_settings())
    present(asdict(report), as_json, lambda _, console: console.print(str(report), markup=False, soft_wrap=True))


COMMANDS = (
    search,
    recommend,
    serve,
    access,
    offers,
)
