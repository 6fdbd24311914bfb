"""Errors that say what is wrong without sending back what the client sent, or what only the log should know."""

from __future__ import annotations

from fastapi import Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from app.logs import REQUEST_ID
from app.middleware.limits import BUSY
from app.serving.answers import UnknownError
from hm_utils.retrieval.milvus import VectorStoreError

MAX_PROBLEMS = 10
MAX_NAME = 64  # characters; an unknown field's name is the client's own text


async def invalid_request(request: Request, error: Exception) -> JSONResponse:
    """422 with the place and the message of each problem; FastAPI's own answer echoes the whole input."""
    assert isinstance(error, RequestValidationError)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind in ("", "application/json") or kind.endswith("+json")
    problems = [
        {
            "loc": [part[:MAX_NAME] if isinstance(part, str) else part for part in problem["loc"]],
            "msg": problem["msg"]
            if is_json or problem["loc"] != ("body",)
            else "The body must be JSON: send it with Content-Type: application/json",
            "type": problem["type"],
        }
        for problem in error.errors()[:MAX_PROBLEMS]
    ]
    return JSONResponse({"detail": problems}, status.HTTP_422_UNPROCESSABLE_CONTENT)


async def unknown(request: Request, error: Exception) -> JSONResponse:
    """404 for a customer or an article that the model does not know."""
    assert isinstance(error, UnknownError)
    return JSONResponse({"detail": str(error)}, status.HTTP_404_NOT_FOUND)


async def store_down(request: Request, error: Exception) -> JSONResponse:
    """503 while the vector store does not answer; the log has its own words."""
    assert isinstance(error, VectorStoreError)
    return JSONResponse({"detail": str(error)}, status.HTTP_503_SERVICE_UNAVAILABLE, BUSY)


async def internal_error(request: Request, error: Exception) -> JSONResponse:
    """500 that says nothing but under which id the log has the rest."""
    body = {"detail": "internal error", "request_id": REQUEST_ID.get()}
    return JSONResponse(body, status.HTTP_500_INTERNAL_SERVER_ERROR)
