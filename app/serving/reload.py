"""A model that is published while the service runs takes the place of the old one, between two requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

from starlette.datastructures import State

from app.logs import logger
from app.serving.model import Load, Serving, open_model
from hm_utils.serving.bundle import MANIFEST

P = ParamSpec("P")
T = TypeVar("T")

# A refused model is tried again, as it may still be being copied, or the disk have been full; ever less often,
# as every try reads all of it.
FIRST_RETRY, LONGEST_RETRY = 60.0, 900.0  # seconds

Mark = tuple[Path, int, int]  # the folder, and its manifest's inode and time


@dataclass(frozen=True)
class Outcome:
    """What came of a look for a new model: the version that is served now, and why not the new one."""

    result: Literal["loaded", "unchanged", "refused"]
    version: str | None
    problem: str | None = None


class Reloader:
    """Keeps ``state.serving`` at the newest model in ``path`` that can be served.

    A request reads ``state.serving`` once and keeps what it read: its answer is of one version, and the old
    model is freed with its last request.
    """

    def __init__(self, state: State, path: Path, load: Load) -> None:
        self._state = state
        self._path = path
        self._load = load
        self._lock = asyncio.Lock()
        # One thread, the same for every model: what one leaves free in its heap, the next one uses.
        self._thread = ThreadPoolExecutor(1, "hm-reload")
        self._seen: Mark | None = None
        self._problem: str | None = None
        self._retry_after = 0.0
        self._retry_at = 0.0

    async def reload(self) -> Outcome:
        """Load what is published, if it is not what is served."""
        async with self._lock:
            mark = await self._in_thread(published, self._path)
            if mark == self._seen and self._problem is None and self._version() is not None:
                return self._counted("unchanged")
            if mark != self._seen:
                self._retry_after = 0.0
            new = await self._in_thread(open_model, self._path, self._load)
            self._seen = mark  # as it was before: if it moved on meanwhile, the next look finds that
            self._problem = new.problem
            if new.recommender is None:
                self._retry_after = min(max(2 * self._retry_after, FIRST_RETRY), LONGEST_RETRY)
                self._retry_at = time.monotonic() + self._retry_after
                if self._version() is None:
                    self._state.serving = new  # /ready tells the newest reason
                return self._counted("refused")
            if new.recommender.version == self._version():
                return self._counted("unchanged")
            self._state.serving = new
            return self._counted("loaded")

    async def watch(self, seconds: float) -> None:
        """Look every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            mark = await self._in_thread(published, self._path)
            retry = self._problem is not None and time.monotonic() >= self._retry_at
            if mark is not None and (mark != self._seen or retry):
                await self.reload()

    def close(self) -> None:
        """Load nothing more, and serve nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._state.serving = Serving(None, "the service is shutting down")

    def _version(self) -> str | None:
        recommender = self._state.serving.recommender
        return None if recommender is None else recommender.version

    def _counted(self, result: Literal["loaded", "unchanged", "refused"]) -> Outcome:
        self._state.metrics.reloads.labels(result).inc()
        problem = self._problem if result == "refused" else None
        if result == "refused" and self._version() is not None:
            logger.warning("model %s goes on being served", self._version())
        return Outcome(result, self._version(), problem)

    async def _in_thread(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: fn(*args, **kwargs))


def published(path: Path) -> Mark | None:
    """What tells one published model from another without reading it; None where nothing is published."""
    try:
        folder = path.resolve()
        if not folder.is_dir():
            return None
    except (OSError, RuntimeError):  # a folder that may not be read; links that lead in a circle
        return None
    try:
        manifest = (folder / MANIFEST).stat()
    except OSError:
        return folder, 0, 0
    return folder, manifest.st_ino, manifest.st_mtime_ns
