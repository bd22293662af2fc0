"""Which households are shown as examples."""

import numpy as np

from pipelines.models.base import Histories
from pipelines.serving.households import Household, unlike
from pipelines.serving.shelf import Codes

KINDS = Codes(("milk", "tea", "soap"), np.array([0, 1, 2, -1], np.int32))


def bought(*baskets: list[int]) -> Histories:
    sizes = [len(basket) for basket in baskets]
    items = np.array([item for basket in baskets for item in basket], np.int32)
    ones = np.ones(len(items), np.float32)
    return Histories(np.cumsum([0, *sizes]).astype(np.int64), items, ones, ones, 4)


def test_households_stand_for_different_tastes_and_have_many_purchases() -> None:
    histories = bought([0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 3], [2], [2, 2, 0, 0])
    accounts = {name: row for row, name in enumerate("abcde")}
    assert unlike(histories, KINDS, accounts) == [
        Household("c", 4, ("tea",)),
        Household("b", 4, ("milk",)),
        Household("e", 4, ("soap", "milk")),
    ]
    assert [each.account for each in unlike(histories, KINDS, accounts, count=1)] == ["c"]


def test_there_are_no_examples_where_nothing_is_known() -> None:
    assert unlike(bought(), KINDS, {}) == []
    assert unlike(bought([3]), KINDS, {"a": 0}) == []
    assert unlike(bought([0]), Codes((), np.full(4, -1, np.int32)), {"a": 0}) == []
