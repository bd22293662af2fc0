"""What the ranker knows of a user and an item, the same in training and in serving."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories
from pipelines.models.histories import Pairs, decayed_counts, pairs_of
from pipelines.models.popularity import RECENT_DAYS
from pipelines.models.repeat import RepeatTiming
from pipelines.models.signals import Scored, Shortlist, Signals

NO_PURCHASE_DAYS = np.float32(9999)
"""Age of a purchase that never was."""

OWN = (
    "own_counts",
    "own_days",
    "own_share",
    "own_decayed_slow",
    "own_decayed",
    "own_decayed_fast",
    "own_last_days",
    "own_first_days",
    "own_gap_days",
    "own_gap_ratio",
    "own_visits_since",
)
TEXT = ("text_counts", "text_days", "text_last_days", "text_gap_ratio")
ITEM = (
    "log_buyers",
    *(f"log_buyers_{days}_days" for days in RECENT_DAYS),
    "trend_week",
    "trend_fortnight",
    "trend_month",
    "trend_quarter",
    "log_newcomers",
    "newcomer_share",
    "repeat_rate",
)
USER = (
    "user_events",
    "user_items",
    "user_days",
    "user_days_last_month",
    "user_last_days",
    "user_new_share",
    "user_events_recent",
    "user_events_trend",
)
"""Columns; the unit of ``_days`` is days, but ``own_days``, ``text_days``, ``user_days`` count them."""

RECENT_EVENT_DAYS = 42
"""How far back a user's events count as recent."""
DECAYS = (0.98, 0.95, 0.80)
"""Weekly decays of the three decayed counts."""


def feature_names(signals: Signals) -> tuple[str, ...]:
    """The columns of :func:`features`, in order; which there are follows from the chosen models."""
    shares = [f"{signals.dense[row]}_share" for row in signals.shared]
    repeat = [RepeatTiming.name] if RepeatTiming.name in signals.chosen else []
    return (*signals.dense, *shares, *repeat, *OWN, *(TEXT if signals.text else ()), *ITEM, *USER)


def features(signals: Signals, histories: Histories, scored: Scored, rows: Shortlist) -> NDArray[np.float32]:
    """Describe every shortlisted pair.

    Args:
        signals: component models.
        histories: of the users that ``scored`` was made for.
        scored: the dense signals.
        rows: pairs to describe.

    Returns:
        float32 [num_rows, num_features], finite; see :func:`feature_names`.
    """
    items, places = scored.candidates[rows.positions], rows.users * len(scored.candidates) + rows.positions
    dense = [scores.ravel().take(places) for scores in scored.dense]
    best = [np.maximum(scored.dense[row].max(axis=1, initial=0), np.float32(1e-9)) for row in signals.shared]
    pairs, visits = pairs_of(histories), _visit_ages(histories)
    columns = [
        *dense,
        *(dense[row] / most[rows.users] for row, most in zip(signals.shared, best, strict=True)),
        *_own(signals, histories, pairs, visits, rows.users, items),
        *_same_text(signals, histories, rows.users, items),
        *_item(signals, items),
        *(column[rows.users] for column in _user(histories, pairs, visits)),
    ]
    return np.stack(columns, axis=1).astype(np.float32, copy=False)


def _own(
    signals: Signals,
    histories: Histories,
    pairs: Pairs,
    visits: list[NDArray[np.float32]],
    users: NDArray[np.int64],
    items: NDArray[np.int32],
) -> list[NDArray[np.float32]]:
    row, known = _find(pairs, histories.num_items, users, items)
    since = np.zeros(len(pairs.users), np.float32)
    for user in range(histories.num_users):
        low, high = np.searchsorted(pairs.users, [user, user + 1])
        since[low:high] = np.searchsorted(visits[user], pairs.last[low:high], side="left")
    of_user = np.bincount(pairs.users, pairs.days, minlength=histories.num_users)
    repeat = signals.chosen.get(RepeatTiming.name)
    chances = [(repeat.chances(pairs), np.float32(0))] if isinstance(repeat, RepeatTiming) else []
    by_pair: list[tuple[NDArray[np.float32], np.float32]] = [
        *chances,
        (pairs.counts, np.float32(0)),
        (pairs.days, np.float32(0)),
        ((pairs.days / np.maximum(of_user[pairs.users], 1)).astype(np.float32), np.float32(0)),
        *((decayed_counts(histories, decay).data, np.float32(0)) for decay in DECAYS),
        (pairs.last, NO_PURCHASE_DAYS),
        (pairs.first, NO_PURCHASE_DAYS),
        (pairs.gap, np.float32(0)),
        (_gap_ratio(pairs), np.float32(-2)),
        (since, NO_PURCHASE_DAYS),
    ]
    return [_look_up(values, row, known, missing) for values, missing in by_pair]


def _same_text(
    signals: Signals, histories: Histories, users: NDArray[np.int64], items: NDArray[np.int32]
) -> list[NDArray[np.float32]]:
    text = signals.text
    if text is None:
        return []
    as_texts = text.as_texts(histories)
    pairs = pairs_of(as_texts)
    row, known = _find(pairs, as_texts.num_items, users, text.text_index[items])
    return [
        _look_up(pairs.counts, row, known, np.float32(0)),
        _look_up(pairs.days, row, known, np.float32(0)),
        _look_up(pairs.last, row, known, NO_PURCHASE_DAYS),
        _look_up(_gap_ratio(pairs), row, known, np.float32(-2)),
    ]


def _item(signals: Signals, items: NDArray[np.int32]) -> list[NDArray[np.float32]]:
    popularity = signals.popularity
    buyers = popularity.buyers[items].astype(np.float32)
    recent = popularity.recent[items]
    week, fortnight, month, two_months, quarter = recent.T
    newcomers = popularity.newcomers[items]
    return [
        np.log1p(buyers),
        *np.log1p(recent).T,
        (week + np.float32(0.5)) / (month + np.float32(2)),
        (fortnight + np.float32(0.5)) / (quarter + np.float32(3)),
        (month + np.float32(1)) / (two_months - month + np.float32(1)),
        (month + np.float32(1)) / (quarter + np.float32(3)),
        np.log1p(newcomers),
        newcomers / (month + np.float32(3)),
        (popularity.repeat_buyers[items] / (buyers + np.float32(5))).astype(np.float32),
    ]


def _user(histories: Histories, pairs: Pairs, visits: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    events = np.diff(histories.indptr).astype(np.float32)
    of_event = histories.users_of_events()
    lately, before = (
        np.bincount(of_event[histories.ages < days], minlength=histories.num_users).astype(np.float32)
        for days in (RECENT_EVENT_DAYS, 2 * RECENT_EVENT_DAYS)
    )
    items = np.bincount(pairs.users, minlength=histories.num_users).astype(np.float32)
    young = np.bincount(pairs.users[pairs.first < 42], minlength=histories.num_users).astype(np.float32)
    return [
        events,
        items,
        np.array([len(ages) for ages in visits], np.float32),
        np.array([np.searchsorted(ages, 28) for ages in visits], np.float32),
        np.array([ages[0] if len(ages) else NO_PURCHASE_DAYS for ages in visits], np.float32),
        (young / np.maximum(items, np.float32(1))).astype(np.float32),
        lately,
        lately / (before - lately + np.float32(10)),
    ]


def _gap_ratio(pairs: Pairs) -> NDArray[np.float32]:
    """float32 [num_pairs]: days since the last purchase over the mean gap, at least a day; -1 where there is no gap."""
    return np.where(pairs.days > 1, pairs.last / np.maximum(pairs.gap, np.float32(1)), np.float32(-1))


def _visit_ages(histories: Histories) -> list[NDArray[np.float32]]:
    """Distinct ages of each user's events, ascending."""
    return [np.unique(histories.ages[low:high]) for low, high in pairwise(histories.indptr)]


def _find(
    pairs: Pairs, size: int, users: NDArray[np.int64], items: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Rows of ``pairs`` that hold these users' items, and which of them do."""
    keys = pairs.users.astype(np.int64) * size + pairs.items
    wanted = users * size + items
    row = np.searchsorted(keys, wanted)
    known = np.zeros(len(wanted), bool)
    inside = row < len(keys)
    known[inside] = keys[row[inside]] == wanted[inside]
    return row, known


def _look_up(
    values: NDArray[np.float32], row: NDArray[np.intp], known: NDArray[np.bool_], missing: np.float32
) -> NDArray[np.float32]:
    found = np.full(len(row), missing, np.float32)
    found[known] = values[row[known]]
    return found
