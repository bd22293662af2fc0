"""What the server remembers: events, identities, sessions, offers and API keys, durable once acknowledged."""

from pipelines.serving.state.errors import ConflictError, StateError
from pipelines.serving.state.records import Event, Receipt
from pipelines.serving.state.store import State, default_url

__all__ = ["ConflictError", "Event", "Receipt", "State", "StateError", "default_url"]
