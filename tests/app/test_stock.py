"""The list of articles in stock changes while the service runs, and a bad one changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from tests.helpers.data import ARTICLES, article_table, customer_table
from tests.helpers.live import ADMIN_KEY, KEY, settings, wait_for
from tests.helpers.served import publish_random

IDS, CUSTOMERS = article_table()["article_id"].tolist(), customer_table()["customer_id"].tolist()


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    publish_random(folder)
    return folder


@pytest.fixture
def file(artifacts: Path) -> Iterator[Path]:
    path = artifacts / "stock.txt"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def client(artifacts: Path, file: Path) -> Iterator[TestClient]:
    app = create_app(artifacts / "model", settings=settings())
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        yield client


def write(path: Path, ids: list[str]) -> None:
    """As an operator does, in one step."""
    beside = path.with_name("new.txt")
    beside.write_text("\n".join(ids))
    beside.replace(path)


def reload(client: TestClient) -> Any:
    return client.post("/admin/reload", headers={"X-API-Key": ADMIN_KEY})


def listed(client: TestClient) -> set[str]:
    """Every article in the answers to all kinds of questions."""
    found = []
    for body in (
        *({"customer_id": customer} for customer in CUSTOMERS[:20]),
        {"history": IDS[:3]},
        {"customer": {"age": 30}},
        {"customer_id": CUSTOMERS[0], "ranking": "best-sellers"},
        {"customer_id": CUSTOMERS[0], "filters": {"price": {"min": 0}}, "diversity": 0.5},
    ):
        answer = client.post("/recommend", json={"top_k": 5, **body}).json()
        assert answer["count"] == 5
        found += answer["recommendations"]
    batch = client.post("/recommend/batch", json={"customer_ids": CUSTOMERS[:20], "top_k": 5}).json()
    found += [item for result in batch["results"] for item in result["recommendations"]]
    found += client.get(f"/articles/{IDS[0]}/similar").json()["similar"]
    for words in ("0", "something warm for winter"):
        found += client.get("/articles", params={"q": words, "limit": 100}).json()["articles"]
    return {item["article_id"] for item in found}


def metrics(client: TestClient) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_the_list_is_swapped_and_lifted_without_publishing(
    client: TestClient, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert client.get("/model").json()["stock"] is None
    assert "hm_stock_articles" not in metrics(client)
    assert len(listed(client)) > 25
    for stock in (IDS[::2], IDS[1::3]):
        write(file, [*stock, "unknown", "another"])
        assert reload(client).json()["result"] == "unchanged"  # the model
        assert listed(client) <= set(stock)
        summary = client.get("/model").json()["stock"]
        assert (summary["articles"], summary["unknown"]) == (len(stock), 2)
        found = metrics(client)
        assert (found["hm_stock_articles"], found["hm_stock_unknown_ids"]) == (len(stock), 2)
        assert 0 <= found["hm_stock_age_seconds"] < 60
        assert f"stock.txt: {len(stock)} articles in stock, 2 unknown ids ignored" in caplog.text
    total = {"customer_id": CUSTOMERS[0], "include": ["total"]}
    assert client.post("/recommend", json=total).json()["total"] == len(IDS[1::3])
    file.unlink()
    reload(client)
    assert client.get("/model").json()["stock"] is None
    assert len(listed(client)) > 25


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"unknown\nanother"], ids=["empty", "damaged", "all unknown"])
def test_a_bad_list_is_refused_and_the_last_one_stays(
    client: TestClient, file: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    write(file, IDS[:12])
    reload(client)
    file.write_bytes(content)
    for _ in range(2):
        assert reload(client).status_code == 200
    assert listed(client) <= set(IDS[:12])
    assert client.get("/model").json()["stock"]["articles"] == 12
    assert metrics(client)['hm_stock_reloads_total{outcome="refused"}'] == 1
    assert caplog.text.count("stock refused: stock.txt") == 1
    write(file, IDS[12:30])
    reload(client)
    assert listed(client) <= set(IDS[12:30])


def test_a_service_that_starts_with_a_bad_list_waits_for_a_good_one(artifacts: Path, file: Path) -> None:
    file.write_bytes(b"")
    app = create_app(artifacts / "model", settings=settings(reload_seconds=0.02))
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        answer = client.get("/ready")
        assert answer.status_code == 503
        assert "stock.txt is empty" in answer.json()["detail"]
        write(file, IDS[:12])
        wait_for(lambda: client.get("/ready").status_code == 200)
        assert listed(client) <= set(IDS[:12])


def test_a_new_model_keeps_the_list_which_may_have_another_name(artifacts: Path, tmp_path: Path) -> None:
    path = tmp_path / "available"
    write(path, IDS[:12])
    app = create_app(artifacts / "model", settings=settings(reload_seconds=0.02, stock=path))
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        assert listed(client) <= set(IDS[:12])
        version = publish_random(artifacts).name
        wait_for(lambda: client.get("/ready").json()["version"] == version)
        assert listed(client) <= set(IDS[:12])
        write(path, IDS[20:])
        wait_for(lambda: client.get("/model").json()["stock"]["articles"] == ARTICLES - 20)
