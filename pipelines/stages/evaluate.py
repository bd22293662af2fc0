"""``evaluate``: every baseline and model on the test window, the packaged ranker and the champion beside them.

The only stage that reads the test window. Models are the package's, fitted on everything before it; histories end
where it starts. The champion is scored unchanged, on the same users, items and window, with those same histories;
if it was trained on any event of the window its figures flatter it, and ``saw_test_window`` says so. A champion that an
older shoploom packaged, whole but in a form that this one does not read, cannot be scored: ``not_compared`` says why.

``per_user.parquet`` and ``cold_purchases.parquet`` hold what the gate's paired tests need of every user, and
``relevance.parquet`` of every held-out query that search was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipelines.artifacts import atomic_file, read_json, read_table, write_json, write_table
from pipelines.errors import DataError, ModelError, PackageFormatError
from pipelines.metrics.baselines import BASELINES, best_baseline
from pipelines.metrics.calibration import check_relevance
from pipelines.metrics.cold_items import category_codes, category_scorers, times_baseline
from pipelines.metrics.examples import examples
from pipelines.metrics.per_user import COLD_K, NDCG, NDCG_NEW, K, by_user, cold_purchases
from pipelines.metrics.plots import draw_curves, draw_differences, draw_models, draw_segments
from pipelines.metrics.report import render
from pipelines.metrics.significance import compare_all
from pipelines.metrics.trial import SEGMENTS, Outcome, Scorer, Scorers, Trial, activity, measure_all, measure_newcomers
from pipelines.models.base import Histories
from pipelines.models.histories import purchase_counts
from pipelines.models.manifest import PIN_FILE, verify
from pipelines.models.mixed_blend import MixedBlend
from pipelines.models.popularity import candidates_of
from pipelines.models.recommender import Recommender
from pipelines.models.tree_blend import TreeBlend
from pipelines.params import EvaluateParams, SeedParams, TrainBertParams, WindowParams, load_params
from pipelines.prepared import PREPARED, Events, read_events, read_histories, read_space
from pipelines.stages import run_main

PACKAGE = Path("data/package")
CHAMPION = Path("data/champion")
JUDGEMENTS = Path("data/accepted/judgements.parquet")
EVALUATE = Path("data/evaluate")

FEW_USERS = 100
"""Under as many users the report warns that little can be told apart."""
CANDIDATE = "rank"
CHAMPION_NAME = "champion"


@dataclass(frozen=True)
class Window:
    """The test window and all that came before it, in the candidate's dense ids.

    Args:
        user_ids: of all users, those of the window included.
        histories: every user's purchases before the window, read at its start.
        test: every purchase within it.
        starts: days since the epoch, UTC.
        ends: days since the epoch, UTC.
        min_buyers: distinct buyers before the window that make an item a candidate.
    """

    user_ids: tuple[str, ...]
    histories: Histories
    test: Events
    starts: float
    ends: float
    min_buyers: int

    def bought(self) -> csr_matrix:
        """Sparse float32 [num_users, num_items]: how often bought before the window."""
        return purchase_counts(self.histories)

    def names(self, trial: Trial) -> list[str]:
        """Ids of a trial's users."""
        return [self.user_ids[user] for user in trial.users]

    def tested(self) -> csr_matrix:
        """Sparse bool [num_users, num_items]: bought within the window."""
        shape = (self.histories.num_users, self.histories.num_items)
        return csr_matrix((np.ones(len(self.test.users), bool), (self.test.users, self.test.items)), shape=shape)


@dataclass(frozen=True)
class Champion:
    """The champion, if there is one.

    Args:
        recommender: its package; None where nothing is promoted yet.
        pin: champion.json: version, digest, run.
        not_compared: why a champion that there is cannot be scored; empty otherwise.
    """

    recommender: Recommender | None
    pin: Mapping[str, Any]
    not_compared: str = ""

    @classmethod
    def read(cls, directory: Path) -> Champion:
        """Read ``champion.json`` and, where it names a version, the package beside it.

        Raises:
            ModelError: a version is named, and its package is not whole.
        """
        pin = read_json(directory / PIN_FILE)
        if pin.get("version") is None:
            return cls(None, pin)
        try:
            verify(directory)
        except PackageFormatError as error:
            return cls(None, pin, error.message)
        try:
            return cls(Recommender.load(directory), pin)
        except ModelError as error:  # every byte is as it was packaged: another version's models, not damage
            return cls(None, pin, error.message)

    def facts(self, starts: float) -> dict[str, Any]:
        """Version, digest and run, and whether it was trained on any event at or after ``starts``."""
        until = self.recommender.facts.trained_until if self.recommender else None
        return {
            **{name: self.pin.get(name) for name in ("version", "digest", "run")},
            "trained_until": until,
            "saw_test_window": until is not None and until >= starts,
            "not_compared": self.not_compared,
        }


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found.

    Args:
        metrics: for metrics.json.
        per_user: see :func:`pipelines.metrics.per_user.by_user`.
        cold_purchases: see :func:`pipelines.metrics.per_user.cold_purchases`.
        outcomes: by model, on the trial over all candidates.
        kinds: of the models: baseline, model or champion.
        trial: the users.
        segments: str [num_users], of the trial's users: light, regular or heavy.
    """

    metrics: dict[str, Any]
    per_user: pa.Table
    cold_purchases: pa.Table
    outcomes: Mapping[str, Outcome]
    kinds: Mapping[str, str]
    trial: Trial
    segments: NDArray[np.str_]


def evaluate(
    window: Window, candidate: Recommender, champion: Champion, params: EvaluateParams, seed: int
) -> Evaluation:
    """Measure every model on the test window.

    Args:
        window: what was known and what came.
        candidate: the package under evaluation; its items are the window's.
        champion: what is served now.
        params: sizes of the paired comparison.
        seed: of its resampling.

    Raises:
        DataError: the package and the window differ in their items or candidates, or nobody has a relevant item.
    """
    bought, tested = window.bought(), window.tested()
    buyers = np.bincount(bought.indices, minlength=window.histories.num_items)
    candidates = candidates_of(buyers, window.min_buyers)
    if not np.array_equal(candidates, candidate.candidates):
        raise DataError(
            "the package was made from other training events than these", mend="SHOPLOOM_NO_CACHE=1 shoploom run"
        )
    trial = Trial.build(tested, bought, candidates)
    if not len(trial.users):
        raise DataError("no user bought a candidate item within the test window", mend="shoploom ingest --from DAY")
    kinds = {name: "baseline" if name in BASELINES else "model" for name in candidate.ranker.signals.models()}
    kinds |= {CANDIDATE: "model"} | ({CHAMPION_NAME: "champion"} if champion.recommender else {})
    outcomes = _outcomes(window, candidate, champion, trial, "score the users of the window")
    cold_items, cold_bought = _cold_items(window, candidate, champion, buyers, tested, bought)
    purchases = np.diff(window.histories.indptr)[trial.users]
    segments, limits = activity(purchases)
    metrics: dict[str, Any] = {
        "protocol": _protocol(window, params, limits),
        "users": len(trial.users),
        "candidates": len(candidates),
        "champion": champion.facts(window.starts),
        "warnings": warnings(window, candidate, champion, len(trial.users), int(buyers.max())),
        "models": {name: {"kind": kinds[name], **outcome.summary(K)} for name, outcome in outcomes.items()},
        "segments": _segments(outcomes, segments),
        "segment_users": {name: int((segments == name).sum()) for name in SEGMENTS},
        "cold_items": cold_items,
        "comparisons": _comparisons(outcomes, params, seed),
    }
    metrics["best_baseline"] = best_baseline(metrics["models"], NDCG)
    nobody = Histories.nobody(window.histories.num_items)
    scorers = _scorers(window, candidate, champion, nobody, trial.candidates)
    newcomers = {name: measure_newcomers(trial, scores, K) for name, scores in scorers(0, 1)}
    per_user = by_user(window.names(trial), segments, outcomes, newcomers)
    return Evaluation(metrics, per_user, cold_bought, outcomes, kinds, trial, segments)


def warnings(window: Window, candidate: Recommender, champion: Champion, users: int, most_buyers: int) -> list[str]:
    """What was done without, a sentence each: most of it in a small shop.

    Args:
        window: what was asked for.
        candidate: its relevance head says whether it was trained.
        champion: one that cannot be scored is told.
        users: who bought a candidate within the window.
        most_buyers: distinct buyers of the most bought item.
    """
    said = []
    if champion.not_compared:
        said.append(
            f"Champion version {champion.pin.get('version')} cannot be scored, so that the gate compares with the best "
            f"plain baseline: {champion.not_compared}."
        )
    if candidate.finder.relevance.untrained:
        said.append(f"The search model was not fine-tuned: {candidate.finder.relevance.untrained}.")
    if most_buyers < window.min_buyers:
        said.append(
            f"Every product that was ever bought may be offered: the most bought has {most_buyers} buyers, and "
            f"window.min_buyers is {window.min_buyers}."
        )
    if len(candidate.candidates) <= K:
        said.append(
            f"{len(candidate.candidates)} products may be offered, so that every list of {K} holds all of them."
        )
    if users < FEW_USERS:
        said.append(f"{users} users decide: differences under some tenths of NDCG@{K} cannot be told from chance.")
    return said


def _outcomes(
    window: Window,
    candidate: Recommender,
    champion: Champion,
    trial: Trial,
    description: str,
    k: int = K,
    others: Mapping[str, Scorer] | None = None,
) -> dict[str, Outcome]:
    """Every model on one trial, and what is given beside them."""
    histories = window.histories.pick(trial.users)
    scorers = _scorers(window, candidate, champion, histories, trial.candidates, others)
    return measure_all(trial, scorers, k, description)


def _scorers(
    window: Window,
    candidate: Recommender,
    champion: Champion,
    histories: Histories,
    items: NDArray[np.int32],
    others: Mapping[str, Scorer] | None = None,
) -> Scorers:
    """Every model on some users and items, each asked once: the ranker reads what its models just said.

    The champion has an item space of its own, so that it is asked by ids.
    """
    named, signals = candidate.catalogue.item_ids[items], candidate.ranker.signals

    def scorers(start: int, stop: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
        chunk, known = histories.take(start, stop), {}
        for name, model in signals.models().items():
            scores = model.score(chunk, items)
            yield name, scores
            if name in signals.dense:
                known[name] = scores
        yield CANDIDATE, candidate.score_dense(chunk, items, known)
        known.clear()
        if champion.recommender:
            asked = candidate.catalogue.named(chunk, window.starts)
            yield CHAMPION_NAME, champion.recommender.score(asked, named)
        for name, scorer in (others or {}).items():
            yield name, scorer(start, stop)

    return scorers


def _cold_items(
    window: Window,
    candidate: Recommender,
    champion: Champion,
    buyers: NDArray[np.int64],
    tested: csr_matrix,
    bought: csr_matrix,
) -> tuple[dict[str, Any], pa.Table]:
    """Items without a purchase before the window, offered to the users who bought one of them within it.

    The plain baselines are the popularity of the item's product type, everybody's and the user's own.
    """
    items = np.flatnonzero(buyers == 0).astype(np.int32)
    trial = Trial.build(tested, bought, items)
    codes = category_codes(candidate.catalogue.items["product_type"].to_pylist())
    plain = category_scorers(codes, window.histories, window.histories.pick(trial.users), items)
    outcomes = _outcomes(window, candidate, champion, trial, "score cold items", COLD_K, plain) if len(items) else {}
    shown = (f"ndcg_at_{COLD_K}", f"recall_at_{COLD_K}")
    models = {name: {key: outcome.summary(COLD_K)[key] for key in shown} for name, outcome in outcomes.items()}
    summary = {
        "items": len(items),
        "users": len(trial.users),
        "models": models,
        "times_category_popularity": times_baseline(models, f"recall_at_{COLD_K}"),
    }
    return summary, cold_purchases(window.names(trial), trial, outcomes)


def _comparisons(outcomes: Mapping[str, Outcome], params: EvaluateParams, seed: int) -> dict[str, Any]:
    """Rank against every other model, for both NDCGs; None where no user has a value."""
    others = [name for name in outcomes if name != CANDIDATE]
    comparisons: dict[str, Any] = {name: dict.fromkeys((NDCG, NDCG_NEW)) for name in others}
    for metric in (NDCG, NDCG_NEW):
        ours = outcomes[CANDIDATE].values[metric]
        theirs = {name: outcomes[name].values[metric] for name in others}
        known = {name: values for name, values in theirs.items() if not np.isnan(ours - values).all()}
        found = compare_all(ours, known, seed=seed, resamples=params.resamples, confidence=params.confidence)
        for name, comparison in found.items():
            comparisons[name][metric] = comparison.as_dict()
    return comparisons


def _segments(outcomes: Mapping[str, Outcome], segments: NDArray[np.str_]) -> dict[str, Any]:
    return {
        segment: {name: outcome.summary(K, segments == segment) for name, outcome in outcomes.items()}
        for segment in SEGMENTS
    }


def _protocol(window: Window, params: EvaluateParams, limits: tuple[int, int]) -> dict[str, Any]:
    return {
        "k": K,
        "gain": "binary",
        "ideal": "min(k, relevant items) places",
        "ties": "by dense id",
        "new": "the user's items of before the window are out of both candidates and relevant items",
        "min_buyers": window.min_buyers,
        "test_starts": window.starts,
        "test_ends": window.ends,
        "segment_limits": list(limits),
        "comparison": f"paired; {params.resamples} bootstrap resamples and sign flips, confidence {params.confidence}",
    }


def read_window(directory: Path, min_buyers: int) -> Window:
    """Read a prepared folder, the test window included."""
    space = read_space(directory)
    return Window(
        user_ids=tuple(read_table(directory / "users.parquet", ["user_id"])["user_id"].to_pylist()),
        histories=read_histories("test", space, directory),
        test=read_events(["test"], directory),
        starts=space.test_starts,
        ends=space.test_ends,
        min_buyers=min_buyers,
    )


def write_pictures(evaluation: Evaluation, directory: Path) -> dict[str, Path]:
    """Draw the plots; returns their paths by caption."""
    metrics = evaluation.metrics
    best = metrics["best_baseline"]
    judged = metrics["comparisons"][best][NDCG]
    values = {name: outcome.values[NDCG] for name, outcome in evaluation.outcomes.items()}
    pictures = {
        "Every model, over all purchases and over products new to the user": directory / "models.png",
        "How early the relevant products come": directory / "curves.png",
        "By how much a user buys": directory / "segments.png",
        f"User by user: rank against {best.replace('_', ' ')}": directory / "differences.png",
    }
    models, curves, segments, differences = pictures.values()
    draw_models(metrics["models"], NDCG, models)
    draw_curves({name: outcome.curve for name, outcome in evaluation.outcomes.items()}, evaluation.kinds, curves)
    draw_segments(metrics["segments"], evaluation.kinds, NDCG, segments)
    draw_differences(values[CANDIDATE] - values[best], (judged["low"], judged["high"]), best, differences)
    return pictures


def main() -> None:
    """Read the package, the champion and the test window; measure, draw, write."""
    params = load_params(EvaluateParams, "evaluate")
    seed = load_params(SeedParams, "seed").value
    window = read_window(PREPARED, load_params(WindowParams, "window").min_buyers)
    candidate = Recommender.load(PACKAGE)
    champion = Champion.read(CHAMPION)
    packages = {CANDIDATE: candidate} | ({CHAMPION_NAME: champion.recommender} if champion.recommender else {})
    for package in packages.values():
        blend = package.ranker.blend
        if isinstance(blend, TreeBlend | MixedBlend):
            blend.threads = 1  # users are scored in several threads already
    evaluation = evaluate(window, candidate, champion, params, seed)
    heads = load_params(TrainBertParams, "train_bert")
    items, judgements = read_table(PREPARED / "items.parquet"), read_table(JUDGEMENTS)
    relevance = check_relevance(items, judgements, packages, heads, seed + 1)
    evaluation.metrics["relevance"] = relevance.facts
    write_table(relevance.per_query, EVALUATE / "relevance.parquet")
    write_table(evaluation.per_user, EVALUATE / "per_user.parquet")
    write_table(evaluation.cold_purchases, EVALUATE / "cold_purchases.parquet")
    write_json(evaluation.metrics, EVALUATE / "metrics.json")
    pictures = write_pictures(evaluation, EVALUATE)
    trial, values = evaluation.trial, evaluation.outcomes[CANDIDATE].values[NDCG]
    shown = examples(candidate, trial, window.names(trial), values, evaluation.segments, params.example_queries)
    page = render(evaluation.metrics, pictures, shown)
    with atomic_file(EVALUATE / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    for line in evaluation.metrics["warnings"]:
        print(f"warning: {line}")
    for name, row in evaluation.metrics["models"].items():
        print(f"{name:22} NDCG@10 {row[NDCG]:.4f}  new {row[NDCG_NEW] or 0.0:.4f}")


if __name__ == "__main__":
    run_main(main)
