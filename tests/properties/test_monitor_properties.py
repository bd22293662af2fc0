"""The rule that asks for a training, and the distances that it is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, wasserstein_distance

from expectations.distances import jensen_shannon, population_stability, transport
from expectations.sketches import STEP, LogHistogram, Sample
from pipelines.monitoring.decisions import decision_of, measured_before
from pipelines.monitoring.rule import Window, decide, k_of_n
from pipelines.params import MonitorParams

BREACHES = st.lists(st.booleans(), max_size=12)
RULES = st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))
COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1).filter(lambda c: sum(c.values()))
PRICES = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60)


@given(BREACHES, RULES)
def test_k_of_n_needs_the_latest_and_k_of_the_last_n(breaches: list[bool], rule: tuple[int, int]) -> None:
    k, n = rule
    assert k_of_n(breaches, k, n) == (bool(breaches) and breaches[-1] and sum(breaches[-n:]) >= k)


@given(BREACHES, RULES, st.lists(st.booleans(), max_size=5))
def test_k_of_n_looks_at_the_last_n_alone(breaches: list[bool], rule: tuple[int, int], older: list[bool]) -> None:
    k, n = rule
    full = [False] * n + breaches
    assert k_of_n(full, k, n) == k_of_n([*older, *full[-n:]], k, n)


@given(BREACHES.filter(bool), RULES, st.data())
def test_k_of_n_never_turns_to_no_by_another_breach(
    breaches: list[bool], rule: tuple[int, int], data: st.DataObject
) -> None:
    k, n = rule
    place = data.draw(st.integers(0, len(breaches) - 1))
    more = [*breaches[:place], True, *breaches[place + 1 :]]
    assert k_of_n(more, k, n) >= k_of_n(breaches, k, n)


@given(BREACHES, RULES)
def test_k_of_n_asks_for_more_as_k_grows(breaches: list[bool], rule: tuple[int, int]) -> None:
    k, n = rule
    if k > 1:
        assert k_of_n(breaches, k, n) <= k_of_n(breaches, k - 1, n)
    assert k_of_n(breaches, 1, n) == (bool(breaches) and breaches[-1])


@given(BREACHES, RULES)
def test_decide_follows_the_rule_and_says_why(breaches: list[bool], rule: tuple[int, int]) -> None:
    k, n = rule
    params = MonitorParams(rule="k_of_n", k=k, n=n)
    windows = [
        Window(f"2024-W{week:02d}", {}, ("price_drift",) * breached) for week, breached in enumerate(breaches, 1)
    ]
    decision = decide(windows, params, champion=True)
    assert decision.retrain == k_of_n(breaches, k, n)
    assert decision.why
    assert decide(windows, params, champion=False).retrain
    assert decide(windows, MonitorParams(), champion=True).retrain


def measured(*partitions: str, price: float = 1.0) -> dict[str, object]:
    windows = [{"partition": name, "measures": {"price_drift": price}} for name in partitions]
    return {"data_version": partitions[-1], "champion": "1", "windows": windows}


def test_a_window_that_was_answered_counts_no_more() -> None:
    params = MonitorParams(rule="k_of_n", k=2, n=4)
    first = decision_of(measured("2024-W01", "2024-W02"), [], params)
    second = decision_of(measured("2024-W01", "2024-W02", "2024-W03"), [first], params)
    third = decision_of(measured("2024-W01", "2024-W02", "2024-W03", "2024-W04"), [second, first], params)
    assert [one["retrain"] for one in (first, second, third)] == [True, False, True]
    assert [window["partition"] for window in third["windows"]] == ["2024-W03", "2024-W04"]


def test_a_decision_repeats_itself_when_nothing_came() -> None:
    params = MonitorParams(rule="k_of_n", k=2, n=4)
    first = decision_of(measured("2024-W01", "2024-W02"), [], params)
    assert not first["repeats"]
    again = decision_of(measured("2024-W01", "2024-W02"), [first], params)
    assert (again["repeats"], again["retrain"]) == (True, True)


def test_quality_is_remembered_from_the_load_that_measured_it() -> None:
    params = MonitorParams(rule="k_of_n", k=1, n=4)
    earlier = measured("2024-W01", price=0.0)
    earlier["windows"] = [{"partition": "2024-W01", "measures": {"price_drift": 0.0, "quality_loss": 0.5}}]
    first = decision_of(earlier, [], MonitorParams(rule="k_of_n", k=2, n=4))
    later = decision_of(measured("2024-W01", "2024-W02", price=0.0), [first], params)
    assert later["windows"][0]["breached"] == ["quality_loss"]
    assert later["windows"][1]["breached"] == []
    other = decision_of({**measured("2024-W01", price=0.0), "champion": "2"}, [first], params)
    assert other["windows"][0]["breached"] == []


@given(COUNTS, COUNTS)
def test_jensen_shannon_is_scipys(found: dict[str, int], usual: dict[str, int]) -> None:
    names = sorted(found.keys() | usual.keys())
    p, q = ([counts.get(name, 0) for name in names] for counts in (found, usual))
    assert jensen_shannon(found, usual) == pytest.approx(float(jensenshannon(p, q, base=2)), abs=1e-7)
    assert 0 <= jensen_shannon(found, usual) <= 1 + 1e-12


@settings(deadline=None)
@given(PRICES, PRICES)
def test_population_stability_is_the_sum_of_both_relative_entropies(left: list[float], right: list[float]) -> None:
    found, usual = (LogHistogram.of(np.array(numbers)) for numbers in (left, right))
    index = population_stability(found, usual)
    ends = np.arange(usual.first, usual.first + len(usual.counts))
    reached = np.cumsum(usual.counts) / usual.total
    inner = np.unique([ends[min(int(np.searchsorted(reached, tenth / 10)), len(ends) - 1)] for tenth in range(1, 10)])
    edges = [-np.inf, *(inner + 0.5), np.inf]
    p, q = (
        np.maximum(np.histogram(np.rint(np.log(numbers) / STEP), edges)[0] / len(numbers), 1e-4)
        for numbers in (left, right)
    )
    if min(p.min(), q.min()) > 1e-4:
        assert index == pytest.approx(float(entropy(p, q) + entropy(q, p)), abs=1e-9)
    assert index == pytest.approx(float(np.sum((p - q) * np.log(p / q))), abs=1e-9)
    assert population_stability(usual, usual) == 0


@given(PRICES, PRICES)
def test_transport_is_scipys_distance_of_the_binned_logarithms(left: list[float], right: list[float]) -> None:
    found, usual = (LogHistogram.of(np.array(numbers)) for numbers in (left, right))
    binned = [np.rint(np.log(numbers) / STEP) * STEP for numbers in (left, right)]
    assert transport(found, usual) == pytest.approx(float(wasserstein_distance(*binned)), abs=1e-6)


@given(PRICES, st.floats(0, 1))
def test_log_histogram_keeps_quantiles_to_a_bin(numbers: list[float], share: float) -> None:
    histogram = LogHistogram.of(np.array(numbers))
    exact = float(np.quantile(numbers, share, method="inverted_cdf"))
    assert abs(np.log(histogram.quantile(share) / exact)) <= STEP * 1.01
    both = LogHistogram.sum([histogram, histogram])
    assert both.total == 2 * histogram.total
    assert LogHistogram.from_json(histogram.to_json()).to_json() == histogram.to_json()


@settings(deadline=None)
@given(st.integers(0, 4000), st.integers(0, 4000), st.integers(0, 3000), st.integers(0, 2**32))
def test_samples_tell_the_share_of_common_values(own: int, other: int, common: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(1, 2**63, own + other + common).astype(np.uint64)
    left, right = Sample.of(values[: own + common]), Sample.of(values[own:])
    exact = common / max(own + common, 1)
    found = left.share_in([right])
    assert found == pytest.approx(exact, abs=0.13)
    if left.distinct <= 1024 and right.distinct <= 1024:
        assert found == pytest.approx(exact)


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({}, True),
        ({"data_version": "b" * 40}, False),
        ({"champion": "4"}, False),
        ({"champion": None}, False),
        ({"asked": {"n": 5}}, False),
    ],
)
def test_what_was_measured_is_given_again_until_something_is_new(change: dict[str, object], again: bool) -> None:
    windows = [{"partition": "2024-W08", "measures": {"price_drift": 0.5, "ndcg_at_10": None}}]
    now = {"data_version": "a" * 40, "champion": "3", "asked": {"n": 4}, "unmeasured": "", "windows": windows}
    decision = decision_of(now, [], MonitorParams(rule="k_of_n", k=1, n=4))
    asked = {"data_version": "a" * 40, "champion": "3", "asked": {"n": 4}} | change
    found = measured_before([decision], **asked)  # type: ignore[arg-type]
    assert found == (now if again else None)
    if found:
        assert decision_of(found, [decision], MonitorParams(rule="k_of_n", k=1, n=4))["repeats"]
    assert measured_before([], **asked) is None  # type: ignore[arg-type]


def test_what_could_not_be_measured_is_tried_again() -> None:
    now = {"data_version": "a", "champion": "3", "asked": {}, "unmeasured": "the package is lost", "windows": []}
    decision = decision_of(now, [], MonitorParams())
    assert measured_before([decision], "a", "3", {"n": 4}) is None
