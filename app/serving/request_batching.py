"""Batches concurrent requests: one more request in a batch costs a sixth of a request alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender

MAX_BATCH_SIZE = 32  # limits how long a request waits for its batch


@dataclass(frozen=True)
class PendingRequest:
    """A request for the ``depth`` best articles of one customer."""

    model: Recommender
    row: int
    depth: int
    answer: asyncio.Future[Any]


class RequestBatcher:
    """Collects the requests of one turn of the event loop. Batching changes no answer."""

    def __init__(self) -> None:
        self._pending: list[PendingRequest] = []

    async def recommend(self, model: Recommender, row: int, depth: int) -> tuple[Any, Any]:
        """``articles [depth]`` and ``scores [depth]`` of a customer row, as ``Recommender.recommend`` returns them."""
        loop = asyncio.get_running_loop()
        if not self._pending:
            loop.call_soon(self._answer_pending)  # runs after all handlers that are ready now
        answer = loop.create_future()
        self._pending.append(PendingRequest(model, row, depth, answer))
        return await answer

    def _answer_pending(self) -> None:
        pending, self._pending = self._pending, []
        # Two models while a new one replaces the old.
        for model in {id(request.model): request.model for request in pending}.values():
            requests = [request for request in pending if request.model is model]
            for start in range(0, len(requests), MAX_BATCH_SIZE):
                answer_batch(model, requests[start : start + MAX_BATCH_SIZE])


def answer_batch(model: Recommender, requests: list[PendingRequest]) -> None:
    requests = [request for request in requests if not request.answer.done()]  # without cancelled requests
    if not requests:
        return
    try:
        users = model.customers(np.array([request.row for request in requests]))
        articles, scores = model.recommend(users, max(request.depth for request in requests))
    except Exception as error:
        for request in requests:
            request.answer.set_exception(error)
        return
    for request, own_articles, own_scores in zip(requests, articles, scores, strict=True):
        request.answer.set_result((own_articles[: request.depth], own_scores[: request.depth]))
