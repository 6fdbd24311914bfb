"""Batches concurrent requests: one more request in a batch costs a sixth of a request alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender
    from hm_utils.serving.user_context import UserContext

MAX_BATCH_SIZE = 32  # limits how long other work waits for a batch

# A customer's row, if they are as the model knows them; else a function that makes their context. One batcher has one.
User = int | Callable[[], "UserContext"]


@dataclass(frozen=True)
class PendingRequest:
    """A request for the ``depth`` best articles of one user."""

    model: Recommender
    user: User
    depth: int
    answer: asyncio.Future[Any]


class RequestBatcher:
    """Collects the requests of one turn of the event loop. Batching changes no answer.

    Without an executor, a batch is answered in the event loop, one batch a turn. With one, a batch is answered there
    while the next one is collected.
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor
        self._pending: list[PendingRequest] = []
        self._waiting = False  # for a batch, or for the turn's end

    async def recommend(self, model: Recommender, user: User, depth: int) -> tuple[Any, Any]:
        """``articles [depth]`` and ``scores [depth]`` of one user, as ``Recommender.recommend`` returns them."""
        answer = asyncio.get_running_loop().create_future()
        self._pending.append(PendingRequest(model, user, depth, answer))
        if not self._waiting:
            self._next()
        return await answer

    def _next(self) -> None:
        self._waiting = bool(self._pending)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._answer_batch)  # runs after all handlers that are ready now

    def _answer_batch(self) -> None:
        pending = [request for request in self._pending if not request.answer.done()]  # without cancelled requests
        # Two models while a new one replaces the old.
        batch = [request for request in pending if request.model is pending[0].model][:MAX_BATCH_SIZE]
        taken = set(map(id, batch))
        self._pending = [request for request in pending if id(request) not in taken]
        if not batch:
            self._waiting = False
        elif self._executor is None:
            self._finish(batch, rankings(batch))
        else:
            working = asyncio.get_running_loop().run_in_executor(self._executor, rankings, batch)
            working.add_done_callback(lambda done: self._finish(batch, done.result()))

    def _finish(self, batch: list[PendingRequest], found: tuple[Any, Any] | Exception) -> None:
        self._next()
        for place, request in enumerate(batch):
            if request.answer.done():  # cancelled while the batch was computed
                continue
            if isinstance(found, Exception):
                request.answer.set_exception(found)
            else:
                request.answer.set_result((found[0][place][: request.depth], found[1][place][: request.depth]))


def rankings(batch: list[PendingRequest]) -> tuple[Any, Any] | Exception:
    """The rankings of a batch for one model, as long as the longest; or the error of all."""
    model, users = batch[0].model, [request.user for request in batch]
    try:
        rows = [user for user in users if isinstance(user, int)]
        contexts = [model.customers(np.array(rows))] if rows else [user() for user in users if callable(user)]
        context = contexts[0] if len(contexts) == 1 else contexts[0].joined(contexts)
        return model.recommend(context, max(request.depth for request in batch))
    except Exception as error:
        return error
