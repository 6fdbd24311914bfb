"""The application class: FastAPI with our layers outermost and the API key in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from app.middleware.limits import MONITORING, LimitsMiddleware
from app.middleware.metrics import Metrics
from app.middleware.request_log import RequestLog
from app.serving.model import Serving


class Application(FastAPI):
    """FastAPI's body size limit is outside of all middleware. Our layers wrap it, so they also count its refusals."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.state.serving = Serving(None, "the service is starting")
        self.state.metrics = Metrics(lambda: self.state.serving)

    def build_middleware_stack(self) -> ASGIApp:
        metrics: Metrics = self.state.metrics
        return RequestLog(LimitsMiddleware(super().build_middleware_stack(), metrics), metrics)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            name = "X-API-Key"
            scheme = {
                "type": "apiKey",
                "in": "header",
                "name": name,
                "description": "required if the service has a key",
            }
            schema.setdefault("components", {})["securitySchemes"] = {name: scheme}
            for path, methods in schema["paths"].items():
                for operation in methods.values():
                    operation["security"] = [] if path in MONITORING else [{name: []}]
        return super().openapi()
