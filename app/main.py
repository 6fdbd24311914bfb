"""The application that serves the published model.

``python -m app`` runs it with the bounds of :mod:`app.http_protocol`, which ``uvicorn app.main:app`` would not have.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from app.logs import logger
from app.middleware.application import Application
from app.middleware.errors import internal_error, invalid_request, store_unreachable, unknown_id
from app.middleware.limits import MAX_BODY, Limits
from app.middleware.worker_pool import BatchLane, WorkerPool
from app.routes import catalogue, demo, operation, page, recommend
from app.routes.responses import LIMITS
from app.serving.answers import UnknownError
from app.serving.model import Load, load_recommender
from app.serving.reload import Reloader
from app.serving.request_batching import RequestBatcher
from app.serving.stock import StockFile
from app.settings import Settings, model_folder, read_settings, stock_file, unknown_variables
from app.supervision import clean_up, end_with_supervisor
from hm_utils.retrieval.milvus import VectorStoreError


def create_app(path: Path | None = None, load: Load = load_recommender, settings: Settings | None = None) -> FastAPI:
    """An application that serves the model in ``path``. Without ``settings`` it reads those of the environment."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current = settings or read_settings()
        end_with_supervisor()
        for name in unknown_variables():
            logger.warning("%s is not a setting: is it misspelt?", name)
        state = app.state
        state.limits = Limits(current, page.PATHS)
        state.pool = WorkerPool(current.pool_threads, current.pool_queue)
        state.batches = BatchLane(current.batch_queue)
        state.customers = RequestBatcher()
        visitors = ThreadPoolExecutor(1, "hm-visitors")
        state.visitors = RequestBatcher(visitors)
        state.images = current.images if current.images.is_dir() else None
        store = current.vector_store
        state.reloader = Reloader(
            state,
            path or model_folder(current),
            load if store is None else partial(load, vector_store=store),
            StockFile(stock_file(current, path or current.model)),
        )
        await state.reloader.reload()
        polling = asyncio.create_task(state.reloader.poll(current.reload_seconds)) if current.reload_seconds else None
        try:
            yield
        finally:
            if polling is not None:
                polling.cancel()
            state.reloader.close()
            state.pool.close()
            state.batches.close()
            visitors.shutdown(wait=False, cancel_futures=True)
            state.metrics.close()
            clean_up()

    app = Application(
        title="H&M recommender",
        version="1",
        lifespan=lifespan,
        max_body_size=MAX_BODY,
        docs_url=None,  # FastAPI's own pages load their scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # the redirect would lead to whatever host the request names
        strict_content_type=False,  # a body without Content-Type is read as JSON
    )
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(UnknownError, unknown_id)
    app.add_exception_handler(VectorStoreError, store_unreachable)
    app.add_exception_handler(Exception, internal_error)
    for router in (recommend.router, catalogue.router, demo.router):
        app.include_router(router, responses=LIMITS)
    app.include_router(operation.router)
    app.include_router(page.router)
    return app


app = create_app()
