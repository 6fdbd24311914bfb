"""The load that the benchmarks of the service make, against a service whose answers are known."""

from __future__ import annotations

import os
import shutil
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.main import create_app
from benchmarks import load, serving
from benchmarks.odd_requests import odd_requests
from tests.helpers.live import CUSTOMER, Fake, running, settings


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a model that request bodies are made of."""
    monkeypatch.setattr(serving, "BODIES", 30)
    np.save(tmp_path / "customer_ids.npy", np.array([CUSTOMER, "b" * 64], dtype="S64"))
    pd.DataFrame({"article_id": ["0108775015", "0108775044"]}).to_parquet(tmp_path / "articles.parquet")
    return tmp_path


def test_bodies_are_valid_requests(model: Path) -> None:
    plain, excluding = (path.read_text().splitlines() for path in serving.write_bodies(model, model))
    assert len(plain) == len(excluding) == 30
    assert {line[:90] for line in plain} == {line[:90] for line in excluding}
    assert all('"exclude_items": ["0108775' in line for line in excluding)


def test_accepted_and_refused_requests_count_apart(model: Path) -> None:
    bodies = serving.write_bodies(model, model)[0]
    app = create_app(load=lambda path: Fake("one"), settings=settings(api_key=None, max_in_flight=2))
    with running(app) as port:
        assert load.ready_version(port) == "one"
        found = serving.overload(port, bodies, connections=12, seconds=0.5)
    assert found["failed"] == 0
    assert found["refused"] > 0
    assert found["requests/s"] > 10
    assert 0 < found["p50 ms"] <= found["p99 ms"] <= found["p99.9 ms"]
    assert not load.ready(port)


def test_answers_are_told_apart_by_version() -> None:
    messages = [load.posted({"customer_id": CUSTOMER, "top_k": k}) for k in (1, 2)]
    with running(create_app(load=lambda path: Fake("one"), settings=settings(api_key=None))) as port:
        known = load.ask(port, messages)
        seen = load.under_load(port, messages, lambda: time.sleep(0.2), connections=2, settled=0.0)
    assert seen.sent == seen.statuses[200] == len(seen.took) > 10
    assert (seen.failed, seen.problems) == (0, [])
    other = {messages[0]: b"other", messages[1]: known[messages[1]]}  # both versions answer the second alike
    asked = sum(seen.answers[messages[0]].values())
    assert seen.by_version([known, other]) == {"answers of version 1": asked}
    neither = {messages[0]: b"neither", messages[1]: known[messages[1]]}
    assert seen.by_version([neither, other]) == {"answers of no version": asked}


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_the_output_of_wrk_is_read(model: Path) -> None:
    bodies = serving.write_bodies(model, model)[0]
    with running(create_app(load=lambda path: Fake("one"), settings=settings(api_key=None))) as port:
        found = serving.load(port, bodies, 2, 1)
        nothing = serving.load(port, model / "articles.parquet", 2, 1)  # no bodies at all
    assert found["failed"] == 0
    assert found["requests/s"] > 10
    assert 0 < found["p50 ms"] <= found["p99 ms"] <= found["p99.9 ms"]
    assert nothing["failed"] > 10


def test_memory_is_that_of_a_process_and_its_children() -> None:
    assert 0.05 < load.memory(os.getpid()) < 20


def test_odd_requests_are_reproducible() -> None:
    one, other = (list(islice(odd_requests([CUSTOMER], ["0108775015"]), 200)) for _ in range(2))
    assert one == other
    assert {message.split()[0] for message in one} > {b"GET", b"POST"}
