"""A model of a shop with other ids than H&M's: every door takes them over a real socket, and so does the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pyarrow.parquet as pq
import pytest

from app.main import create_app
from hm_utils import recommend
from hm_utils.serving.recommender import Recommender
from tests.app.test_page import CHROMIUM, Open, browser, cards, show  # noqa: F401  fixtures
from tests.helpers import served, snapshots
from tests.helpers.data import ARTICLES, CUSTOMERS, article_table, customer_table
from tests.helpers.live import Client, running, settings

CUSTOMER_IDS = sorted(f"K\u00e9/{i:02d}=,&#? \"'%2F" for i in range(CUSTOMERS))
ARTICLE_IDS = sorted(f"../\u00e4 {i:02d},\U0001f9e6" for i in range(ARTICLES))
BUYER, ARTICLE = CUSTOMER_IDS[4], ARTICLE_IDS[7]


def nameless() -> pd.DataFrame:
    table = article_table().assign(article_id=ARTICLE_IDS)
    for name in map(str, table):
        if name.endswith("_name"):
            table[name] = pd.Series([None] * ARTICLES, dtype="str")
    return table


def members() -> pd.DataFrame:
    """With a further column, the parameter ``customer_columns``."""
    return customer_table().assign(customer_id=CUSTOMER_IDS, tier=["gold", "silver"] * (CUSTOMERS // 2))


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "article_table", nameless)
        for module in (served, snapshots):
            patch.setattr(module, "customer_table", members)
        made = served.random_recommender()
    made.manifest["data"] = {"hm_ids": False}
    return made


@pytest.fixture(scope="module")
def port(recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    photos = tmp_path_factory.mktemp("images")
    (photos / "safe").mkdir()
    for outside in ("outside.jpg", "...jpg"):
        (photos / outside).write_bytes(b"secret")
    (photos / "safe" / "K-1").mkdir()
    (photos / "safe" / "K-1" / "K-1_a.jpg").write_bytes(b"photo")
    chosen = settings(api_key=None, images=photos / "safe")
    with running(create_app(load=lambda path: recommender, settings=chosen)) as port:
        yield port


def test_every_door_takes_them(port: int) -> None:
    with Client(port) as client:
        asked = {"customer_id": BUYER, "top_k": 10, "include": ["details", "reasons"]}
        status, answer, _ = client.ask("POST", "/recommend", asked)
        ids = [item["article_id"] for item in answer["recommendations"]]
        assert (status, answer["customer_id"], len(ids)) == (200, BUYER, 10)
        assert set(ids) < set(ARTICLE_IDS)
        _, rest, _ = client.ask("POST", "/recommend", {"customer_id": BUYER, "top_k": 10, "exclude_items": ids[:3]})
        assert [item["article_id"] for item in rest["recommendations"]][:7] == ids[3:]
        seen = [ARTICLE, {"article_id": ARTICLE_IDS[8], "days_ago": 2}]
        assert client.ask("POST", "/recommend", {"history": seen})[0] == 200
        _, batch, _ = client.ask("POST", "/recommend/batch", {"customer_ids": [BUYER, "nobody"]})
        assert ([found["customer_id"] for found in batch["results"]], batch["unknown"]) == ([BUYER], ["nobody"])
        _, article, _ = client.ask("GET", f"/articles/{quote(ARTICLE, safe='')}")
        assert (article["article_id"], article["name"]) == (ARTICLE, None)
        assert client.ask("GET", f"/articles/{quote(ARTICLE, safe='')}/similar")[1]["article_id"] == ARTICLE
        assert client.ask("GET", f"/customers/{quote(BUYER, safe='')}")[1]["customer_id"] == BUYER
        _, found, _ = client.ask("GET", f"/customers?prefix={quote(BUYER[:1])}&limit=20")
        assert BUYER in [each["customer_id"] for each in found["customers"]]
        _, words, _ = client.ask("GET", f"/articles?q={quote(ARTICLE.split()[1])}")
        assert [each["article_id"] for each in words["articles"]] == [ARTICLE], "an id is searched where no name is"
        assert client.ask("POST", "/recommend", {"customer_id": "nobody"})[0] == 404


def test_a_new_customer_has_further_columns(port: int) -> None:
    with Client(port) as client:
        assert client.ask("GET", f"/customers/{quote(BUYER, safe='')}")[1]["attributes"]["tier"] == "gold"
        scores = {}
        for name, other in {
            "gold": {"tier": "gold"},
            "silver": {"tier": "silver"},
            "none": {},
            "unknown": {"x": "y"},
        }.items():
            _, answer, _ = client.ask("POST", "/recommend", {"customer": {"age": 30, "other": other}, "top_k": 40})
            scores[name] = [(item["article_id"], item["score"]) for item in answer["recommendations"]]
        assert scores["gold"] != scores["silver"] != scores["none"] == scores["unknown"]


@pytest.mark.parametrize("bad", ["", "tab\t", "\x7f", "\x85", "x" * 101])
def test_unprintable_and_endless_ids_are_refused(port: int, bad: str) -> None:
    with Client(port) as client:
        for body in ({"customer_id": bad}, {"customer_id": BUYER, "exclude_items": [bad]}, {"history": [bad]}):
            status, answer, _ = client.ask("POST", "/recommend", body)
            assert (status, answer["detail"][0]["loc"][:2]) == (422, ["body", list(body)[-1]])


@pytest.mark.parametrize(
    "path", ["..", "%2e%2e", "../outside", "..%2Foutside", "%2e%2e%2foutside", "%2Fetc%2Fpasswd", "a.b", "%C3%A4"]
)
def test_no_photo_lies_outside_of_the_folder(port: int, path: str) -> None:
    with Client(port) as client:
        status, answer, _ = client.ask("GET", f"/images/{path}")
        assert status == 404
        assert "secret" not in str(answer)
        assert client.ask("GET", "/images/K-1_a")[1] == "photo"


def test_lists_for_many_customers(
    recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Recommender, "load", lambda path: recommender)
    (tmp_path / "ids.txt").write_text(f"{BUYER}\r\n{CUSTOMER_IDS[9]}\nK\u00e9\n", encoding="utf-8")
    command = ["--customers", str(tmp_path / "ids.txt"), "--top-k", "3"]
    assert recommend.main([*command, "--output", str(tmp_path / "r.parquet")]) == 0
    assert "1 customers are not in the model" in capsys.readouterr().err
    table = pq.read_table(tmp_path / "r.parquet").to_pandas()
    assert table["customer_id"].tolist() == [BUYER] * 3 + [CUSTOMER_IDS[9]] * 3
    assert set(table["article_id"]) < set(ARTICLE_IDS)
    assert recommend.main([*command, "--submission", str(tmp_path / "s.csv")]) == 1
    assert "some article ids have blanks" in capsys.readouterr().err
    monkeypatch.setattr("hm_utils.recommend.has_blanks", lambda model: False)
    assert recommend.main([*command, "--submission", str(tmp_path / "s.csv")]) == 0
    assert pd.read_csv(tmp_path / "s.csv")["customer_id"].tolist() == [BUYER, CUSTOMER_IDS[9]]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt install chromium")
def test_the_page_shows_ids_where_there_are_no_names(show: Open, port: int) -> None:  # noqa: F811
    page = show(f"#customer={quote(BUYER, safe='')}", expect="404")  # the articles have no photos
    shown = cards(page, "customer")
    assert len(shown) == 10
    assert page.inner_text("#customer-list .card-name >> nth=0") == shown[0]
    assert page.get_attribute("#customer-about .who code", "title") == BUYER
    page.fill("#customer-search", CUSTOMER_IDS[9][:5])
    page.wait_for_selector("#customer-found button")
    page.click("#customer-found button")
    page.wait_for_function(
        "id => document.querySelector('#customer-about .who code')?.title === id", arg=CUSTOMER_IDS[9]
    )
    page.click("#customer-list .card .in-basket >> nth=0")
    page.click("#tab-visitor")
    cards(page, "visitor")
    page.reload()
    cards(page, "visitor")
    assert page.inner_text("#basket b") in ARTICLE_IDS, "the basket is in the page's address"
    page.click("#tab-map")
    page.wait_for_selector("#map-marked button")
    page.click("#map-marked button")
    page.wait_for_selector("#map-named .about-name")
    assert page.inner_text("#map-named .about-name") in ARTICLE_IDS
