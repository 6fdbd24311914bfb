"""The demo page in a real browser, against a real service over a real socket.

Needs playwright and the system's Chromium (Debian, Ubuntu: apt install chromium). Writes screenshots to
artifacts/page.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.main import create_app
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.scoring import BEST_SELLERS, TOWERS_ALONE
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.catalogue import Catalogue
from hm_utils.serving.recommender import Recommender
from tests.helpers import served
from tests.helpers.data import ARTICLES, CUSTOMERS, article_table, customer_table, random_transactions
from tests.helpers.live import KEY, running, settings

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt install chromium")

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "artifacts" / "page"
IDS = customer_table()["customer_id"].tolist()
BUYER, SILENT = IDS[4], IDS[58]
VIEWS = {"customer": f"#customer={BUYER}", "visitor": "#visitor", "replay": "#replay", "map": "#map"}
HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script> & "Tee"'
NEW = ARTICLES - 1  # the article that is sold only in the last days

Open = Callable[..., Any]


def hostile_table() -> pd.DataFrame:
    table = article_table()
    for column in ("prod_name", "product_type_name", "detail_desc", "department_name"):
        table[column] = table[column].where(table.index % 3 > 0, HOSTILE)
    table["index_group_name"] = table["index_group_name"].where(table.index % 5 > 0, "<b>Sport</b>")
    return table


@pytest.fixture(scope="module")
def recommender() -> Iterator[Recommender]:
    """A model with markup in its texts, and an article that is new in the shop."""
    transactions = random_transactions()
    last = transactions["t_dat"].max()
    late = transactions.sample(60, random_state=0).assign(article=NEW, t_dat=last)
    log = PurchaseLog.from_transactions(pd.concat([transactions, late], ignore_index=True), CUSTOMERS, ARTICLES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "article_table", hostile_table)
        yield served.random_recommender(log)


@pytest.fixture(scope="module")
def port(recommender: Recommender) -> Iterator[int]:
    with running(create_app(load=lambda path: recommender, settings=settings(api_key=None))) as port:
        yield port


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Any, port: int) -> Iterator[Open]:
    """Opens the page. At the end, the console may have only the errors that the test expects."""
    contexts, errors = [], []
    expected: list[str] = []

    def opened(hash: str = "", at: int = port, expect: str | None = None, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(8_000)
        page = context.new_page()
        if expect:
            expected.append(expect)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{at}/{hash}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [text for text in errors if not any(re.search(pattern, text) for pattern in expected)] == []


def cards(page: Any, view: str) -> list[str]:
    """Ids of the recommended articles, after they have loaded."""
    page.wait_for_selector(f"#{view}-list .cards:not([aria-busy]) .card")
    return page.eval_on_selector_all(f"#{view}-list .card", "all => all.map(card => card.dataset.article)")


def until(page: Any, condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it did not happen")


def test_a_customer_is_found_with_ten_articles_and_their_reasons(show: Open, recommender: Recommender) -> None:
    page = show()
    cards(page, "customer")  # a random customer at first
    page.get_by_label("Find a customer").fill(BUYER[:6])
    page.locator("#customer-found button").first.click()
    page.wait_for_selector(f"#customer-about code[title='{BUYER}']")
    until(page, lambda: BUYER in page.url)
    row = int(recommender.customer_rows([BUYER])[0])
    bought = int(recommender.log.offsets[row + 1] - recommender.log.offsets[row])
    assert page.locator("#customer-about h3").inner_text() == f"{bought} purchases"
    assert page.locator(".timeline .bought").count() == bought
    found, _ = recommender.recommend(recommender.customers(recommender.customer_rows([BUYER])), 10)
    assert cards(page, "customer") == recommender.article_ids[found[0]].tolist()
    before = set(recommender.article_ids[recommender.log.article[recommender.log.offsets[row] :][:bought]].tolist())
    for card in page.locator("#customer-list .card").all():
        again = card.get_attribute("data-article") in before
        assert card.locator(".mark.again").count() == again
        assert card.locator(".mark.new").count() == (not again)
    assert page.locator("#customer-list .because").count() >= 5
    assert page.locator("#wire-line").inner_text().startswith("POST /recommend 200")


def test_the_header_says_what_the_data_are(show: Open, recommender: Recommender, monkeypatch: Any) -> None:
    size = f"{CUSTOMERS} customers, {ARTICLES} articles, {recommender.log.last_day + 1} days"
    for synthetic, name in ((True, "Synthetic sample"), (False, "Your data in <b>logs</b>")):
        origin = {"synthetic": synthetic, "folder": "<b>logs</b>"}
        monkeypatch.setitem(recommender.manifest, "data", {"origin": origin})
        show("#visitor").get_by_text(f"{name}: {size}", exact=True).wait_for()


def test_reasons_have_colours_and_no_name_twice(show: Open, recommender: Recommender, monkeypatch: Any) -> None:
    row = int(recommender.customer_rows([BUYER])[0])
    bought = np.unique(recommender.log.article[slice(*recommender.log.offsets[row : row + 2])])[:4].tolist()
    looks = dict(zip(bought, [("Tee", "Black"), ("Tee", "White"), ("Tee", "Black"), ("Hat", None)], strict=True))
    own = Catalogue.details

    def details(self: Catalogue, article: int) -> dict[str, Any]:
        name, colour = looks.get(article, ("Another", "Red"))
        return own(self, article) | {"name": name, "colour_group": colour}

    monkeypatch.setattr(Catalogue, "details", details)
    monkeypatch.setattr(Recommender, "reasons", lambda self, user, articles, **_: [bought] * len(articles))
    page = show(f"#customer={BUYER}")
    cards(page, "customer")
    for card in page.locator("#customer-list .card").all():
        article = int(recommender.catalogue.rows([card.get_attribute("data-article")])[0])
        text = card.locator(".because").inner_text()
        if article in bought:  # itself is called so
            assert text.startswith("because of an earlier purchase, ")
        else:
            assert text == "because of Tee in Black and White, Hat"


def test_articles_new_in_the_shop_are_marked(show: Open, recommender: Recommender) -> None:
    found, _ = recommender.recommend(recommender.customers(np.arange(CUSTOMERS)), 10)
    customer = IDS[int(np.flatnonzero((found == NEW).any(axis=1))[0])]
    page = show(f"#customer={customer}")
    cards(page, "customer")
    marked = page.eval_on_selector_all(
        "#customer-list .card:has(.mark.fresh)", "all => all.map(card => card.dataset.article)"
    )
    assert marked == [str(recommender.article_ids[NEW])]


def test_a_random_customer_of_a_segment(show: Open) -> None:
    page = show(f"#customer={BUYER}")
    cards(page, "customer")
    page.get_by_role("button", name="Never bought").click()
    page.get_by_text("Never bought anything").wait_for()
    assert page.url.split("=")[1] in IDS[57:]
    assert len(cards(page, "customer")) == 10
    assert page.locator(".because").count() == 0


def test_the_recommendations_follow_the_basket(show: Open, recommender: Recommender) -> None:
    page = show("#visitor")
    empty = cards(page, "visitor")
    page.get_by_label("Put articles into the basket").fill("boots white")
    page.locator("#article-found button").first.click()
    until(page, lambda: cards(page, "visitor") != empty)
    one = cards(page, "visitor")
    (inside,) = re.findall(r"#visitor=(\d{10})$", page.url)
    assert page.locator("#tab-visitor").get_attribute("aria-label") == "A visitor, 1 article in the basket"
    row = int(recommender.catalogue.rows([inside])[0])
    found, _ = recommender.recommend(recommender.visitor(None, None, [row], [0]), 10, excluded=np.array([row]))
    assert one == recommender.article_ids[found[0]].tolist()
    assert page.locator(".move").count() > 0
    page.locator("#visitor-list .in-basket").first.click()
    until(page, lambda: page.locator("#basket .bought").count() == 2)
    until(page, lambda: cards(page, "visitor") != one)
    page.reload()  # the address has the basket
    until(page, lambda: page.locator("#basket .bought").count() == 2)
    for _ in range(2):
        page.locator("#basket button").first.click()
    until(page, lambda: cards(page, "visitor") == empty)


def test_a_search_without_hits_finds_what_is_meant(show: Open) -> None:
    page = show("#visitor")
    cards(page, "visitor")
    page.get_by_label("Put articles into the basket").fill("warm footwear for the winter")
    page.get_by_text("These come closest in meaning").wait_for()
    assert "Boots" in page.locator("#article-found button").first.inner_text()
    page.get_by_label("Put articles into the basket").fill("qwertz")
    page.get_by_text("No article has these words").wait_for()


def test_filters_and_diversity_change_the_recommendations(show: Open, recommender: Recommender) -> None:
    page = show(f"#customer={BUYER}")
    everything = cards(page, "customer")

    def details() -> list[dict[str, Any]]:
        rows = recommender.catalogue.rows(cards(page, "customer"))
        return [recommender.catalogue.details(row) for row in rows]

    page.locator("#customer-index_group").select_option("Menswear")
    until(page, lambda: {article["index_group"] for article in details()} == {"Menswear"})
    page.locator("#customer-max").fill("0.055")
    until(page, lambda: all(article["price"] <= 0.055 for article in details()))
    page.locator("#customer-max").fill("0.0001")
    page.get_by_text("Nothing fits").wait_for()
    page.get_by_role("button", name="Clear").click()
    until(page, lambda: cards(page, "customer") == everything)
    page.locator("#customer-diversity").fill("0.9")
    until(page, lambda: cards(page, "customer") != everything)
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("New to them only").check()
    until(page, lambda: page.locator("#customer-list .mark.again").count() == 0)


def test_more_are_shown_on_request_and_counted(show: Open, recommender: Recommender) -> None:
    page = show(f"#customer={BUYER}")
    count, more = page.locator("#customer-count"), page.locator("#view-customer .more button")
    first = cards(page, "customer")
    assert count.inner_text() == f"The first 10 of {ARTICLES} articles"
    for shown in (30, ARTICLES):
        more.click()
        until(page, lambda: len(cards(page, "customer")) == shown)  # noqa: B023 - called at once
    assert cards(page, "customer")[:10] == first
    assert count.inner_text() == f"All {ARTICLES} articles"
    assert more.is_hidden()
    page.locator("#customer-colour_group").select_option("Black")
    fit = len(recommender.catalogue.matching({"colour_group": ["Black"]}))
    until(page, lambda: count.inner_text() == f"The first 10 of {fit} articles that fit")
    assert len(cards(page, "customer")) == 10
    page.locator("#tab-visitor").click()
    cards(page, "visitor")
    assert page.locator("#visitor-count").inner_text() == f"The first 10 of {ARTICLES} articles"


def test_other_rankings_are_shown_beside_the_published_one(show: Open, recommender: Recommender) -> None:
    page = show(f"#customer={BUYER}")
    published = cards(page, "customer")
    user = recommender.customers(recommender.customer_rows([BUYER]))
    for name, scoring in (("Best-sellers", BEST_SELLERS), ("Two-tower alone", TOWERS_ALONE)):
        found, _ = recommender.recommend(user, 10, scoring=scoring)
        other = recommender.article_ids[found[0]].tolist()
        page.get_by_role("button", name=name).click()
        until(page, lambda: cards(page, "customer") == [*published, *other])  # noqa: B023 - called at once
        both = len(set(published) & set(other))
        assert page.locator(".pair .mark.hit").count() == 2 * both
        assert f"{both or 'None'} of 10 articles in both" in page.locator(".pair").inner_text()
    page.locator("#customer-colour_group").select_option("Black")
    until(page, lambda: {colour_of(recommender, a) for a in cards(page, "customer")} == {"Black"})
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name=name).click()
    until(page, lambda: cards(page, "customer") == published)


def colour_of(recommender: Recommender, article_id: str) -> Any:
    return recommender.catalogue.details(int(recommender.catalogue.rows([article_id])[0]))["colour_group"]


def test_similar_articles_open_in_a_dialog_that_returns_the_focus(show: Open, recommender: Recommender) -> None:
    page = show(f"#customer={BUYER}")
    first = cards(page, "customer")[0]
    button = page.locator("#customer-list .card button").first
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#similar .cards:not([aria-busy]) .card")
    assert page.evaluate("document.activeElement.id") == "similar-title"
    shown = page.eval_on_selector_all("#similar .card", "all => all.map(card => card.dataset.article)")
    found, _ = recommender.similar(int(recommender.catalogue.rows([first])[0]), 12)
    assert shown == recommender.article_ids[found].tolist()
    page.keyboard.press("Escape")
    assert page.locator("#similar").is_hidden()
    assert button.evaluate("button => button === document.activeElement")


def test_the_replay_shows_the_stored_rankings_and_explains_them(show: Open, recommender: Recommender) -> None:
    page = show("#replay")
    page.wait_for_selector(".replay .was-hit, .replay .card")
    text = page.locator("#view-replay").inner_text()
    assert "its rankings that morning" in text
    assert "drawn at random" in text or "all " in text
    assert "Published although it is new." in text
    assert "It finds few." in text
    replay: Any = recommender.replay
    model, popular = replay["rankings"]
    hits_of = {
        name: [len(set(customer["lists"][name]) & set(customer["bought"])) for customer in replay["customers"]]
        for name in (model, popular)
    }
    # It opens where one list has more hits, with the totals beside it.
    differ = [ours != theirs for ours, theirs in zip(hits_of[model], hits_of[popular], strict=True)]
    assert f"1 of {sum(differ)} " in text
    assert f"customer {replay['customers'][differ.index(True)]['customer_id'][:10]}" in text
    totals = [f"{sum(hits):,} hits at {np.count_nonzero(hits)} customers" for hits in hits_of.values()]
    assert f"All {len(differ)} drawn: the model {totals[0]}, best-sellers {totals[1]}" in text
    page.get_by_role("button", name="The model hit").click()
    hits = [customer for customer in replay["customers"] if set(customer["lists"][model]) & set(customer["bought"])]
    hit = hits[0]
    page.get_by_text(f"customer {hit['customer_id'][:10]}").wait_for()
    for column, name in zip(page.locator(".replay .ranking").all(), replay["rankings"], strict=True):
        shown = column.locator(".card").evaluate_all("all => all.map(c => [c.dataset.article, c.matches('.was-hit')])")
        assert shown == [[article, article in hit["bought"]] for article in hit["lists"][name]]
    number = page.locator("[data-group=model] b").inner_text()
    assert number == str(len(hits))
    page.get_by_role("button", name="Next customer").click()
    page.get_by_text(f"2 of {len(hits)}").wait_for()


def lit(page: Any) -> int:
    """The number of drawn pixels."""
    return int(
        page.evaluate(
            """() => { const c = document.getElementById("map-points");
              const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
              let n = 0; for (let i = 3; i < data.length; i += 4) n += data[i] > 0; return n; }"""
        )
    )


def test_the_map_moves_and_names_its_articles(show: Open, recommender: Recommender) -> None:
    page = show("#map")
    page.wait_for_selector("#map-points[data-painter=pixels]")
    page.wait_for_selector("#map-marked .link")
    until(page, lambda: lit(page) > ARTICLES)
    whole = lit(page)
    stage = page.locator("#map-marks")
    stage.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#map-named .about-name")
    named = page.locator("#map-named").inner_text()
    (article,) = re.findall(r"Article (\d{10})", named)
    assert article in recommender.article_ids
    assert page.locator("#map-tip").is_visible()
    for _ in range(6):
        page.keyboard.press("+")
    until(page, lambda: lit(page) != whole)
    page.keyboard.press("0")
    until(page, lambda: lit(page) == whole)
    page.keyboard.press("ArrowLeft")
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 300, steps=5)
    page.mouse.up()
    page.mouse.wheel(0, -600)
    marked = page.locator("#map-marked .link").first
    marked.click()
    page.wait_for_selector("#map-named .about-name")
    assert page.locator("#map-tip b").inner_text() in marked.inner_text()


def test_both_painters_draw_the_same_points(show: Open) -> None:
    page = show("#map")
    page.wait_for_selector("#map-points[data-painter]")
    boxes = page.evaluate(
        """async () => {
          const { painter, unpack } = await import("/static/mapdraw.js");
          const points = unpack(await (await fetch("/map")).arrayBuffer());
          return [true, false].map((card) => {
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [300, 200];
            const paint = painter(canvas, points, card);
            paint.resize(300, 200);
            paint.colours([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]);
            paint.draw({ x: 32768, y: 32768, k: 180 / 65536 }, 5);
            const copy = document.createElement("canvas");
            [copy.width, copy.height] = [300, 200];
            const context = copy.getContext("2d");
            context.drawImage(canvas, 0, 0);
            const data = context.getImageData(0, 0, 300, 200).data;
            const middles = [...points.x].map((x, i) => {
              const px = Math.floor((x - 32768) * (180 / 65536) + 150), py = Math.floor((points.y[i] - 32768) * (180 / 65536) + 100);
              return data[4 * (py * 300 + px) + 3] > 100;
            });
            return [paint.name, middles.filter(Boolean).length];
          });
        }"""  # noqa: E501
    )
    assert boxes == [["webgl", ARTICLES], ["pixels", ARTICLES]]


def test_everything_can_be_done_from_the_keyboard(show: Open) -> None:
    page = show(f"#customer={BUYER}")
    cards(page, "customer")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "views"
    assert page.url.endswith(VIEWS["customer"])
    page.locator("#skip").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Past the filters"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.card') === document.querySelector('#customer-list .card')")
    page.locator("#skip-filters").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "how-open"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="The item tower").wait_for()
    page.locator("#card summary").press("Enter")
    page.locator("#card-text", has_text="# Model card").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "how-open"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "tab-customer"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-visitor"
    page.locator("#visitor-list .card").first.wait_for()
    page.keyboard.press("Tab")  # the theme
    page.keyboard.press("Tab")
    page.keyboard.type("top")
    page.wait_for_selector("#article-found button")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    until(page, lambda: page.locator("#basket .bought").count() == 1)
    # The focus is visible.
    outlines = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outlines != "none"
    page.locator("#tab-visitor").focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.id") == "tab-map"
    page.wait_for_selector("#map-points[data-painter]")


def test_the_theme_is_the_systems_until_the_visitor_chooses_one(show: Open) -> None:
    page = show("#visitor", color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.get_by_role("button", name="Use the light theme").click()
    light = page.evaluate(paper)
    assert sum(map(int, re.findall(r"\d+", dark))) < 100 < 600 < sum(map(int, re.findall(r"\d+", light)))
    page.reload()
    assert page.evaluate(paper) == light


@pytest.mark.parametrize("view", VIEWS)
def test_a_narrow_screen_scrolls_in_one_direction(show: Open, view: str) -> None:
    page = show(VIEWS[view], viewport={"width": 360, "height": 740}, has_touch=True)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(f"#tab-{view}").bounding_box()["x"] < 360


@pytest.mark.parametrize("view", ["customer", "visitor"])
def test_the_layout_does_not_shift_while_loading(show: Open, view: str) -> None:
    page = show(VIEWS[view])
    cards(page, view)
    script = """() => new Promise((resolve) => new PerformanceObserver((list) =>
        resolve(list.getEntries().reduce((sum, entry) => sum + entry.value, 0)))
        .observe({ type: "layout-shift", buffered: true }) || setTimeout(() => resolve(0), 300))"""
    assert page.evaluate(script) < 0.1


def test_reduced_motion_is_respected(show: Open) -> None:
    for motion, moves in (("no-preference", True), ("reduce", False)):
        page = show("#visitor", reduced_motion=motion)
        cards(page, "visitor")
        page.evaluate(
            """() => { window.animated = 0; const animate = Element.prototype.animate;
            Element.prototype.animate = function (...a) { window.animated += 1; return animate.apply(this, a); }; }"""
        )
        page.locator("#visitor-list .in-basket").first.click()
        until(page, lambda: page.locator(".move").count() > 0)  # noqa: B023 - called at once
        assert (page.evaluate("window.animated") > 0) is moves


def test_text_from_the_catalogue_stays_text(show: Open) -> None:
    page = show(f"#customer={BUYER}")
    cards(page, "customer")
    until(page, lambda: page.locator("#customer-index_group option").count() > 1)
    assert HOSTILE in page.locator(".timeline").inner_text()
    page.locator(".card-actions button").first.click()
    page.wait_for_selector("#similar .cards:not([aria-busy]) .card")
    assert HOSTILE in page.locator("#similar").inner_text()
    assert "<b>Sport</b>" in page.locator("#customer-index_group").inner_text()
    assert page.evaluate("window.hit") is None
    assert page.locator("main script, main img, dialog script, dialog img, main b b").count() == 0


def test_the_policy_forbids_inline_scripts(show: Open) -> None:
    page = show("#visitor", expect="Content Security Policy")
    cards(page, "visitor")
    blocked = page.evaluate(
        """() => new Promise((resolve) => {
          addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.hit = 1";
          document.body.append(script);
          setTimeout(() => resolve("nothing"), 2000);
        })"""
    )
    assert blocked.startswith("script-src")
    assert page.evaluate("window.hit") is None


def test_no_request_goes_to_another_host(show: Open, browser: Any, port: int) -> None:
    requested: set[str] = set()
    context = browser.new_context()
    page = context.new_page()
    page.on("request", lambda request: requested.add(request.url))
    page.goto(f"http://127.0.0.1:{port}/")
    for view in VIEWS:
        page.locator(f"#tab-{view}").click()
        page.wait_for_load_state("networkidle")
    page.goto(f"http://127.0.0.1:{port}/docs")
    page.locator(".opblock").first.wait_for()
    page.wait_for_load_state("networkidle")
    context.close()
    assert len(requested) > 20
    assert {re.sub(r"^http://127\.0\.0\.1:\d+/.*", "", url) for url in requested} == {""}


def test_the_documentation_is_served_from_here_and_sends_requests(show: Open) -> None:
    page = show("docs", expect="status of 404")
    page.locator(".opblock-post .opblock-summary-control").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.locator(".live-responses-table").get_by_text("unknown customer").wait_for()  # the example's id
    assert page.locator(".opblock").count() > 15


def test_the_page_recovers_after_the_service_was_down(show: Open) -> None:
    page = show("#visitor", expect="Failed to load resource")
    before = cards(page, "visitor")
    page.route("**/recommend", lambda route: route.abort())
    page.locator("#visitor-list .in-basket").first.click()
    problem = page.get_by_role("alert").filter(has_text="does not answer")
    problem.wait_for()
    assert "make serve" in problem.inner_text()
    page.unroute("**/recommend")
    problem.get_by_role("button", name="Try again").click()
    until(page, lambda: cards(page, "visitor") != before)


def test_a_rejected_request_is_retried_after_the_given_time(show: Open) -> None:
    page = show("#customer", expect="status of 503")
    cards(page, "customer")
    refusals = iter(range(1))

    def refuse_once(route: Any) -> None:
        if next(refusals, None) is None:
            route.continue_()
        else:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"detail": "too many requests at once"})

    page.route("**/recommend", refuse_once)
    page.locator("#customer-index_group").select_option("Menswear")
    until(page, lambda: "503" in page.locator("#wire-line").inner_text())
    page.wait_for_timeout(100)
    assert page.get_by_role("alert").count() == 0  # no message while it retries
    until(page, lambda: "200" in page.locator("#wire-line").inner_text())
    assert cards(page, "customer")


def test_a_service_that_stays_busy_is_shown(show: Open) -> None:
    page = show("#customer", expect="status of 503")
    everything = cards(page, "customer")
    busy = {"status": 503, "headers": {"Retry-After": "0.05"}, "json": {"detail": "too many requests at once"}}
    page.route("**/recommend", lambda route: route.fulfill(**busy))
    page.locator("#customer-index_group").select_option("Menswear")
    page.get_by_role("alert").filter(has_text="The service is busy").wait_for()
    page.unroute("**/recommend")
    until(page, lambda: page.get_by_role("alert").count() == 0)  # it retries by itself
    assert cards(page, "customer") != everything


def test_without_a_model_the_page_names_the_command_to_run(show: Open) -> None:
    def none(path: Path) -> Recommender:
        raise BundleError(path, "no model is published here: run `make run` to train and publish one")

    with running(create_app(load=none, settings=settings(api_key=None))) as at:
        page = show(at=at, expect="status of 503")
        problem = page.get_by_role("alert").filter(has_text="There is no model yet")
        problem.wait_for()
        assert "make run" in problem.inner_text()
        page.goto("about:blank")


def test_an_unknown_customer_is_shown_as_such(show: Open) -> None:
    page = show(f"#customer={'f' * 64}", expect="status of 404")
    page.get_by_text("unknown customer").first.wait_for()
    page.get_by_role("button", name="Surprise me").click()
    assert len(cards(page, "customer")) == 10


def test_the_page_asks_for_the_services_key(show: Open, recommender: Recommender) -> None:
    with running(create_app(load=lambda path: recommender, settings=settings())) as at:
        page = show("#visitor", at=at, expect="status of 401")
        page.get_by_label("Key", exact=True).wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Try again").click()
        page.get_by_label("Key", exact=True).fill("wrong")
        page.get_by_role("button", name="Use it").click()
        page.get_by_text("That was not it").wait_for()
        page.get_by_label("Key", exact=True).fill(KEY)
        page.keyboard.press("Enter")
        assert len(cards(page, "visitor")) == 10
        page.locator("#wire-toggle").click()
        command = page.locator("#wire-more pre").inner_text()
        assert "X-API-Key: $HM_API_KEY" in command
        assert KEY not in command
        page.goto("about:blank")


def test_the_request_can_be_copied_as_curl(show: Open, port: int) -> None:
    page = show(f"#customer={BUYER}", permissions=["clipboard-read", "clipboard-write"])
    cards(page, "customer")
    page.locator("#wire-toggle").click()
    page.get_by_role("button", name="Copy curl").click()
    page.wait_for_selector("#toast.shown")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith(f"curl -s 'http://127.0.0.1:{port}/recommend'")
    assert BUYER in command
    assert re.search(r"\d ms", page.locator("#wire-line").inner_text())


# Text whose contrast with its background is below 4.5 : 1. Opacities and half-transparent backgrounds count.
FAINT = """() => {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const over = (colour, below, opacity = 1) => {
    context.globalAlpha = 1;
    context.fillStyle = `rgb(${below})`;
    context.fillRect(0, 0, 1, 1);
    context.globalAlpha = opacity;
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const chain = (element) => (element ? [...chain(element.parentElement), element] : []);
  const light = (colour) => colour.map((v) => v / 255).map((v) => (v > 0.04045 ? ((v + 0.055) / 1.055) ** 2.4 : v / 12.92));
  const luminance = (colour) => light(colour).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0.05);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("script, noscript, select, .hidden, .skip, #toast")) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    let below = [255, 255, 255], opacity = 1;
    for (const each of chain(element)) {
      const style = getComputedStyle(each);
      opacity *= style.opacity;
      below = over(style.backgroundColor, below, opacity);
    }
    const [high, low] = [luminance(below), luminance(over(getComputedStyle(element).color, below, opacity))].sort((a, b) => b - a);
    if (high / low < 4.5) faint.add(`${element.className || element.tagName} ${walker.currentNode.data.trim().slice(0, 30)} ${(high / low).toFixed(2)}`);
  }
  return [...faint];
}"""  # noqa: E501
# Boxes that can be scrolled to a hidden part, without a shadow that says so.
CUT = """() => [...document.querySelectorAll("main *, dialog[open] *")].filter((element) => {
  const style = getComputedStyle(element);
  const across = element.scrollWidth > element.clientWidth + 1 && ["auto", "scroll"].includes(style.overflowX);
  const down = element.scrollHeight > element.clientHeight + 1 && ["auto", "scroll"].includes(style.overflowY);
  return (across || down) && !style.backgroundAttachment.includes("local");
}).map((element) => element.outerHTML.slice(0, 100))"""


READY = {
    "customer": ".timeline",
    "visitor": "#visitor-list .card",
    "replay": ".replay .card",
    "map": "#map-marked .link",
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violation_and_screenshots_are_written(show: Open, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()

    def problems(page: Any) -> list[tuple[str, str]]:
        violations = axe.run(page).response["violations"]
        found = [(violation["id"], node["html"][:200]) for violation in violations for node in violation["nodes"]]
        return [*found, *(("faint", text) for text in page.evaluate(FAINT)), *(("cut", e) for e in page.evaluate(CUT))]

    PICTURES.mkdir(parents=True, exist_ok=True)
    for view, hash in VIEWS.items():
        page = show(hash, color_scheme=theme, viewport={"width": width, "height": 900})
        page.wait_for_selector(READY[view])
        page.wait_for_load_state("networkidle")
        page.screenshot(path=PICTURES / f"{view}-{theme}-{width}.png")
        assert problems(page) == [], view
        if view == "customer":
            page.locator(".card-actions button").first.click()
            page.wait_for_selector("#similar .cards:not([aria-busy]) .card")
            page.wait_for_timeout(300)  # end of the dialog's animation
            assert problems(page) == [], "similar"
            page.keyboard.press("Escape")
            page.locator("#how-open").click()
            page.wait_for_timeout(300)
            assert problems(page) == [], "how it works"
            page.keyboard.press("Escape")
            page.get_by_role("button", name="Best-sellers").click()
            page.wait_for_selector(".pair")
            assert problems(page) == [], "compared"
            assert page.evaluate("document.documentElement.scrollWidth") <= width
