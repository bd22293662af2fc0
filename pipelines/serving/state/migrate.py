"""Bring a database to the newest schema, step by step, with Alembic."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from pipelines.serving.state.database import Database
from pipelines.serving.state.errors import StateError, in_our_words
from pipelines.serving.state.schema import HEAD

MIGRATIONS = Path(__file__).parent / "migrations"
_POSTGRESQL_LOCK = 5_230_117
"""An advisory lock: servers that start together migrate one after the other."""


def migrate(database: Database) -> None:
    """Run the migrations that the database lacks, in one transaction.

    Raises:
        StateError: a newer shoploom wrote the database, or it holds somebody else's tables.
    """
    with in_our_words(database.place):
        with database.snapshot() as connection:
            found = revision(connection)
        if found != HEAD:
            with database.transaction() as connection:
                if database.file is None:
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})"))
                _upgrade(connection, database.place)


def check_readable(database: Database) -> None:
    """See that a database that is only read has the schema that is known here.

    Raises:
        StateError: it has another, or none.
    """
    with in_our_words(database.place), database.snapshot() as connection:
        found = revision(connection)
    if found != HEAD:
        raise StateError(
            f"{database.place} has schema {found}, and {HEAD} is known here",
            "newer",
            mend="start shoploom serve of this version once, which brings an older one up to date",
        )


def revision(connection: Connection) -> str | None:
    """The newest migration that a database has had; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _upgrade(connection: Connection, place: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    found = revision(connection)
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StateError(
            f"{place} has schema {found}, newer than the {HEAD} that is known here",
            "newer",
            mend="upgrade shoploom, or name another database",
        )
    if found is None and (others := set(inspect(connection).get_table_names())):
        raise StateError(
            f"{place} holds other tables: {', '.join(sorted(others)[:3])}",
            "newer",
            mend="give the state a database of its own",
        )
    command.upgrade(config, "head")
