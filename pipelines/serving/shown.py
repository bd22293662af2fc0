"""What was shown lately, and what the ranking knew of it then: kept for the exposures that a page sends back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.serving.answers import Result
from pipelines.serving.kept import Kept
from pipelines.serving.state import Event
from pipelines.serving.state.exposures import Exposure

KEPT_ANSWERS = 20_000


@dataclass(frozen=True)
class Page:
    """An answer.

    Args:
        model_version: that ranked it.
        placement: where.
        features: what the ranking knew, by item id; finite numbers by name.
    """

    model_version: str
    placement: str
    features: dict[str, dict[str, float]]


class Shown:
    """The newest answers."""

    def __init__(self) -> None:
        self._pages: Kept[str, Page] = Kept(KEPT_ANSWERS)

    def keep(
        self, request_id: str, model_version: str, placement: str, results: Iterable[Result], first: int = 1
    ) -> None:
        """Remember an answer, whose results start at the place ``first``."""
        features = {
            result.item_id: {"rank": float(rank), "score": result.score, **result.features}
            for rank, result in enumerate(results, start=first)
        }
        self._pages.put(request_id, Page(model_version, placement, features))

    def exposures(self, events: Iterable[Event]) -> list[Exposure]:
        """Of exposure events that name an answer of this server, what is to be kept for training."""
        found = []
        for event in events:
            page = None if event.request_id is None else self._pages.get(event.request_id)
            if event.event_type != "exposure" or page is None or event.item_id not in page.features:
                continue
            features = page.features[event.item_id]
            found.append(
                Exposure(
                    request_id=str(event.request_id),
                    position=int(features["rank"]) - 1 if event.position is None else event.position,
                    identity=event.identity,
                    item_id=event.item_id,
                    placement=event.placement or page.placement,
                    model_version=page.model_version or "unregistered",
                    shown=event.timestamp,
                    features=features,
                    session_id=event.session_id,
                )
            )
        return found
