"""The outermost layer: request id, log line, counters, and a log entry for every unexpected error."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import REQUEST_ID, access, logger, request_id
from app.middleware.metrics import NO_ROUTE, Metrics

MAX_PATH = 200  # logged characters of a path without a route


class RequestLog:
    """ASGI middleware. It takes a few microseconds a request, so nothing in it waits or copies a body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, method = time.perf_counter(), scope["method"]
        if method == "HEAD":  # answered as GET; the server leaves the body out
            scope = {**scope, "method": "GET"}
        identity = request_id(scope["headers"])
        REQUEST_ID.set(identity)  # every request is a task with its own context
        header = (b"x-request-id", identity.encode())
        code = 0

        async def send_with_id(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            logger.exception("unexpected error")
            if not code:
                raise
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            self.metrics.count_request(route, method, code, seconds)
            if access.isEnabledFor(logging.INFO):
                fields = {
                    "method": method,
                    "path": scope["path"][:MAX_PATH] if route == NO_ROUTE else route,
                    "status": code,
                    "ms": round(seconds * 1000, 2),
                }
                access.info("request", extra={"fields": fields})
