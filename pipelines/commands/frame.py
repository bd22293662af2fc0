"""What all commands share: how they answer a mistake, what arguments may be, how a result is shown."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable
from datetime import date
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


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def current_settings() -> Settings:
    """Where everything is, as the environment says; with telemetry off.

    Raises:
        ConfigError: a variable is wrong; the message names it.
    """
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


def present(value: object, as_json: bool, draw: Callable[[Any, Console], None]) -> None:
    """Print a result as one JSON object, or as ``draw`` draws it."""
    if as_json:
        import json

        click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
    else:
        draw(value, _console())
