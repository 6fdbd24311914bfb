"""The application: ``uvicorn app.main:app`` serves the published model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from app.answers import UnknownError
from app.errors import invalid_request, unknown
from app.routes import router
from app.serving import Load, Serving, load_recommender, model_path, open_model

MAX_BODY = 64 * 1024  # bytes; the longest valid request has about 14,000


def create_app(path: Path | None = None, load: Load = load_recommender) -> FastAPI:
    """An application that serves the model in ``path`` (by default :func:`app.serving.model_path`)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.serving = open_model(path or model_path(), load)
        yield
        app.state.serving = Serving(None, "the service is shutting down")

    # A body without Content-Type is read as JSON, as curl and many clients mean it.
    app = FastAPI(
        title="H&M recommender", version="1", lifespan=lifespan, max_body_size=MAX_BODY, strict_content_type=False
    )
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(UnknownError, unknown)
    app.include_router(router)
    return app


app = create_app()
