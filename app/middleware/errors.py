"""Error responses that name the problem, but neither echo the request nor expose internals."""

from __future__ import annotations

from fastapi import Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from app.logs import REQUEST_ID
from app.middleware.limits import RETRY_LATER, problem
from app.serving.answers import UnknownError
from hm_utils.retrieval.milvus import VectorStoreError

MAX_PROBLEMS = 10
MAX_NAME = 64  # characters; the client chooses the name of an unknown field


async def invalid_request(request: Request, error: Exception) -> JSONResponse:
    """422 with the place and message of each problem. FastAPI's own answer echoes the whole input."""
    assert isinstance(error, RequestValidationError)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = media_type in ("", "application/json") or media_type.endswith("+json")
    problems = [
        {
            "loc": [part[:MAX_NAME] if isinstance(part, str) else part for part in found["loc"]],
            "msg": found["msg"]
            if is_json or found["loc"] != ("body",)
            else "The body must be JSON: send it with Content-Type: application/json",
            "type": found["type"],
        }
        for found in error.errors()[:MAX_PROBLEMS]
    ]
    return JSONResponse({"detail": problems}, status.HTTP_422_UNPROCESSABLE_CONTENT)


async def unknown_id(request: Request, error: Exception) -> JSONResponse:
    """404 for a customer or an article that the model does not know."""
    assert isinstance(error, UnknownError)
    return problem(status.HTTP_404_NOT_FOUND, str(error))


async def store_unreachable(request: Request, error: Exception) -> JSONResponse:
    """503 while the vector store does not answer. The log has the store's own message."""
    assert isinstance(error, VectorStoreError)
    return problem(status.HTTP_503_SERVICE_UNAVAILABLE, str(error), RETRY_LATER)


async def internal_error(request: Request, error: Exception) -> JSONResponse:
    """500 with nothing but the request id, under which the log has the details."""
    body = {"detail": "internal error", "request_id": REQUEST_ID.get()}
    return JSONResponse(body, status.HTTP_500_INTERNAL_SERVER_ERROR)
