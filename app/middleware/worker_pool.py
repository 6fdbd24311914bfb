"""Slow work, away from the event loop: a few threads, a short queue, and a refusal beyond it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from fastapi import HTTPException, Request, status

from app.middleware.limits import BUSY

P = ParamSpec("P")
T = TypeVar("T")


class PoolFull(Exception):
    """Every thread is busy and every place in the queue is taken."""


class Pool:
    """``threads`` pieces of work at once, and ``waiting`` more that wait for a thread."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "hm-pool")
        self._places = threading.Semaphore(threads + waiting)

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``fn(*args)`` in a thread. Who waits no longer gives a place in the queue back; begun work ends.

        Raises:
            PoolFull: at once, if there is no place.
        """
        if not self._places.acquire(blocking=False):
            raise PoolFull
        context = contextvars.copy_context()  # so that what the work logs has the request's id
        future = self._threads.submit(context.run, lambda: fn(*args, **kwargs))
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Take no more work, and forget what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def in_pool(request: Request, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``fn(*args)`` in the application's pool; 503 at once if it is full."""
    pool: Pool = request.app.state.pool
    try:
        return await pool.run(fn, *args, **kwargs)
    except PoolFull:
        request.app.state.metrics.shed_at_pool.inc()
        detail = "too much slow work at once: try again"
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, detail, BUSY) from None
