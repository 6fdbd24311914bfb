"""Who is let in: the key, how many at once, and for how long. Whoever watches the service always is."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

from fastapi import status
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.middleware.metrics import Metrics
from app.routes.page import PATHS
from app.schemas import Problem
from app.settings import Settings

WATCHING = frozenset({"/health", "/ready", "/metrics"})
# A reload may take longer than any answer, and must get in when the service is full; the page's files are in memory.
UNLIMITED = WATCHING | PATHS | {"/admin/reload"}
# Everything else asks for the key, so that a new endpoint cannot be left open by mistake.
OPEN = WATCHING | PATHS | {"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
BUSY = {"Retry-After": "1"}

RESPONSES: dict[int | str, dict[str, Any]] = {
    status.HTTP_401_UNAUTHORIZED: {"model": Problem, "description": "No X-API-Key, or a wrong one"},
    status.HTTP_408_REQUEST_TIMEOUT: {"model": Problem, "description": "The body did not arrive in time"},
    status.HTTP_504_GATEWAY_TIMEOUT: {"model": Problem, "description": "Not answered within the time limit"},
}


class Limits:
    """The limits of one application, and how many requests are under way."""

    def __init__(self, settings: Settings) -> None:
        self.max_in_flight = settings.max_in_flight
        self.seconds = settings.time_limit
        self.in_flight = 0
        self._key = None if settings.api_key is None else settings.api_key.get_secret_value().encode()

    def locked_out(self, scope: Scope) -> JSONResponse | None:
        """401 for a wrong key, 403 for administration where no key is set; None for who may go on."""
        path = scope["path"]
        if self._key is None:
            if path.startswith("/admin/"):
                return problem(status.HTTP_403_FORBIDDEN, "administration needs a key: set HM_API_KEY")
        elif path not in OPEN:
            given = next((value for name, value in scope["headers"] if name == b"x-api-key"), b"")
            if not hmac.compare_digest(given, self._key):
                detail = "send the service's key in the header X-API-Key"
                return problem(status.HTTP_401_UNAUTHORIZED, detail, {"WWW-Authenticate": "APIKey"})
        return None


class Limited:
    """ASGI middleware that holds requests to the application's :class:`Limits`."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limits: Limits = scope["app"].state.limits
        refusal = limits.locked_out(scope)
        if refusal is not None:
            return await refusal(scope, receive, send)
        if scope["path"] in UNLIMITED:
            return await self.app(scope, receive, send)
        if limits.in_flight >= limits.max_in_flight:
            self.metrics.shed_at_door.inc()
            refusal = problem(status.HTTP_503_SERVICE_UNAVAILABLE, "too many requests at once: try again", BUSY)
            return await refusal(scope, receive, send)
        limits.in_flight += 1
        self.metrics.in_flight.inc()
        try:
            await self._in_time(limits.seconds, scope, receive, send)
        finally:
            limits.in_flight -= 1
            self.metrics.in_flight.dec()

    async def _in_time(self, seconds: float, scope: Scope, receive: Receive, send: Send) -> None:
        started = receives = False

        async def receiving() -> Message:
            nonlocal receives
            receives = True
            message = await receive()
            receives = False
            return message

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(seconds) as limit:
                await self.app(scope, receiving, sending)
        except TimeoutError:
            if not limit.expired() or started:
                raise
            late = problem(status.HTTP_504_GATEWAY_TIMEOUT, "not answered in time: ask for less, or try again")
            if receives:
                closing = {"Connection": "close"}  # what still arrives of the body is not another request
                late = problem(status.HTTP_408_REQUEST_TIMEOUT, "the body did not arrive in time", closing)
            await late(scope, receive, send)


def problem(code: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says why there is no other."""
    return JSONResponse({"detail": detail}, code, headers)
