"""The frames that contracts look at: a table's plain columns, and the derived ones that its module names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from expectations import events, items, judgements, offers
from expectations.contract import FIRST_OF_ID, NUMBERS_ARE_FINITE, ROW_IS_MAPPED, TEXT_IS_UTF8, Contract, columns
from expectations.shape import Raw
from pipelines.sources.calendars import parse_partition
from pipelines.tables import TIMESTAMP

if TYPE_CHECKING:
    from numpy.typing import NDArray


def frame_of(table: pa.Table, derived: dict[str, NDArray[np.bool_] | pa.Array], contract: Contract) -> pd.DataFrame:
    """The columns that a contract's checks look at, as a frame with index 0..n-1."""
    names = columns(contract.checks)
    return pd.DataFrame({name: _series(derived[name] if name in derived else table[name]) for name in names})


def event_columns(raw: Raw, partition: str) -> dict[str, NDArray[np.bool_] | pa.Array]:
    """Derived columns of a partition's rows, for :func:`expectations.events.rows`."""
    rows = raw.rows
    span = parse_partition(partition)
    times, kinds = rows["timestamp"], rows["event_type"]
    starts = pa.scalar(span.starts(raw.time_zone), TIMESTAMP)
    ends = pa.scalar(span.ends(raw.time_zone), TIMESTAMP)
    is_search = _true(pc.equal(kinds, "search"))
    is_purchase = pc.fill_null(pc.equal(kinds, "purchase"), False)
    absent = pa.scalar(None, pa.float64())
    return {
        events.IN_PARTITION: ~_true(pc.less(times, starts)) & ~_true(pc.greater_equal(times, ends)),
        events.ITEM_WHERE_NEEDED: is_search | _true(pc.is_valid(rows["item_id"])),
        events.QUERY_WHERE_NEEDED: ~is_search | _true(pc.is_valid(rows["query"])),
        events.PAID_PRICE: pc.if_else(is_purchase, rows["price"], absent),
        **_common(raw, "quantity", "price"),
    }


def item_columns(raw: Raw) -> dict[str, NDArray[np.bool_] | pa.Array]:
    """Derived columns for :func:`expectations.items.rows`."""
    category = raw.rows["category"].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(category), 0)
    return {
        **_common(raw, "price"),
        FIRST_OF_ID: first_of_id(raw.rows["item_id"], ~raw.is_utf8),
        items.CATEGORY: pc.if_else(pc.greater(lengths, 0), "given", pa.scalar(None, pa.string())),
    }


def offer_columns(raw: Raw, catalogue: pa.ChunkedArray) -> dict[str, NDArray[np.bool_] | pa.Array]:
    """Derived columns for :func:`expectations.offers.rows`, given the ids of the accepted items."""
    named = raw.rows["item_ids"].combine_chunks()
    known = _true(pc.is_in(pc.list_flatten(named), catalogue))
    parents = pc.list_parent_indices(named).to_numpy()
    hits = np.bincount(parents[known], minlength=len(named))
    return {
        **_common(raw, "budget"),
        FIRST_OF_ID: first_of_id(raw.rows["offer_id"], ~raw.is_utf8),
        offers.ANY_ITEM_KNOWN: hits > 0,
        offers.ALL_ITEMS_KNOWN: hits == np.bincount(parents, minlength=len(named)),
    }


def user_columns(raw: Raw) -> dict[str, NDArray[np.bool_] | pa.Array]:
    """Derived columns for :func:`expectations.users.rows`."""
    return {
        TEXT_IS_UTF8: raw.is_utf8,
        ROW_IS_MAPPED: raw.is_mapped,
        FIRST_OF_ID: first_of_id(raw.rows["user_id"], ~raw.is_utf8),
    }


def judgement_columns(raw: Raw, catalogue: pa.ChunkedArray) -> dict[str, NDArray[np.bool_] | pa.Array]:
    """Derived columns for :func:`expectations.judgements.rows`, given the ids of the accepted items."""
    pairs = pc.binary_join_element_wise(raw.rows["query"], raw.rows["item_id"], "\x1f")
    return {
        TEXT_IS_UTF8: raw.is_utf8,
        ROW_IS_MAPPED: raw.is_mapped,
        judgements.FIRST_OF_PAIR: first_of_id(pairs, ~raw.is_utf8),
        judgements.ITEM_KNOWN: is_known(raw.rows["item_id"], catalogue),
    }


def _common(raw: Raw, *numbers: str) -> dict[str, NDArray[np.bool_] | pa.Array]:
    """Derived columns that say whether a row's texts are UTF-8 and its ``numbers`` finite."""
    return {
        TEXT_IS_UTF8: raw.is_utf8,
        ROW_IS_MAPPED: raw.is_mapped,
        NUMBERS_ARE_FINITE: np.logical_and.reduce([_finite(raw.rows[column]) for column in numbers]),
    }


def is_known(ids: pa.ChunkedArray, catalogue: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Whether each id is in the catalogue, or null (which says nothing about the catalogue); bool [num_rows]."""
    return _true(pc.is_in(ids, catalogue.combine_chunks())) | ~_true(pc.is_valid(ids))


def first_of_id(
    ids: pa.ChunkedArray, refused: NDArray[np.bool_], landed: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Which row of each id stays: of those that are not refused already, else of all, the one landed last, the first of
    these.

    Args:
        ids: string [num_rows]; a null repeats nothing.
        refused: bool [num_rows].
        landed: int64 [num_rows]: the later the interval that brought a row, the higher; None where that is the same.

    Returns:
        bool [num_rows].
    """
    order = np.argsort(refused, kind="stable") if landed is None else np.lexsort((-landed, refused))
    series = _series(ids)
    repeats = np.zeros(len(series), bool)
    repeats[order] = series.iloc[order].duplicated(keep="first").to_numpy()
    return ~repeats | series.isna().to_numpy()


def landed_order(partition: str, raw: Raw) -> NDArray[np.int64]:
    """int64 [num_rows]: the first day of the interval that brought a row, as an ordinal."""
    own = parse_partition(partition).first_day.toordinal()
    if raw.landed_in is None:
        return np.full(raw.rows.num_rows, own, np.int64)
    names = raw.landed_in.to_pylist()
    days = {name: parse_partition(name).first_day.toordinal() if name else own for name in set(names)}
    return np.array([days[name] for name in names], np.int64)


def _true(mask: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
    values: NDArray[np.bool_] = pc.fill_null(mask, False).to_numpy(zero_copy_only=False).astype(bool)
    return values


def _finite(numbers: pa.ChunkedArray) -> NDArray[np.bool_]:
    return _true(pc.fill_null(pc.is_finite(numbers), True))


def _series(values: NDArray[np.bool_] | pa.Array | pa.ChunkedArray) -> pd.Series[Any]:
    if isinstance(values, np.ndarray):
        return pd.Series(values)
    if pa.types.is_list(values.type):
        return pd.Series(pc.if_else(pc.is_valid(values), "list", pa.scalar(None, pa.string())).to_pandas())
    return pd.Series(values.to_pandas()).reset_index(drop=True)
