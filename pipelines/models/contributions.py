"""What each feature adds to a chance: what "because" is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.models.features import ITEM, OWN, TEXT, USER
from pipelines.models.repeat import RepeatTiming
from pipelines.models.signals import SAME_TEXT, Signals

OWN_WORDS = RepeatTiming.because
TEXT_WORDS = "how often you buy this kind"
ITEM_WORDS = "how well it sells"
TREND_WORDS = "it sells better of late"
USER_WORDS = "how you shop"


@dataclass(frozen=True)
class Contribution:
    """What a feature adds to one result.

    Args:
        feature: column of the blend.
        value: what the blend saw.
        log_odds: added to the log odds of a purchase; below 0 where the feature speaks against it.
        words: what the feature is about, for a shopper.
    """

    feature: str
    value: float
    log_odds: float
    words: str


def words_of(signals: Signals) -> dict[str, str]:
    """What each feature is about, by its name; a model's own words come from ``Model.because``."""
    words = {**dict.fromkeys(OWN, OWN_WORDS), **dict.fromkeys((*TEXT, SAME_TEXT), TEXT_WORDS)}
    words |= {name: TREND_WORDS if name.startswith("trend_") else ITEM_WORDS for name in ITEM}
    words |= dict.fromkeys(USER, USER_WORDS)
    for name, model in signals.chosen.items():
        words |= {name: model.because, f"{name}_share": model.because}
    return words


def contributions(
    names: Sequence[str], words: Mapping[str, str], row: NDArray[np.float32], added: NDArray[np.float64]
) -> tuple[Contribution, ...]:
    """One result's contributions, the strongest first; features that add nothing are left out.

    Args:
        names: columns of the blend.
        words: see :func:`words_of`.
        row: float32 [num_features], what the blend saw.
        added: float64 [num_features], in log odds.
    """
    order = [column for column in np.argsort(-np.abs(added), kind="stable") if added[column] != 0]
    return tuple(Contribution(names[at], float(row[at]), float(added[at]), words[names[at]]) for at in order)


def strongest_words(parts: Sequence[Contribution], least: float) -> str | None:
    """The words whose features together add most, at least ``least`` log odds; None if none do.

    What the user bought is left out: :func:`pipelines.models.reasons.explain` says that in numbers.
    """
    totals: dict[str, float] = {}
    for part in parts:
        totals[part.words] = totals.get(part.words, 0.0) + part.log_odds
    said = {words: total for words, total in totals.items() if words not in (OWN_WORDS, USER_WORDS)}
    best = max(said, key=lambda words: said[words], default=None)
    return best if best is not None and said[best] >= least else None
