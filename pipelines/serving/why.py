"""What the ranking's features added to a result, taken apart on demand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.models.base import Histories
from pipelines.models.contributions import Contribution, contributions, words_of
from pipelines.models.ranker import Ranker
from pipelines.serving.standing import Standing, described_among


def contributions_of(
    ranker: Ranker, history: Histories, standing: Standing, items: Sequence[int]
) -> dict[int, tuple[Contribution, ...]]:
    """What each feature added to the chance of some items, the strongest first.

    Args:
        ranker: of the package.
        history: of one user.
        standing: of that user.
        items: dense ids.

    Returns:
        By dense id; an item that is not on the shortlist has no chance to take apart and is left out.
    """
    listed = np.sort(standing.items)
    wanted = np.array(sorted(set(items) & set(listed.tolist())), np.int32)
    if not len(wanted):
        return {}
    described = described_among(ranker, history, listed)[np.searchsorted(listed, wanted)]
    added = ranker.blend.contributions(described)[:, :-1]
    names, words = ranker.blend.feature_names, words_of(ranker.signals)
    return {
        item: contributions(names, words, row, parts)
        for item, row, parts in zip(wanted.tolist(), described, added, strict=True)
    }
