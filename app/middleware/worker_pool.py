"""Slow work in a few threads instead of the event loop. The queue is short; calls beyond it are refused."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from fastapi import HTTPException, Request, status

from app.middleware.limits import RETRY_LATER

P = ParamSpec("P")
T = TypeVar("T")


class PoolFull(Exception):
    """Every thread and every place in the queue is taken."""


class WorkerPool:
    """``threads`` calls run at once, and ``queue`` more may wait for a thread."""

    def __init__(self, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "hm-pool")
        self._places = threading.Semaphore(threads + queue)

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(*args)`` in a thread. A cancelled caller frees its place in the queue; running work finishes.

        Raises:
            PoolFull: at once, if no place is free.
        """
        if not self._places.acquire(blocking=False):
            raise PoolFull
        context = contextvars.copy_context()  # so that log lines of the work have the request's id
        future = self._executor.submit(context.run, lambda: fn(*args, **kwargs))
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Refuse new work and drop queued work."""
        self._executor.shutdown(wait=False, cancel_futures=True)


async def in_pool(request: Request, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``fn(*args)`` in the application's pool; 503 at once if it is full."""
    pool: WorkerPool = request.app.state.pool
    try:
        return await pool.run(fn, *args, **kwargs)
    except PoolFull:
        request.app.state.metrics.shed_at_pool.inc()
        detail = "too much slow work at once: try again"
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, detail, RETRY_LATER) from None
