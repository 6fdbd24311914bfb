"""The demo page's endpoints, and the page's files."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.routes.page import DOCS, FILES, INDEX, POLICY, STATIC
from hm_utils.data.popularity import popularity_as_of, recent_sales
from hm_utils.data.segments import Segment
from hm_utils.serving.recommender import Recommender
from tests.helpers.data import ARTICLES, CUSTOMERS, customer_table, random_log
from tests.helpers.live import KEY, settings
from tests.helpers.served import random_recommender, unpacked

MAX_BYTES = 150_000  # of the page, without the map's data
IDS = customer_table()["customer_id"].tolist()


MANIFEST = {
    "data": {"origin": {"synthetic": False, "folder": "<b>logs"}},
    "version": "20260120T101530.123456Z-1f2e3d4c",
    "metrics": {
        "held_out_test": {
            "customers": 57,
            "rankings": {
                "popularity": {
                    "MAP@12": {"mean": 0.1, "low": 0.05, "high": None},
                    "novelty@12": {"mean": 9.0, "low": None, "high": None},
                }
            },
        },
        "decision": {"publish": True, "verdict": "worse", "reason": "Published although …", "against": ["New."]},
    },
}


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return random_recommender()


@pytest.fixture(scope="module")
def client(recommender: Recommender) -> Iterator[TestClient]:
    with TestClient(create_app(load=lambda path: recommender, settings=settings(api_key=None))) as client:
        yield client


def test_the_model_reports_its_age_data_and_metrics(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recommender, "manifest", MANIFEST)
    log = random_log()
    assert client.get("/model").json() == {
        "version": MANIFEST["version"],
        "published": "2026-01-20T10:15:30+00:00",
        "data_from": log.date(0),
        "data_until": log.date(log.last_day),
        "trained_on": f"Your data in <b>logs: {CUSTOMERS} customers, {ARTICLES} articles, {log.last_day + 1} days",
        "counts": {"articles": ARTICLES, "customers": CUSTOMERS, "purchases": len(log)},
        "stock": None,
        "tested_customers": 57,
        "metrics": {"popularity": {"MAP@12": {"mean": 0.1, "low": 0.05, "high": None}}},
        "verdict": {"verdict": "worse", "reason": "Published although …", "against": ["New."]},
        "hm_ids": True,
        "replay": True,
        "map": True,
        "images": False,
    }


def test_other_rankings_are_served_to_compare_with(client: TestClient, recommender: Recommender) -> None:
    customer, other = IDS[4], IDS[9]

    def ranked(customer_id: str, **fields: Any) -> list[str]:
        answer = client.post("/recommend", json={"customer_id": customer_id, **fields}).json()
        return [item["article_id"] for item in answer["recommendations"]]

    best_sellers = ranked(customer, ranking="best-sellers")
    assert best_sellers == ranked(other, ranking="best-sellers")
    assert best_sellers == recommender.article_ids[np.argsort(-popularity_of(recommender), kind="stable")[:10]].tolist()
    assert ranked(customer, ranking="published") == ranked(customer)
    assert len({tuple(ranked(customer, ranking=name)) for name in ("published", "two-tower", "best-sellers")}) == 3
    assert client.post("/recommend", json={"customer_id": customer, "ranking": "other"}).status_code == 422


def popularity_of(recommender: Recommender) -> Any:
    log = recommender.log
    return popularity_as_of(log, recommender.as_of, recent_sales(log, recommender.as_of))


def test_a_search_finds_words_and_else_their_meaning(client: TestClient, recommender: Recommender) -> None:
    def found(words: str, limit: int = 8) -> tuple[str, list[dict[str, Any]]]:
        answer = client.get("/articles", params={"q": words, "limit": limit}).json()
        assert answer["count"] == len(answer["articles"])
        return answer["match"], answer["articles"]

    match, articles = found("boots")
    assert match == "words"
    assert {article["product_type"] for article in articles} == {"Boots"}
    match, articles = found("warm footwear for the winter", limit=20)
    assert match == "meaning"
    assert articles[0]["product_type"] == "Boots"
    match, articles = found("qwertz boots", limit=ARTICLES)
    boots = [article["article_id"] for article in articles if article["product_type"] == "Boots"]
    close, _ = recommender.similar(int(recommender.catalogue.rows(boots[:1])[0]), ARTICLES)
    neighbours = [found for found in recommender.article_ids[close].tolist() if found not in boots]
    assert [article["article_id"] for article in articles] == [*boots, *neighbours]
    assert found("qwertz") == ("meaning", [])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"filters": {"colour_group": ["Black"]}},
        {"filters": {"colour_group": ["none of these"]}},
        {"exclude_purchased": True},
        {"filters": {"colour_group": ["Black"]}, "exclude_purchased": True, "exclude_items": ["0000000000"]},
    ],
    ids=str,
)
def test_the_total_is_the_number_of_articles_that_were_ranked(client: TestClient, fields: dict[str, Any]) -> None:
    request = {"customer_id": IDS[4], "top_k": ARTICLES, "include": ["total"], **fields}
    answer = client.post("/recommend", json=request).json()
    assert answer["total"] == answer["count"] == len(answer["recommendations"])
    assert (answer["total"] < ARTICLES) is bool(fields)
    assert "total" not in client.post("/recommend", json=request | {"include": ["details"]}).json()


def test_customers_are_found_by_a_prefix_of_their_id(client: TestClient) -> None:
    for prefix in (IDS[7][:5], IDS[7], IDS[0][0], "f", "0" * 64):
        expected = [customer_id for customer_id in IDS if customer_id.startswith(prefix)]
        answer = client.get("/customers", params={"prefix": prefix, "limit": 20}).json()
        assert [customer["customer_id"] for customer in answer["customers"]] == expected[:20]
        assert answer["count"] == len(expected[:20])
    assert client.get("/customers", params={"prefix": IDS[0][0], "limit": 1}).json()["count"] == 1


def test_a_found_customer_has_the_values_of_the_customer_endpoint(client: TestClient) -> None:
    for row in (0, 58):
        (found,) = client.get("/customers", params={"prefix": IDS[row]}).json()["customers"]
        whole = client.get(f"/customers/{IDS[row]}").json()
        assert found["age"] == whole["attributes"]["age"]
        assert found["purchases"] == whole["count"]
        assert found["last_purchase"] == (whole["purchases"][0]["date"] if whole["count"] else None)


@pytest.mark.parametrize("segment", get_args(Segment))
def test_every_request_draws_other_customers(client: TestClient, recommender: Recommender, segment: Segment) -> None:
    members = {IDS[row] for row in recommender.segments[segment]}
    seen: set[str] = set()
    for _ in range(30):
        answer = client.get("/customers", params={"segment": segment, "limit": 2}).json()
        found = {customer["customer_id"] for customer in answer["customers"]}
        assert len(found) == answer["count"] == min(2, len(members))
        assert found <= members
        seen |= found
    assert len(seen) >= min(3, len(members))


@pytest.mark.parametrize(
    "wrong",
    ["prefix=A", "prefix=", "prefix=" + "a" * 65, "prefix=a%00", "segment=rich", "limit=0", "limit=21", "limit=x"],
)
def test_parameters_of_customers_have_bounds(client: TestClient, wrong: str) -> None:
    assert client.get(f"/customers?{wrong}").status_code == 422


def test_the_replay_is_the_published_one(client: TestClient, recommender: Recommender) -> None:
    replay: Any = recommender.replay
    answer = client.get("/replay").json()
    assert answer["count"] == len(answer["customers"]) == len(replay["customers"])
    assert answer["rankings"] == replay["rankings"]
    hits = 0
    for customer, stored in zip(answer["customers"], replay["customers"], strict=True):
        whole = client.get(f"/replay/{customer['number']}").json()
        assert whole["customer_id"] == stored["customer_id"]
        assert [article["article_id"] for article in whole["then_bought"]] == stored["bought"]
        before = [purchase["article"]["article_id"] for purchase in whole["before"]]
        assert before == [purchase["article_id"] for purchase in stored["before"]]
        for ranking in whole["lists"]:
            ids = [article["article"]["article_id"] for article in ranking["articles"]]
            ranking_hits = [article["hit"] for article in ranking["articles"]]
            assert ids == stored["lists"][ranking["ranking"]]
            assert ranking_hits == [article_id in stored["bought"] for article_id in ids]
            assert sum(ranking_hits) == customer["hits"][ranking["ranking"]]
            hits += sum(ranking_hits)
    assert hits > 10
    assert client.get(f"/replay/{answer['count']}").status_code == 404
    for wrong in ("-1", "10000", "x", IDS[0]):
        assert client.get(f"/replay/{wrong}").status_code == 422


def test_the_map_has_every_article_and_is_not_sent_twice(client: TestClient, recommender: Recommender) -> None:
    answer = client.get("/map")
    assert answer.headers["content-type"] == "application/octet-stream"
    groups, ids, _, codes = unpacked(answer.content)
    assert ids == recommender.article_ids.tolist()
    assert [groups[code] for code in codes] == [
        recommender.catalogue.details(r)["index_group"] for r in range(ARTICLES)
    ]
    again = client.get("/map", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/map", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_model_without_replay_and_map_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recommender, "replay", None)
    monkeypatch.setattr(Recommender, "packed_map", None)
    model = client.get("/model").json()
    assert (model["replay"], model["map"], model["published"], model["metrics"]) == (False, False, None, {})
    for path in ("/replay", "/replay/0", "/map"):
        assert client.get(path).status_code == 404


def test_the_demo_endpoints_need_the_key_and_the_page_does_not(recommender: Recommender) -> None:
    with TestClient(create_app(load=lambda path: recommender, settings=settings())) as client:
        for path in ("/model", "/customers", "/replay", "/replay/0", "/map", "/images/0108775015"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"X-API-Key": KEY}).status_code in (200, 404)
        for path in ("/", "/docs", *(f"/static/{name}" for name in STATIC)):
            assert client.get(path).status_code == 200


def test_photos_come_from_the_folder_and_from_no_other(recommender: Recommender, tmp_path: Path) -> None:
    photos = tmp_path / "images"
    (photos / "010").mkdir(parents=True)
    (photos / "010" / "0108775015.jpg").write_bytes(b"\xff\xd8jpeg")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (photos / "0.jpg").write_bytes(b"secret")
    app = create_app(load=lambda path: recommender, settings=settings(api_key=None, images=photos))
    with TestClient(app) as client:
        assert client.get("/model").json()["images"] is True
        answer = client.get("/images/0108775015")
        assert answer.content == b"\xff\xd8jpeg"
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/images/0108775016").status_code == 404
        (photos / "010" / "0108775017.jpg").symlink_to(tmp_path / "secret.jpg")
        (photos / "011").symlink_to(tmp_path)
        (tmp_path / "0110775015.jpg").write_bytes(b"secret")
        os.mkfifo(photos / "010" / "0108775018.jpg")
        (photos / "010" / "0108775019.jpg").mkdir()
        for number in ("0108775017", "0110775015", "0108775018", "0108775019"):
            assert client.get(f"/images/{number}").status_code == 404, number
        outside = ("..%2Fsecret", "%2e%2e/secret.jpg", "../../secret")
        for wrong in (*outside, "0", "0108775015.jpg", "01087750150", "٠١٠٨٧٧٥٠١٥"):
            answer = client.get(f"/images/{wrong}")
            assert answer.status_code in (404, 422), wrong
            assert b"secret" not in answer.content


def test_a_photo_that_is_replaced_while_it_is_served_is_whole(recommender: Recommender, tmp_path: Path) -> None:
    (tmp_path / "010").mkdir()
    photo, stop = tmp_path / "010" / "0108775015.jpg", threading.Event()
    photo.write_bytes(b"a" * 100_000)

    def replace() -> None:
        while not stop.is_set():
            for size in (1_000, 100_000):
                (tmp_path / "new").write_bytes(b"a" * size)
                (tmp_path / "new").replace(photo)

    app = create_app(load=lambda path: recommender, settings=settings(api_key=None, images=tmp_path))
    with TestClient(app) as client, ThreadPoolExecutor(1) as thread:
        replacing = thread.submit(replace)
        try:
            answers = [client.get("/images/0108775015") for _ in range(100)]
        finally:
            stop.set()
        replacing.result()
    # A real server ends an answer that has another length than its header says.
    found = {(answer.status_code, len(answer.content), answer.headers["content-length"]) for answer in answers}
    assert found <= {(200, 1_000, "1000"), (200, 100_000, "100000")}


def test_every_file_of_the_page_has_the_content_security_policy(client: TestClient) -> None:
    media_types = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name, file in (FILES | STATIC).items():
        path = {INDEX: "/", DOCS: "/docs"}.get(name, f"/static/{name}")
        answer = client.get(path)
        assert answer.content == file.content
        assert answer.headers["content-type"].startswith(media_types[name.rpartition(".")[2]])
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert "content-security-policy" in again.headers
    assert "unsafe" not in POLICY
    assert "content-security-policy" not in client.get("/health").headers


@pytest.mark.parametrize(
    "path",
    ["../page.py", "%2e%2e/page.py", "..%2fpage.py", "index.html", "/etc/passwd", "%00", "none.js", "style.css/", ""],
)
def test_no_other_file_is_sent(client: TestClient, path: str) -> None:
    answer = client.get(f"/static/{path}", follow_redirects=False)
    assert answer.status_code in (404, 307)
    assert b"import" not in answer.content


def test_the_page_is_light_and_whole() -> None:
    assert sum(len(file.content) for file in FILES.values()) < MAX_BYTES
    index = FILES["index.html"].content.decode()
    for name in FILES:
        text = FILES[name].content.decode()
        # Nothing from another host, nothing inline that the policy would forbid, no HTML from strings.
        assert "https://" not in text.replace("https://www.w3.org", "")
        assert not any(
            bad in text for bad in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
        )
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "style=" not in index
    assert index.count("<script") == index.count("<script src=") + index.count('<script type="module" src=')
    modules = {name for name in FILES if name.endswith(".js") and name not in ("main.js", "theme.js", "docs.js")}
    lazy = {"map.js", "mapdraw.js", "similar.js"}
    assert modules - lazy == {name for name in modules if f'modulepreload" href="/static/{name}' in index}
