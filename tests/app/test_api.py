"""The service's contract, against a model small enough to see through, and over a real socket."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import uvicorn
from fastapi.testclient import TestClient

from app.main import create_app
from app.schemas import RecommendRequest
from hm_utils.serving.bundle import BundleError

ROOT = Path(__file__).parents[2]
KNOWN, OTHER, UNKNOWN = "a" * 64, "b" * 64, "c" * 64


class FakeCatalogue:
    """150 articles."""

    ids = np.array([f"{108775015 + row:010d}" for row in range(150)])

    def rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([int(i) - 108775015 if i in self.ids else -1 for i in ids], dtype=np.int64)


class FakeRecommender:
    """Recommends articles in order of row, from the customer's own row on; score 20 - row / 8."""

    version = "20260120T101530.123456Z-1f2e3d4c"
    is_remote = False
    catalogue = FakeCatalogue()
    article_ids = catalogue.ids

    def customer_rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([{KNOWN: 0, OTHER: 120}.get(customer, -1) for customer in ids])

    def customers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return rows

    def recommend(
        self,
        users: npt.NDArray[np.int64],
        top_k: int,
        excluded: npt.NDArray[np.int32] = np.empty(0, np.int32),  # noqa: B008
        allowed: npt.NDArray[np.int32] | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        kept = np.setdiff1d(np.arange(150), excluded)
        articles = np.full((len(users), top_k), -1, np.int32)
        scores = np.full((len(users), top_k), -np.inf, np.float32)
        for line, row in enumerate(users):
            found = kept[kept >= row][:top_k]
            articles[line, : len(found)], scores[line, : len(found)] = found, 20 - found / 8
        return articles, scores


def fake(path: Path) -> Any:
    return FakeRecommender()


def article(row: int) -> str:
    return str(FakeRecommender.article_ids[row])


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(load=fake), raise_server_exceptions=False) as client:
        yield client


def ask(client: TestClient, **body: Any) -> Any:
    return client.post("/recommend", json={"customer_id": KNOWN, **body})


def test_the_documented_request_gets_the_documented_answer(client: TestClient) -> None:
    answer = ask(client, top_k=2, exclude_items=["0108775015"])
    assert answer.status_code == 200
    assert answer.json() == {
        "customer_id": KNOWN,
        "recommendations": [
            {"article_id": "0108775016", "score": 19.875, "rank": 1},
            {"article_id": "0108775017", "score": 19.75, "rank": 2},
        ],
        "count": 2,
    }


def test_top_k_is_ten_by_default_and_at_most_a_hundred(client: TestClient) -> None:
    for body, count in (({}, 10), ({"top_k": 1}, 1), ({"top_k": 100}, 100)):
        answer = ask(client, **body).json()
        assert answer["count"] == len(answer["recommendations"]) == count
        assert [item["rank"] for item in answer["recommendations"]] == list(range(1, count + 1))


def test_a_short_list_is_counted_without_its_padding(client: TestClient) -> None:
    answer = ask(client, customer_id=OTHER, top_k=100).json()
    assert answer["count"] == len(answer["recommendations"]) == 30
    assert answer["recommendations"][-1] == {"article_id": article(149), "score": 1.375, "rank": 30}


def test_scores_keep_every_bit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    score = np.float32(11.2341165)
    answer = (np.array([[3]], np.int32), np.array([[score]]))
    monkeypatch.setattr(FakeRecommender, "recommend", lambda *arguments: answer)
    assert np.float32(ask(client, top_k=1).json()["recommendations"][0]["score"]) == score


def test_excluded_items(client: TestClient) -> None:
    everything = [article(row) for row in range(150)]
    assert ask(client, top_k=100, exclude_items=everything[:60]).json()["count"] == 90
    assert ask(client, exclude_items=everything).json() == {"customer_id": KNOWN, "recommendations": [], "count": 0}
    assert ask(client, exclude_items=["9999999999"] * 1_000).json()["count"] == 10


def test_an_unknown_customer_is_404(client: TestClient) -> None:
    answer = ask(client, customer_id=UNKNOWN)
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("unknown customer")
    assert UNKNOWN not in answer.text


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"top_k": 0}, ["top_k"]),
        ({"top_k": 101}, ["top_k"]),
        ({"top_k": "10"}, ["top_k"]),
        ({"top_k": 10.5}, ["top_k"]),
        ({"diversity": True}, ["diversity"]),
        ({"top_k": True}, ["top_k"]),
        ({"top_k": None}, ["top_k"]),
        ({"history": ["0108775015"] * 101}, ["history"]),
        ({"history": [{"article_id": "0108775015", "days_ago": -1}]}, ["history", 0, "seen", "days_ago"]),
        ({"customer": {"age": 151}}, ["customer", "age"]),
        ({"customer": {"name": "Ann"}}, ["customer", "name"]),
        ({"filters": {"colour_group": []}}, ["filters", "colour_group"]),
        ({"filters": {"colour": ["Black"]}}, ["filters", "colour"]),
        ({"filters": {"price": {"min": -1}}}, ["filters", "price", "min"]),
        ({"exclude_purchased": "yes"}, ["exclude_purchased"]),
        ({"diversity": 1.1}, ["diversity"]),
        ({"include": ["everything"]}, ["include", 0]),
        ({"customer_id": "A" * 64}, ["customer_id"]),
        ({"customer_id": "a" * 63}, ["customer_id"]),
        ({"customer_id": "a" * 64 + "\n"}, ["customer_id"]),
        ({"customer_id": 7}, ["customer_id"]),
        ({"exclude_items": "0108775015"}, ["exclude_items"]),
        ({"exclude_items": [108775015]}, ["exclude_items", 0]),
        ({"exclude_items": ["0108775015", "108775015"]}, ["exclude_items", 1]),
        ({"exclude_items": ["٠١٢٣٤٥٦٧٨٩"]}, ["exclude_items", 0]),
        ({"exclude_items": ["0108775015"] * 1_001}, ["exclude_items"]),
        ({"topk": 10}, ["topk"]),
    ],
)
def test_a_bad_field_is_named(client: TestClient, change: dict[str, Any], where: list[str | int]) -> None:
    answer = ask(client, **change)
    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["body", *where]]
    assert set(answer.json()["detail"][0]) == {"loc", "msg", "type"}


def test_null_is_as_good_as_nothing_and_nobody_may_be_told_by_it(client: TestClient, monkeypatch: Any) -> None:
    monkeypatch.setattr(FakeRecommender, "visitor", lambda self, *told: np.array([7]), raising=False)
    answer = client.post("/recommend", json={"customer_id": None, "top_k": 1}).json()
    assert answer["customer_id"] is None
    assert answer["recommendations"][0]["article_id"] == article(7)


def test_a_missing_customer_is_named(client: TestClient) -> None:
    answer = client.post("/recommend", json={})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]
    assert answer.json()["detail"][0]["msg"].startswith("Value error, Send customer_id, history or customer")


def test_a_refusal_does_not_echo_the_input(client: TestClient) -> None:
    answer = ask(client, exclude_items=["<script>secret"] * 1_000, **{"x" * 5_000: 1})
    assert answer.status_code == 422
    assert "secret" not in answer.text
    assert len(answer.json()["detail"]) == 10
    assert len(answer.content) < 2_000
    named = ask(client, **{"x" * 5_000: 1})
    assert named.json()["detail"][0]["loc"] == ["body", "x" * 64]


def post(client: TestClient, body: bytes | str, content_type: str | None) -> Any:
    headers = {} if content_type is None else {"content-type": content_type}
    return client.post("/recommend", content=body, headers=headers)


def test_json_needs_no_content_type_and_no_other_will_do(client: TestClient) -> None:
    body = json.dumps({"customer_id": KNOWN})
    for content_type in (None, "application/json", "application/json; charset=utf-8", "application/vnd.api+json"):
        assert post(client, body, content_type).status_code == 200
    for content_type in ("application/x-www-form-urlencoded", "text/plain", "nonsense"):
        answer = post(client, body, content_type)
        assert answer.status_code == 422
        assert "Content-Type: application/json" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", 422),
        ("{", 422),
        ("[]", 422),
        ("null", 422),
        (b'{"customer_id": "\xff"}', 400),
        ('{"customer_id": "\\ud800"}', 422),
        ('{"\\ud800": 1}', 422),
        ("[" * 100_000, 400),
        ('{"top_k": ' + "9" * 5_000 + "}", 400),
        ('{"top_k": NaN}', 422),
        (json.dumps({"customer_id": "a" * 140_000}), 413),
    ],
)
def test_hostile_bodies_are_refused(client: TestClient, body: bytes | str, code: int) -> None:
    assert post(client, body, "application/json").status_code == code


def test_the_longest_valid_request_is_not_too_large(client: TestClient) -> None:
    body = json.dumps({"customer_id": KNOWN, "top_k": 100, "exclude_items": ["0108775015"] * 1_000}, indent=8)
    assert post(client, body, "application/json").status_code == 200
    answer = client.post("/recommend/batch", json={"customer_ids": [KNOWN, UNKNOWN] * 500, "top_k": 100}).json()
    assert answer["count"] == 500
    assert answer["unknown"] == [UNKNOWN] * 500
    assert answer["results"][0] == ask(client, top_k=100).json()
    assert client.post("/recommend/batch", json={"customer_ids": [KNOWN] * 1_001}).status_code == 422


def test_health_ready_and_page(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready", "version": FakeRecommender.version}
    assert client.get("/").text.startswith("<!doctype html>")
    assert client.get("/docs").status_code == 200
    assert client.get("/recommend").status_code == 405


def test_openapi_documents_every_field_with_an_example_that_is_valid(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name, schema in schemas.items():
        assert schema["description"], name
        for field, about in schema["properties"].items():
            of_ours = "$ref" in json.dumps(about)  # which has examples of its own
            assert of_ours or about.get("examples") or "const" in about, f"{name}.{field}"
    for example in schemas["RecommendRequest"]["examples"]:
        RecommendRequest.model_validate(example)
    responses = client.get("/openapi.json").json()["paths"]["/recommend"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "404", "408", "413", "422", "503", "504"}


def broken(path: Path) -> FakeRecommender:
    raise BundleError(path, "index/vectors.npy was altered after it was published")


def crashing(path: Path) -> FakeRecommender:
    raise RuntimeError("tensor sizes differ")


@pytest.mark.parametrize(
    ("load", "told", "logged"),
    [
        (broken, "index/vectors.npy was altered after it was published", "/secret/place: index/vectors.npy was"),
        (crashing, "the model could not be loaded: the service's log says why", "tensor sizes differ"),
    ],
)
def test_a_model_that_does_not_load_is_not_served(
    load: Any, told: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), TestClient(create_app(Path("/secret/place"), load)) as client:
        assert client.get("/health").status_code == 200
        for answer in (client.get("/ready"), ask(client)):
            assert answer.status_code == 503
            assert answer.json() == {"detail": told}
    assert logged in caplog.text


def test_without_a_model_the_service_starts_and_says_what_to_run(tmp_path: Path) -> None:
    pytest.importorskip("hm_utils.serving.recommender")
    with TestClient(create_app(tmp_path / "model")) as client:
        assert client.get("/health").status_code == 200
        for answer in (client.get("/ready"), ask(client)):
            assert answer.status_code == 503
            assert "run `make run`" in answer.json()["detail"]


def test_the_model_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def load(path: Path) -> Any:
        asked.append(path)
        return FakeRecommender()

    monkeypatch.delenv("HM_MODEL", raising=False)
    app = create_app(load=load)
    with TestClient(app):
        pass
    monkeypatch.setenv("HM_MODEL", str(tmp_path))
    with TestClient(app):
        pass
    assert asked == [ROOT / "artifacts" / "model", tmp_path]


@pytest.fixture
def port() -> Iterator[int]:
    """A real server on a free port."""
    app = create_app(load=fake)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        deadline = time.monotonic() + 10
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def test_over_a_real_socket(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        # As raw as a client gets: no Content-Type, one connection kept open, a body in chunks, a body too large.
        connection.request("POST", "/recommend", json.dumps({"customer_id": KNOWN, "top_k": 3}))
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert [item["article_id"] for item in json.load(answer)["recommendations"]] == [article(i) for i in range(3)]
        for path, code in (("/health", 200), ("/ready", 200), ("/openapi.json", 200), ("/nothing", 404)):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.read() != b"", answer.status) == (True, code)
        chunks = [b'{"customer_id": "', KNOWN.encode(), b'"}']
        connection.request("POST", "/recommend", iter(chunks), encode_chunked=True)
        answer = connection.getresponse()
        assert (json.load(answer)["count"], answer.status) == (10, 200)
        connection.request("POST", "/recommend", iter([b" " * 50_000] * 3), encode_chunked=True)
        assert connection.getresponse().status == 413
    finally:
        connection.close()


def test_nothing_of_training_plotting_or_jupyter_is_imported_to_serve() -> None:
    code = """
import importlib.util, json, sys
import app.main
if importlib.util.find_spec("hm_utils.serving.recommender"):
    import hm_utils.serving.recommender
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules} | {n for n in sys.modules if "hm_utils" in n})))
"""
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(answer.stdout))
    assert {"fastapi", "app", "hm_utils.serving.bundle"} <= loaded
    forbidden = {"matplotlib", "sklearn", "papermill", "IPython", "ipykernel", "nbformat", "nbconvert", "pandera"}
    assert sorted(loaded & forbidden) == []
