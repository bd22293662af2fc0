"""The storefront in a real browser, before a real server with the tiny shop's champion."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any
from urllib.error import HTTPError

import pytest
from playwright.sync_api import Browser, Page, expect

from pipelines.orchestration import api_keys
from pipelines.pseudonyms import open_ring
from pipelines.serving.state import State
from pipelines.settings import Settings
from tests.chromium import SLOWEST_MS, Visit, chromium, visit
from tests.integration import test_serving
from tests.serving_shop import RUN, Served

pytestmark = pytest.mark.services
shop, settings, server = test_serving.shop, test_serving.settings, test_serving.server
expect.set_options(timeout=SLOWEST_MS)
Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visiting(browser: Browser, server: Served) -> Iterator[Open]:
    """Opens visits, of which none may complain or ask anybody but the server."""
    made: list[Visit] = []
    with ExitStack() as stack:

        def opened(**options: Any) -> Visit:
            made.append(stack.enter_context(visit(browser, server.address, **options)))
            return made[-1]

        yield opened
        for each in made:
            assert each.complaints == []
            assert each.left_loopback() == []


@pytest.fixture
def here(visiting: Open) -> Visit:
    """A visit on the first page."""
    visit = visiting()
    visit.go()
    return visit


def titles(page: Page) -> list[str]:
    return page.locator("main .card").evaluate_all("cards => cards.map(card => card.dataset.item)")


def search(page: Page, query: str) -> None:
    page.get_by_label("Search the shop").fill(query)
    page.keyboard.press("Enter")
    page.locator(".found .card, .found .empty").first.wait_for()


def learned(page: Page, words: str) -> Any:
    """The newest lesson, once it tells of this."""
    lesson = page.locator("#panel-learned .lesson").first
    expect(lesson.locator(".did")).to_contain_text(words)
    return lesson


def be_a_household(page: Page, number: int = 1) -> str:
    page.get_by_role("button", name="Who am I").click()
    choice = page.locator("#people .choice").nth(number)
    choice.locator("input").check()
    name = str(choice.locator("strong").text_content())
    expect(page.locator("#whom-name")).to_have_text(name)
    return name


def test_first_page_recommends_and_tells_what_it_goes_by(here: Visit) -> None:
    expect(here.page.get_by_role("heading", name="For you")).to_be_visible()
    expect(here.page.locator("#based-on")).to_contain_text("what many buy")
    expect(here.page.locator("#model")).to_contain_text(RUN[:12])
    assert len(titles(here.page)) == 12
    here.shot("home")


def test_search_is_narrowed_paged_and_gone_back_from(here: Visit) -> None:
    page = here.page
    search(page, "cold small large")
    heading = page.locator("h1")
    expect(heading).to_have_text("21 results for “cold small large”")
    first = titles(page)
    page.get_by_role("link", name="Next →").click()
    expect(page.locator(".pages [aria-current]")).to_have_text("2 of 2")
    expect(page.locator("main .card")).to_have_count(9)
    assert not set(titles(page)) & set(first)
    box = page.locator("[data-group=product_type] label").filter(has_text="cheese").locator("input")
    box.check()
    expect(heading).to_have_text("3 results for “cold small large”")
    expect(box).to_be_checked()
    assert set(page.locator(".card .kind").all_text_contents()) == {"cheese · own"}
    here.shot("search-narrowed")
    page.go_back()
    expect(page.locator(".pages [aria-current]")).to_have_text("2 of 2")
    page.go_back()
    expect(page.locator(".pages [aria-current]")).to_have_text("1 of 2")
    assert titles(page) == first
    page.go_forward()
    expect(page.locator(".pages [aria-current]")).to_have_text("2 of 2")
    page.reload()
    expect(page.locator(".pages [aria-current]")).to_have_text("2 of 2")
    page.get_by_label("to", exact=True).fill("2")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("link", name="Let go of all filters")).to_be_visible()
    prices = page.locator(".card .price span:first-child").all_text_contents()
    assert prices
    assert all(float(price) <= 2 for price in prices)


def test_going_back_leads_to_where_one_was(here: Visit) -> None:
    page = here.page
    page.locator(".card .title").nth(11).click()
    expect(page.locator(".product")).to_be_visible()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page.locator("main .card")).to_have_count(12)
    expect(page).to_have_title("For you · shoploom")
    page.wait_for_function("() => scrollY > 100")


def test_search_shows_what_it_understood_and_sets_spelling_right(here: Visit) -> None:
    page = here.page
    search(page, "cheeze under 4")
    expect(page.locator(".corrected")).to_contain_text("“cheese”, not “cheeze”")
    expect(page.get_by_label("Understood")).to_contain_text("price under 4")
    here.shot("search-understood")
    page.get_by_role("link", name="Take my words as they are").click()
    expect(page.locator(".corrected")).to_have_count(0)
    search(page, "flibbertigibbet cheese")
    expect(page.locator(".not-understood")).to_contain_text("“flibbertigibbet”")


def test_search_without_an_answer_offers_a_way_out(here: Visit) -> None:
    page = here.page
    here.go("/?q=milk&from=900", ".empty")
    expect(page.get_by_role("heading", name="Perhaps instead")).to_be_visible()
    assert titles(page)
    page.get_by_role("link", name="Let go of all filters").first.click()
    expect(page.locator("h1")).to_have_text("3 results for “milk”")


def test_product_page_tells_what_goes_with_it_and_a_look_is_learned(here: Visit) -> None:
    page = here.page
    item = titles(page)[2]
    title = page.locator(".card .title").nth(2).text_content()
    page.locator(".card .title").nth(2).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(str(title))
    learned(page, f"You looked at {title}")
    (view,) = here.events("view")
    home = here.posted("/recommend")[0]
    assert home["placement"] == "home"
    assert (view["item_id"], view["placement"], view["position"]) == (item, "home", 2)
    for name in ("Bought together", "Similar"):
        near = page.locator("section.near", has=page.get_by_role("heading", name=name))
        assert near.locator(".card").count() > 0
        assert near.locator(f"[data-item={item}]").count() == 0
    expect(page.locator(".product .facts")).to_contain_text(item)
    here.shot("product")
    here.go("/?item=nothing", ".problem")
    expect(page.locator(".problem")).to_contain_text("The catalogue has no such product")


def test_what_is_sold_out_cannot_be_bought(here: Visit, server: Served) -> None:
    here.go("/?item=i003", ".product")
    here.page.locator(".product").get_by_role("button", name="Add to cart").click()
    expect(here.page.locator("#cart-count")).to_have_text("1")
    assert server.ask("/stock", {"out_of_stock": ["i003"]}, method="PUT")[0] == 200
    try:
        here.go("/?item=i003", ".product")
        expect(here.page.locator(".product")).to_contain_text("Sold out")
        expect(here.page.locator(".product").get_by_role("button", name="Add to cart")).to_have_count(0)
        here.go("/?view=cart", ".lines")
        expect(here.page.locator(".lines")).to_contain_text("sold out")
        expect(here.page.get_by_role("button", name="Buy")).to_be_disabled()
    finally:
        assert server.ask("/stock", {"in_stock": ["i003"]}, method="PUT")[0] == 200
    here.go("/?view=cart", ".lines")
    expect(here.page.get_by_role("button", name="Buy")).to_be_enabled()


def test_what_is_seen_is_told_with_its_position(here: Visit, settings: Settings) -> None:
    with here.page.expect_response(lambda reply: reply.url.endswith("/events")) as told:
        search(here.page, "cold small large")
    assert told.value.ok
    with here.page.expect_response(lambda reply: '"placement":"search"' in (reply.request.post_data or "")):
        here.page.mouse.wheel(0, 2000)
    expect(here.page.locator("h1")).to_contain_text("21 results")
    (query,) = here.events("search")
    assert query["query"] == "cold small large"
    seen = [event for event in here.events("exposure") if event["placement"] == "search"]
    order = titles(here.page)
    assert seen
    assert all(order[event["position"]] == event["item_id"] for event in seen)
    state = State.open(settings.serving_state, open_ring(settings.home))
    kept = state.exposures.between(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    state.close()
    stored = {(each.request_id, each.item_id, each.position) for each in kept}
    assert (seen[0]["request_id"], seen[0]["item_id"], seen[0]["position"]) in stored


def test_like_and_dislike_show_what_they_changed_and_how_soon(here: Visit) -> None:
    page = here.page
    before = titles(page)
    page.get_by_role("button", name="Like ").first.click()
    lesson = learned(page, "You liked")
    expect(lesson.locator(".facts")).to_contain_text("popularity → session")
    assert 0 < float(str(lesson.locator("[data-ms]").get_attribute("data-ms"))) < 1000 * SLOWEST_MS
    expect(page.locator("#based-on")).to_contain_text("what you did here lately")
    after = titles(page)
    assert after != before
    moved = lesson.locator(".change").evaluate_all("all => all.map(one => [one.dataset.item, one.className])")
    assert moved
    for item, kind in moved:
        assert (item in before, item in after) == {
            "change gone": (True, False),
            "change new": (False, True),
        }.get(kind, (True, True))
    here.shot("learned")
    page.get_by_role("button", name="Not for me: ").first.click()
    lesson = learned(page, "You want no more of")
    expect(lesson.locator(f".gone[data-item={after[0]}]")).to_be_visible()
    assert after[0] not in titles(page)
    assert [event["item_id"] for event in here.events("dislike")] == [after[0]]


def test_cart_is_filled_changed_and_bought(here: Visit) -> None:
    page = here.page
    item = titles(page)[0]
    page.get_by_role("button", name="Add to cart").first.click()
    expect(page.locator("#cart-count")).to_have_text("1")
    learned(page, "You put into the cart")
    page.get_by_role("link", name="Cart").click()
    page.get_by_role("button", name="One more").click()
    expect(page.locator("#cart-count")).to_have_text("2")
    expect(page.locator(".stepper span")).to_have_text("2")
    here.shot("cart")
    page.get_by_role("button", name="Buy").click()
    learned(page, "You bought")
    expect(page.locator(".empty")).to_contain_text("The cart is empty")
    (bought,) = here.events("purchase")
    assert (bought["item_id"], bought["quantity"]) == (item, 2)
    page.get_by_role("link", name="shoploom").click()
    expect(page.locator("#based-on")).to_contain_text("what you bought")
    assert item not in titles(page)


def test_conversation_narrows_and_takes_back(here: Visit) -> None:
    page = here.page
    page.get_by_role("tab", name="Talk").click()
    say, rows = page.get_by_label("What do you look for?"), page.locator("#panel-talk .row")
    say.fill("cheese flibbertigibbet")
    say.press("Enter")
    expect(page.locator("#in-force .chip")).to_have_text(["category cheese×"])
    expect(page.locator(".reply").last).to_contain_text("Not understood: “flibbertigibbet”")
    cheese = rows.evaluate_all("all => all.map(row => row.dataset.item)")
    say.fill("under 3")
    say.press("Enter")
    expect(page.locator("#in-force .chip")).to_have_count(2)
    expect(page.locator(".reply").last).to_contain_text("added under 3")
    assert rows.evaluate_all("all => all.map(row => row.dataset.item)") != cheese
    here.shot("conversation")
    page.get_by_role("button", name="Withdraw under 3").click()
    expect(page.locator("#in-force .chip")).to_have_text(["category cheese×"])
    expect(page.locator(".reply").last).to_contain_text("withdrawn")
    assert rows.evaluate_all("all => all.map(row => row.dataset.item)") == cheese


def test_offers_are_held_once_looked_at_and_used_or_given_back(visiting: Open, server: Served) -> None:
    runs = {"starts": "2020-01-01T00:00:00Z", "ends": "2100-01-01T00:00:00Z", "cost": 0.5, "value": 20, "budget": 1}
    terms = [
        {"offer_id": name, "kind": "coupon", "item_ids": [item], **runs}
        for name, item in (("a", "i001"), ("b", "i002"))
    ]
    assert server.ask("/offers/terms", {"offers": terms}, method="PUT")[0] == 200
    first, second = visiting(), visiting()
    for each in (first, second):
        each.go()
        # Who only looked around is the same shopper after a reload.
        each.go()
        assert each.posted("/offers") == []
        each.page.get_by_role("tab", name="Offers").click()
        expect(each.page.locator(".offer")).to_have_count(2)
    offer = first.page.locator("[data-offer=a]")
    expect(offer).to_contain_text("0.50 off")
    expect(offer.locator(".bars")).to_contain_text("5 %")
    expect(offer).to_contain_text("Expected to bring the shop")
    assert first.inaccessible() == []
    first.shot("offers")
    offer.get_by_role("button", name="Use it").click()
    expect(offer).to_contain_text("Used: 0.50 off.")
    first.page.locator("[data-offer=b]").get_by_role("button", name="Give back").click()
    expect(first.page.locator("[data-offer=b]")).to_contain_text("Given back")
    left = {each["offer_id"]: (each["spent"], each["left"]) for each in server.ask("/offers/terms")[1]["offers"]}
    assert left == {"a": (0.5, 0), "b": (0, 0.5)}
    for each in first, second:
        each.page.get_by_role("button", name="Look again").click()
    expect(first.page.locator(".offer")).to_have_count(1)
    # What is held for an item is used by buying it.
    second.go("/?item=i002")
    second.page.get_by_role("button", name="Add to cart").first.click()
    expect(second.page.locator("#cart-count")).to_have_text("1")
    second.page.get_by_role("link", name="Cart").click()
    second.page.get_by_role("button", name="Buy").click()
    expect(second.page.locator("main .done")).to_have_text("Bought 1 product. Used: 1 offer (b).")
    second.shot("bought")
    second.page.get_by_role("link", name="shoploom").click()
    expect(second.page.locator(".done")).to_have_count(0)


def test_phone_shapes_the_desktop_while_it_is_signed_in(here: Visit) -> None:
    page = here.page
    be_a_household(page)
    page.get_by_label("Phone in hand").check()
    page.keyboard.press("Escape")
    expect(page.locator("#whom-device")).to_have_text("Phone, not signed in")
    page.locator(".card .title").nth(1).click()
    learned(page, "You looked at")
    page.get_by_role("button", name="Who am I").click()
    page.get_by_label("Desktop in hand").check()
    page.keyboard.press("Escape")
    here.go()
    expect(page.locator("#based-on")).to_have_text("From what you bought.")
    plain = titles(page)
    page.get_by_role("button", name="Who am I").click()
    page.locator("#linked-phone").check()
    here.shot("who-am-i")
    expect(page.locator("#based-on")).to_have_text("From what you bought and what you did here lately.")
    lesson = learned(page, "You signed in: Phone")
    expect(lesson.locator(".facts")).to_contain_text("history → history + session")
    joined = titles(page)
    assert joined != plain
    page.locator("#linked-phone").uncheck()
    learned(page, "You signed out: Phone")
    expect(page.locator("#based-on")).to_have_text("From what you bought.")
    assert titles(page) == plain


def test_no_id_of_the_shops_own_is_in_the_page(here: Visit, server: Served) -> None:
    be_a_household(here.page)
    answer = server.ask("/households")[1]
    assert len(answer["households"]) > 2
    shown = here.page.content() + str(here.page.evaluate("Object.values(localStorage).join()")) + str(answer)
    assert not [
        name for name in (f"u{number:02}" for number in range(40)) if f'"{name}"' in shown or f">{name}<" in shown
    ]


def test_why_tells_history_words_rules_and_the_model(here: Visit) -> None:
    page = here.page
    be_a_household(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Why this?").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".reasons li").first).to_contain_text("bought")
    expect(dialog.locator(".bars .bar-line").first).to_contain_text("+")
    expect(dialog).to_contain_text("No rule of the shop moved it.")
    expect(dialog.locator(".provenance")).to_contain_text(f"Model version 1, run commit {RUN[:12]}")
    assert here.posted("/recommend")[-1]["explain"]
    assert here.inaccessible() == []
    here.shot("why")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    search(page, "cheap cheese")
    page.get_by_role("button", name="Why this?").first.click()
    expect(dialog.locator(".chip")).to_contain_text(["cheese"])
    expect(dialog.locator(".bars").first).to_contain_text("your taste")
    expect(dialog).to_contain_text("how often and when you bought it")
    here.shot("why-search")


def test_everything_can_be_done_by_keyboard(here: Visit) -> None:
    page, keys = here.page, here.page.keyboard
    keys.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the products")
    keys.press("/")
    expect(page.get_by_label("Search the shop")).to_be_focused()
    keys.type("cold milk")
    keys.press("Enter")
    expect(page.locator("h1")).to_be_focused()
    expect(page.locator("h1")).to_contain_text("for “cold milk”")
    while not page.locator(":focus").evaluate("node => node.matches('.title')"):
        keys.press("Tab")
    keys.press("ArrowRight")
    expect(page.locator(".title").nth(1)).to_be_focused()
    for does in ("cart", "like", "dislike", "why"):
        keys.press("Tab")
        assert page.locator(":focus").get_attribute("data-does") == does
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.locator(":focus").get_attribute("data-does") == "why"
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    keys.press("Space")
    expect(page.locator(".title").nth(1).locator("xpath=ancestor::li").locator(".like")).to_have_attribute(
        "aria-pressed", "true"
    )
    learned(page, "You liked")
    page.locator("#tab-learned").focus()
    keys.press("ArrowRight")
    expect(page.get_by_role("tab", name="Talk")).to_have_attribute("aria-selected", "true")
    page.locator(".title").nth(1).focus()
    keys.press("Enter")
    expect(page.locator(".product")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_and_harms_nobody_in_light_and_dark(visiting: Open, scheme: str) -> None:
    phone = visiting(width=360, height=740, color_scheme=scheme, reduced_motion="reduce", has_touch=True)
    page = phone.page
    # What the page is made of is the same in both; its colours are not.
    rules = () if scheme == "light" else ("color-contrast",)
    for name, path, ready in (
        ("home", "/", ".card .title"),
        ("search", "/?q=cold+small+large&product_type=cheese", ".found .card"),
        ("product", "/?item=i002", ".product"),
        ("cart", "/?view=cart", "main .empty"),
        ("long-word", f"/?q={'x' * 300}", "main .card"),
    ):
        phone.go(path, ready)
        wide = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] == wide[1] == 360, name
        assert phone.inaccessible(*rules) == [], name
        phone.shot(f"phone-{name}-{scheme}")
    page.get_by_role("tab", name="Talk").tap()
    page.get_by_label("What do you look for?").fill("cheese")
    page.keyboard.press("Enter")
    page.locator("#panel-talk .row").first.wait_for()
    assert phone.inaccessible(*rules) == []
    phone.shot(f"phone-conversation-{scheme}")
    page.keyboard.press("Escape")
    expect(page.locator("#panel-talk")).to_be_hidden()
    be_a_household(page)
    assert phone.inaccessible(*rules) == []
    phone.shot(f"phone-who-{scheme}")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) < 200) == (scheme == "dark")


def test_wide_page_is_accessible_with_everything_shown(here: Visit) -> None:
    page = here.page
    page.get_by_role("button", name="Like ").first.click()
    learned(page, "You liked")
    assert here.inaccessible() == []
    here.go("/?q=cold+small+large+flibbertigibbet", ".found .card")
    assert here.inaccessible() == []
    page.get_by_role("button", name="Add to cart").first.click()
    expect(page.locator("#cart-count")).to_have_text("1")
    here.go("/?view=cart", ".lines")
    assert here.inaccessible() == []


def test_nothing_moves_when_the_products_come(here: Visit) -> None:
    shift = """() => new Promise(done => {
        new PerformanceObserver(list => done(list.getEntries().reduce((sum, one) => sum + one.value, 0)))
            .observe({type: "layout-shift", buffered: true});
        setTimeout(() => done(0), 500);
    })"""
    assert here.page.evaluate(shift) < 0.1


def test_policy_lets_nothing_in_that_is_written_into_the_page(browser: Browser, server: Served) -> None:
    with visit(browser, server.address) as stranger:
        stranger.go()
        stranger.page.evaluate(
            """() => {
                document.head.append(Object.assign(document.createElement("script"), {textContent: "window.hit = 1"}));
                document.body.append(Object.assign(document.createElement("img"), {src: "https://example.org/a.png"}));
                document.body.setAttribute("style", "margin: 99px");
            }"""
        )
        assert stranger.page.evaluate("window.hit") is None
        assert stranger.page.evaluate("getComputedStyle(document.body).margin") == "0px"
        assert len([words for words in stranger.complaints if "Content Security Policy" in words]) == 3


def test_words_of_a_shopper_are_text_and_never_markup(here: Visit) -> None:
    here.go("/?q=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E+milk", ".found .card")
    expect(here.page.locator("h1")).to_contain_text("<img src=x onerror=alert(1)> milk")
    assert here.page.locator("main img").count() == 0


def test_parts_of_the_page_are_asked_for_again_only_where_they_changed(server: Served) -> None:
    for path in ("/", "/storefront/main.js", "/storefront/base.css"):
        with urllib.request.urlopen(server.address + path) as reply:
            assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            mark = reply.headers["ETag"]
        with pytest.raises(HTTPError) as unchanged:
            urllib.request.urlopen(urllib.request.Request(server.address + path, headers={"If-None-Match": mark}))
        assert unchanged.value.code == 304
    for path in ("/storefront/nothing.js", "/storefront/..%2Fapp.py", "/storefront/%00"):
        assert server.ask(path)[0] == 404


def test_key_that_is_refused_is_asked_for_and_kept_for_the_tab(
    browser: Browser, server: Served, settings: Settings
) -> None:
    key = str(api_keys.make(settings, "page", ["read", "events"], 6000)["token"])
    with visit(browser, server.address) as guarded:
        guarded.page.add_init_script(
            "sessionStorage.getItem('shoploom.key') ?? sessionStorage.setItem('shoploom.key', 'wrong')"
        )
        guarded.go("/", "dialog[open]")
        page = guarded.page
        expect(page.get_by_role("dialog")).to_contain_text("this API key is not known")
        page.locator("#key").fill(key)
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("main .card")).to_have_count(12)
        assert page.evaluate("sessionStorage.getItem('shoploom.key')") == key
        assert key not in str(page.evaluate("Object.values(localStorage).join()"))
        page.get_by_role("button", name="Who am I").click()
        expect(page.locator("#people")).to_contain_text("a key with the scope admin is needed")


def test_routes_are_shown_to_a_person_without_a_network(visiting: Open) -> None:
    docs = visiting()
    docs.go("/docs", ".opblock-summary")
    expect(docs.page.locator(".opblock-summary-path[data-path='/search']")).to_be_visible()
    docs.shot("docs")


def test_connection_that_is_lost_is_told_and_found_again(browser: Browser, server: Served) -> None:
    with visit(browser, server.address) as lost:
        lost.go()
        page = lost.page
        page.context.set_offline(True)
        page.get_by_role("button", name="Like ").first.click()
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
        page.get_by_label("Search the shop").fill("milk")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="This did not work")).to_be_visible()
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("h1")).to_have_text("3 results for “milk”")
        expect(page.get_by_role("alert")).to_have_text("")


def test_server_that_ended_is_told(browser: Browser, server: Served) -> None:
    with visit(browser, server.address) as left:
        left.go()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        left.page.locator(".card .title").first.click()
        expect(left.page.locator(".problem")).to_contain_text("The server does not answer.")
        left.shot("server-gone")
