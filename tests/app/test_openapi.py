"""The service against its OpenAPI document: generated requests, valid or not, get documented answers, never 5xx."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings

from app.main import create_app
from app.settings import Settings
from tests.helpers.served import random_recommender

app = create_app(load=lambda path: random_recommender(), settings=Settings(reload_seconds=0))
# This service has no key, so requests without one are valid; test_limits.py covers the key.
document = app.openapi()
for path in document["paths"].values():
    for operation in path.values():
        operation.pop("security")
schema = schemathesis.openapi.from_asgi("/openapi.json", app).exclude(path_regex="^/(metrics|admin)")


@pytest.fixture(scope="module", autouse=True)
def started() -> Iterator[None]:
    with TestClient(app):
        yield


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_documented(case: schemathesis.Case) -> None:
    case.call_and_validate()
