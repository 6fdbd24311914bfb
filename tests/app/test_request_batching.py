"""Requests answered in batches: each gets the answer that it would get alone, and errors reach only their model's."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from app.serving.request_batching import MAX_BATCH_SIZE, RequestBatcher
from tests.helpers.data import CUSTOMERS
from tests.helpers.served import random_recommender


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


def test_later_requests_are_another_batch(model: Any) -> None:
    async def twice() -> None:
        batcher = RequestBatcher()
        for rows in ([1, 2, 3], [4, 5]):
            await ask(batcher, [(model, row, 5) for row in rows])

    asyncio.run(twice())
    assert model.sizes == [3, 2]
