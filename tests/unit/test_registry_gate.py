"""The gate's decisions on per-user scores written by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.artifacts import write_json, write_table
from pipelines.errors import DataError, RegistryError
from pipelines.metrics.baselines import best_baseline
from pipelines.params import GateParams, Margins
from pipelines.registry.gate import decide
from pipelines.registry.gate_books import with_verdict
from pipelines.registry.gate_comparison import Evaluated
from pipelines.registry.gate_report import render_verdict
from pipelines.registry.gate_serving import Reached, ServingTrial
from pipelines.registry.gate_verdict import Verdict

PARAMS = GateParams(resamples=500)
BASELINES = {
    "popularity": {"kind": "baseline", "ndcg_at_10": 0.2},
    "own_counts": {"kind": "baseline", "ndcg_at_10": 0.4},
    "fused": {"kind": "model", "ndcg_at_10": 0.9},
    "rank": {"kind": "model", "ndcg_at_10": 0.5},
}


def evaluated(folder: Path, scores: dict[str, list[float]], **document: Any) -> Path:
    rows = [
        {"user_id": f"u{user}", "model": model, "ndcg_at_10": value}
        for model, values in scores.items()
        for user, value in enumerate(values)
    ]
    write_table(pa.Table.from_pylist(rows[::-1]), folder / "per_user.parquet")
    write_json({"models": BASELINES, **document}, folder / "metrics.json")
    return folder


def test_decide_compares_with_the_best_baseline_when_there_is_no_champion(tmp_path: Path) -> None:
    scores = {"rank": [0.5, 0.6] * 20, "own_counts": [0.4, 0.5] * 20, "popularity": [0.9] * 40}
    verdict = decide(evaluated(tmp_path, scores), PARAMS)
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
    folder = evaluated(
        tmp_path,
        {"rank": [0.5] * 40, "champion": champion},
        models=models,
        champion={"version": "3", "saw_test_window": saw},
    )
    verdict = decide(folder, PARAMS)
    assert (verdict.decision, verdict.reference, verdict.champion_version) == (decision, "champion", "3")


SEGMENTS = {"light": {"rank": {"ndcg_at_10": 0.3}, "champion": {"ndcg_at_10": 0.2}}}
CHAMPION: dict[str, Any] = {
    "models": {
        "rank": {"kind": "model", "ndcg_at_10": 0.5, "coverage_at_10": 0.3},
        "champion": {"kind": "champion", "ndcg_at_10": 0.4, "coverage_at_10": 0.3},
    },
    "champion": {"version": "3"},
    "users": 120,
    "candidates": 1000,
}


def with_champion(
    folder: Path, lifts: dict[str, float], noise: float = 0.02, users: int = 120, **document: Any
) -> Path:
    """A champion and a candidate that is better or worse by ``lifts``, in all columns of ``evaluate``."""
    generator = np.random.default_rng(5)
    there = generator.uniform(0.2, 0.6, users)

    def shifted(name: str, values: np.ndarray) -> np.ndarray:
        return values + lifts.get(name, 0.0) + generator.normal(0, noise, len(values))

    light = np.arange(users) % 3 == 0
    everybody = shifted("all", there) + np.where(light, lifts.get("light_users", 0.0), 0.0)
    columns = {
        "user_id": [f"u{user}" for user in range(users)] * 2,
        "segment": ["light" if is_light else "heavy" for is_light in light] * 2,
        "model": ["rank"] * users + ["champion"] * users,
        "ndcg_at_10": np.concatenate([everybody, there]),
        "ndcg_at_10_newcomer": np.concatenate([shifted("cold_users", there / 2), there / 2]),
        "alone_at_10": np.tile(generator.integers(0, 4, users), 2),
    }
    write_table(pa.table(columns), folder / "per_user.parquet")
    found = generator.integers(1, 5, users)
    fewer = np.maximum(found - int(lifts.get("cold_items", 0)), 0)
    cold = {
        "user_id": columns["user_id"],
        "model": columns["model"],
        "found_at_50": np.concatenate([fewer, found]),
        "bought": np.full(2 * users, 6),
    }
    write_table(pa.table(cold), folder / "cold_purchases.parquet")
    write_json({**CHAMPION, "users": users, **document}, folder / "metrics.json")
    return folder


def standings(verdict: Verdict) -> dict[str, str]:
    return {rail.name: rail.standing for rail in verdict.guardrails}


def test_decide_promotes_what_is_better_and_loses_nothing(tmp_path: Path) -> None:
    verdict = decide(with_champion(tmp_path, {"all": 0.05}), PARAMS)
    assert verdict.decision == "promote"
    assert standings(verdict) == {
        "light_users": "held",
        "cold_users": "held",
        "cold_items": "held",
        "coverage": "held",
        "calibration": "unmeasured",
        "latency": "unmeasured",
        "memory": "unmeasured",
    }
    assert all(rail.why for rail in verdict.guardrails)


@pytest.mark.parametrize(
    ("lifts", "name"),
    [
        ({"all": 0.1, "light_users": -0.2}, "light_users"),
        ({"all": 0.05, "cold_users": -0.1}, "cold_users"),
        ({"all": 0.05, "cold_items": 2}, "cold_items"),
    ],
)
def test_decide_rejects_what_is_better_and_breaks_a_guardrail(
    tmp_path: Path, lifts: dict[str, float], name: str
) -> None:
    verdict = decide(with_champion(tmp_path, lifts), PARAMS)
    assert verdict.effect > 0
    assert verdict.p_value < 0.05
    assert (verdict.decision, standings(verdict)[name]) == ("reject", "broken")
    assert f"guardrail broken: {name} -" in verdict.why
    off = GateParams(resamples=500, margins=Margins(**{name: None}))
    assert decide(tmp_path, off).decision == "promote"


def test_decide_rejects_a_candidate_that_shows_less_of_the_catalogue(tmp_path: Path) -> None:
    models = {**CHAMPION["models"], "rank": {"kind": "model", "ndcg_at_10": 0.5, "coverage_at_10": 0.2}}
    verdict = decide(with_champion(tmp_path, {"all": 0.05}, models=models), PARAMS)
    assert (verdict.decision, standings(verdict)["coverage"]) == ("reject", "broken")


def test_decide_says_how_many_users_an_undecided_guardrail_needs(tmp_path: Path) -> None:
    verdict = decide(with_champion(tmp_path, {"all": 0.2}, noise=0.25), PARAMS)
    assert standings(verdict)["cold_users"] == "undecided"
    assert verdict.decision == "inconclusive"
    assert verdict.users_needed is not None
    assert verdict.users_needed > 120
    assert f"some {verdict.users_needed:,} users would tell it with chance 0.8" in verdict.why


def test_decide_does_not_trust_a_handful_of_users(tmp_path: Path) -> None:
    verdict = decide(with_champion(tmp_path, {"all": 0.05}, users=24), PARAMS)
    (light,) = (rail for rail in verdict.guardrails if rail.name == "light_users")
    assert (light.standing, light.units, light.users_needed) == ("undecided", 8, 30)
    assert "8 users are too few to tell" in light.why


def test_guardrails_are_only_shown_while_there_is_no_champion(tmp_path: Path) -> None:
    models = {**CHAMPION["models"], "champion": {"kind": "baseline", "ndcg_at_10": 0.4, "coverage_at_10": 0.9}}
    verdict = decide(with_champion(tmp_path, {"all": 0.05, "cold_users": -0.1}, models=models), PARAMS)
    assert verdict.decision == "promote"
    assert set(standings(verdict).values()) == {"shown", "unmeasured"}


def test_inconclusive_says_how_many_more_users_it_takes(tmp_path: Path) -> None:
    scores = {"rank": [0.4, 0.56] * 40, "own_counts": [0.5, 0.44] * 40}
    verdict = decide(evaluated(tmp_path, scores), PARAMS)
    assert verdict.decision == "inconclusive"
    deviation = np.std(np.tile([-0.1, 0.12], 40), ddof=1)
    assert verdict.deviation == pytest.approx(deviation)
    expected = math.ceil(((1.959964 + 0.841621) * deviation / 0.01) ** 2)
    assert verdict.users_needed == expected
    assert f"{expected - 80:,} more than there are" in verdict.why
    least = GateParams(resamples=500, min_effect=0.02)
    assert decide(tmp_path, least).users_needed == math.ceil(((1.959964 + 0.841621) * deviation / 0.02) ** 2)


def test_inconclusive_where_users_do_not_help_says_so(tmp_path: Path) -> None:
    verdict = decide(evaluated(tmp_path, {"rank": [0.4, 0.6] * 40, "own_counts": [0.5] * 80}), PARAMS)
    assert verdict.users_needed is None
    assert "more users alone would not tell" in verdict.why


def test_a_candidate_that_cannot_be_served_is_rejected(tmp_path: Path) -> None:
    verdict = decide(with_champion(tmp_path, {"all": 0.05}), PARAMS, ServingTrial(None, refused="no such file"))
    assert verdict.decision == "reject"
    assert verdict.why.startswith("it cannot be served: no such file; ndcg_at_10 +")


def test_latency_and_memory_are_held_to_the_champions(tmp_path: Path) -> None:
    folder = with_champion(tmp_path, {"all": 0.05})
    times = tuple(np.random.default_rng(1).gamma(4, 10, 150).tolist())
    champion = Reached(times, 400.0)

    def served(factor: float, memory: float, **params: Any) -> Verdict:
        trial = ServingTrial(Reached(tuple(factor * time for time in times), memory), champion)
        return decide(folder, GateParams(resamples=500, **params), trial)

    assert served(1.0, 450.0).decision == "promote"
    slow = served(2.0, 450.0)
    assert (slow.decision, standings(slow)["latency"]) == ("reject", "broken")
    assert standings(served(2.0, 450.0, free_latency_ms=500.0))["latency"] == "held"
    large = served(1.0, 501.0)
    assert (large.decision, standings(large)["memory"]) == ("reject", "broken")


def test_verdict_is_read_back_and_an_older_one_too(tmp_path: Path) -> None:
    verdict = decide(with_champion(tmp_path, {"all": 0.05}), GateParams(resamples=500, mode="dry_run"))
    written = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
    assert Verdict.from_dict(written) == verdict
    older = {name: written[name] for name in ("decision", "reference", "effect", "interval", "p_value", "users", "why")}
    assert Verdict.from_dict(older).guardrails == ()
    assert Verdict.from_dict({**written, "of a newer shoploom": 1}) == verdict
    with pytest.raises(RegistryError, match=r"older shoploom or damaged: 'interval'\n  -> shoploom train"):
        Verdict.from_dict({"decision": "promote"})


def test_decide_rejects_a_gain_below_the_least_asked_for(tmp_path: Path) -> None:
    folder = evaluated(tmp_path, {"rank": [0.5] * 40, "own_counts": [0.49] * 40})
    assert decide(folder, GateParams(resamples=500, min_effect=0.02)).decision == "reject"


def test_decide_refuses_scores_of_different_users(tmp_path: Path) -> None:
    folder = evaluated(tmp_path, {"rank": [0.5, 0.5], "own_counts": [0.4]})
    with pytest.raises(DataError, match="different users"):
        decide(folder, PARAMS)


def test_decide_refuses_metrics_without_a_baseline(tmp_path: Path) -> None:
    folder = evaluated(tmp_path, {"rank": [0.5, 0.5]}, models={"rank": BASELINES["rank"]})
    with pytest.raises(DataError, match="no champion and no baseline, only rank"):
        decide(folder, PARAMS)


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


def test_page_of_a_verdict_has_its_pictures_and_its_guardrails_and_needs_nothing_beside_it(tmp_path: Path) -> None:
    folder = with_champion(tmp_path, {"all": 0.05}, noise=0.2, segments=SEGMENTS, segment_users={"light": 40})
    params = GateParams(resamples=500, mode="dry_run")
    verdict = decide(folder, params)
    page = render_verdict(verdict, Evaluated(folder), params)
    assert page.count('src="data:image/png;base64,') == 3
    assert "http" not in page
    assert f"<h1>Gate: {verdict.decision} (dry run)</h1>" in page
    for rail in verdict.guardrails:
        assert f"<td>{rail.name.replace('_', ' ')}</td><td>{rail.standing}</td>" in page
    assert "<td>light</td><td>40</td><td>0.3000</td><td>0.2000</td><td>+0.1000</td>" in page
    again = Evaluated(evaluated(tmp_path / "first", {"rank": [0.5, 0.4] * 20, "own_counts": [0.4, 0.5] * 20}))
    assert "Gate: inconclusive" in render_verdict(decide(again.folder, PARAMS), again, PARAMS)
