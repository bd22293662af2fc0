"""How Airflow opens a database of its own in SQLite; its configuration names :data:`CONNECT_ARGS`."""

from __future__ import annotations

from typing import Any

CONNECT_ARGS: dict[str, Any] = {"timeout": 60}
"""Seconds that one writer waits for another. After SQLite's own five, a command such as ``airflow backfill create``
ends in ``database is locked`` beside a busy scheduler."""
