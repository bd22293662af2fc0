"""The catalogue's distinct texts: what is encoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.errors import DataError


def distinct_texts(items: pa.Table) -> tuple[list[str], NDArray[np.int32]]:
    """The distinct texts in sorted order, and the one that each item has.

    Args:
        items: the prepared items; columns ``item`` (dense, = row number) and ``text``.

    Returns:
        Texts, and int32 [num_items].

    Raises:
        DataError: an item has no text, or ``item`` is not the row number.
    """
    mend = "SHOPLOOM_NO_CACHE=1 shoploom run"
    if not np.array_equal(items.column("item").to_numpy(), np.arange(items.num_rows)):
        raise DataError("the prepared items' column 'item' is not the row number", mend=mend)
    texts = items.column("text").to_pylist()
    if None in texts:
        raise DataError(f"prepared item {texts.index(None)} has no text", mend=mend)
    distinct = sorted(set(texts))
    position = {text: place for place, text in enumerate(distinct)}
    return distinct, np.array([position[text] for text in texts], np.int32)


def titles_of_texts(titles: Sequence[str], text_index: NDArray[np.int32]) -> list[str]:
    """The title of the first item of each text.

    Args:
        titles: of every item.
        text_index: int32 [num_items], of :func:`distinct_texts`.
    """
    return [titles[item] for item in np.unique(text_index, return_index=True)[1]]
