"""The page in a real browser, on the whole system."""

from __future__ import annotations

import json
import re
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect

from services.embedded.broker import free_port
from services.gateway.server import FOLDER
from shared.pb.freshet.v1 import recommender_pb2 as pb
from tests.support.browser import Watched, chromium
from tests.support.gateway import Answer, gateway
from tests.support.inference import eventually
from tests.support.shopping import EVENTS, PRODUCTS, USERS, Shop, shop

VIEWS = ("#/", "#/user/{user}", "#/guest", "#/catalogue", "#/product/{product}", "#/models", "#/leaderboard", "docs")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]  # the first waits for the whole system
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def system(browser: Browser, broker_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(broker_address, tmp_path_factory.mktemp("shop")) as started:
        yield started


@pytest.fixture
def watched(browser: Browser, system: Shop, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A new visitor's page. Every test checks that it calls no other host and logs no error."""
    with browser.new_context(**getattr(request, "param", {})) as context:
        seen = Watched(context.new_page(), system.url)
        yield seen
        assert not seen.unexpected()


@pytest.fixture
def user(system: Shop) -> str:
    """A user with many events."""
    known = system.call("list-users", page_size=USERS)["users"]
    return str(max(known, key=lambda one: one["events"])["user_id"])


def products(page: Page) -> list[str]:
    """The ids of the list, best first."""
    expect(page.locator(".card").first).to_be_visible()
    return [str(card.get_attribute("data-product")) for card in page.locator(".card").all()]


def marks(page: Page) -> list[str]:
    """How each product of the list moved, as shown on the page."""
    seen = (
        "(cards) => cards.map((card) => (card.querySelector('.move [aria-hidden], .move.new') ?? {}).textContent ?? '')"
    )
    return list(page.locator(".card").evaluate_all(seen))


def expected_marks(before: list[str], after: list[str]) -> list[str]:
    moved = [before.index(one) - place if one in before else None for place, one in enumerate(after)]
    return ["new" if by is None else f"▲{by}" if by > 0 else f"▼{-by}" if by else "" for by in moved]


def announced(page: Page) -> Locator:
    return page.locator("#status")


def newest_ms(system: Shop) -> int:
    """The newest event time in the log; an event of today would make all others look long past."""
    return max(int(user["newest_ms"]) for user in system.call("list-users", page_size=1000)["users"])


def record(system: Shop, user: str, event: dict[str, object]) -> None:
    """Record an event of a user, or of a guest, and wait until it is applied."""
    dated = event | {"user_id": user, "event_time_ms": newest_ms(system)}
    [recorded] = system.call("record-events", events=[dated])["events"]
    system.call("recommend", user_id=user, after_position=recorded["position"])


def is_after_an_event(request: Request) -> bool:
    return "after_position" in (request.post_data or "")


def test_a_user_is_found_and_sees_the_list_that_the_api_gives(watched: Watched, system: Shop, user: str) -> None:
    page = watched.open()
    expect(page.locator(".people li")).to_have_count(24)
    page.get_by_role("searchbox").fill(user.lower())
    expect(page.locator(".people li")).to_have_count(1)
    page.locator(".people a").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(user)
    answer = system.call("recommend", user_id=user)
    assert products(page) == [one["product_id"] for one in answer["products"]]
    titles = {one["product_id"]: one["title"] for one in system.call("list-products", page_size=PRODUCTS)["products"]}
    expect(page.locator(".card h3")).to_have_text([titles[one] for one in products(page)])
    known = system.call("get-user", user_id=user)
    expect(page.locator(".history li a").first).to_have_text(titles[known["history"][-1]["product_id"]])
    expect(page.locator(".about")).to_contain_text(f"{known['events']} events")
    expect(page.locator(".lineage")).to_contain_text(answer["model_version"])


def test_each_product_says_why_it_is_there(watched: Watched, system: Shop, user: str) -> None:
    page = watched.open(f"#/user/{user}")
    answer = system.call("recommend", user_id=user, wishes={"explain": True})
    lists = page.locator(".card .parts")
    expect(lists).to_have_count(len(answer["products"]))
    lowest = min(reason["score"] for one in answer["products"] for reason in one["reasons"][:1])
    for n, one in enumerate(answer["products"]):
        assert one["reasons"][0]["part"] == "PART_TRENDING"
        scores = [
            float(text.replace("\N{MINUS SIGN}", "-")) for text in lists.nth(n).locator(".part-score").all_inner_texts()
        ]
        assert sum(scores) == pytest.approx(one["score"] - lowest, abs=0.01 * len(scores)), "the bars add up"
    past = {event["product_id"] for event in system.call("get-user", user_id=user)["history"]}
    named = [link.get_attribute("href") for link in page.locator(".card .why a").all()]
    assert named, "past events are named"
    assert {str(href).removeprefix("#/product/") for href in named} <= past


def test_a_review_changes_the_list_at_once_and_shows_how_fresh_it_is(watched: Watched, system: Shop, user: str) -> None:
    page = watched.open(f"#/user/{user}")
    before = products(page)
    events = system.call("get-user", user_id=user)["events"]
    name = page.locator(".card h3").first.inner_text()
    page.locator(".card").first.get_by_role("button", name="Review").click()
    dialog = page.get_by_role("dialog", name=f"Review of {name}")
    dialog.get_by_role("button", name="Send").click()
    expect(dialog.get_by_role("alert")).to_have_text("Choose one to five stars.")
    dialog.get_by_role("radio", name="5").check()
    dialog.get_by_label("Text").fill(f"Wonderful\nIt is excellent, I love it. {MARKUP}")
    dialog.get_by_role("button", name="Send").click()
    expect(page.locator("#freshness")).to_be_visible()
    assert float(page.locator("#freshness").inner_text().replace(",", "").removesuffix("ms")) > 0
    watched.settle()
    after = products(page)
    assert before[0] not in after, "what was reviewed is not recommended again"
    assert marks(page) == expected_marks(before, after)
    expect(announced(page)).to_contain_text(f"{name} reviewed. List updated in ")
    newest = page.locator(".history li").first
    expect(newest).to_contain_text(name)
    expect(newest).to_contain_text("5 of 5 stars")
    expect(newest).to_contain_text("text +0.")
    known = system.call("get-user", user_id=user)
    assert known["events"] == events + 1
    assert known["history"][-1]["product_id"] == before[0]
    assert known["history"][-1]["kind"] == "EVENT_KIND_REVIEW"


@pytest.mark.parametrize(
    ("button", "kind"),
    [("Click", "CLICK"), ("Buy", "PURCHASE"), ("3 of 5 stars", "RATING"), ("Not for me", "DISLIKE")],
)
def test_each_action_records_an_event_of_its_kind(
    watched: Watched, system: Shop, user: str, button: str, kind: str
) -> None:
    page = watched.open(f"#/user/{user}")
    product = products(page)[1]
    page.locator(".card").nth(1).get_by_role("button", name=button).click()
    expect(page.locator("#freshness")).to_be_visible()
    newest = system.call("get-user", user_id=user)["history"][-1]
    assert (newest["product_id"], newest["kind"]) == (product, f"EVENT_KIND_{kind}")
    assert newest["rating"] == (3.0 if kind == "RATING" else 0.0)


def test_an_event_is_dated_by_the_log_on_whichever_page_it_happens(watched: Watched, system: Shop) -> None:
    product = system.call("list-products", page_size=1)["products"][0]["product_id"]
    newest = newest_ms(system)
    page = watched.open(f"#/product/{quote(product)}")
    with page.expect_request("**/v1/record-events") as sent:
        page.get_by_role("button", name="Click: ").click()
    event = json.loads(sent.value.post_data or "")["events"][0]
    assert 0 < int(event.get("event_time_ms", 0)) - newest < 86_400_000
    watched.settle()


def test_a_guests_list_follows_the_session_that_lives_in_the_tab(watched: Watched, system: Shop) -> None:
    users = system.call("list-users")["total"]
    page = watched.open()
    page.get_by_role("link", name="Continue as guest").click()
    expect(page.locator(".note")).to_contain_text("what is popular now")
    expect(page.locator(".lineage")).to_contain_text("Ranked by popularity")
    before = products(page)
    page.locator(".card").nth(2).get_by_role("button", name="Click").click()
    expect(page.locator("#freshness")).to_be_visible()
    expect(page.locator(".history li")).to_have_count(1)
    watched.settle()
    expect(page.locator(".note")).to_have_count(0)
    after = products(page)
    assert before[2] not in after
    session = system.call("recommend", session_product_ids=[before[2]])
    assert after == [one["product_id"] for one in session["products"]]
    page.reload()
    assert products(page) == after, "the tab keeps the session"
    assert system.call("list-users")["total"] == users, "nobody is made of a guest"


def test_a_new_user_starts_with_popular_products_and_is_known_after_one_event(watched: Watched) -> None:
    watched.expected.append("404")
    newcomer = f"{uuid.uuid4()} {MARKUP}"
    page = watched.open()
    page.get_by_role("searchbox").fill(newcomer)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(newcomer)
    expect(page.locator(".about")).to_contain_text("No events yet")
    page.locator(".card").first.get_by_role("button", name="Buy").click()
    expect(page.locator(".about")).to_contain_text("1 event")


def test_filters_hold_and_stay_in_the_address(watched: Watched, system: Shop, user: str) -> None:
    watched.expected.append("400")
    page = watched.open(f"#/user/{user}")
    category = system.call("list-products", page_size=1)["products"][0]["categories"][-1]
    page.get_by_label("Category").select_option(category)
    expect(page).to_have_url(re.compile(re.escape(f"/#/user/{user}?category=")))
    listed = system.call("list-products", page_size=PRODUCTS, filter={"category": {"values": [category]}})["products"]
    expect(page.locator(".card")).to_have_count(
        len(system.call("recommend", user_id=user, wishes={"filter": {"category": {"values": [category]}}})["products"])
    )
    assert set(products(page)) <= {one["product_id"] for one in listed}
    page.reload()
    expect(page.get_by_label("Category")).to_have_value(category)
    page.get_by_label("from").fill("50")
    page.get_by_label("to", exact=True).fill("10")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("price")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page).to_have_url(f"{system.url}/#/user/{user}")
    expect(page.locator(".card")).to_have_count(10)


def test_filters_changed_while_an_event_is_in_flight_hold(watched: Watched, system: Shop, user: str) -> None:
    page = watched.open(f"#/user/{user}")
    category = system.call("list-products", page_size=1)["products"][0]["categories"][-1]
    products(page)
    held: list[Route] = []
    page.route(
        "**/v1/recommend",
        lambda route: route.fallback() if held or not is_after_an_event(route.request) else held.append(route),
    )
    with page.expect_request(is_after_an_event):
        page.locator(".card").first.get_by_role("button", name="Click").click()
    page.get_by_label("Category").select_option(category)
    expect(announced(page)).to_contain_text("List refreshed")
    held.pop().continue_()
    expect(page.locator("#freshness")).to_be_visible()
    watched.settle()
    wishes = {"filter": {"category": {"values": [category]}}}
    wanted = [one["product_id"] for one in system.call("recommend", user_id=user, wishes=wishes)["products"]]
    assert products(page) == wanted


def test_an_action_redraws_each_panel_once(watched: Watched, user: str) -> None:
    page = watched.open(f"#/user/{user}")
    products(page)
    watched.settle()
    page.evaluate(
        """() => {
          window.drawn = {};
          for (const panel of ["freshness", "history"])
            new MutationObserver((changes) => {
              window.drawn[panel] = (window.drawn[panel] ?? 0) + changes.length;
            }).observe(document.querySelector(`.${panel}`).parentElement, { childList: true });
        }"""
    )
    page.locator(".card").first.get_by_role("button", name="Click").click()
    expect(page.locator("#freshness")).to_be_visible()
    watched.settle()
    assert page.evaluate("window.drawn") == {"freshness": 1, "history": 1}


def test_a_list_without_the_event_is_not_announced_as_updated(watched: Watched, system: Shop, user: str) -> None:
    watched.expected.append("ERR_FAILED")
    page = watched.open(f"#/user/{user}")
    category = system.call("list-products", page_size=1)["products"][0]["categories"][-1]
    name = page.locator(".card h3").first.inner_text()
    held: list[Route] = []
    page.route("**/v1/recommend", lambda route: route.abort() if held else held.append(route))
    with page.expect_request(is_after_an_event):
        page.locator(".card").first.get_by_role("button", name="Click").click()
    page.get_by_label("Category").select_option(category)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No response")
    held[0].continue_()
    watched.settle()
    expect(announced(page)).to_have_text("")
    expect(alert).to_contain_text(f"{name} clicked: the event is in the log, but not yet in this list.")
    expect(page.locator("#freshness")).to_have_count(0)
    page.unroute("**/v1/recommend")
    with page.expect_request(is_after_an_event):
        alert.get_by_role("button", name="Try again").click()
    expect(announced(page)).to_contain_text("List refreshed: ")
    expect(alert).to_have_count(0)
    watched.settle()
    wishes = {"filter": {"category": {"values": [category]}}}
    wanted = [one["product_id"] for one in system.call("recommend", user_id=user, wishes=wishes)["products"]]
    assert products(page) == wanted
    expect(page.locator(".history li").first).to_contain_text(name)


def test_an_event_whose_answer_was_lost_is_sent_again_and_counts_once(
    watched: Watched, system: Shop, user: str
) -> None:
    watched.expected.append("ERR_FAILED")
    page = watched.open(f"#/user/{user}")
    name = page.locator(".card h3").first.inner_text()
    events = system.call("get-user", user_id=user)["events"]

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/v1/record-events", lose, times=1)
    page.locator(".card").first.get_by_role("button", name="Click").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(f"{name} clicked: the log has not acknowledged the event.")
    alert.get_by_role("button", name="Try again").click()
    expect(announced(page)).to_contain_text(f"{name} clicked. List updated in ")
    expect(alert).to_have_count(0)
    expect(page.locator(".about")).to_contain_text(f"{events + 1:,} events")
    assert system.call("get-user", user_id=user)["events"] == events + 1


def test_the_catalogue_is_searched_and_paged_and_leads_to_related_products(watched: Watched, system: Shop) -> None:
    page = watched.open("#/catalogue")
    expect(page.locator("tbody tr")).to_have_count(24)
    expect(page.locator("main").get_by_text(f"1\N{EN DASH}24 of {PRODUCTS} products")).to_be_visible()
    first = page.locator("tbody th").first.inner_text()
    page.get_by_role("button", name="Next").click()
    expect(page.locator("main").get_by_text("25\N{EN DASH}48 of")).to_be_visible()
    assert page.locator("tbody th").first.inner_text() != first
    page.get_by_role("button", name="Previous").click()
    expect(page.locator("tbody th").first).to_have_text(first)
    page.get_by_role("searchbox").fill(first.lower())
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody a").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(first)
    product = page.url.rpartition("/")[2]
    similar = system.call("similar-products", product_id=product, wishes={"count": 10})
    assert products(page) == [one["product_id"] for one in similar["products"]]
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Catalogue").click()
    page.get_by_role("searchbox").fill("no such thing")
    page.keyboard.press("Enter")
    expect(page.locator("main").get_by_text("No products found")).to_be_visible()


def test_what_a_catalogue_holds_is_shown_as_text_whatever_it_is(watched: Watched, system: Shop) -> None:
    product = {"product_id": f"x/{MARKUP}", "title": f"T {MARKUP}", "brand": MARKUP, "description": MARKUP}
    system.call("upsert-products", products=[product | {"categories": ["Hostile", MARKUP]}])
    try:
        page = watched.open("#/catalogue?query=hostile")
        expect(page.locator("tbody th")).to_contain_text(f"T {MARKUP}")
        page.locator("tbody a").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"T {MARKUP}")
        expect(page.locator(".description")).to_have_text(MARKUP)
        page.get_by_role("button", name="Click").click()
        expect(page.locator("main").get_by_text("written to the log")).to_be_visible()
        page.get_by_role("link", name="See the updated list").click()
        expect(page.locator(".history li a")).to_have_text(f"T {MARKUP}")
        assert page.locator("main img, main script").count() == 0
    finally:
        system.call("remove-products", product_ids=[product["product_id"]])


@pytest.mark.parametrize("removed", [False, True], ids=["of events alone", "not known at all"])
def test_a_product_without_a_title_is_looked_up_again_after_a_while(
    watched: Watched, system: Shop, removed: bool
) -> None:
    watched.expected.append("404")
    late, newcomer = f"late-{uuid.uuid4()}", str(uuid.uuid4())
    record(system, newcomer, {"kind": "EVENT_KIND_DISLIKE", "product_id": late})  # so that no list brings its title

    def get_product() -> Answer:
        return system.gateway.ask("/v1/get-product", {"product_id": late})

    if removed:
        system.call("remove-products", product_ids=[late])
        eventually(lambda: get_product().status == 404)
    looked_up: list[str] = []
    page = watched.page
    page.clock.install()
    page.on("request", lambda call: looked_up.append(call.url) if late in (call.post_data or "") else None)
    watched.open(f"#/user/{newcomer}")
    watched.settle()
    link = page.locator(".history li a")

    def lookups() -> int:
        """How many look-ups refreshing the list and the history takes."""
        looked_up.clear()
        page.get_by_role("button", name="Refresh").click()
        watched.settle()
        return len(looked_up)

    expect(link).to_have_text(late)
    assert (lookups(), lookups()) == (0, 0)
    page.clock.fast_forward("00:31")
    assert (lookups(), lookups()) == (1, 0)
    system.call("upsert-products", products=[{"product_id": late, "title": "Late Lantern"}])
    try:
        eventually(lambda: b"Late Lantern" in get_product().body)
        assert lookups() == 0
        expect(link).to_have_text(late)
        page.clock.fast_forward("00:31")
        assert lookups() == 1
        expect(link).to_have_text("Late Lantern")
        page.clock.fast_forward("00:31")
        assert lookups() == 0
    finally:
        system.call("remove-products", product_ids=[late])


def test_titles_are_looked_up_one_by_one_where_the_catalogue_cannot_be_listed(watched: Watched, system: Shop) -> None:
    watched.expected.append("ERR_FAILED")
    [product] = system.call("list-products", page_size=1)["products"]
    done = {"kind": "EVENT_KIND_DISLIKE", "product_id": product["product_id"]}  # so that no list brings its title
    record(system, newcomer := str(uuid.uuid4()), done)
    page = watched.page
    held: list[Route] = []
    page.route("**/v1/list-products", lambda route: held.append(route))
    watched.open(f"#/user/{newcomer}")
    link = page.locator(".history li a")
    expect(link).to_have_text(product["product_id"])
    held.pop().abort()
    expect(link).to_have_text(product["title"])
    watched.settle()


def test_a_card_takes_its_title_from_the_list(watched: Watched, system: Shop) -> None:
    watched.expected.append("404")
    late = f"late-{uuid.uuid4()}"
    record(system, "", {"kind": "EVENT_KIND_CLICK", "product_id": late})
    page = watched.page

    def is_named(name: str) -> bool:
        page.get_by_role("button", name="Refresh").click()
        watched.settle()
        card = page.locator(f'[data-product="{late}"]')
        return card.count() == 1 and card.locator("h3").inner_text() == name

    watched.open("#/guest?count=100")
    eventually(lambda: is_named(late))
    system.call("upsert-products", products=[{"product_id": late, "title": "Late Lantern"}])
    try:
        eventually(lambda: is_named("Late Lantern"))
        expect(page.locator(f'[data-product="{late}"]').get_by_role("button", name="Buy: Late Lantern")).to_be_visible()
    finally:
        system.call("remove-products", product_ids=[late])


def test_models_and_leaderboard_show_what_the_api_says(watched: Watched, system: Shop) -> None:
    page = watched.open("#/models")
    models = system.call("list-models")
    expect(page.locator(".version h2")).to_have_text([one["version_id"] for one in models["versions"]])
    expect(page.locator(".version.serving h2")).to_have_text(models["serving_version"])
    expect(page.locator(".version.serving")).to_contain_text(f"{EVENTS} events")
    page.get_by_role("link", name="Leaderboard").click()
    expect(page.locator("table")).to_have_count(3)
    live = system.gateway.ask("/v1/live").json
    best = max(row["ndcg_ratio"] for row in live["leaderboard"] if row["window"] == "all")
    expect(page.locator("table").first.locator("tr.ahead strong")).to_have_text(f"{best:.4f}")


def test_everything_works_by_keyboard_alone(watched: Watched, system: Shop, user: str) -> None:
    page = watched.open()
    expect(page.locator(".people li")).to_have_count(24)
    press = page.keyboard.press
    press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    press("Enter")
    expect(page.locator("main")).to_be_focused()
    press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type(user)
    press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_have_text(user)
    product = products(page)[0]
    page.locator(".card h3 a").first.focus()
    stars = page.locator(".card").first.locator(".star")
    for _ in range(12):  # past the products that the reason names
        press("Tab")
        if stars.first.evaluate("(one) => one === document.activeElement"):
            break
    press("ArrowRight")
    expect(stars.nth(1)).to_be_focused()
    press("Tab")
    expect(page.locator(".card").first.get_by_role("button", name="Click")).to_be_focused()
    press("Tab")
    press("Tab")
    press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    press("Escape")
    expect(page.locator(".card").first.get_by_role("button", name="Review")).to_be_focused()
    press("Shift+Tab")
    press("Shift+Tab")
    press("Shift+Tab")
    expect(stars.nth(1)).to_be_focused()
    press("Enter")
    expect(page.locator("#freshness")).to_be_visible()
    newest = system.call("get-user", user_id=user)["history"][-1]
    assert (newest["product_id"], newest["rating"]) == (product, 2.0)
    focused = "document.activeElement.closest('.card') !== null"
    assert page.evaluate(focused), "the focus stays in the list though its product left"


@pytest.mark.parametrize("watched", [{"color_scheme": "light", "reduced_motion": "reduce"}], indirect=True)
def test_every_view_is_accessible_in_light_and_dark(watched: Watched, system: Shop, user: str) -> None:
    product = system.call("recommend", user_id=user)["products"][0]["product_id"]
    paper = "getComputedStyle(document.body).backgroundColor"
    for view in VIEWS:
        page = watched.open(view.format(user=user, product=product))
        if "user" in view:
            page.locator(".card").first.get_by_role("button", name="Click").click()
            expect(page.locator("#freshness")).to_be_visible()
        watched.settle()
        assert watched.barriers() == [], view
        light = page.evaluate(paper)
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(paper) != light
        assert watched.barriers("color-contrast") == [], f"{view}, dark"
        page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("watched", [{"viewport": {"width": 320, "height": 640}}], indirect=True)
def test_on_the_smallest_screen_nothing_has_to_be_scrolled_sideways(watched: Watched, system: Shop, user: str) -> None:
    product = system.call("recommend", user_id=user)["products"][0]["product_id"]
    for view in VIEWS:
        page = watched.open(view.format(user=user, product=product))
        watched.settle()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, view


def test_an_unavailable_recommender_is_reported_in_place_with_what_to_do(browser: Browser, tmp_path: Path) -> None:
    with gateway(f"127.0.0.1:{free_port()}", tmp_path) as alone, browser.new_context() as context:
        seen = Watched(context.new_page(), alone.url)
        seen.expected.append("503")
        for view in ("#/", "#/user/ann", "#/guest", "#/catalogue", "#/product/p", "#/models", "#/leaderboard"):
            page = seen.open(view)
            alert = page.get_by_role("alert").first
            expect(alert).to_contain_text("Service Unavailable")
            expect(alert).to_contain_text("starting or unavailable")
            expect(alert.get_by_role("button", name="Try again")).to_be_visible()
        assert not seen.unexpected()


def test_an_unknown_address_says_so(watched: Watched, system: Shop) -> None:
    watched.expected.append("404")
    page = watched.open("#/nowhere")
    expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")
    page = watched.open(f"#/product/{quote('no such product')}")
    expect(page.get_by_role("alert").first).to_contain_text("no such product")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], ["a"], "1 new"),
        (["a", "b", "c"], ["a", "b", "c"], "no changes"),
        (["a", "b", "c"], ["c", "a", "d"], "1 new, 1 up, 1 down, 1 removed"),
    ],
)
def test_moves_are_summarised(watched: Watched, before: list[str], after: list[str], expected: str) -> None:
    script = (
        "async ([before, after]) => { const m = await import('/moves.js'); return m.summary(m.moves(before, after)); }"
    )
    assert watched.module(script, [before, after]) == expected


def reason(part: str, score: float, *products: str, kind: str = "REVIEW", times: int = 0) -> dict[str, object]:
    """A reason with past events, each contributing less than the one before."""
    events = [
        {"product_id": one, "kind": f"EVENT_KIND_{kind}", "score": score / (n + 1)} for n, one in enumerate(products)
    ]
    return {"part": f"PART_{part}", "score": score, "events": events, "times": times}


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ([], ""),
        ([reason("TRENDING", -4.0)], "The best of the remaining products."),
        ([reason("CO_OCCURRENCE", 2.0, "a", "a", "b", "c")], "Often goes with [a] and [b], which you reviewed."),
        (
            [reason("CO_OCCURRENCE", 2.0, "a"), reason("SEQUENCE", 3.0, "b", kind="CLICK"), reason("Q", 1.0, "c")],
            "Comes next after [b], which you clicked; often goes with [a], which you reviewed.",
        ),
        (
            [reason("CO_OCCURRENCE", 2.0, "a"), reason("Q", 1.5, "a")],
            "Often goes with [a], which you reviewed; has long-term value.",
        ),
        ([reason("CO_OCCURRENCE", 2.0, "it", "a"), reason("CONTENT", -9.0, "b")], "Often goes with it."),
        ([reason("ITSELF", 2.0, *["this"] * 3, kind="PURCHASE", times=7)], "You bought it 7 times."),
        ([reason("ITSELF", 2.0, "this", "this", kind="VIEW", times=2)], "You viewed it twice."),
        ([reason("ITSELF", 2.0, "this", kind="CART", times=1)], "You added it to the cart."),
        ([reason("ITSELF", 2.0, "this", kind="CART", times=3)], "You added it to the cart 3 times."),
        ([reason("ITSELF", 2.0)], "You had it before."),
        ([reason("ITSELF", -2.0, "this", kind="VIEW", times=1), reason("Q", 1.0)], "Has long-term value."),
        (
            [reason("CO_OCCURRENCE", 1.0, "this", "a"), reason("ITSELF", 2.0, "this", kind="PURCHASE", times=3)],
            "You bought it 3 times; often goes with [a], which you reviewed.",
        ),
        ([reason("CO_OCCURRENCE", 2.0, "this")], "Goes with your history."),
        ([reason("SEQUENCE", 2.0, "this")], "Often comes next."),
        (
            [reason("NEIGHBOURS", 2.0, "a"), reason("CO_OCCURRENCE", 1.5, "a", kind="VIEW")],
            "People who did what you did went on to it; often goes with [a], which you viewed.",
        ),
    ],
)
def test_a_reason_is_a_sentence(watched: Watched, reasons: list[dict[str, object]], expected: str) -> None:
    script = """async (reasons) => {
      const { bars, sentence } = await import("/reasons.js");
      const product = { reasons, product_id: "this" };
      const words = sentence(product, bars([product])[0], { itself: "it" });
      return words.map((word) => (word.product ? `[${word.product}]` : word)).join("");
    }"""
    assert watched.module(script, reasons) == expected


def test_every_part_of_the_protocol_has_a_label_and_a_colour_of_its_own(watched: Watched) -> None:
    script = """async (parts) => {
      const { PARTS } = await import("/reasons.js");
      const { productList } = await import("/list.js");
      const list = productList({ label: "parts" });
      document.body.append(list.element);
      list.show([{ product_id: "p", reasons: parts.map((part) => ({ part, score: 1 })) }]);
      const bars = [...list.element.querySelectorAll(".track span")];
      return [Object.keys(PARTS), bars.map((bar) => getComputedStyle(bar).backgroundColor)];
    }"""
    parts = [pb.Part.Name(number) for number in pb.Part.values() if number != pb.PART_UNSPECIFIED]
    labelled, colours = watched.module(script, parts)
    assert [f"PART_{name}" for name in labelled] == parts, "in the order of the proto"
    assert len(set(colours)) == len(parts)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"strategy": "STRATEGY_LEARNED", "model_version": "v1"}, "Ranked by model v1."),
        (
            {"strategy": "STRATEGY_COUNTED", "fallback": "FALLBACK_NO_MODEL", "position": {"partition": 2}},
            "Ranked by counts of all events, including this user's events up to partition 2, offset 0."
            " No model is live yet, so counts of all events rank this list.",
        ),
        (
            {"strategy": "STRATEGY_TRENDING", "fallback": "FALLBACK_UNKNOWN_USER"},
            "Ranked by popularity. Nothing is known about this user yet",
        ),
    ],
)
def test_a_list_says_where_it_comes_from(watched: Watched, answer: dict[str, object], expected: str) -> None:
    script = """async (answer) => {
      const [{ lineageOf }, { fallback }] = [await import("/telling.js"), await import("/words.js")];
      return [...lineageOf(answer).map((word) => word.textContent ?? word), " ", fallback(answer)].join("");
    }"""
    assert watched.module(script, answer).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").startswith(expected)


def test_the_api_document_is_shown_whole(watched: Watched, system: Shop) -> None:
    document = system.gateway.ask("/openapi.json").json
    calls = {
        call["operationId"]: (path, verb, call) for path, on in document["paths"].items() for verb, call in on.items()
    }
    schemas = document["components"]["schemas"]
    page = watched.open()
    page.get_by_role("link", name="API").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("API")
    expect(page.locator("article")).to_have_count(len(calls) + len(schemas))
    read = "(all) => Object.fromEntries(all.map((one) => [one.id, one.textContent.replaceAll('\u200b', '')]))"
    shown = page.locator("article").evaluate_all(read)
    contents = page.get_by_role("navigation", name="Calls")
    for name, (path, verb, call) in calls.items():
        expect(contents.locator(f'a[href="#{name}"]')).to_be_visible()
        assert shown[name].startswith(f"{verb.upper()} {path}")
        parameters = [one["name"] for one in call.get("parameters", []) if "name" in one]
        expected = [call["summary"].rstrip("."), *parameters, *call["responses"]]
        assert [word for word in expected if word not in shown[name]] == []
        body = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        assert body.get("$ref", "").rpartition("/")[2] in shown[name]
    for name, schema in schemas.items():
        assert [one for one in (*schema.get("properties", ()), *schema.get("enum", ())) if one not in shown[name]] == []
    assert "integer (uint32), 0 to 1,000" in shown["recommend"]
    assert "eventsrequiredlist of Event, 1 to 10,000 items" in shown["recordEvents"]
    assert "EVENT_KIND_CART" + "put the product into the cart" in shown["EventKind"]


def test_each_example_is_a_command_that_works(watched: Watched, system: Shop) -> None:
    page = watched.open("docs")
    expect(page.locator(".example").first).to_be_visible()
    commands = [shlex.split(text) for text in page.locator(".example code").all_text_contents()]
    paths = system.gateway.ask("/openapi.json").json["paths"]
    assert len(commands) == sum(len(on) for on in paths.values())
    for command in commands:
        if len(command) == 2:
            answer = system.gateway.ask(command[1].removeprefix(system.url))
            assert answer.status == 200 or answer.json["code"] == "NOT_FOUND", answer.body
            continue
        curl, option, header, url, data, body = command
        assert (curl, option, header, data) == ("curl", "-H", "Content-Type: application/json", "-d")
        [example] = (
            paths[url.removeprefix(system.url)]["post"]["requestBody"]["content"].popitem()[1]["examples"].values()
        )
        assert json.loads(body) == example["value"]


@pytest.mark.parametrize("watched", [{"permissions": ["clipboard-read", "clipboard-write"]}], indirect=True)
def test_the_api_document_works_by_keyboard_alone(watched: Watched) -> None:
    page = watched.open("docs")
    expect(page.locator(".example").first).to_be_visible()
    press = page.keyboard.press
    press("Tab")
    press("Enter")
    expect(page.locator("main")).to_be_focused()
    press("Tab")
    press("Enter")
    expect(page).to_have_url(re.compile("#recommend$"))
    expect(page.locator("#recommend h3")).to_be_in_viewport()
    press("Tab")
    copy = page.locator("#recommend").get_by_role("button")
    for _ in range(12):
        if copy.evaluate("(one) => one === document.activeElement"):
            break
        press("Tab")
    press("Enter")
    expect(announced(page)).to_have_text("Copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#recommend .example code").text_content()
    page.reload()
    expect(page.locator("#recommend h3")).to_be_in_viewport()


def test_the_page_is_light(system: Shop) -> None:
    sizes = {file.name: file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()}
    document = sum(sizes.pop(name) for name in ("docs.html", "docs.js", "docs.css", "schemas.js"))
    assert document < 15 * 1024
    assert sum(sizes.values()) < 100 * 1024
    served = system.gateway.ask("/")
    assert "'unsafe" not in served.headers["Content-Security-Policy"]
