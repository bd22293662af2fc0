"""The contract of ``users``."""

from __future__ import annotations

from expectations.contract import Contract, few_rejected, mapped, present, short, unique, utf8
from pipelines.params import ValidateParams


def rows() -> Contract:
    """What holds for a user. Derived columns: the constants of ``contract``."""
    return Contract(
        "users", "users", (present("user_id"), short("user_id"), unique("user_id"), utf8("user_id"), mapped("user_id"))
    )


def whole(params: ValidateParams) -> Contract:
    """What holds for the whole table; one row."""
    return Contract("users_table", "users", (few_rejected(params.max_rejected_share),))
