"""Which items cannot be bought now, as the shop last said."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, select

from pipelines.errors import DataError
from pipelines.serving.state.core import Core
from pipelines.serving.state.errors import in_our_words
from pipelines.serving.state.records import check_id
from pipelines.serving.state.schema import STOCK, inserted_once
from pipelines.serving.state.writer import one_by_one

_CHUNK = 500


class Stock:
    """The table of what is sold out; an item that is not in it can be bought.

    Args:
        core: what the state stands on.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def put(self, out: Collection[str], back: Collection[str]) -> None:
        """Note what is sold out and what is back; again is no error. Returns when it is durable.

        Args:
            out: item ids.
            back: item ids.

        Raises:
            DataError: an id is none, or is in both.
        """
        for item_id in (*out, *back):
            check_id("item_id", item_id)
        if both := sorted({*out} & {*back}):
            raise DataError(f"{both[0]!r} is both sold out and back", mend="send it once")
        self._core.writer.submit(_PUT, (sorted({*out}), sorted({*back})), len(out) + len(back)).result()

    def out(self) -> frozenset[str]:
        """Ids of items that cannot be bought."""
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            return frozenset(connection.execute(select(STOCK.c.item_id)).scalars())


def _put(connection: Connection, changed: tuple[Sequence[str], Sequence[str]]) -> None:
    out, back = changed
    for start in range(0, len(back), _CHUNK):
        connection.execute(delete(STOCK).where(STOCK.c.item_id.in_(back[start : start + _CHUNK])))
    if out:
        connection.execute(inserted_once(connection, STOCK), [{"item_id": item_id} for item_id in out])


_PUT = one_by_one(_put)
