"""Alembic's migrations of the state, run by ``State.open``; one module a step in ``versions``."""
