"""Slow work in threads instead of the event loop: a few for single requests, one for batches.

Both accept only as much as they can do in time, and refuse the rest.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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


class BatchLane:
    """One thread for batches, which are computed in parts. The parts of all batches take turns."""

    def __init__(self, capacity: float) -> None:
        """``capacity`` is the cost of all batches that may be in progress, in units of :meth:`entered`."""
        self._executor = ThreadPoolExecutor(1, "hm-batch")
        self._capacity, self._free = capacity, capacity

    @contextmanager
    def entered(self, cost: float) -> Iterator[None]:
        """Raises PoolFull if ``cost`` is more than what is free. Alone in the lane, a batch may cost anything."""
        if cost > self._free < self._capacity:
            raise PoolFull
        self._free -= cost
        try:
            yield
        finally:
            self._free += cost

    async def run(self, part: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Compute a part. A caller that is cancelled asks for no more parts."""
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self._executor.submit(context.run, lambda: part(*args, **kwargs)))

    def close(self) -> None:
        """Drop the parts that wait."""
        self._executor.shutdown(wait=False, cancel_futures=True)


async def in_pool(request: Request, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``fn(*args)`` in the application's pool; 503 at once if it is full."""
    pool: WorkerPool = request.app.state.pool
    try:
        return await pool.run(fn, *args, **kwargs)
    except PoolFull:
        raise refusal(request) from None


def refusal(request: Request) -> HTTPException:
    """503 for :class:`PoolFull`, counted."""
    request.app.state.metrics.shed_at_pool.inc()
    return HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "too much slow work at once: try again", RETRY_LATER)
