"""The contract of ``judgements``."""

from __future__ import annotations

from expectations.contract import Contract, between, few_rejected, holds, mapped, present, short, utf8
from pipelines.params import ValidateParams

FIRST_OF_PAIR = "first_of_pair"
ITEM_KNOWN = "item_known"


def rows() -> Contract:
    """What holds for a judgement. Derived columns: the constants of this module and of ``contract``."""
    return Contract(
        "judgements",
        "judgements",
        (
            *(present(column) for column in ("query", "item_id", "grade")),
            short("query"),
            short("item_id"),
            holds("pair_is_unique", "query", FIRST_OF_PAIR, "no earlier row grades this item for this query"),
            holds("item_is_known", "item_id", ITEM_KNOWN, "item_id is in the catalogue"),
            between("grade_is_in_range", "grade", "grade is 0 to 4", min_value=0, max_value=4),
            utf8("query"),
            mapped("query"),
        ),
    )


def whole(params: ValidateParams) -> Contract:
    """What holds for the whole table; one row."""
    return Contract("judgements_table", "judgements", (few_rejected(params.max_rejected_share),))
