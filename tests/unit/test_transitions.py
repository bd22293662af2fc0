"""Transitions against counting by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories, Training
from pipelines.models.transitions import Transitions, TransitionSettings

PLAIN: dict[str, Any] = {"source_power": 0.0, "target_power": 0.0, "step_decay": 0.5, "history_decay": 0.5}
EVERY = np.arange(4, dtype=np.int32)


def visits(*users: list[list[int]]) -> Histories:
    """A visit a day, the last one a day ago: ``[[0], [1, 2]]`` is item 0, and a day later items 1 and 2."""
    rows = [
        (user, item, float(day - len(days)))
        for user, days in enumerate(users)
        for day, items in enumerate(days)
        for item in items
    ]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Histories.from_events(
        columns[0].astype(np.int32),
        columns[1].astype(np.int32),
        columns[2],
        np.ones(len(rows), np.float32),
        num_users=len(users),
        num_items=4,
        as_of=0.0,
    )


def following(histories: Histories, **settings: Any) -> NDArray[np.float32]:
    model = Transitions.fit(Training(histories), TransitionSettings(**{**PLAIN, **settings}))
    return model.following.toarray()


def test_transitions_count_one_direction_and_near_visits_most() -> None:
    np.testing.assert_allclose(
        following(visits([[0], [1], [2]])), [[0, 1, 0.5, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    )


def test_transitions_give_one_visit_no_order() -> None:
    np.testing.assert_allclose(following(visits([[0, 1], [2]]))[:, :2], 0)


def test_transitions_look_no_further_than_their_steps() -> None:
    assert following(visits([[0], [1], [2]]), steps=1)[0, 2] == 0


def test_transitions_of_long_ago_count_less() -> None:
    counts = following(visits([[0], [1], [2]]), half_life_days=1.0)
    np.testing.assert_allclose([counts[0, 1], counts[1, 2]], [0.5**2, 0.5**1])


def test_transitions_become_chances_when_the_source_power_is_one() -> None:
    counts = following(visits([[0], [1]], [[0], [1]], [[0], [2]]), source_power=1.0)
    np.testing.assert_allclose(counts[0], [0, 2 / 3, 1 / 3, 0], rtol=1e-6)


def test_transitions_favour_the_rare_when_the_target_power_is_one() -> None:
    counts = following(visits([[0], [1]], [[3], [1]], [[0], [2]]), target_power=1.0)
    np.testing.assert_allclose(counts[0], [0, 1 / 2, 1 / 1, 0], rtol=1e-6)


def test_transitions_keep_the_strongest_successors() -> None:
    kept = following(visits([[0], [1]], [[0], [1]], [[0], [2]]), successors=1)
    np.testing.assert_allclose(kept[0], [0, 2, 0, 0])


def test_transitions_score_by_the_last_visits_most() -> None:
    model = Transitions.fit(Training(visits([[0], [1]], [[2], [3]])), TransitionSettings(**PLAIN))
    scores = model.score(visits([[2], [0]]), EVERY)
    np.testing.assert_allclose(scores, [[0, 1, 0, 0.5]])


def test_transitions_into_a_visit_are_the_same_whatever_came_after_it() -> None:
    before, after = visits([[0], [1], [2]]), visits([[0], [1], [2], [3]])
    np.testing.assert_array_equal(following(before)[:, :3], following(after)[:, :3])
