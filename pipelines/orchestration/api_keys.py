"""The API keys of the server, from the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipelines.pseudonyms import open_ring
from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.serving.state import State
    from pipelines.serving.state.api_keys import ApiKey


def make(settings: Settings, label: str, scopes: Iterable[str], rate: int) -> dict[str, Any]:
    """Make a key; its token is in the answer and nowhere else.

    Raises:
        DataError: the label or a scope is none.
        StateError: the database cannot take it.
    """
    with _state(settings) as state:
        key, token = state.keys.make(label, scopes, rate)
    return {**_facts(key), "token": token}


def every(settings: Settings) -> list[dict[str, Any]]:
    """All keys, oldest first."""
    with _state(settings) as state:
        return [_facts(key) for key in state.keys.all()]


def revoke(settings: Settings, key_id: str) -> dict[str, Any]:
    """Refuse a key from now on.

    Raises:
        DataError: there is no such key.
    """
    with _state(settings) as state:
        state.keys.revoke(key_id)
    return {"key_id": key_id}


def draw_keys(keys: list[dict[str, Any]], console: Console) -> None:
    """One line a key."""
    from rich.markup import escape

    for key in keys:
        gone = "revoked" if key["revoked"] else "       "
        scopes, rate = ",".join(key["scopes"]), f"{key['requests_per_minute']}/min"
        line = f"{key['key_id']}  {gone}  {scopes:<18} {rate:>12}  {key['label']}"
        console.print(escape(line), soft_wrap=True)
    if not keys:
        console.print("there is no key: shoploom api-keys make NAME --scope read")


@contextmanager
def _state(settings: Settings) -> Iterator[State]:
    from pipelines.serving.state import State

    state = State.open(settings.serving_state, open_ring(settings.home))
    try:
        yield state
    finally:
        state.close()


def _facts(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "label": key.label,
        "scopes": sorted(key.scopes),
        "requests_per_minute": key.requests_per_minute,
        "made": key.made.isoformat(),
        "revoked": key.revoked.isoformat() if key.revoked else None,
    }
