"""Error responses for the OpenAPI document, shared by the endpoints."""

from __future__ import annotations

from typing import Any

from fastapi import status

from app.schemas import InvalidRequest, Problem

Responses = dict[int | str, dict[str, Any]]

UNAUTHORIZED: Responses = {
    status.HTTP_401_UNAUTHORIZED: {"model": Problem, "description": "Missing or wrong X-API-Key"}
}
LIMITS: Responses = UNAUTHORIZED | {
    status.HTTP_408_REQUEST_TIMEOUT: {"model": Problem, "description": "The body did not arrive in time"},
    status.HTTP_504_GATEWAY_TIMEOUT: {"model": Problem, "description": "Not answered within the time limit"},
}
UNAVAILABLE: Responses = {
    status.HTTP_503_SERVICE_UNAVAILABLE: {"model": Problem, "description": "No model is loaded, or the service is busy"}
}
INVALID: Responses = {
    status.HTTP_422_UNPROCESSABLE_CONTENT: {"model": InvalidRequest, "description": "Invalid request"}
}
INVALID_BODY: Responses = INVALID | {
    status.HTTP_400_BAD_REQUEST: {"model": Problem, "description": "The body is not decodable as JSON"},
    status.HTTP_413_CONTENT_TOO_LARGE: {"description": "Body too large", "content": {"text/plain": {}}},
}


def not_found(what: str) -> Responses:
    return {status.HTTP_404_NOT_FOUND: {"model": Problem, "description": f"Unknown {what}"}}
