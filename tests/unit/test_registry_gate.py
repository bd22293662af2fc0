"""The gate's decisions on per-user scores written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.artifacts import write_json, write_table
from pipelines.errors import DataError
from pipelines.metrics.baselines import best_baseline
from pipelines.params import GateParams
from pipelines.registry.gate import Verdict, decide, with_verdict

PARAMS = GateParams(resamples=500)
BASELINES = {
    "popularity": {"kind": "baseline", "ndcg_at_10": 0.2},
    "own_counts": {"kind": "baseline", "ndcg_at_10": 0.4},
    "fused": {"kind": "model", "ndcg_at_10": 0.9},
    "rank": {"kind": "model", "ndcg_at_10": 0.5},
}


def evaluated(folder: Path, scores: dict[str, list[float]], **document: Any) -> tuple[Path, Path]:
    rows = [
        {"user_id": f"u{user}", "model": model, "ndcg_at_10": value}
        for model, values in scores.items()
        for user, value in enumerate(values)
    ]
    write_table(pa.Table.from_pylist(rows[::-1]), folder / "per_user.parquet")
    write_json({"models": BASELINES, **document}, folder / "metrics.json")
    return folder / "per_user.parquet", folder / "metrics.json"


def test_decide_compares_with_the_best_baseline_when_there_is_no_champion(tmp_path: Path) -> None:
    scores = {"rank": [0.5, 0.6] * 20, "own_counts": [0.4, 0.5] * 20, "popularity": [0.9] * 40}
    verdict = decide(*evaluated(tmp_path, scores), PARAMS)
    assert (verdict.decision, verdict.reference, verdict.champion_version) == ("promote", "own_counts", None)
    assert verdict.effect == pytest.approx(0.1)
    assert verdict.interval == pytest.approx((0.1, 0.1))
    assert verdict.p_value == pytest.approx(1 / 501)
    assert verdict.users == 40


@pytest.mark.parametrize(
    ("champion", "saw", "decision"),
    [
        ([0.1] * 40, False, "promote"),
        ([0.9] * 40, False, "reject"),
        ([0.4, 0.6] * 20, False, "inconclusive"),
        ([0.1] * 40, True, "inconclusive"),
    ],
)
def test_decide_compares_with_the_champion(tmp_path: Path, champion: list[float], saw: bool, decision: str) -> None:
    models = {**BASELINES, "champion": {"kind": "champion", "ndcg_at_10": 0.3}}
    paths = evaluated(
        tmp_path,
        {"rank": [0.5] * 40, "champion": champion},
        models=models,
        champion={"version": "3", "saw_test_window": saw},
    )
    verdict = decide(*paths, PARAMS)
    assert (verdict.decision, verdict.reference, verdict.champion_version) == (decision, "champion", "3")


def test_decide_rejects_a_gain_below_the_least_asked_for(tmp_path: Path) -> None:
    paths = evaluated(tmp_path, {"rank": [0.5] * 40, "own_counts": [0.49] * 40})
    assert decide(*paths, GateParams(resamples=500, min_effect=0.02)).decision == "reject"


def test_decide_refuses_scores_of_different_users(tmp_path: Path) -> None:
    paths = evaluated(tmp_path, {"rank": [0.5, 0.5], "own_counts": [0.4]})
    with pytest.raises(DataError, match="different users"):
        decide(*paths, PARAMS)


def test_decide_refuses_metrics_without_a_baseline(tmp_path: Path) -> None:
    paths = evaluated(tmp_path, {"rank": [0.5, 0.5]}, models={"rank": BASELINES["rank"]})
    with pytest.raises(DataError, match="no champion and no baseline, only rank"):
        decide(*paths, PARAMS)


def test_best_baseline_is_the_first_by_name_of_those_that_tie() -> None:
    assert best_baseline(BASELINES) == "own_counts"
    assert best_baseline({**BASELINES, "decayed_counts": {"kind": "baseline", "ndcg_at_10": 0.4}}) == "decayed_counts"
    assert best_baseline({"rank": BASELINES["rank"]}) is None


def test_report_shows_the_verdict_escaped() -> None:
    verdict = Verdict("reject", "champion", -0.01, (-0.02, -0.005), 0.001, 40, "worse: <b>", champion_version="3")
    page = with_verdict("<html><body class='x'><h1>Report</h1></body></html>", verdict)
    assert page.index("Gate: reject") < page.index("<h1>Report")
    assert "worse: &lt;b&gt;" in page
    assert "-0.0200 to -0.0050" in page
