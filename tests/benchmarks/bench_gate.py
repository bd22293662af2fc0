"""The gate on the default data: A/A comparisons of two seeds, and the power to find injected lifts, asked and reached.

    .venv/bin/python tests/benchmarks/bench_gate.py [WORKTREE] [COMPARISONS]

Two fits of the factorization, equal but for the seed, rank for the households of the test window. In each comparison it
is chance, user by user, which of them is the candidate and which the champion; the whole gate then decides, its
guardrails included, all but those that a server measures. For power a lift is given to a random quarter of the users.
WORKTREE holds the outputs of ``prepare``; COMPARISONS is 1,000 by default.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from worktree import ROOT, worktree

sys.path.insert(0, str(ROOT))

from pipelines.metrics.power import chance_to_tell
from pipelines.metrics.trial import Scorer, Trial
from pipelines.models.base import Histories, Training
from pipelines.models.matrix_factorization import FactorizationSettings, MatrixFactorization
from pipelines.models.popularity import candidates_of
from pipelines.params import GateParams, WindowParams, load_params
from pipelines.registry.gate import decide
from pipelines.registry.gate_verdict import Verdict
from pipelines.stages.evaluate import read_window
from tests.two_seeds import TwoSeeds

SEEDS = (1, 2)
POWERS = (0.2, 0.4, 0.6, 0.8, 0.95)
"""Where on the predicted curve lifts are injected."""
RESAMPLES = 1000
ALLOWED_FALSE, ALLOWED_POINTS = 0.05, 0.05


def two_seeds() -> TwoSeeds:
    """Fit both, and rank the test window's users."""
    window = read_window(Path("data/prepared"), load_params(WindowParams, "window").min_buyers)
    settings = load_params(FactorizationSettings, "train_mf")
    fits = [MatrixFactorization.fit(Training(window.histories, seed=seed), settings) for seed in SEEDS]
    bought, tested = window.bought(), window.tested()
    buyers = np.bincount(bought.indices, minlength=window.histories.num_items)
    trial = Trial.build(tested, bought, candidates_of(buyers, window.min_buyers))
    cold = Trial.build(tested, bought, np.flatnonzero(buyers == 0).astype(np.int32))

    def scorers(of: Trial, newcomers: bool) -> tuple[Scorer, Scorer]:
        nobody = Histories.nobody(window.histories.num_items)
        histories = nobody if newcomers else window.histories.pick(of.users)
        first, second = (
            lambda start, stop, fit=fit: fit.score(histories.take(start, stop), of.candidates) for fit in fits
        )
        return first, second

    return TwoSeeds.of(trial, cold, scorers, np.diff(window.histories.indptr)[trial.users])


def judge(work: tuple[TwoSeeds, int, float]) -> Verdict:
    """One comparison."""
    seeds, number, lift = work
    with TemporaryDirectory() as folder:
        written = seeds.write(Path(folder), np.random.default_rng([number, int(1e6 * lift)]), lift)
        return decide(written, GateParams(resamples=RESAMPLES, seed=number))


def lift_for(seeds: TwoSeeds, power: float, users: int) -> float:
    """The lift that is predicted to be told with this chance, by bisection."""
    low, high = 0.0, 0.5
    for _ in range(40):
        middle = (low + high) / 2
        effect, deviation = seeds.moments(middle)
        short = chance_to_tell(effect, deviation, users, alpha=0.05, sides=2) < power
        low, high = (middle, high) if short else (low, middle)
    return high


def row(what: str, asked: str, reached: str) -> None:
    print(f"{what:<64}{asked:>16}{reached:>22}", flush=True)


def main() -> None:
    """Print a row for every number."""
    count = int(sys.argv.pop()) if sys.argv[-1].isdigit() else 1000
    with worktree(["validate", "prepare"]):
        seeds = two_seeds()
    users = seeds.ndcg.shape[1]
    levels = " and ".join(f"{level:.4f}" for level in seeds.ndcg.mean(axis=1))
    print(f"{users:,} users, NDCG@10 {levels}; {count:,} comparisons a row, {RESAMPLES:,} resamples each")
    print(f"{'':<64}{'asked':>16}{'reached':>22}")
    failed = False
    with ProcessPoolExecutor(2) as pool:
        verdicts = list(pool.map(judge, [(seeds, number, 0.0) for number in range(count)], chunksize=8))
        decisions = Counter(verdict.decision for verdict in verdicts)
        false = decisions["promote"] / count
        failed |= false > ALLOWED_FALSE
        row("A/A: falsely promoted", "5% at most", f"{false:.1%}")
        row("A/A: inconclusive", "", f"{decisions['inconclusive'] / count:.1%}")
        row("A/A: rejected", "", f"{decisions['reject'] / count:.1%}")
        for power in POWERS:
            lift = lift_for(seeds, power, users)
            effect, _ = seeds.moments(lift)
            verdicts = list(pool.map(judge, [(seeds, number, lift) for number in range(count)], chunksize=8))
            told = sum(verdict.p_value < 0.05 and verdict.effect > 0 for verdict in verdicts) / count
            promoted = sum(verdict.decision == "promote" for verdict in verdicts) / count
            failed |= abs(told - power) > ALLOWED_POINTS
            row(f"lift {effect:+.4f}: told, predicted {power:.0%}", "within 5 points", f"{told:.1%}")
            row("    promoted, guardrails included", "", f"{promoted:.1%}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
