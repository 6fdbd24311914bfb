"""The service on Ray Serve: the same answers, and none lost when a replica dies or a model or code is rolled out.

All tests share one Ray and one service with two replicas of a small published model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.cluster.replica import ENVIRONMENT
from app.main import MAX_BODY, create_app
from app.settings import Settings
from benchmarks.cluster_serving import kill_one, replicas
from benchmarks.load import free_port, posted, ready, under_load, wait_for
from tests.helpers.data import customer_table
from tests.helpers.live import Client
from tests.helpers.served import SCORING, publish_random

pytest.importorskip("ray", reason="Ray is not installed: make cluster-env")
CUSTOMERS = customer_table()["customer_id"].tolist()
BODIES: list[dict[str, Any]] = [
    *({"customer_id": customer, "top_k": 10} for customer in CUSTOMERS[:20]),
    {"customer_id": CUSTOMERS[3], "exclude_items": ["0108775001", "0108775007"]},
    {"customer_id": CUSTOMERS[4], "filters": {"colour_group": ["Black"]}, "include": ["details", "reasons"]},
    {"customer_id": CUSTOMERS[5], "history": ["0108775002", {"article_id": "0108775009", "days_ago": 3}]},
    {"history": ["0108775011"], "customer": {"age": 30}, "diversity": 0.3},
    {"customer_id": "f" * 64},
    {"customer_id": CUSTOMERS[0], "top_k": 0},
]


class Running:
    """The service, its port, and the folder of its published models."""

    def __init__(self, artifacts: Path) -> None:
        self.artifacts, self.port = artifacts, free_port()
        self.settings = Settings(model=artifacts / "model", reload_seconds=0.3, access_log=False)
        self.first = publish_random(artifacts)

    def deploy(self) -> None:
        from app.cluster.__main__ import start

        start(self.settings, 2, "127.0.0.1", self.port)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    from app.cluster.__main__ import stop

    before = dict(os.environ)
    os.environ.pop("RAY_ADDRESS", None)
    os.environ["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = "1"
    for name in ("METRICS_PORT", "STATS_PORT"):
        os.environ[f"RAY_SERVE_HAPROXY_{name}"] = str(free_port())
    running = Running(tmp_path_factory.mktemp("artifacts"))
    try:
        running.deploy()
        yield running
    finally:
        stop()
        os.environ.clear()
        os.environ.update(before)


def local_answers(folder: Path) -> dict[bytes, tuple[int, Any]]:
    """The application's answers without Serve, by request body."""
    with TestClient(create_app(folder, settings=Settings(reload_seconds=0))) as client:
        answers = [client.post("/recommend", json=body) for body in BODIES]
    return {posted(body): (answer.status_code, answer.json()) for body, answer in zip(BODIES, answers, strict=True)}


@pytest.mark.cluster
def test_a_replica_answers_as_the_service_without_serve(service: Running) -> None:
    expected = local_answers(service.first)
    with Client(service.port) as client:
        for body in BODIES:
            status, answer, headers = client.ask("POST", "/recommend", body)
            assert (status, answer) == expected[posted(body)]
            assert headers["x-request-id"]
        assert client.ask("GET", "/ready")[1]["version"] == service.first.name
        assert client.ask("POST", "/recommend", {"history": ["0"] * 50_000})[0] == 413
        assert client.ask("POST", "/admin/reload")[0] == 403  # no key is set
        metrics = client.ask("GET", "/metrics")[1]  # either replica reports both
    total = sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith("hm_requests_total"))
    assert total >= len(BODIES) + 3


@pytest.mark.cluster
def test_a_killed_replica_drops_no_request(service: Running) -> None:
    messages = [posted(body) for body in BODIES[:20]]
    expected = local_answers(service.first)
    seen = under_load(service.port, messages, lambda: kill_one(os.getpid()))
    assert seen.sent > 200
    assert seen.problems == []
    assert seen.failed == 0
    assert seen.longest < 10
    for message, bodies in seen.answers.items():
        assert [json.loads(body) for body in bodies] == [expected[message][1]]


@pytest.mark.cluster
def test_a_new_model_and_a_rollout_drop_no_request_and_mix_no_versions(service: Running) -> None:
    """First a model, which the replicas load by themselves; then a deployment, which replaces both replicas."""
    wait_for(lambda: len(replicas(os.getpid())) == 2)
    before = set(replicas(os.getpid()))
    messages = [posted(body) for body in BODIES[:20]]
    old = local_answers(service.first)

    def publish_and_deploy() -> None:
        publish_random(service.artifacts, replace(SCORING, taste=3.0))
        service.deploy()

    seen = under_load(service.port, messages, publish_and_deploy)
    new = local_answers(service.artifacts / "model")
    assert seen.sent > 200
    assert seen.problems == []
    assert seen.failed == 0
    mixed = [m for m in messages if any(json.loads(b) not in (old[m][1], new[m][1]) for b in seen.answers[m])]
    assert mixed == []
    assert any(new[m][1] in map(json.loads, seen.answers[m]) != old[m][1] for m in messages)
    wait_for(lambda: not before & set(replicas(os.getpid())))
    assert ready(service.port)


def test_the_command_names_a_missing_model(tmp_path: Path) -> None:
    environment = {**os.environ, "HM_MODEL": str(tmp_path / "none")}
    command = [sys.executable, "-m", "app.cluster"]
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert process.returncode == 1
    assert "no model is published here" in process.stderr
    assert "Traceback" not in process.stderr


def test_the_largest_request_can_be_retried() -> None:
    assert int(ENVIRONMENT["RAY_SERVE_HAPROXY_TUNE_BUFSIZE"]) >= MAX_BODY + 8 * 1024
