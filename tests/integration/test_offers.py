"""Which offers are given: by expected value, within budgets, however many ask at once."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from pipelines.artifacts import file_sha256
from pipelines.cli import main
from pipelines.errors import ConfigError, DataError, ModelError, ServiceError, TrustError
from pipelines.lineage.audit import Entry, log_path, read
from pipelines.lineage.dsse import sign
from pipelines.lineage.keys import current_key, new_key
from pipelines.lineage.signed_file import envelope_path, open_signed_file, signed_file
from pipelines.lineage.statements import signed_file as signed_statement
from pipelines.models.offer_history import known_at
from pipelines.models.propensity import FEATURES, Known, Propensity
from pipelines.serving.chances import AT_FIRST, SECONDS_KEPT, Chances, Share, model_path
from pipelines.serving.fit_offers import fit_offers
from pipelines.serving.offers import Bought, Chosen, Shopping, Wanted, bought_anyway, choose
from pipelines.serving.state import Offer, State
from pipelines.serving.state.terms import Terms
from pipelines.settings import Settings
from tests.few_campaigns import write_few
from tests.repositories import new_repository
from tests.state_database import RING
from tests.state_database import state as state
from tests.state_database import url as url

NOW = datetime.now(UTC)
ANN = RING.pseudonym("ann")
LIKES_TEA = Shopping(90.0, {"tea": 3, "milk": 90}, {"tea": 5.0, "milk": 1.0})
ONCE_BOUGHT = Propensity((1.0, 1.0, 0.0, 0.0, 0.0, 0.0), -3.0, (0.0,) * 6, (9.0,) * 6, 1000, 50)
"""Odds rise with what was bought of an offer before."""


def an_offer(offer_id: str, item: str, **fields: object) -> Offer:
    given = {"starts": NOW - timedelta(days=1), "ends": NOW + timedelta(days=3), "cost": 0.5, "value": 2.0}
    return Offer(offer_id, "coupon", (item,), **{**given, **fields})  # type: ignore[arg-type]


def test_choose_gives_what_brings_most_beyond_what_is_bought_anyway(state: State) -> None:
    # Milk is bought every day: a coupon for it gives a discount away.
    state.offers.put([an_offer("milk", "milk"), an_offer("tea", "tea"), an_offer("nails", "nails", value=2.1)])
    (tea, nails) = choose(state, ONCE_BOUGHT, ANN, LIKES_TEA, Wanted(NOW, most=5))
    assert (tea.offer.offer_id, nails.offer.offer_id) == ("tea", "nails")
    chance = 1 / (1 + np.exp(-(-3 + np.log1p(3) + 1)))
    anyway = 1 - np.exp(-3 / 90 * 3)
    assert (tea.chance, tea.anyway) == pytest.approx((chance, anyway), rel=1e-6)
    assert tea.expected == pytest.approx(chance * ((1 - anyway) * 2.0 - 0.5), rel=1e-6)
    assert "likely to be used, its items" in tea.reason
    assert {found.offer.offer_id: found.reserved for found in state.offers.all()} == {
        "milk": 0,
        "tea": 0.5,
        "nails": 0.5,
    }


def test_choose_gives_nothing_that_costs_more_than_it_brings(state: State) -> None:
    state.offers.put([an_offer("dear", "tea", cost=2.0), an_offer("over", "tea", ends=NOW)])
    assert choose(state, ONCE_BOUGHT, ANN, LIKES_TEA, Wanted(NOW, most=5)) == []
    assert choose(state, ONCE_BOUGHT, ANN, Shopping(1.0), Wanted(NOW, most=0)) == []


def test_offer_for_everything_counts_all_purchases() -> None:
    terms = Terms.of([Offer("all", "coupon", (), NOW, NOW + timedelta(days=1))])
    assert bought_anyway(Bought.of(terms, LIKES_TEA), terms, LIKES_TEA, NOW)[0] == pytest.approx(1 - np.exp(-93 / 90))


def test_choosing_at_once_overspends_nothing_and_gives_the_next_best(state: State) -> None:
    state.offers.put([an_offer("tea", "tea", budget=5.0), an_offer("nails", "nails", budget=4.2, cap=1)])
    chosen: list[Chosen] = []

    def ask(number: int) -> None:
        chosen.extend(choose(state, ONCE_BOUGHT, RING.pseudonym(str(number)), LIKES_TEA, Wanted(NOW)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given = [found.offer.offer_id for found in chosen]
    assert given.count("tea") == 10
    assert given.count("nails") == 8
    assert all(found.left >= 0 for found in state.offers.all())


def test_what_a_user_holds_is_given_again_first_and_held_once(state: State) -> None:
    state.offers.put([an_offer("tea", "tea", budget=0.5), an_offer("nails", "nails", budget=0.5)])
    chosen: list[Chosen] = []
    asking = [
        threading.Thread(target=lambda: chosen.extend(choose(state, ONCE_BOUGHT, ANN, LIKES_TEA, Wanted(NOW))))
        for _ in range(10)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert [found.offer.offer_id for found in chosen] == ["tea"] * 10
    assert len({found.reservation.reservation_id for found in chosen}) == 1
    state.offers.put([an_offer("nails", "nails", value=200.0)])
    (tea, nails) = choose(state, ONCE_BOUGHT, ANN, LIKES_TEA, Wanted(NOW, most=2))
    assert (tea.offer.offer_id, tea.again, nails.offer.offer_id, nails.again) == ("tea", True, "nails", False)
    assert nails.expected > tea.expected


def test_page_and_cart_say_which_offers_can_be_meant(state: State) -> None:
    everything = Offer("all", "coupon", (), NOW, NOW + timedelta(hours=1), cost=0.1, value=2.0)
    state.offers.put([an_offer("tea", "tea"), an_offer("nails", "nails"), everything])

    def given(who: str = ANN, **wanted: object) -> set[str]:
        asked = Wanted(NOW, most=5, **wanted)  # type: ignore[arg-type]
        return {found.offer.offer_id for found in choose(state, ONCE_BOUGHT, who, LIKES_TEA, asked)}

    assert given(about=["tea"]) == {"tea", "all"}
    assert given(RING.pseudonym("bob"), cart=["tea"]) == {"nails"}, "what is in the cart is bought without an offer"
    assert given(cart=["tea"]) == {"tea", "nails", "all"}, "what is held is told of all the same"


def put_model(settings: Settings, model: Propensity) -> Path:
    path = model_path(settings.home)
    with signed_file(settings, path) as temporary:
        model.save(temporary)
    return path


def test_chances_come_from_the_newest_model_or_else_from_what_was_redeemed_here(state: State, tmp_path: Path) -> None:
    settings = new_repository(tmp_path / "shop")
    chances = Chances(settings)
    redeeming, source, wrong = chances.now(state)
    assert (source, wrong, redeeming) == ("redemptions", None, Share(AT_FIRST))
    assert Share.of(30, 100).chance == pytest.approx((30 + AT_FIRST * 20) / 120)
    path = put_model(settings, ONCE_BOUGHT)
    assert chances.now(state) == (ONCE_BOUGHT, "model", None)
    newer = replace(ONCE_BOUGHT, pairs=2000)
    put_model(settings, newer)
    assert chances.now(state) == (newer, "model", None)
    path.unlink()
    assert chances.now(state) == (Share(AT_FIRST), "redemptions", None)


def edit_one_byte(settings: Settings, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1000", b"1001"))


def lose_the_envelope(settings: Settings, path: Path) -> None:
    envelope_path(path).unlink()


def take_another_file_s_envelope(settings: Settings, path: Path) -> None:
    other = path.with_name("other.json")
    with signed_file(settings, other) as temporary:
        ONCE_BOUGHT.save(temporary)
    envelope_path(other).replace(envelope_path(path))


def take_an_earlier_model_s_envelope(settings: Settings, path: Path) -> None:
    earlier = envelope_path(path).read_bytes()
    put_model(settings, replace(ONCE_BOUGHT, pairs=2000))
    envelope_path(path).write_bytes(earlier)


def sign_by_another_key(settings: Settings, path: Path) -> None:
    said = signed_statement(path.name, file_sha256(path), {})
    envelope_path(path).write_bytes(sign(said, new_key(settings.home.parent / "mallory.pem")))


def garble_the_envelope(settings: Settings, path: Path) -> None:
    envelope_path(path).write_text("{}")


def sign_what_is_no_model(settings: Settings, path: Path) -> None:
    with signed_file(settings, path) as temporary:
        temporary.write_text("damaged")


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (
            edit_one_byte,
            r"offers.json is not what key \w{12} signed: its SHA-256 is \w{12}, that of the signed file \w+",
        ),
        (
            lose_the_envelope,
            r"offers.json is not signed: offers.dsse.json is missing, or an older shoploom wrote the file",
        ),
        (take_another_file_s_envelope, r"offers.dsse.json is of another file, other.json, and not of offers.json"),
        (take_an_earlier_model_s_envelope, r"offers.json is not what key \w{12} signed"),
        (sign_by_another_key, r"offers.dsse.json is signed by key \w{12}, which is not trusted"),
        (garble_the_envelope, r"offers.dsse.json is no signed envelope"),
        (sign_what_is_no_model, r"offers.json is no model of redemptions"),
    ],
)
def test_a_model_that_does_not_verify_is_not_used_and_the_one_before_stays(
    tmp_path: Path, attack: Callable[[Settings, Path], None], says: str
) -> None:
    settings = new_repository(tmp_path / "shop")
    with closing(State.open(f"sqlite:///{tmp_path / 'state.db'}", RING)) as state:
        path = put_model(settings, ONCE_BOUGHT)
        running = Chances(settings)
        assert running.now(state) == (ONCE_BOUGHT, "model", None)
        attack(settings, path)
        for chances, before in (
            (running, (ONCE_BOUGHT, "model")),
            (Chances(settings), (Share(AT_FIRST), "redemptions")),
        ):
            redeeming, source, wrong = chances.now(state)
            assert (redeeming, source) == before
            assert wrong is not None
            assert re.search(says, wrong.message), wrong.message
            assert wrong.mend.startswith("shoploom offers fit")
        newest: Entry = read(settings)[-1]
        assert (newest.action, newest.subject, newest.details["why"]) == ("refusal", "file offers.json", wrong.message)
        put_model(settings, ONCE_BOUGHT)
        assert running.now(state) == (ONCE_BOUGHT, "model", None)
    assert [entry.action for entry in read(settings)][:3] == ["key", "sign", "load"]


def test_a_model_that_the_audit_log_cannot_name_is_tried_again(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_repository(tmp_path / "shop")
    put_model(settings, ONCE_BOUGHT)
    chances = Chances(settings)
    log = log_path(settings)
    log.rename(log.with_name("aside"))
    log.mkdir()
    redeeming, source, wrong = chances.now(state)
    assert (redeeming, source) == (Share(AT_FIRST), "redemptions")
    assert isinstance(wrong, ServiceError)
    assert "offers.json is not taken up" in wrong.message
    log.rmdir()
    log.with_name("aside").rename(log)
    assert chances.now(state)[2] is wrong
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + SECONDS_KEPT)
    assert chances.now(state) == (ONCE_BOUGHT, "model", None)


def test_nothing_is_replaced_where_the_signing_key_is_lost(tmp_path: Path) -> None:
    settings = new_repository(tmp_path / "shop")
    path = put_model(settings, ONCE_BOUGHT)
    current_key(settings).path.unlink()
    with pytest.raises(TrustError, match=r"the private key .* is missing"):
        put_model(settings, replace(ONCE_BOUGHT, pairs=2000))
    assert Propensity.parse(open_signed_file(settings, path, ""), "it") == ONCE_BOUGHT
    assert sorted(each.name for each in path.parent.iterdir()) == ["offers.dsse.json", "offers.json"]


def test_what_was_redeemed_before_counts(state: State) -> None:
    state.offers.put([an_offer("tea", "tea")])
    held = [state.offers.reserve("tea", ANN, 0.5) for _ in range(3)]
    state.offers.redeem(held[0].reservation_id)
    state.offers.release(held[1].reservation_id)
    assert state.offers.record_of(ANN) == (3, 1)
    assert state.offers.outcomes() == (1, 2)


def test_history_says_what_was_known_when_an_offer_started() -> None:
    first = pd.Timestamp("2026-01-01", tz="UTC")
    days = [1.0, 20.0, 39.0, 41.0, 10.0]
    bought = pd.DataFrame({"user_id": ["a", "a", "a", "a", "b"], "item_id": ["tea", "tea", "milk", "tea", "milk"]})
    bought["timestamp"] = [first + pd.Timedelta(days=day) for day in days]
    offers = pd.DataFrame({"offer_id": ["1", "2", "3"], "item_ids": [["tea"], ["tea", "milk"], ["milk"]]})
    offers["starts"] = [first + pd.Timedelta(days=day) for day in (7, 30, 40)]
    sent = pd.DataFrame({"user_id": ["a", "a", "b", "a"], "offer_id": ["1", "2", "2", "3"]})
    sent["redeemed"] = [True, True, False, False]
    known, redeemed, start = known_at(bought, sent, offers, first)
    assert start.tolist() == [30.0, 30.0, 40.0]
    assert redeemed.tolist() == [True, False, False]
    assert known.lines.tolist() == [2.0, 1.0, 1.0]
    assert known.last_days.tolist() == [10.0, 20.0, 1.0]
    assert known.all_lines.tolist() == [2.0, 1.0, 3.0]
    assert (known.given.tolist(), known.redeemed.tolist()) == ([1.0, 0.0, 2.0], [1.0, 0.0, 2.0])
    assert known.items.tolist() == [2.0, 2.0, 1.0]
    with pytest.raises(DataError, match="first four weeks"):
        known_at(bought, sent[sent["offer_id"] == "1"], offers, first)


def test_propensity_learns_and_is_read_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    count = 4_000
    lines = random.poisson(1.0, count).astype(float)
    ones = np.ones(count)
    known = Known(lines, np.where(lines > 0, 5.0, np.inf), 20 * ones, 90 * ones, 0 * ones, 0 * ones, 10 * ones)
    truth = 1 / (1 + np.exp(-(2 * np.log1p(lines) - 3)))
    fitted = Propensity.fit(known, random.random(count) < truth)
    assert np.abs(fitted.score(known) - truth).mean() < 0.03
    fitted.save(tmp_path / "offers.json")
    assert Propensity.parse((tmp_path / "offers.json").read_bytes(), "offers.json") == fitted
    more = Known(1e6 * ones[:1], 0 * ones[:1], 1e9 * ones[:1], ones[:1], 0 * ones[:1], 9 * ones[:1], ones[:1])
    assert fitted.score(more)[0] == pytest.approx(fitted.score(known).max(), abs=0.05)
    with pytest.raises(ModelError, match="nothing can be learned"):
        Propensity.fit(known, np.zeros(count, bool))


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 1, "features": 7}'])
def test_propensity_refuses_another_file(text: str) -> None:
    with pytest.raises(ModelError, match=r"offers\.json is no model of redemptions"):
        Propensity.parse(text.encode(), "offers.json")
    assert len(FEATURES) == 6


def test_command_fits_real_campaigns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_few(tmp_path / "few")
    settings = new_repository(tmp_path / "shop")
    monkeypatch.setenv("SHOPLOOM_REPOSITORY", str(settings.repository))
    monkeypatch.setenv("SHOPLOOM_HOME", str(settings.home))
    monkeypatch.setenv("SHOPLOOM_SOURCE", f"tests.few_campaigns:{tmp_path / 'few'}")
    done = CliRunner().invoke(main, ["offers", "fit", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert report["pairs"] > 100_000
    assert report["auc"] > 0.85
    assert 0.5 < report["expected_to_seen"] < 2
    content = open_signed_file(settings, model_path(settings.home), "")
    assert Propensity.parse(content, "it").redemptions == report["redemptions"]
    signed = read(settings)[-1]
    assert (signed.action, signed.subject) == ("sign", "file offers.json")
    assert signed.details["redemptions"] == report["redemptions"]
    assert signed.details["sha256"] == hashlib.sha256(content).hexdigest()


def test_command_refuses_a_source_without_campaigns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLOOM_SOURCE", "tests.tiny_shop")
    with pytest.raises(ConfigError, match="does not say which offers were sent to whom"):
        fit_offers(Settings())
