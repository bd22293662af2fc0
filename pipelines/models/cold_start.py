"""Cold items: products that nobody bought yet, ordered for each user by what is known of them.

    score(user, item) = log appeal(item) + sum over kinds of group of weight * log lift(user, group of item)

The *appeal* is how many buyers an item may find in the weeks after its launch: gradient-boosted trees (Poisson) on
what its groups and its neighbours in the catalogue did of late, above all how their own launches fared. The *lift* is
how much more of a group the user buys than everybody does. Both are learned by simulating coldness: the last weeks of
the purchases are hidden, and what was launched within them is predicted from what came before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import ModelError
from pipelines.models.base import Histories, Model, Serves, Span, Training
from pipelines.models.boosting import lightgbm
from pipelines.models.files import read_model, write_model
from pipelines.models.histories import decayed_counts
from pipelines.models.launches import Launches, appeal_features, split_launches
from pipelines.params import Section

MIN_LAUNCHED_PAIRS = 100
"""Purchases of launched items from which appeal and weights are learned; with fewer, see :class:`ColdStart`."""


class ColdStartSettings(Section):
    """Cold items (section ``train_cold``)."""

    horizon_days: float = Field(default=42.0, gt=0)
    """Days over which launches are simulated."""
    rounds: int = Field(default=60, ge=1)
    """Trees of the appeal."""
    leaves: int = Field(default=15, ge=2)
    """Of one tree."""
    weekly_decay: float = Field(default=0.95, gt=0, le=1)
    """Worth of a user's purchase a week old, in the lifts."""
    prior: float = Field(default=100.0, gt=0)
    """Purchases of everybody that are added to a user's own before their shares are compared."""
    negatives: int = Field(default=20, ge=1)
    """Items, drawn by appeal, that a launched purchase is told from when the weights are learned."""
    ridge: float = Field(default=30.0, ge=0)
    """Regularization of the weights."""
    damping: float = Field(default=0.7, gt=0)
    """Factor of the learned weights: the first places want less of them than the likelihood does."""


class ColdStart(Model):
    """See the module. A user without events gets the order of appeal.

    Where fewer than ``MIN_LAUNCHED_PAIRS`` launched purchases are there to learn from, an item is as appealing as its
    groups' items are on average, and all kinds of groups weigh the same.

    Args:
        appeal: float32 [num_items], logarithm of the expected buyers, cold or not.
        groups: int32 [num_kinds, num_items], see :class:`pipelines.models.attributes.Attributes`.
        shares: float32 [num_kinds, num_groups], what share of all purchases went to each group; > 0.
        weights: float32 [num_kinds], >= 0.
        settings: see :class:`ColdStartSettings`.
    """

    name: ClassVar[str] = "cold_start"
    serves: ClassVar[Serves] = Serves(cold_users=True, cold_items=True)
    stage: ClassVar[str | None] = "train_cold"
    dense: ClassVar[bool] = False
    reads_attributes: ClassVar[bool] = True
    Settings: ClassVar[type[Section]] = ColdStartSettings
    spans: ClassVar[Mapping[str, Span]] = {"prior": Span(10.0, 1000.0, log=True), "damping": Span(0.3, 1.2)}

    def __init__(
        self,
        appeal: NDArray[np.float32],
        groups: NDArray[np.int32],
        shares: NDArray[np.float32],
        weights: NDArray[np.float32],
        settings: ColdStartSettings,
    ) -> None:
        self.appeal = appeal
        self.groups = groups
        self.shares = shares
        self.weights = weights
        self.settings = settings

    @classmethod
    def fit(cls, training: Training, settings: ColdStartSettings) -> Self:
        """Learn appeal and weights from simulated launches.

        Raises:
            ModelError: the items' attributes are not there.
        """
        if training.attributes is None:
            raise ModelError("cold items need the items' attributes", mend="shoploom run makes them")
        kinds = list(training.attributes.groups.values())
        groups = np.stack(kinds) if kinds else np.zeros((0, training.histories.num_items), np.int32)
        equal = np.full(len(groups), 1.0 / max(len(groups), 1), np.float32)
        launches = split_launches(training.histories, settings.horizon_days)
        if len(launches.users) < MIN_LAUNCHED_PAIRS:
            plain = _mean_demand(training.histories, groups)
            return cls(plain, groups, _shares(training.histories, groups, settings), equal, settings)
        booster = _fit_appeal(launches, groups, settings, training)
        before = _appeal(booster, launches.before, groups, settings)
        simulated = cls(before, groups, _shares(launches.before, groups, settings), equal, settings)
        weights = simulated.learn_weights(launches, training.seed)
        now = _appeal(booster, training.histories, groups, settings)
        return cls(now, groups, _shares(training.histories, groups, settings), weights, settings)

    def learn_weights(self, launches: Launches, seed: int) -> NDArray[np.float32]:
        """Weights that tell launched purchases from other cold items, drawn by appeal, which therefore cancels out.

        Returns:
            float32 [num_kinds], >= 0.
        """
        from scipy.optimize import minimize

        generator = np.random.default_rng(seed)
        chances = np.exp(self.appeal[launches.cold].astype(np.float64))
        shape = (len(launches.users), self.settings.negatives)
        others = launches.cold[np.searchsorted(np.cumsum(chances) / chances.sum(), generator.random(shape))]
        items = np.concatenate([launches.items[:, None], others], axis=1)
        lifts = np.zeros((len(self.groups), *items.shape), np.float64)
        order = np.argsort(launches.users, kind="stable")
        starts = np.searchsorted(launches.users[order], np.arange(launches.before.num_users + 1))
        for first, chunk in launches.before.chunks():
            rows = order[starts[first] : starts[first + chunk.num_users]]
            for kind in range(len(self.groups)):
                lift = self._lifts(chunk, kind)
                lifts[kind, rows] = lift[(launches.users[rows] - first)[:, None], self.groups[kind][items[rows]]]

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            logits = np.tensordot(weights, lifts, axes=1)
            chance = np.exp(logits - logits.max(axis=1, keepdims=True))
            chance /= chance.sum(axis=1, keepdims=True)
            value = -np.log(chance[:, 0]).sum() + 0.5 * self.settings.ridge * float(weights @ weights)
            chance[:, 0] -= 1.0
            return float(value), (lifts * chance).sum(axis=(1, 2)) + self.settings.ridge * weights

        start = np.full(len(self.groups), 1.0 / max(len(self.groups), 1))
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(start))
        return np.asarray(self.settings.damping * found.x, np.float32)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        scores = np.tile(self.appeal[candidates], (histories.num_users, 1))
        for kind in np.flatnonzero(self.weights > 0):
            lifts = self.weights[kind] * self._lifts(histories, int(kind))
            scores += lifts.take(self.groups[kind][candidates], axis=1)
        return scores

    def _lifts(self, histories: Histories, kind: int) -> NDArray[np.float32]:
        """float32 [num_users, num_groups]: logarithms; zero for the group of items that have none, and for nobody."""
        as_groups = _as_groups(histories, self.groups[kind], self.shares.shape[1])
        bought = decayed_counts(as_groups, self.settings.weekly_decay)
        everything = np.asarray(bought.sum(axis=1), np.float32).reshape(-1, 1)
        bought.data = np.log1p(bought.data / (self.settings.prior * self.shares[kind, bought.indices]))
        lifts = bought.toarray()
        lifts -= np.log1p(everything / np.float32(self.settings.prior))
        lifts[:, 0] = 0.0
        return np.asarray(lifts, np.float32)

    def facts(self) -> dict[str, float]:
        return {"groups": int((self.weights > 0).sum())}

    def save(self, directory: Path) -> None:
        kept = self.weights > 0
        arrays = {
            "appeal": self.appeal,
            "groups": self.groups[kept],
            "shares": self.shares[kept],
            "weights": self.weights[kept],
        }
        write_model(directory, self.name, arrays, self.settings.model_dump())

    @classmethod
    def load(cls, directory: Path) -> Self:
        names = ("appeal", "groups", "shares", "weights")
        arrays, settings = read_model(directory, cls.name, names, tuple(ColdStartSettings.model_fields))
        appeal, groups, shares, weights = (arrays[name] for name in names)
        return cls(appeal, groups, shares, weights, ColdStartSettings.model_validate(settings))


def _as_groups(histories: Histories, codes: NDArray[np.int32], size: int) -> Histories:
    """The same histories with groups in the place of items."""
    return Histories(histories.indptr, codes[histories.items], histories.ages, histories.quantities, size)


def _shares(histories: Histories, groups: NDArray[np.int32], settings: ColdStartSettings) -> NDArray[np.float32]:
    """float32 [num_kinds, num_groups]: each group's share of everybody's decayed purchases, smoothed by half a one."""
    weights = settings.weekly_decay ** (histories.ages.astype(np.float64) / 7)
    size = int(groups.max(initial=0)) + 1
    counts = [np.bincount(codes[histories.items], weights, minlength=size) + 0.5 for codes in groups]
    return np.array([count / count.sum() for count in counts], np.float32).reshape(len(groups), size)


def _fit_appeal(launches: Launches, groups: NDArray[np.int32], settings: ColdStartSettings, training: Training) -> Any:
    """The trees that predict how many buyers a cold item finds."""
    rows = appeal_features(launches.before, groups, settings.horizon_days)[launches.cold]
    buyers = np.bincount(launches.items, minlength=launches.before.num_items)[launches.cold]
    parameters = {
        "objective": "poisson",
        "learning_rate": 0.05,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": max(1, min(100, len(rows) // 20)),
        "lambda_l2": 5.0,
        "feature_fraction": 0.5,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": training.threads,
        "seed": training.seed,
        "verbosity": -1,
    }
    return lightgbm().train(parameters, lightgbm().Dataset(rows, label=buyers), num_boost_round=settings.rounds)


def _appeal(booster: Any, histories: Histories, groups: NDArray[np.int32], settings: ColdStartSettings) -> Any:
    """float32 [num_items]: logarithm of the expected buyers of every item, were it cold."""
    expected = booster.predict(appeal_features(histories, groups, settings.horizon_days), num_threads=1)
    return np.log(np.maximum(expected, 1e-9)).astype(np.float32)


def _mean_demand(histories: Histories, groups: NDArray[np.int32]) -> NDArray[np.float32]:
    """float32 [num_items]: logarithm of the purchases an item of its groups has, the mean over kinds of group."""
    purchases = np.bincount(histories.items, minlength=histories.num_items)
    rates = [np.log((np.bincount(codes, purchases) + 1.0) / (np.bincount(codes) + 1.0))[codes] for codes in groups]
    return np.asarray(np.mean(rates, axis=0) if rates else np.zeros(histories.num_items), np.float32)
