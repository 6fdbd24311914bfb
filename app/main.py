"""The application: ``uvicorn app.main:app``, or ``python -m app``, serves the published model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from app.logs import logger
from app.middleware.application import Service
from app.middleware.errors import internal_error, invalid_request, store_down, unknown
from app.middleware.limits import RESPONSES, Limits
from app.middleware.worker_pool import Pool
from app.routes import demo, operation, page
from app.routes.recommend import router
from app.serving.answers import UnknownError
from app.serving.model import Load, load_recommender
from app.serving.reload import Reloader
from app.serving.request_batching import RequestBatcher
from app.settings import Settings, misspelt, photos, read_settings
from hm_utils.retrieval.milvus import VectorStoreError

MAX_BODY = 128 * 1024  # bytes; the longest valid request, a thousand customers, has about 70,000


def create_app(path: Path | None = None, load: Load = load_recommender, settings: Settings | None = None) -> FastAPI:
    """An application that serves the model in ``path``, with settings from the environment unless they are given."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current = settings or read_settings()
        for name in misspelt():
            logger.warning("%s is not a setting: is it misspelt?", name)
        state = app.state
        state.limits = Limits(current)
        state.pool = Pool(current.pool_threads, current.pool_queue)
        state.together = RequestBatcher()
        state.images = photos(current)
        loading = load if current.vector_store is None else partial(load, vector_store=current.vector_store)
        state.reloader = Reloader(state, path or current.model, loading)
        await state.reloader.reload()
        watching = asyncio.create_task(state.reloader.watch(current.reload_seconds)) if current.reload_seconds else None
        try:
            yield
        finally:
            if watching is not None:
                watching.cancel()
            state.reloader.close()
            state.pool.close()
            state.metrics.close()

    # A body without Content-Type is read as JSON, as curl and many clients mean it.
    app = Service(
        title="H&M recommender", version="1", lifespan=lifespan, max_body_size=MAX_BODY, strict_content_type=False
    )
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(UnknownError, unknown)
    app.add_exception_handler(VectorStoreError, store_down)
    app.add_exception_handler(Exception, internal_error)
    app.include_router(router, responses=RESPONSES)
    app.include_router(demo.router, responses=RESPONSES)
    app.include_router(operation.router)
    app.include_router(page.router)
    return app


app = create_app()
