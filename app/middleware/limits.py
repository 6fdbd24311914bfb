"""API key, concurrency limit and time limit. Health, readiness and metrics endpoints are exempt.

A request counts from the moment that its body has arrived: whoever sends slowly takes no place from others.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import deque
from collections.abc import Mapping

from fastapi import status
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.middleware.metrics import Metrics
from app.settings import Settings

MONITORING = frozenset({"/health", "/live", "/ready", "/metrics"})
OPENAPI = "/openapi.json"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
RETRY_LATER = {"Retry-After": "1"}
MAX_BODY = 128 * 1024  # bytes; the longest valid request, with 1,000 customers, has about 70,000
MAX_BODIES = 32 * 1024 * 1024  # bytes of all bodies that are arriving or being answered


class Limits:
    """The limits of one application, and what its requests in progress take.

    Attributes:
        open_paths: need no key. Every other path does, so a new endpoint cannot be left open by mistake.
        unlimited_paths: exempt from the concurrency and time limits. The page's files are in memory. A reload may
            take longer than any answer and must also work under full load.
    """

    def __init__(self, settings: Settings, page_paths: frozenset[str]) -> None:
        self.max_in_flight = settings.max_in_flight
        self.seconds = settings.time_limit
        self.in_flight = 0
        self.body_bytes = 0
        self.open_paths = MONITORING | {OPENAPI} | page_paths
        self.unlimited_paths = MONITORING | page_paths | {"/admin/reload"}
        self._key, self._admin_key = (
            None if key is None else key.get_secret_value().encode() for key in (settings.api_key, settings.admin_key)
        )

    def unauthorized(self, scope: Scope) -> JSONResponse | None:
        """401 for a missing or wrong key, 403 for what is not allowed with any, else None."""
        path, headers = scope["path"], dict(scope["headers"])
        if scope["method"] not in SAFE_METHODS and is_cross_site(headers):
            return problem(status.HTTP_403_FORBIDDEN, "a page of another site must not ask")
        expected = self._key
        if path.startswith("/admin/"):
            expected = self._admin_key
            if expected is None:
                return problem(status.HTTP_403_FORBIDDEN, "administration needs a key of its own: set HM_ADMIN_KEY")
        elif path in self.open_paths:
            return None
        if expected is not None and not hmac.compare_digest(headers.get(b"x-api-key", b""), expected):
            detail = "send the service's key in the header X-API-Key"
            return problem(status.HTTP_401_UNAUTHORIZED, detail, {"WWW-Authenticate": "APIKey"})
        return None


def is_cross_site(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser sends this for a page of another origin, which it does without asking if the type is plain."""
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None:
        return site not in (b"same-origin", b"none")
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host", b"")


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
        body = Body(limits, receive)
        response_started = False

        async def tracked_send(message: Message) -> None:
            nonlocal response_started
            response_started = True
            await send(message)

        try:
            async with asyncio.timeout(limits.seconds) as limit:
                if not await body.arrive():
                    return await self._refuse(scope, receive, send)
                if not body.disconnected:
                    await self._answer(limits, scope, body.receive, tracked_send)
        except TimeoutError:
            if not limit.expired() or response_started:
                raise
            late = problem(status.HTTP_504_GATEWAY_TIMEOUT, "not answered in time: ask for less, or try again")
            if not body.arrived:
                # The rest of the body must not be read as another request.
                late = problem(
                    status.HTTP_408_REQUEST_TIMEOUT, "the body did not arrive in time", {"Connection": "close"}
                )
            await late(scope, receive, send)
        finally:
            body.release()

    async def _answer(self, limits: Limits, scope: Scope, receive: Receive, send: Send) -> None:
        if limits.in_flight >= limits.max_in_flight:
            return await self._refuse(scope, receive, send)
        limits.in_flight += 1
        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send)
        finally:
            limits.in_flight -= 1
            self.metrics.in_flight.dec()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.metrics.shed_at_door.inc()
        detail = "too many concurrent requests: try again"
        await problem(status.HTTP_503_SERVICE_UNAVAILABLE, detail, RETRY_LATER)(scope, receive, send)


class Body:
    """The body of a request, received before the application is called, which then receives the same messages."""

    def __init__(self, limits: Limits, receive: Receive) -> None:
        self.arrived = self.disconnected = False
        self._limits, self._receive, self._size = limits, receive, 0
        self._messages: deque[Message] = deque()

    async def arrive(self) -> bool:
        """Wait for the whole body, or for more of it than the application accepts. False if there is no memory left."""
        while not self.arrived:
            message = await self._receive()
            self._messages.append(message)
            size = len(message.get("body", b""))
            self._size += size
            self._limits.body_bytes += size
            self.disconnected = message["type"] == "http.disconnect"
            self.arrived = self.disconnected or not message.get("more_body") or self._size > MAX_BODY
            if self._limits.body_bytes > MAX_BODIES:
                return False
        return True

    async def receive(self) -> Message:
        return self._messages.popleft() if self._messages else await self._receive()

    def release(self) -> None:
        self._limits.body_bytes -= self._size


def problem(code: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, code, headers)
