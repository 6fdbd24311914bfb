"""The load that the service's benchmark makes, against a service whose answers are known."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.main import create_app
from benchmarks import serving
from tests.helpers.live import CUSTOMER, Fake, running, settings


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The files of a model that request bodies are made of."""
    np.save(tmp_path / "customer_ids.npy", np.array([CUSTOMER, "b" * 64], dtype="S64"))
    pd.DataFrame({"article_id": ["0108775015", "0108775044"]}).to_parquet(tmp_path / "articles.parquet")
    return tmp_path


def test_bodies_are_valid_requests(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "BODIES", 30)
    plain, excluding = (path.read_text().splitlines() for path in serving.write_bodies(model, model))
    assert len(plain) == len(excluding) == 30
    assert {line[:90] for line in plain} == {line[:90] for line in excluding}
    assert all('"exclude_items": ["0108775' in line for line in excluding)


def test_accepted_and_refused_are_told_apart(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "BODIES", 30)
    bodies = serving.write_bodies(model, model)[0]
    app = create_app(load=lambda path: Fake("one"), settings=settings(api_key=None, max_in_flight=2))
    with running(app) as port:
        assert serving.ready(port)
        found = serving.accepted(port, bodies, connections=12, seconds=0.5)
    assert found["failed"] == 0
    assert found["refused"] > 0
    assert found["requests/s"] > 10
    assert 0 < found["p50 ms"] <= found["p99 ms"] <= found["p99.9 ms"]
    assert not serving.ready(port)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_what_wrk_says_is_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "BODIES", 30)
    bodies = serving.write_bodies(model, model)[0]
    with running(create_app(load=lambda path: Fake("one"), settings=settings(api_key=None))) as port:
        found = serving.load(port, bodies, 2, 1)
        nothing = serving.load(port, model / "articles.parquet", 2, 1)  # no bodies at all
    assert (found["failed"], found["refused"]) == (0, 0)
    assert found["requests/s"] > 10
    assert 0 < found["p50 ms"] <= found["p99 ms"] <= found["p99.9 ms"]
    assert nothing["failed"] > 10
    assert nothing["refused"] == 0


def test_memory_is_that_of_a_process_and_its_children() -> None:
    assert 0.05 < serving.memory(os.getpid()) < 20
