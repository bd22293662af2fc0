"""What a server of the candidate reaches, beside one of the champion."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reached:
    """What one server reached.

    Args:
        latencies_ms: of the golden requests, in their order.
        memory_mb: resident, after the last answer.
    """

    latencies_ms: tuple[float, ...]
    memory_mb: float


@dataclass(frozen=True)
class ServingTrial:
    """What the servers reached.

    Args:
        candidate: None where it could not be served.
        champion: None where there is none, or it could not be served.
        refused: why the candidate could not be served; empty otherwise.
        champion_refused: why the champion could not be served; empty otherwise.
    """

    candidate: Reached | None
    champion: Reached | None = None
    refused: str = ""
    champion_refused: str = ""
