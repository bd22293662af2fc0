"""Earlier windows: what the blend would have seen, had it been trained before the validation window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories, Model, Training
from pipelines.models.found import model_named
from pipelines.models.popularity import Popularity
from pipelines.models.repeat import RepeatTiming
from pipelines.models.signals import Signals
from pipelines.models.text import TextSimilarity
from pipelines.params import load_params
from pipelines.prepared import Events, Space
from pipelines.validation import read_attributes


@dataclass(frozen=True)
class Window:
    """What a blend is trained or judged on.

    Args:
        signals: fitted on the purchases before the window.
        histories: purchases before the window.
        candidates: int32 [num_candidates], ascending.
        purchases: int64, ascending: ``user * num_items + item`` of every purchase in the window.
    """

    signals: Signals
    histories: Histories
    candidates: NDArray[np.int32]
    purchases: NDArray[np.int64]


def starts_of(space: Space, first_day: float, count: int) -> list[float]:
    """When the windows before the validation window start, the latest first, each as long as it.

    A window is left out unless at least its own length of purchases lies before it.

    Args:
        space: holds the bounds of the validation window.
        first_day: days since the epoch of the first purchase.
        count: windows wanted.
    """
    length = space.test_starts - space.validation_starts
    starts = [space.validation_starts - length * (back + 1) for back in range(count)]
    return [start for start in starts if start - length >= first_day]


def earlier_windows(
    names: Sequence[str], events: Events, space: Space, *, count: int, min_buyers: int, seed: int, texts: Path
) -> Iterator[Window]:
    """Windows before the validation window, with every model that describes a pair fitted again on what came before.

    Nothing is yielded where such a model is not quick to fit (``Model.quick``).

    Args:
        names: the chosen models, in the order of names.
        events: every purchase before the validation window.
        space: the dense ids and the bounds of the windows.
        count: windows wanted; fewer where the history is short.
        min_buyers: distinct buyers that make an item a candidate.
        seed: of the fits.
        texts: ``texts.safetensors``.
    """
    names = [name for name in names if model_named(name).dense or name == RepeatTiming.name]
    kinds = [model_named(name) for name in names]
    if count < 1 or not len(events.days) or not all(kind.quick for kind in kinds):
        return
    vectors, length = TextSimilarity.from_file(texts), space.test_starts - space.validation_starts
    attributes = read_attributes() if any(kind.reads_attributes for kind in kinds) else None
    for start in starts_of(space, float(events.days.min()), count):
        histories = events.between(-np.inf, start).histories(space, start)
        popularity = Popularity.of(histories)
        fitted = _fit(names, Training(histories, vectors.texts, seed=seed, attributes=attributes), vectors)
        purchases = events.between(start, start + length).keys(space)
        yield Window(Signals(popularity, vectors, fitted), histories, popularity.candidates(min_buyers), purchases)


def _fit(names: Sequence[str], training: Training, texts: TextSimilarity) -> dict[str, Model]:
    """Every model by name, in the order of names; those that others build on are fitted first."""
    fitted: dict[str, Model] = {}

    def model(name: str) -> Model:
        if name not in fitted:
            kind = model_named(name)
            needed = {need: model(need) for need in kind.needs}
            given = Training(
                training.histories,
                texts=training.texts if kind.reads_texts else None,
                fitted=needed,
                seed=training.seed,
                attributes=training.attributes if kind.reads_attributes else None,
            )
            own = kind is TextSimilarity
            fitted[name] = texts if own else kind.fit(given, load_params(kind.Settings, str(kind.stage)))
        return fitted[name]

    return {name: model(name) for name in names}
