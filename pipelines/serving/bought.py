"""What a shopper bought so far, of each item: as the model knows it, and since."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from pipelines.serving.engine import Engine
from pipelines.serving.offers import SECONDS_A_DAY, Shopping
from pipelines.serving.state import Event


def shopping_of(engine: Engine, user: int | None, events: Sequence[Event]) -> Shopping:
    """Sum a shopper's purchases up.

    As in ranking, the time that the model was trained up to counts as now for what it knows; what came since has its
    own age. Everybody's purchases are known over the same days, as where the chances of redemption were fitted.

    Args:
        engine: knows purchases up to its training.
        user: its row of the shopper; None for one it does not know.
        events: what the shopper did, of any time; items that the catalogue lacks count too.
    """
    lines: Counter[str] = Counter()
    last: dict[str, float] = {}
    if user is not None:
        history = engine.catalogue.histories.take(user, user + 1)
        for row, age in zip(history.items.tolist(), history.ages.tolist(), strict=True):
            name = str(engine.catalogue.item_ids[row])
            lines[name] += 1
            last[name] = min(age, last.get(name, age))
    now, oldest = time.time() / SECONDS_A_DAY, 0.0
    for event in events:
        days = event.timestamp.timestamp() / SECONDS_A_DAY
        if event.event_type != "purchase" or event.item_id is None or days < engine.recommender.facts.as_of:
            continue
        age = max(0.0, now - days)
        lines[event.item_id] += 1
        last[event.item_id] = min(age, last.get(event.item_id, age))
        oldest = max(oldest, age)
    return Shopping(engine.history_days + oldest, lines, last)
