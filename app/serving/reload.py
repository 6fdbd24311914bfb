"""Hot reload: a newly published model, or another list of articles in stock, is served between two requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from starlette.datastructures import State

from app.logs import logger
from app.serving.model import Load, Serving, open_model
from app.serving.stock import StockFile
from hm_utils.files import follow
from hm_utils.serving.bundle import MANIFEST, versions
from hm_utils.serving.stock import StockError

T = TypeVar("T")

# A refused model is retried: it may still be being copied, or the disk may have been full. Every retry reads all of the
# model, so the interval doubles.
FIRST_RETRY, LONGEST_RETRY = 60.0, 900.0  # seconds

Fingerprint = tuple[Path, int, int]  # folder, and its manifest's inode and modification time
Result = Literal["loaded", "unchanged", "refused"]


@dataclass(frozen=True)
class ReloadOutcome:
    """The result of a reload, the version that is served now, and the problem of a refused model."""

    result: Result
    version: str | None
    problem: str | None = None


class Reloader:
    """Keeps ``state.serving`` at the newest servable model in ``path``, with the articles that are in stock.

    A request reads ``state.serving`` once and keeps the model, so its answer is of one version. The old model is freed
    with its last request.
    """

    def __init__(self, state: State, path: Path, load: Load, stock: StockFile) -> None:
        self._state = state
        self._path = path
        self._load: Load = lambda folder: stock.applied(load(folder))
        self._stock = stock
        self._lock = asyncio.Lock()
        # One thread for all models: a new model reuses heap memory that the old one freed.
        self._thread = ThreadPoolExecutor(1, "hm-reload")
        self._last_tried: Fingerprint | None = None
        self._problem: str | None = None
        self._retry_after = 0.0
        self._retry_at = 0.0

    async def reload(self) -> ReloadOutcome:
        """Load the published model, unless it is already served; and the list of articles in stock, if it changed."""
        async with self._lock:
            await self._restock()
            published = await self._in_thread(fingerprint, self._path)
            if published == self._last_tried and self._problem is None and self._version() is not None:
                return self._finish("unchanged")
            if published != self._last_tried:
                self._retry_after = 0.0
            new = await self._in_thread(open_model, self._path, self._load)
            self._last_tried = published  # taken before loading: the next poll finds a model published meanwhile
            self._problem = new.problem
            if new.recommender is None:
                self._retry_after = min(max(2 * self._retry_after, FIRST_RETRY), LONGEST_RETRY)
                self._retry_at = time.monotonic() + self._retry_after
                if self._version() is None:
                    # /ready reports the latest problem, if no older model can be served.
                    self._state.serving = await self._in_thread(newest_other, self._path, self._load) or new
                return self._finish("refused")
            if new.recommender.version == self._version():
                return self._finish("unchanged")
            self._state.serving = new
            return self._finish("loaded")

    async def poll(self, seconds: float) -> None:
        """Check for a new model and another list every ``seconds``, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            published = await self._in_thread(fingerprint, self._path)
            retry = self._problem is not None and time.monotonic() >= self._retry_at
            restock = await self._in_thread(self._stock.changed)
            if restock or (published is not None and (published != self._last_tried or retry)):
                await self.reload()

    async def _restock(self) -> None:
        """Serve with the list of articles in stock, if it changed; a refused one is logged, and the last one stays."""
        if not await self._in_thread(self._stock.changed):
            return
        try:
            served = await self._in_thread(self._stock.reread, self._state.serving.recommender)
        except StockError as error:
            logger.error("stock refused: %s", error)
            self._state.metrics.restocks.labels("refused").inc()
            return
        self._state.metrics.restocks.labels("loaded").inc()
        if served is not None:
            self._state.serving = Serving(served)

    def close(self) -> None:
        """Stop loading and serving."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._state.serving = Serving(None, "the service is shutting down")

    def _version(self) -> str | None:
        recommender = self._state.serving.recommender
        return None if recommender is None else recommender.version

    def _finish(self, result: Result) -> ReloadOutcome:
        self._state.metrics.reloads.labels(result).inc()
        version = self._version()
        if result != "refused":
            return ReloadOutcome(result, version)
        if version is not None:
            logger.warning("model %s is still served", version)
        return ReloadOutcome(result, version, self._problem)

    async def _in_thread(self, fn: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, fn, *args)


def newest_other(path: Path, load: Load) -> Serving | None:
    """The newest version beside the published one that can be served, if ``path`` is the link that publishing makes."""
    if not path.is_symlink():
        return None
    for folder in reversed(versions(path.parent)):
        if folder.resolve() != path.resolve():
            serving = open_model(folder, load)
            if serving.recommender is not None:
                return serving
    return None


def fingerprint(path: Path) -> Fingerprint | None:
    """Identifies a published model without reading it; None where nothing is published."""
    try:
        folder = follow(path)
        if not folder.is_dir():
            return None
    except (OSError, RuntimeError):  # an unreadable folder; a circle of links
        return None
    try:
        manifest = (folder / MANIFEST).stat()
    except OSError:
        return folder, 0, 0
    return folder, manifest.st_ino, manifest.st_mtime_ns
