"""The metric protocol against figures measured for the design, on the real purchases of 2017."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.metrics.trial import Trial, measure
from pipelines.models.base import Histories, Model, Training
from pipelines.models.matrix_factorization import FactorizationSettings, MatrixFactorization
from pipelines.models.popularity import Popularity
from pipelines.models.repeat import DecayedCounts, OwnCounts
from pipelines.params import ValidateParams, load_params
from pipelines.prepared import Events
from pipelines.sources import load_source
from pipelines.stages.evaluate import Window

ROOT = Path(__file__).parents[2]
CUTOFF = datetime(2017, 11, 20, 5, tzinfo=UTC)
DAY_MICROSECONDS = 86_400e6
TRAINED = Callable[[Histories], Model]


def _accepted() -> pa.Table:
    """Events without those that the contract of ``events`` rejects on this data."""
    source = load_source("complete_journey")
    rows = source.events(datetime(2016, 12, 1, tzinfo=UTC), datetime(2018, 2, 1, tzinfo=UTC))
    rows = rows.select(["user_id", "item_id", "timestamp", "quantity", "price"])
    known = pc.is_in(rows["item_id"], value_set=source.items()["item_id"].combine_chunks())
    highest = load_params(ValidateParams, "validate", ROOT / "params.yaml").max_quantity
    paid = pc.and_(pc.greater(rows["quantity"], 0.0), pc.greater(rows["price"], 0.0))
    return rows.filter(pc.and_(pc.and_(known, paid), pc.less_equal(rows["quantity"], highest)))


def _dense(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    names = np.array(column.to_pylist())
    distinct, rows = np.unique(names, return_inverse=True)
    return rows.astype(np.int32), len(distinct)


@pytest.fixture(scope="module")
def window() -> Window:
    rows = _accepted()
    users, num_users = _dense(rows["user_id"])
    items, num_items = _dense(rows["item_id"])
    days = rows["timestamp"].cast(pa.int64()).to_numpy() / DAY_MICROSECONDS
    cutoff = CUTOFF.timestamp() / 86_400
    before = days < cutoff
    histories = Histories.from_events(
        users[before],
        items[before],
        days[before],
        rows["quantity"].to_numpy()[before].astype(np.float32),
        num_users=num_users,
        num_items=num_items,
        as_of=cutoff,
    )
    test = Events(users[~before], items[~before], days[~before], np.zeros(int((~before).sum()), np.float32))
    return Window(tuple(map(str, range(num_users))), histories, test, cutoff, cutoff + 42, min_buyers=5)


def _popularity(histories: Histories) -> Model:
    return Popularity.of(histories)


def _own_counts(histories: Histories) -> Model:
    return OwnCounts(Popularity.of(histories).buyers)


def _decayed_counts(histories: Histories) -> Model:
    return DecayedCounts(Popularity.of(histories).buyers, weekly_decay=0.95)


def _als(histories: Histories) -> Model:
    chosen = load_params(FactorizationSettings, "train_mf", ROOT / "params.yaml")
    return MatrixFactorization.fit(Training(histories), chosen)


@pytest.mark.parametrize(
    ("fit", "expected", "within"),
    [
        pytest.param(_popularity, 0.195, 0.006, id="popularity"),
        pytest.param(_own_counts, 0.452, 0.006, id="own_counts"),
        pytest.param(_decayed_counts, 0.469, 0.006, id="decayed_counts"),
        pytest.param(_als, 0.277, 0.015, id="als"),
    ],
)
def test_baseline_reaches_the_figure_of_the_design(
    window: Window, fit: TRAINED, expected: float, within: float
) -> None:
    candidates = Popularity.of(window.histories).candidates(window.min_buyers)
    trial = Trial.build(window.tested(), window.bought(), candidates)
    histories = window.histories.pick(trial.users)
    model = fit(window.histories)
    outcome = measure(trial, lambda start, stop: model.score(histories.take(start, stop), candidates), k=10)
    assert outcome.summary(10)["ndcg_at_10"] == pytest.approx(expected, abs=within)
