"""The contract of ``offers``."""

from __future__ import annotations

from expectations.contract import Check, Contract, between, few_rejected, holds, present, short
from pipelines.params import ValidateParams

TEXT_IS_UTF8 = "text_is_utf8"
NUMBERS_ARE_FINITE = "numbers_are_finite"
FIRST_OF_ID = "first_of_id"
ANY_ITEM_KNOWN = "any_item_known"
ALL_ITEMS_KNOWN = "all_items_known"


def rows(params: ValidateParams) -> Contract:
    """What holds for an offer. Derived columns: the constants of this module."""
    return Contract(
        "offers",
        "offers",
        (
            *(present(column) for column in ("offer_id", "item_ids", "starts", "ends", "kind")),
            short("offer_id"),
            holds("offer_id_is_unique", "offer_id", FIRST_OF_ID, "no earlier row has this offer_id"),
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
            holds("numbers_are_finite", "budget", NUMBERS_ARE_FINITE, "budget is a finite number"),
            holds("text_is_utf8", "offer_id", TEXT_IS_UTF8, "every text is UTF-8"),
        ),
    )


def whole(params: ValidateParams) -> Contract:
    """What holds for the whole table; one row."""
    return Contract(
        "offers_table",
        "offers",
        (few_rejected(params.max_rejected_share),),
    )
