"""Connections to PostgreSQL."""

from __future__ import annotations

from typing import Any


def dial(address: str, database: str | None = None) -> Any:
    """Connect to PostgreSQL by psycopg2, as Airflow and MLflow do, with all that the address asks for (``?sslmode=``).

    Args:
        address: as :meth:`pipelines.settings.Settings.database` gives it.
        database: another database of that server.

    Raises:
        psycopg2.Error: the server does not answer within ten seconds, or refuses.
    """
    import psycopg2
    from sqlalchemy.engine import make_url

    url = make_url(address).set(drivername="postgresql+psycopg2")
    arguments, login = url.get_dialect()().create_connect_args(url.set(database=database or url.database))
    return psycopg2.connect(*arguments, **{"connect_timeout": 10, **login})
