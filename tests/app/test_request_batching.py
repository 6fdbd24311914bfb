"""Requests answered in batches: each gets the answer that it would get alone, and errors reach only their model's."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.schemas import RecommendRequest, RecommendResponse
from app.serving import answers as answers_of
from app.serving.request_batching import MAX_BATCH_SIZE, RequestBatcher
from tests.helpers.data import CUSTOMERS, customer_table
from tests.helpers.live import settings
from tests.helpers.served import random_recommender


def article_id(row: int) -> str:
    return f"{108775000 + row:010d}"


class Counting:
    """A recommender that records the size of each batch."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.sizes: list[int] = []

    def customers(self, rows: Any) -> Any:
        self.sizes.append(len(rows))
        return self.model.customers(rows)

    def recommend(self, users: Any, top_k: int) -> Any:
        return self.model.recommend(users, top_k)


@pytest.fixture(scope="module")
def recommender() -> Any:
    return random_recommender()


@pytest.fixture
def model(recommender: Any) -> Any:
    return Counting(recommender)


def ask(batcher: RequestBatcher, requests: list[tuple[Any, int, int]]) -> Any:
    """The answers to requests of (model, row, depth), made in one turn of the loop."""
    return asyncio.gather(*(batcher.recommend(*request) for request in requests), return_exceptions=True)


def answers(requests: list[tuple[Any, int, int]]) -> list[Any]:
    async def everything() -> Any:
        return await ask(RequestBatcher(), requests)

    return list(asyncio.run(everything()))


def test_batching_changes_no_answer(model: Any) -> None:
    requests = [(model, row, 3 + row % 20) for row in range(CUSTOMERS)] + [(model, 0, 12)] * 10
    rankings = answers(requests)
    assert model.sizes == [MAX_BATCH_SIZE, MAX_BATCH_SIZE, len(requests) - 2 * MAX_BATCH_SIZE]
    for (_, row, depth), (articles, scores) in zip(requests, rankings, strict=True):
        alone = model.model.recommend(model.model.customers([row]), depth)
        np.testing.assert_array_equal(articles, alone[0][0])
        np.testing.assert_array_equal(scores, alone[1][0])


def test_the_error_of_one_model_does_not_reach_requests_to_another(model: Any, recommender: Any) -> None:
    class Broken(Counting):
        def recommend(self, users: Any, top_k: int) -> Any:
            raise RuntimeError("a broken model")

    broken = Broken(recommender)
    results = answers([(model, 1, 5), (broken, 1, 5), (model, 2, 5), (broken, 2, 5)])
    assert [isinstance(result, RuntimeError) for result in results] == [False, True, False, True]
    assert model.sizes == [2]


def test_a_cancelled_request_is_not_in_the_batch(model: Any) -> None:
    async def cancel_one() -> Any:
        batcher = RequestBatcher()
        kept, cancelled = (asyncio.ensure_future(batcher.recommend(model, row, 5)) for row in (1, 2))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return await kept

    assert len(asyncio.run(cancel_one())[0]) == 5
    assert model.sizes == [1]


def test_visitors_are_batched_in_a_thread_and_batching_changes_no_answer(recommender: Any) -> None:
    """Also for known customers with new events, and with the visit's articles excluded."""
    bodies = [
        {"history": [article_id(row), {"article_id": article_id(3 * row % 40), "days_ago": row}]}
        | {"customer": {"age": 20 + row}}
        | ({"customer_id": customer_table()["customer_id"][row]} if row % 2 else {})
        | ({"exclude_items": [article_id(row + 1)]} if row % 3 else {})
        for row in range(39)
    ]
    requests = [RecommendRequest.model_validate(body) for body in bodies]
    threads: set[str] = set()

    async def everything() -> Any:
        batcher = RequestBatcher(executor)
        return await asyncio.gather(*(one(batcher, request) for request in requests))

    async def one(batcher: RequestBatcher, request: RecommendRequest) -> Any:
        def user() -> Any:
            threads.add(threading.current_thread().name)
            return from_request(recommender, request, row)

        row = answers_of.customer_row(recommender, request)
        ranking = await batcher.recommend(recommender, user, answers_of.ranking_depth(request))
        return answers_of.from_ranking(recommender, request, *ranking)

    from_request = answers_of.user_context
    with ThreadPoolExecutor(1, "visitors") as executor:
        found = asyncio.run(everything())
    assert threads == {"visitors_0"}
    for request, answer in zip(requests, found, strict=True):
        assert answer == answers_of.recommend(recommender, request)
        shown = RecommendResponse.model_validate_json(answer).recommendations
        assert not {item.article_id for item in shown} & set(answers_of.excluded_ids(request))


def test_later_requests_are_another_batch(model: Any) -> None:
    async def twice() -> None:
        batcher = RequestBatcher()
        for rows in ([1, 2, 3], [4, 5]):
            await ask(batcher, [(model, row, 5) for row in rows])

    asyncio.run(twice())
    assert model.sizes == [3, 2]


def test_the_service_computes_visitors_outside_of_the_event_loop(
    recommender: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    from_request = answers_of.user_context

    def user_context(*arguments: Any) -> Any:
        threads.add(threading.current_thread().name)
        return from_request(*arguments)

    monkeypatch.setattr(answers_of, "user_context", user_context)
    with TestClient(create_app(load=lambda path: recommender, settings=settings(api_key=None))) as client:
        known = customer_table()["customer_id"][0]
        bodies: list[dict[str, Any]] = [{"history": [article_id(3)]}, {"customer": {"age": 20}}]
        for body in (*bodies, bodies[0] | {"customer_id": known}):
            assert client.post("/recommend", json=body).status_code == 200
    assert threads == {"hm-visitors_0"}
