"""What the server remembers: events, identities, sessions, offers and API keys, durable once acknowledged."""

from pipelines.serving.state.api_keys import SCOPES, ApiKey
from pipelines.serving.state.errors import ConflictError, StateError
from pipelines.serving.state.exposures import Exposure
from pipelines.serving.state.offer_records import Held, Offer, OfferRefusedError, OfferState, Reservation
from pipelines.serving.state.records import Event, Receipt
from pipelines.serving.state.sessions import Session
from pipelines.serving.state.store import State, default_url

__all__ = [
    "SCOPES",
    "ApiKey",
    "ConflictError",
    "Event",
    "Exposure",
    "Held",
    "Offer",
    "OfferRefusedError",
    "OfferState",
    "Receipt",
    "Reservation",
    "Session",
    "State",
    "StateError",
    "default_url",
]
