"""The contract of ``items``."""

from __future__ import annotations

from expectations.contract import Contract, between, few_rejected, holds, mostly_present, present, short
from pipelines.params import ValidateParams

TEXT_IS_UTF8 = "text_is_utf8"
NUMBERS_ARE_FINITE = "numbers_are_finite"
FIRST_OF_ID = "first_of_id"
CATEGORY = "first_category"


def rows(params: ValidateParams) -> Contract:
    """What holds for a product. Derived columns: the constants of this module."""
    return Contract(
        "items",
        "items",
        (
            present("item_id"),
            short("item_id"),
            holds("item_id_is_unique", "item_id", FIRST_OF_ID, "no earlier row has this item_id"),
            holds("text_is_utf8", "title", TEXT_IS_UTF8, "every text is UTF-8"),
            between("price_is_not_negative", "price", "price is 0 or more", min_value=0),
            holds("numbers_are_finite", "price", NUMBERS_ARE_FINITE, "price is a finite number"),
            mostly_present("title", params.min_title_share),
            mostly_present("category", params.min_category_share, CATEGORY),
        ),
    )


def whole(params: ValidateParams) -> Contract:
    """What holds for the catalogue; one row."""
    return Contract(
        "items_table",
        "items",
        (
            between("table_has_rows", "rows", "the catalogue has rows", "stop", min_value=1),
            few_rejected(params.max_rejected_share),
        ),
    )
