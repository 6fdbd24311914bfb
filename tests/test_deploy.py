"""The examples of `deploy` and the Dockerfile agree with the service."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.helpers.served import publish_random

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with TestClient(create_app(publish_random(tmp_path_factory.mktemp("artifacts")))) as client:
        yield client


def expressions() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())["groups"][0]["rules"]
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    return [rule["expr"] for rule in rules] + [target["expr"] for panel in panels for target in panel["targets"]]


def test_alerts_and_dashboard_ask_for_metrics_and_labels_that_exist(client: TestClient) -> None:
    client.get("/health")
    client.post("/admin/reload")
    text = client.get("/metrics").text
    names = set(re.findall(r"^(hm_\w+)", text, re.MULTILINE)) | set(re.findall(r"^# TYPE (hm_\w+)", text, re.MULTILINE))
    labels = set(re.findall(r"(\w+)=\"", text)) | {"at", "outcome"}
    assert len(expressions()) > 15
    for expression in expressions():
        assert set(re.findall(r"\bhm_\w+", expression)) <= names, expression
        grouped = ", ".join(re.findall(r"by \(([^)]*)\)", expression))
        assert set(re.findall(r"\w+", grouped)) <= labels, expression
        assert set(re.findall(r"[{,]\s*(\w+)[=!]", expression)) <= labels, expression


def test_the_probes_and_the_grace_period_are_the_service_s(client: TestClient) -> None:
    deployment = next(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert client.get(container[probe]["httpGet"]["path"]).status_code == 200
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert {name.removeprefix("HM_").lower() for name in given} <= set(Settings.model_fields)
    waiting = container["lifecycle"]["preStop"]["sleep"]["seconds"] + int(given["HM_SHUTDOWN_SECONDS"])
    assert waiting < pod["terminationGracePeriodSeconds"]


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text()
    for line in re.findall(r"^COPY ((?!--from).*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in ignored or re.fullmatch(r"requirements.*\.lock", name), name
