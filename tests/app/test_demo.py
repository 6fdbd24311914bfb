"""What the demo page asks for beside the service's own endpoints, and the page's files themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.routes.page import FILES, POLICY
from hm_utils.serving.recommender import Recommender
from tests.helpers.data import ARTICLES, CUSTOMERS, customer_table, random_log
from tests.helpers.live import KEY, settings
from tests.helpers.served import random_recommender
from tests.serving.test_article_map import unpacked

MOST_BYTES = 150_000  # of the page, without the map's data
IDS = customer_table()["customer_id"].tolist()


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    model = random_recommender()
    model.manifest = {
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
            }
        },
    }
    return model


@pytest.fixture(scope="module")
def client(recommender: Recommender) -> Iterator[TestClient]:
    with TestClient(create_app(load=lambda path: recommender, settings=settings(api_key=None))) as client:
        yield client


def test_the_model_tells_its_age_its_data_and_how_good_it_was(client: TestClient) -> None:
    log = random_log()
    assert client.get("/model").json() == {
        "version": "20260120T101530.123456Z-1f2e3d4c",
        "published": "2026-01-20T10:15:30+00:00",
        "data_from": log.date(0),
        "data_until": log.date(log.last_day),
        "counts": {"articles": ARTICLES, "customers": CUSTOMERS, "purchases": len(log)},
        "tested_customers": 57,
        "metrics": {"popularity": {"MAP@12": {"mean": 0.1, "low": 0.05, "high": None}}},
        "replay": True,
        "map": True,
        "images": False,
    }


def test_customers_are_found_by_how_their_id_begins(client: TestClient) -> None:
    for prefix in (IDS[7][:5], IDS[7], IDS[0][0], "f", "0" * 64):
        expected = [one for one in IDS if one.startswith(prefix)]
        answer = client.get("/customers", params={"prefix": prefix, "limit": 20}).json()
        assert [one["customer_id"] for one in answer["customers"]] == expected[:20]
        assert answer["count"] == len(expected[:20])
    assert client.get("/customers", params={"prefix": IDS[0][0], "limit": 1}).json()["count"] == 1


def test_a_found_customer_is_told_as_in_their_own_page(client: TestClient) -> None:
    for row in (0, 58):
        (one,) = client.get("/customers", params={"prefix": IDS[row]}).json()["customers"]
        whole = client.get(f"/customers/{IDS[row]}").json()
        assert one["age"] == whole["attributes"]["age"]
        assert one["purchases"] == whole["count"]
        assert one["last_purchase"] == (whole["purchases"][0]["date"] if whole["count"] else None)


@pytest.mark.parametrize("kind", ["frequent", "young", "never_bought", "any", "dormant"])
def test_customers_of_a_kind_are_drawn_anew_each_time(client: TestClient, recommender: Recommender, kind: str) -> None:
    those = {IDS[row] for row in recommender.kinds[kind]}  # type: ignore[index]
    seen: set[str] = set()
    for _ in range(30):
        answer = client.get("/customers", params={"kind": kind, "limit": 2}).json()
        found = {one["customer_id"] for one in answer["customers"]}
        assert len(found) == answer["count"] == min(2, len(those))
        assert found <= those
        seen |= found
    assert len(seen) >= min(3, len(those))


@pytest.mark.parametrize(
    "wrong", ["prefix=A", "prefix=", "prefix=" + "a" * 65, "prefix=a%00", "kind=rich", "limit=0", "limit=21", "limit=x"]
)
def test_what_is_asked_of_customers_has_bounds(client: TestClient, wrong: str) -> None:
    assert client.get(f"/customers?{wrong}").status_code == 422


def test_the_replay_is_the_one_that_was_published(client: TestClient, recommender: Recommender) -> None:
    kept: Any = recommender.replay
    answer = client.get("/replay").json()
    assert answer["count"] == len(answer["customers"]) == len(kept["customers"])
    assert answer["rankings"] == kept["rankings"]
    hits = 0
    for one, stored in zip(answer["customers"], kept["customers"], strict=True):
        whole = client.get(f"/replay/{one['number']}").json()
        assert whole["customer_id"] == stored["customer_id"]
        assert [article["article_id"] for article in whole["then_bought"]] == stored["bought"]
        assert [each["article"]["article_id"] for each in whole["before"]] == [
            e["article_id"] for e in stored["before"]
        ]
        for found in whole["lists"]:
            ids = [each["article"]["article_id"] for each in found["articles"]]
            assert ids == stored["lists"][found["ranking"]]
            assert [each["hit"] for each in found["articles"]] == [each in stored["bought"] for each in ids]
            assert sum(each["hit"] for each in found["articles"]) == one["hits"][found["ranking"]]
            hits += one["hits"][found["ranking"]]
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


def test_a_model_without_replay_and_map_says_so(recommender: Recommender) -> None:
    bare = random_recommender()
    bare.replay = bare.packed_map = None
    with TestClient(create_app(load=lambda path: bare, settings=settings(api_key=None))) as client:
        told = client.get("/model").json()
        assert (told["replay"], told["map"], told["published"], told["metrics"]) == (False, False, None, {})
        for path in ("/replay", "/replay/0", "/map"):
            assert client.get(path).status_code == 404


def test_new_endpoints_ask_for_the_key_and_the_page_does_not() -> None:
    with TestClient(create_app(load=lambda path: random_recommender(), settings=settings())) as client:
        for path in ("/model", "/customers", "/replay", "/replay/0", "/map", "/images/0108775015"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"X-API-Key": KEY}).status_code in (200, 404)
        for path in ("/", *(f"/static/{name}" for name in FILES if name != "index.html")):
            assert client.get(path).status_code == 200


def test_photos_are_those_of_the_folder_and_of_no_other(tmp_path: Path) -> None:
    photos = tmp_path / "images"
    (photos / "010").mkdir(parents=True)
    (photos / "010" / "0108775015.jpg").write_bytes(b"\xff\xd8jpeg")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (photos / "0.jpg").write_bytes(b"secret")
    app = create_app(load=lambda path: random_recommender(), settings=settings(api_key=None, images=photos))
    with TestClient(app) as client:
        assert client.get("/model").json()["images"] is True
        answer = client.get("/images/0108775015")
        assert answer.content == b"\xff\xd8jpeg"
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/images/0108775016").status_code == 404
        for wrong in (
            "..%2Fsecret",
            "%2e%2e/secret.jpg",
            "../../secret",
            "0",
            "0108775015.jpg",
            "01087750150",
            "٠١٠٨٧٧٥٠١٥",
        ):
            answer = client.get(f"/images/{wrong}")
            assert answer.status_code in (404, 422), wrong
            assert b"secret" not in answer.content


def test_every_file_of_the_page_is_sent_with_the_policy(client: TestClient) -> None:
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name, file in FILES.items():
        path = "/" if name == "index.html" else f"/static/{name}"
        answer = client.get(path)
        assert answer.content == file.content
        assert answer.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
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
    assert sum(len(file.content) for file in FILES.values()) < MOST_BYTES
    index = FILES["index.html"].content.decode()
    for name in FILES:
        text = FILES[name].content.decode()
        # Nothing from another host, nothing inline that the policy would forbid, no HTML made of text.
        assert "https://" not in text.replace("https://www.w3.org", "")
        assert not any(
            bad in text for bad in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
        )
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "style=" not in index
    assert index.count("<script") == index.count("<script src=") + index.count('<script type="module" src=')
    modules = {name for name in FILES if name.endswith(".js") and name not in ("main.js", "theme.js")}
    later = {"map.js", "mapdraw.js", "similar.js"}
    assert modules - later == {name for name in modules if f'modulepreload" href="/static/{name}' in index}


def test_prefixes_are_looked_up_in_order(recommender: Recommender) -> None:
    assert recommender.customers_beginning("", 5).tolist() == [0, 1, 2, 3, 4]
    assert recommender.customers_beginning(IDS[-1], 5).tolist() == [CUSTOMERS - 1]
    assert recommender.customers_beginning(IDS[-1][:63] + "g", 5).tolist() == []
    assert np.array_equal(recommender.customers_beginning(IDS[3][:10], 5), [3])
