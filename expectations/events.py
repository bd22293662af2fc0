"""The contract of ``events``.

Three suites: rows by themselves (its result is kept for each partition), rows beside other rows and tables (run
over everything each time), and partitions beside each other.
"""

from __future__ import annotations

from expectations.contract import (
    Check,
    Contract,
    between,
    few_rejected,
    finite,
    holds,
    mapped,
    present,
    short,
    unique,
    utf8,
)
from pipelines.params import ValidateParams
from pipelines.tables import EVENT_TYPES

IN_PARTITION = "timestamp_in_partition"
ITEM_WHERE_NEEDED = "item_where_needed"
QUERY_WHERE_NEEDED = "query_where_needed"
PAID_PRICE = "paid_price"
ITEM_KNOWN = "item_known"


def rows(params: ValidateParams) -> Contract:
    """What holds for a row by itself. Derived columns: the constants of this module and of ``contract``."""
    return Contract(
        "events",
        "events",
        (
            *(present(column) for column in ("event_id", "user_id", "event_type", "timestamp")),
            *(short(column) for column in ("event_id", "user_id", "item_id")),
            Check(
                "event_type_is_known",
                "reject",
                "event_type",
                "ExpectColumnValuesToBeInSet",
                f"event_type is one of {', '.join(EVENT_TYPES)}",
                {"value_set": list(EVENT_TYPES)},
            ),
            holds(
                "timestamp_is_in_partition", "timestamp", IN_PARTITION, "timestamp lies in its partition, not after it"
            ),
            holds("item_is_present", "item_id", ITEM_WHERE_NEEDED, "every event but a search names an item"),
            holds("query_is_present", "query", QUERY_WHERE_NEEDED, "a search has a query"),
            between("quantity_is_positive", "quantity", "quantity is over 0", min_value=0, strict_min=True),
            between(
                "quantity_is_plausible",
                "quantity",
                f"quantity is at most {params.max_quantity:g}",
                max_value=params.max_quantity,
            ),
            between("price_is_not_negative", "price", "price is 0 or more", min_value=0),
            between(
                "paid_price_is_positive",
                "price",
                "a purchase has a price over 0",
                subject=PAID_PRICE,
                min_value=0,
                strict_min=True,
            ),
            between("price_is_plausible", "price", "price is at most a million", max_value=1_000_000),
            finite("price", "quantity and price are finite numbers"),
            utf8("event_id"),
            mapped("event_id"),
        ),
    )


def across() -> Contract:
    """What holds between rows, and between events and items."""
    return Contract(
        "events_across_tables",
        "events",
        (
            unique("event_id"),
            holds("item_is_known", "item_id", ITEM_KNOWN, "item_id is in the catalogue"),
        ),
    )


def partitions(params: ValidateParams) -> Contract:
    """What holds for whole partitions; one row for each."""
    low, high = params.volume_ratio_warn
    lowest, highest = params.volume_ratio_stop
    return Contract(
        "events_partitions",
        "events",
        (
            between("partition_has_rows", "rows", "a partition has rows", "stop", min_value=1),
            between(
                "volume_is_possible",
                "rows",
                f"rows are {lowest:g} to {highest:g} times the median partition's",
                "stop",
                "volume_ratio",
                min_value=lowest,
                max_value=highest,
            ),
            between(
                "volume_is_usual",
                "rows",
                f"rows are {low:g} to {high:g} times the median partition's",
                "warn",
                "volume_ratio",
                min_value=low,
                max_value=high,
            ),
            few_rejected(params.max_rejected_share, "a partition's"),
            between(
                "newest_event_is_fresh",
                "timestamp",
                f"the newest event is at most {params.freshness_days:g} days older than the partition's end",
                "warn",
                "silent_days",
                max_value=params.freshness_days,
            ),
            holds("partition_is_past", "timestamp", "started", "the partition has started", "stop"),
            holds("no_partition_is_missing", "timestamp", "follows", "it follows the partition before it", "warn"),
        ),
    )
