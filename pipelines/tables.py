"""The tables' names, columns and types: the only place that spells them.

A source gives them all, the optional ones empty where the shop has none; a contract in ``expectations/`` guards each,
and the stages read what it accepts. Ids are strings here and dense int32 after ``prepare``. Timestamps are UTC with
microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")

LANDED_IN = "landed_in"
"""A column of raw events that no contract looks at: the interval that brought a row, null for the partition's own; see
:mod:`pipelines.sources.late`."""

EVENT_TYPES = ("view", "cart", "purchase", "return", "rating", "search", "like", "dislike", "exposure")
"""The quantity of a rating is its stars; that of a return, what came back."""


@dataclass(frozen=True)
class Table:
    """One table of the contract.

    Args:
        name: plural noun, also its folder under ``data/raw``.
        schema: columns in order; a field that is not nullable must hold a value in every row.
        partitioned: by event time (days or ISO weeks in the shop's time zone), or versioned whole.
        required: whether a shop must have it.
    """

    name: str
    schema: pa.Schema
    partitioned: bool = False
    required: bool = True


EVENTS = Table(
    "events",
    pa.schema(
        [
            pa.field("event_id", pa.string(), nullable=False),
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("item_id", pa.string()),
            pa.field("event_type", pa.string(), nullable=False),
            pa.field("timestamp", TIMESTAMP, nullable=False),
            pa.field("quantity", pa.float64()),
            pa.field("price", pa.float64()),
            pa.field("session_id", pa.string()),
            pa.field("device_id", pa.string()),
            pa.field("channel", pa.string()),
            pa.field("query", pa.string()),
        ]
    ),
    partitioned=True,
)

ITEMS = Table(
    "items",
    pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("title", pa.string()),
            pa.field("description", pa.string()),
            pa.field("category", pa.list_(pa.string())),
            pa.field("brand", pa.string()),
            pa.field("price", pa.float64()),
            pa.field("attributes", pa.map_(pa.string(), pa.string())),
            pa.field("image", pa.string()),
        ]
    ),
)

USERS = Table(
    "users",
    pa.schema(
        [
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("attributes", pa.map_(pa.string(), pa.string())),
        ]
    ),
    required=False,
)

OFFERS = Table(
    "offers",
    pa.schema(
        [
            pa.field("offer_id", pa.string(), nullable=False),
            pa.field("item_ids", pa.list_(pa.string()), nullable=False),
            pa.field("starts", TIMESTAMP, nullable=False),
            pa.field("ends", TIMESTAMP, nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("budget", pa.float64()),
        ]
    ),
    required=False,
)

JUDGEMENTS = Table(
    "judgements",
    pa.schema(
        [
            pa.field("query", pa.string(), nullable=False),
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("grade", pa.int8(), nullable=False),
        ]
    ),
    required=False,
)

UNPLACED = Table(
    "unplaced",
    pa.schema(
        [
            pa.field("user_id", pa.string()),
            pa.field("source_row", pa.string()),
            pa.field("unmapped", pa.list_(pa.string())),
        ]
    ),
    required=False,
)
"""Events that a mapping could read no time of, and lines that are no rows: no partition has a place for them."""

TABLES = {table.name: table for table in (EVENTS, ITEMS, USERS, OFFERS, JUDGEMENTS, UNPLACED)}

SOURCE_ROW = pa.field("source_row", pa.string())
"""Beside a landed row, where its source keeps it: the source's own values as JSON, without who the user is."""
UNMAPPED = pa.field("unmapped", pa.list_(pa.string()))
"""Beside it: the columns whose values the source could not read."""
