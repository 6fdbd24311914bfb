"""The service against its OpenAPI document: generated requests, valid or not, get documented answers, never 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings

from app.main import create_app
from app.settings import Settings
from hm_utils.serving.recommender import Recommender
from tests.helpers.served import random_recommender


def any_shop(path: Path) -> Recommender:
    """A model that accepts every id of the document; one of H&M's data refuses other forms than its own."""
    recommender = random_recommender()
    recommender.manifest["data"] = {"hm_ids": False}
    return recommender


app = create_app(load=any_shop, settings=Settings(reload_seconds=0))
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
