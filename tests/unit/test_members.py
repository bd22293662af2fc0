"""Items of groups, against a look at every item."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.models.members import Members


@given(
    groups=st.lists(st.integers(0, 6), max_size=40),
    wanted=st.lists(st.integers(0, 6), max_size=7, unique=True),
)
def test_members_are_those_of_the_group(groups: list[int], wanted: list[int]) -> None:
    group_of_item, asked = np.array(groups, np.int32), np.array(wanted, np.int32)
    members = Members(group_of_item, 7)
    items, rows = members.of(asked)
    expected = [(item, row) for row, group in enumerate(wanted) for item, own in enumerate(groups) if own == group]
    assert list(zip(items.tolist(), rows.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(members.mask(asked), np.isin(group_of_item, asked))
