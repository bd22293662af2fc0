"""What the gate does by chance: few false promotions of a model that is no better, and the power that was predicted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipelines.metrics.power import chance_to_tell
from pipelines.metrics.trial import Scorer, Trial
from pipelines.models.base import Histories
from pipelines.models.histories import purchase_counts
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.params import GateParams
from pipelines.registry.gate import decide
from pipelines.registry.gate_verdict import Verdict
from tests.tiny_models import FACTORIZATION, NUM_ITEMS, NUM_USERS, TinyShop
from tests.two_seeds import TwoSeeds

COMPARISONS = 120


@pytest.fixture(scope="module")
def seeds() -> TwoSeeds:
    """The tiny shop under two fits that differ in their seed alone, stopped early so that they do differ."""
    shop = TinyShop()
    settings = FACTORIZATION.model_copy(update={"iterations": 1})
    fits = [MatrixFactorization.fit(shop.training(seed=seed), settings) for seed in (1, 2)]
    bought = purchase_counts(shop.histories)
    tested = np.zeros((NUM_USERS, NUM_ITEMS), bool)
    tested[shop.purchases // NUM_ITEMS, shop.purchases % NUM_ITEMS] = True
    from scipy.sparse import csr_matrix

    trial = Trial.build(csr_matrix(tested), bought, shop.candidates)
    cold = Trial.build(csr_matrix(tested), bought, shop.candidates[-12:])

    def scorers(of: Trial, newcomers: bool) -> tuple[Scorer, Scorer]:
        histories = Histories.nobody(NUM_ITEMS) if newcomers else shop.histories.pick(of.users)
        first, second = (
            lambda start, stop, fit=fit: fit.score(histories.take(start, stop), of.candidates) for fit in fits
        )
        return first, second

    return TwoSeeds.of(trial, cold, scorers, np.diff(shop.histories.indptr)[trial.users])


def judged(seeds: TwoSeeds, folder: Path, lift: float) -> list[Verdict]:
    return [
        decide(seeds.write(folder, np.random.default_rng(number), lift), GateParams(resamples=200, seed=number))
        for number in range(COMPARISONS)
    ]


def test_a_model_that_is_no_better_is_hardly_ever_promoted(seeds: TwoSeeds, tmp_path: Path) -> None:
    verdicts = judged(seeds, tmp_path, 0.0)
    decisions = Counter(verdict.decision for verdict in verdicts)
    print(f"of {COMPARISONS} A/A comparisons: {dict(decisions)}")
    assert seeds.moments(0.0)[1] > 0.02
    assert decisions["promote"] <= 0.05 * COMPARISONS
    assert all(verdict.users_needed is None or verdict.users_needed > 0 for verdict in verdicts)


def test_an_injected_lift_is_told_as_often_as_predicted(seeds: TwoSeeds, tmp_path: Path) -> None:
    lift = 0.05
    effect, deviation = seeds.moments(lift)
    predicted = chance_to_tell(effect, deviation, seeds.ndcg.shape[1], alpha=0.05, sides=2)
    verdicts = judged(seeds, tmp_path, lift)
    told = sum(verdict.p_value < 0.05 and verdict.effect > 0 for verdict in verdicts) / COMPARISONS
    print(f"lift {effect:.4f}: told in {told:.0%}, predicted {predicted:.0%}")
    assert 0.3 < predicted < 0.95
    assert told == pytest.approx(predicted, abs=0.15)
