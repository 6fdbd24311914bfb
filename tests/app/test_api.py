"""The service's contract, with a fake model whose answers are easy to predict, and over a real socket."""

from __future__ import annotations

import http.client
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.schemas import RecommendRequest
from hm_utils.serving.bundle import BundleError
from tests.helpers.data import customer_table
from tests.helpers.live import running
from tests.helpers.served import publish_random

ROOT = Path(__file__).parents[2]
KNOWN, OTHER, UNKNOWN = "a" * 64, "b" * 64, "c" * 64


class FakeCatalogue:
    """150 articles."""

    ids = np.array([f"{108775015 + row:010d}" for row in range(150)])

    def rows(self, ids: Sequence[str]) -> Any:
        return np.array([int(i) - 108775015 if i in self.ids else -1 for i in ids], dtype=np.int64)


class FakeRecommender:
    """Recommends articles by ascending row, from the customer's own row on, with scores of 20 - row / 8."""

    version = "20260120T101530.123456Z-1f2e3d4c"
    manifest: ClassVar[dict[str, Any]] = {}
    is_remote, hm_ids, in_stock = False, True, None
    catalogue = FakeCatalogue()
    article_ids = catalogue.ids

    def customer_rows(self, ids: Sequence[str]) -> Any:
        return np.array([{KNOWN: 0, OTHER: 120}.get(customer, -1) for customer in ids])

    def customers(self, rows: Any) -> Any:
        return rows

    def recommend(self, users: Any, top_k: int, excluded: Any = (), *_: Any) -> tuple[Any, Any]:
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
def test_an_invalid_field_is_named(client: TestClient, change: dict[str, Any], where: list[str | int]) -> None:
    answer = ask(client, **change)
    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["body", *where]]
    assert set(answer.json()["detail"][0]) == {"loc", "msg", "type"}


def test_null_describes_a_customer_of_whom_nothing_is_known(client: TestClient, monkeypatch: Any) -> None:
    monkeypatch.setattr(FakeRecommender, "visitor", lambda self, *context: np.array([7]), raising=False)
    answer = client.post("/recommend", json={"customer_id": None, "top_k": 1}).json()
    assert answer["customer_id"] is None
    assert answer["recommendations"][0]["article_id"] == article(7)


def test_a_request_without_a_customer_is_invalid(client: TestClient) -> None:
    answer = client.post("/recommend", json={})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]
    assert answer.json()["detail"][0]["msg"].startswith("Value error, Send customer_id, history or customer")


def test_a_refusal_does_not_echo_the_input(client: TestClient) -> None:
    answer = ask(client, exclude_items=["<script>\tsecret"] * 1_000, **{"x" * 5_000: 1})
    assert answer.status_code == 422
    assert "secret" not in answer.text
    assert len(answer.json()["detail"]) == 10
    assert len(answer.content) < 2_000
    malformed = ask(client, exclude_items=["<script>secret"] * 1_000)
    assert (malformed.status_code, len(malformed.json()["detail"])) == (422, 10)
    assert "secret" not in malformed.text
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


def test_head_is_answered_wherever_get_is() -> None:
    with running(create_app(load=fake)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for path in ("/health", "/ready", "/metrics", "/", "/static/main.js", "/openapi.json"):
            connection.request("HEAD", path)
            head = connection.getresponse()
            assert (head.status, head.read()) == (200, b""), path
            assert int(head.headers["content-length"]) > 0
        connection.request("HEAD", "/recommend")
        assert connection.getresponse().status == 405
        connection.close()


def test_no_answer_leads_to_the_host_that_a_request_names(client: TestClient) -> None:
    for path in ("/docs", *client.get("/openapi.json").json()["paths"]):
        for method in ("GET", "POST"):
            url = f"{path.rstrip('/')}/".replace("{", "").replace("}", "")
            answer = client.request(method, url, headers={"Host": "evil.example"}, follow_redirects=False)
            assert not answer.is_redirect, url


def test_openapi_documents_every_field_with_an_example_that_is_valid(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name, schema in schemas.items():
        assert schema["description"], name
        for field, about in schema["properties"].items():
            nested = "$ref" in json.dumps(about)  # a schema with its own examples
            assert nested or about.get("examples") or "const" in about, f"{name}.{field}"
    for example in schemas["RecommendRequest"]["examples"]:
        RecommendRequest.model_validate(example)
    responses = client.get("/openapi.json").json()["paths"]["/recommend"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "404", "408", "413", "422", "503", "504"}


def broken(path: Path) -> FakeRecommender:
    raise BundleError(path, "index/vectors.npy was altered after it was published")


def crashing(path: Path) -> FakeRecommender:
    raise RuntimeError("tensor sizes differ")


@pytest.mark.parametrize(
    ("load", "detail", "logged"),
    [
        (broken, "index/vectors.npy was altered after it was published", "/secret/place: index/vectors.npy was"),
        (crashing, "the model could not be loaded: see the service's log", "tensor sizes differ"),
    ],
)
def test_a_model_that_does_not_load_is_not_served(
    load: Any, detail: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), TestClient(create_app(Path("/secret/place"), load)) as client:
        assert client.get("/health").status_code == 200
        for answer in (client.get("/ready"), ask(client)):
            assert answer.status_code == 503
            assert answer.json() == {"detail": detail}
    assert logged in caplog.text


def test_without_a_model_the_service_starts_and_names_the_command_to_run(tmp_path: Path) -> None:
    with TestClient(create_app(tmp_path / "model")) as client:
        assert client.get("/health").status_code == 200
        for answer in (client.get("/ready"), ask(client)):
            assert answer.status_code == 503
            assert "run `make run`" in answer.json()["detail"]


def test_the_environment_sets_the_path_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[Path] = []

    def load(path: Path) -> Any:
        paths.append(path)
        return FakeRecommender()

    monkeypatch.delenv("HM_MODEL", raising=False)
    app = create_app(load=load)
    with TestClient(app):
        pass
    monkeypatch.setenv("HM_MODEL", str(tmp_path))
    with TestClient(app):
        pass
    assert paths == [ROOT / "artifacts" / "model", tmp_path]


def test_over_a_real_socket() -> None:
    """One connection that stays open: no Content-Type, a body in chunks, and a body that is too large."""
    with running(create_app(load=fake)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

        def post(body: Any, chunked: bool = False) -> tuple[int, str | None, bytes]:
            connection.request("POST", "/recommend", body, encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, answer.headers["content-type"], answer.read()

        status, content_type, content = post(json.dumps({"customer_id": KNOWN, "top_k": 3}))
        assert (status, content_type) == (200, "application/json")
        assert [item["article_id"] for item in json.loads(content)["recommendations"]] == [article(i) for i in range(3)]
        assert post(iter([b'{"customer_id": "', KNOWN.encode(), b'"}']), chunked=True)[0] == 200
        assert post(iter([b" " * 50_000] * 3), chunked=True)[0] == 413
        connection.close()


def test_serving_imports_nothing_of_training_plotting_notebooks_or_clusters(tmp_path: Path) -> None:
    publish_random(tmp_path)
    code = """
import json, pathlib, sys
import app.__main__, app.main
from app.settings import Settings
from fastapi.testclient import TestClient
application = app.main.create_app(pathlib.Path(sys.argv[1]), settings=Settings(reload_seconds=0))
with TestClient(application) as client:
    assert client.post("/recommend", json={"customer_id": sys.argv[2]}).status_code == 200
modules = {".".join(name.split(".")[: 1 + name.startswith("hm_utils.")]) for name in sys.modules}
print(json.dumps(sorted(modules)))
"""
    arguments = [sys.executable, "-c", code, tmp_path / "model", customer_table()["customer_id"][0]]
    answer = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    loaded = set(json.loads(answer.stdout))
    assert {"fastapi", "app", "torch", "hm_utils.serving"} <= loaded
    packages = {"training", "evaluation", "analysis", "plotting", "pipeline", "sample", "cluster"}
    forbidden = {"matplotlib", "sklearn", "papermill", "IPython", "ipykernel", "nbformat", "nbconvert", "pandera"}
    forbidden |= {"ray", "pymilvus", "milvus_lite", "grpc"} | {f"hm_utils.{package}" for package in packages}
    assert sorted(loaded & forbidden) == []
