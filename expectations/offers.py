"""The contract of ``offers``."""

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

ANY_ITEM_KNOWN = "any_item_known"
ALL_ITEMS_KNOWN = "all_items_known"


def rows(params: ValidateParams) -> Contract:
    """What holds for an offer. Derived columns: the constants of this module and of ``contract``."""
    return Contract(
        "offers",
        "offers",
        (
            *(present(column) for column in ("offer_id", "item_ids", "starts", "ends", "kind")),
            short("offer_id"),
            unique("offer_id"),
            Check(
                "ends_after_it_starts",
                "reject",
                "ends",
                "ExpectColumnPairValuesAToBeGreaterThanB",
                "an offer ends after it starts",
                {"column_A": "ends", "column_B": "starts", "or_equal": True},
            ),
            holds("an_item_is_known", "item_ids", ANY_ITEM_KNOWN, "an offer names an item of the catalogue"),
            holds(
                "items_are_mostly_known",
                "item_ids",
                ALL_ITEMS_KNOWN,
                f"at least {params.min_known_offers_share:.0%} of offers name no item that the catalogue lacks",
                "warn",
                params.min_known_offers_share,
            ),
            between("budget_is_not_negative", "budget", "budget is 0 or more", min_value=0),
            finite("budget", "budget is a finite number"),
            utf8("offer_id"),
            mapped("offer_id"),
        ),
    )


def whole(params: ValidateParams) -> Contract:
    """What holds for the whole table; one row."""
    return Contract(
        "offers_table",
        "offers",
        (few_rejected(params.max_rejected_share),),
    )
