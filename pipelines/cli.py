"""The ``shoploom`` command: thin, and quick to answer."""

from __future__ import annotations

import click

from pipelines.commands import answers, data, machine, records, releases, runs
from pipelines.commands.frame import SuggestingGroup


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


for module in (runs, data, answers, releases, records, machine):
    for command in module.COMMANDS:
        main.add_command(command)


if __name__ == "__main__":
    main()
