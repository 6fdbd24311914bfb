"""Requests answered together: each gets what it would get alone, and a broken model's askers are told."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from app.serving.request_batching import MOST, RequestBatcher
from tests.helpers.data import CUSTOMERS
from tests.helpers.served import random_recommender


class Counted:
    """A recommender that says how many it is asked about at once."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.sizes: list[int] = []

    def customers(self, rows: Any) -> Any:
        self.sizes.append(len(rows))
        return self.model.customers(rows)

    def recommend(self, users: Any, top_k: int) -> Any:
        return self.model.recommend(users, top_k)


def ask(asked: list[tuple[Any, int, int]]) -> list[Any]:
    """The answers to (model, row, depth), all asked in one turn of the loop."""

    async def everything() -> list[Any]:
        together = RequestBatcher()
        return await asyncio.gather(*(together.recommend(*each) for each in asked), return_exceptions=True)

    return asyncio.run(everything())


def test_each_list_is_the_one_that_it_would_be_alone() -> None:
    model: Any = Counted(random_recommender())
    asked = [(model, row, 3 + row % 20) for row in range(CUSTOMERS)] + [(model, 0, 12)] * 10
    found = ask(asked)
    assert model.sizes == [MOST, MOST, len(asked) - 2 * MOST]
    for (_, row, depth), (articles, scores) in zip(asked, found, strict=True):
        alone = model.model.recommend(model.model.customers([row]), depth)
        np.testing.assert_array_equal(articles, alone[0][0])
        np.testing.assert_array_equal(scores, alone[1][0])


def test_what_fails_for_one_model_is_told_to_those_who_asked_it() -> None:
    class Broken(Counted):
        def recommend(self, users: Any, top_k: int) -> Any:
            raise RuntimeError("a broken model")

    good, broken = Counted(random_recommender()), Broken(random_recommender())
    found = ask([(good, 1, 5), (broken, 1, 5), (good, 2, 5), (broken, 2, 5)])
    assert [isinstance(each, RuntimeError) for each in found] == [False, True, False, True]
    assert good.sizes == [2]


def test_who_waits_no_longer_is_not_asked_about() -> None:
    model: Any = Counted(random_recommender())

    async def one_leaves() -> Any:
        together = RequestBatcher()
        stays, leaves = (asyncio.ensure_future(together.recommend(model, row, 5)) for row in (1, 2))
        await asyncio.sleep(0)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        return await stays

    assert len(asyncio.run(one_leaves())[0]) == 5
    assert model.sizes == [1]


def test_later_requests_are_a_batch_of_their_own() -> None:
    model: Any = Counted(random_recommender())

    async def twice() -> None:
        together = RequestBatcher()
        for rows in ([1, 2, 3], [4, 5]):
            await asyncio.gather(*(together.recommend(model, row, 5) for row in rows))

    asyncio.run(twice())
    assert model.sizes == [3, 2]
