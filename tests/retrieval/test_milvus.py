"""The articles in a vector store: Milvus Lite, in this process and as a server that can be stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from benchmarks.load import free_port, wait_for
from hm_utils.retrieval import milvus
from hm_utils.retrieval.index import ExactIndex
from hm_utils.retrieval.index_tuning import recall_at_k
from hm_utils.retrieval.milvus import ALIAS, StoreIndex, VectorStoreError, collection_of, current
from hm_utils.serving import load_vector_store
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.load_vector_store import load
from hm_utils.serving.recommender import Recommender
from tests.helpers.data import ARTICLES, CUSTOMERS, customer_table
from tests.helpers.served import SCORING, publish_random
from tests.helpers.vectors import clustered_vectors

pymilvus = pytest.importorskip("pymilvus", reason="pymilvus is not installed: make cluster-env")
IDS = customer_table()["customer_id"].tolist()
EVERYBODY = np.arange(CUSTOMERS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_random(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def store(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("store") / "articles.db")
    assert load(model, uri) == 1.0
    return uri


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Milvus Lite as a process of its own, and its address."""
    port = free_port()
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(tmp_path / "db")]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait(20)


def service(model: Path, uri: str | None) -> TestClient:
    return TestClient(create_app(model, settings=Settings(reload_seconds=0, vector_store=uri)))


def test_the_recommender_answers_the_same_to_the_last_bit(model: Path, store: str) -> None:
    own, other = Recommender.load(model), Recommender.load(model, store)
    assert other.is_remote
    assert not own.is_remote
    assert SCORING.repurchase
    excluded, allowed = np.array([3, 7, 11]), np.arange(0, ARTICLES, 3, dtype=np.int32)
    for arguments in ((1,), (12,), (100,), (12, excluded), (12, excluded, allowed)):
        mine = own.recommend(own.customers(EVERYBODY), *arguments)
        theirs = other.recommend(other.customers(EVERYBODY), *arguments)
        for one, two in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, two)
    visitor = [each.recommend(each.visitor(None, {"age": 30.0}, [5, 9], [0, 3]), 12) for each in (own, other)]
    for one, two in zip(*visitor, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_service_answers_the_same(model: Path, store: str) -> None:
    bodies = [
        {"customer_id": IDS[0]},
        {"customer_id": IDS[1], "exclude_items": ["0108775001"], "exclude_purchased": True},
        {"customer_id": IDS[2], "filters": {"colour_group": ["Black"]}, "include": ["details", "reasons"]},
        {"history": ["0108775002"], "diversity": 0.4},
        {"customer_id": "f" * 64},
    ]
    with service(model, None) as own, service(model, store) as other:
        for body in bodies:
            mine, theirs = own.post("/recommend", json=body), other.post("/recommend", json=body)
            assert (mine.status_code, mine.json()) == (theirs.status_code, theirs.json())
        batch = {"customer_ids": IDS, "top_k": 20}
        assert own.post("/recommend/batch", json=batch).json() == other.post("/recommend/batch", json=batch).json()
        assert own.get("/ready").json() == other.get("/ready").json()
        similar = "/articles/0108775003/similar"
        assert own.get(similar).json() == other.get(similar).json()


def test_an_exact_store_is_exact_and_the_recall_of_an_approximate_one_is_measured(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).uniform(0.5, 2, (6_000, 1)).astype(np.float32)
    vectors = clustered_vectors() * lengths  # the inner product is no cosine
    exact = ExactIndex(vectors, np.arange(0, 2 * len(vectors), 2, dtype=np.int32))
    queries = vectors[::200] + np.float32(0.05)
    uri = str(tmp_path / "articles.db")
    client = milvus.connect(uri)
    milvus.write(client, collection_of("flat"), vectors, "FLAT")
    milvus.write(client, collection_of("hnsw"), vectors, "HNSW")
    flat, hnsw = StoreIndex(exact, uri, "flat"), StoreIndex(exact, uri, "hnsw")
    for mine, theirs in zip(exact.search(queries, 100), flat.search(queries, 100), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert recall_at_k(flat, queries) == 1
    assert 0.95 <= recall_at_k(hnsw, queries) <= 1
    client.close()


def test_searches_that_the_store_cannot_answer_are_exact(
    model: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Recommender.load(model, store)._index
    assert isinstance(index, StoreIndex)
    queries = np.asarray(index.vectors[:4])
    search = pymilvus.MilvusClient.search
    monkeypatch.setattr(
        pymilvus.MilvusClient, "search", lambda *args, **options: [h[:2] for h in search(*args, **options)]
    )
    for mine, theirs in zip(index.exact.search(queries, 10), index.search(queries, 10), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    monkeypatch.setattr(milvus, "DEEPEST", 5)
    monkeypatch.setattr(pymilvus.MilvusClient, "search", None)
    assert (index.search(queries, 10)[0] == index.exact.search(queries, 10)[0]).all()


def test_another_or_an_incomplete_version_is_refused_with_the_remedy(model: Path, store: str, tmp_path: Path) -> None:
    other = publish_random(tmp_path, replace(SCORING, popularity=0.1))
    with pytest.raises(BundleError, match=r"not hm_articles_.*python -m hm_utils.serving.load_vector_store"):
        Recommender.load(other, store)
    with service(other, store) as client:
        assert client.get("/ready").status_code == 503
        assert "python -m hm_utils.serving.load_vector_store" in client.get("/ready").json()["detail"]
    half = milvus.connect(store)
    milvus.write(half, collection_of(other.name), Recommender.load(other)._index.vectors[:-1], "FLAT")
    with pytest.raises(BundleError, match=f"{ARTICLES - 1} of {ARTICLES} articles"):
        Recommender.load(other, store)
    assert current(half) == collection_of(model.name)
    assert load(other, store) == 1.0  # the incomplete collection is loaded anew
    assert current(half) == collection_of(other.name)
    assert Recommender.load(model, store).is_remote  # its own version is still there
    load(model, store)


@pytest.mark.parametrize("fails", ["insert", "recall"])
def test_a_load_that_fails_leaves_the_alias(
    model: Path, store: str, tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = publish_random(tmp_path)
    if fails == "insert":
        monkeypatch.setattr("pymilvus.MilvusClient.insert", lambda *_, **__: 1 / 0)
    else:
        monkeypatch.setattr(load_vector_store, "recall_at_k", lambda *_: 0.5)
    with pytest.raises(VectorStoreError, match="hm_articles is unchanged" if fails == "insert" else "another --index"):
        load(other, store)
    monkeypatch.undo()
    client = milvus.connect(store)
    assert current(client) == collection_of(model.name)
    with pytest.raises(BundleError, match="load_vector_store"):
        Recommender.load(other, store)
    client.close()


def test_old_versions_leave_the_store(tmp_path: Path) -> None:
    uri = str(tmp_path / "articles.db")
    folders = [publish_random(tmp_path) for _ in range(3)]
    for folder in folders:
        assert load_vector_store.main(["--model", str(folder), "--uri", uri]) == 0
    client = milvus.connect(uri)
    assert sorted(client.list_collections()) == [collection_of(folder.name) for folder in folders[1:]]
    assert client.describe_alias(ALIAS)["collection_name"] == collection_of(folders[2].name)
    client.close()


def test_the_command_reports_errors(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "SECONDS", 0.3)
    nobody = f"http://127.0.0.1:{free_port()}"
    for arguments, said in (
        (["--model", str(tmp_path / "none"), "--uri", str(tmp_path / "a.db")], "no model is published here"),
        (["--model", str(model), "--uri", str(tmp_path / "a.db"), "--index", "SCANN"], "Milvus Lite has no SCANN"),
        (["--model", str(model), "--uri", nobody], "is it running?"),
    ):
        assert load_vector_store.main(arguments) == 1
        assert said in capsys.readouterr().err


def test_a_store_that_is_slow_or_gone_is_503_until_it_is_back(
    model: Path, server: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    uri, process = server

    def loaded() -> bool:
        try:
            return load(model, uri) == 1.0
        except VectorStoreError:
            return False

    wait_for(loaded)
    monkeypatch.setattr(milvus, "SECONDS", 0.5)
    body = {"customer_id": IDS[0]}
    with service(model, uri) as client:
        expected = client.post("/recommend", json=body).json()
        assert client.get("/ready").status_code == 200
        for stop, back in ((signal.SIGSTOP, signal.SIGCONT), (signal.SIGKILL, None)):
            process.send_signal(stop)
            began = time.monotonic()
            for answer in (client.post("/recommend", json=body), client.get("/ready")):
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "1"
                assert "the vector store does not answer" in answer.json()["detail"]
                assert "127.0.0.1" not in answer.text
            assert time.monotonic() - began < 5
            assert client.get("/health").status_code == 200
            assert client.post("/recommend", json={**body, "filters": {"colour_group": ["Black"]}}).status_code == 200
            assert "vector store: a search in hm_articles_" in caplog.text
            if back is not None:
                process.send_signal(back)
                wait_for(lambda: client.get("/ready").status_code == 200)
                assert client.post("/recommend", json=body).json() == expected
