"""The contract of ``items``."""

from __future__ import annotations

from expectations.contract import (
    Contract,
    between,
    few_rejected,
    finite,
    mapped,
    mostly_present,
    present,
    short,
    unique,
    utf8,
)
from pipelines.params import ValidateParams

CATEGORY = "first_category"


def rows(params: ValidateParams) -> Contract:
    """What holds for a product. Derived columns: the constants of this module and of ``contract``."""
    return Contract(
        "items",
        "items",
        (
            present("item_id"),
            short("item_id"),
            unique("item_id"),
            utf8("title"),
            mapped("title"),
            between("price_is_not_negative", "price", "price is 0 or more", min_value=0),
            finite("price", "price is a finite number"),
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
