"""Requests that arrive together are answered together: a list more in a batch costs a sixth of a list alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender

MOST = 32  # in one batch, so that nobody waits for a long one


@dataclass(frozen=True)
class Asked:
    """A customer's list that somebody waits for."""

    model: Recommender
    row: int
    depth: int
    answer: asyncio.Future[Any]


class RequestBatcher:
    """Collects what is asked within one turn of the event loop; each list is the one that it would be alone."""

    def __init__(self) -> None:
        self._waiting: list[Asked] = []

    async def recommend(self, model: Recommender, row: int, depth: int) -> tuple[Any, Any]:
        """``articles [depth]`` and ``scores [depth]`` of a customer, as ``Recommender.recommend`` gives them."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            # After every handler that is ready has had its turn.
            loop.call_soon(self._answer)
        answer = loop.create_future()
        self._waiting.append(Asked(model, row, depth, answer))
        return await answer

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        # While a new model takes over, both are asked.
        for model in {id(asked.model): asked.model for asked in waiting}.values():
            mine = [asked for asked in waiting if asked.model is model]
            for start in range(0, len(mine), MOST):
                answer_batch(model, mine[start : start + MOST])


def answer_batch(model: Recommender, asked: list[Asked]) -> None:
    asked = [each for each in asked if not each.answer.done()]  # who waits no longer is left out
    if not asked:
        return
    try:
        users = model.customers(np.array([each.row for each in asked]))
        articles, scores = model.recommend(users, max(each.depth for each in asked))
    except Exception as error:
        for each in asked:
            each.answer.set_exception(error)
        return
    for each, found, their in zip(asked, articles, scores, strict=True):
        each.answer.set_result((found[: each.depth], their[: each.depth]))
