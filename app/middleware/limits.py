"""API key, concurrency limit and time limit. Health, readiness and metrics endpoints are exempt."""

from __future__ import annotations

import asyncio
import hmac

from fastapi import status
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.middleware.metrics import Metrics
from app.settings import Settings

MONITORING = frozenset({"/health", "/ready", "/metrics"})
DOCUMENTATION = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
RETRY_LATER = {"Retry-After": "1"}


class Limits:
    """The limits of one application, and its number of requests in progress.

    Attributes:
        open_paths: need no key. Every other path does, so a new endpoint cannot be left open by mistake.
        unlimited_paths: exempt from the concurrency and time limits. The page's files are in memory. A reload may
            take longer than any answer and must also work under full load.
    """

    def __init__(self, settings: Settings, page_paths: frozenset[str]) -> None:
        self.max_in_flight = settings.max_in_flight
        self.seconds = settings.time_limit
        self.in_flight = 0
        self.open_paths = MONITORING | DOCUMENTATION | page_paths
        self.unlimited_paths = MONITORING | page_paths | {"/admin/reload"}
        self._key = None if settings.api_key is None else settings.api_key.get_secret_value().encode()

    def unauthorized(self, scope: Scope) -> JSONResponse | None:
        """401 for a missing or wrong key, 403 for administration without a configured key, else None."""
        path = scope["path"]
        if self._key is None:
            if path.startswith("/admin/"):
                return problem(status.HTTP_403_FORBIDDEN, "administration needs a key: set HM_API_KEY")
        elif path not in self.open_paths:
            key = next((value for name, value in scope["headers"] if name == b"x-api-key"), b"")
            if not hmac.compare_digest(key, self._key):
                detail = "send the service's key in the header X-API-Key"
                return problem(status.HTTP_401_UNAUTHORIZED, detail, {"WWW-Authenticate": "APIKey"})
        return None


class LimitsMiddleware:
    """ASGI middleware that applies the application's :class:`Limits`."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limits: Limits = scope["app"].state.limits
        refusal = limits.unauthorized(scope)
        if refusal is not None:
            return await refusal(scope, receive, send)
        if scope["path"] in limits.unlimited_paths:
            return await self.app(scope, receive, send)
        if limits.in_flight >= limits.max_in_flight:
            self.metrics.shed_at_door.inc()
            refusal = problem(
                status.HTTP_503_SERVICE_UNAVAILABLE, "too many concurrent requests: try again", RETRY_LATER
            )
            return await refusal(scope, receive, send)
        limits.in_flight += 1
        self.metrics.in_flight.inc()
        try:
            await self._in_time(limits.seconds, scope, receive, send)
        finally:
            limits.in_flight -= 1
            self.metrics.in_flight.dec()

    async def _in_time(self, seconds: float, scope: Scope, receive: Receive, send: Send) -> None:
        response_started = receiving_body = False

        async def tracked_receive() -> Message:
            nonlocal receiving_body
            receiving_body = True
            message = await receive()
            receiving_body = False
            return message

        async def tracked_send(message: Message) -> None:
            nonlocal response_started
            response_started = True
            await send(message)

        try:
            async with asyncio.timeout(seconds) as limit:
                await self.app(scope, tracked_receive, tracked_send)
        except TimeoutError:
            if not limit.expired() or response_started:
                raise
            late = problem(status.HTTP_504_GATEWAY_TIMEOUT, "not answered in time: ask for less, or try again")
            if receiving_body:
                # The rest of the body must not be read as another request.
                late = problem(
                    status.HTTP_408_REQUEST_TIMEOUT, "the body did not arrive in time", {"Connection": "close"}
                )
            await late(scope, receive, send)


def problem(code: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, code, headers)
