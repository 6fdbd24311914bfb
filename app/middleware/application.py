"""The application class: FastAPI's own, with our layers around all of it and the key in its documentation."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from app.middleware.limits import OPEN, Limited
from app.middleware.metrics import Metrics
from app.middleware.request_log import Observed
from app.serving.model import Serving


class Service(FastAPI):
    """FastAPI puts its limit of a body outside of all middleware; ours go further out, to see its refusals too."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.state.serving = Serving(None, "the service is starting")
        self.state.metrics = Metrics(lambda: self.state.serving)

    def build_middleware_stack(self) -> ASGIApp:
        metrics: Metrics = self.state.metrics
        return Observed(Limited(super().build_middleware_stack(), metrics), metrics)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            name = "X-API-Key"
            scheme = {"type": "apiKey", "in": "header", "name": name, "description": "if the service has a key"}
            schema.setdefault("components", {})["securitySchemes"] = {name: scheme}
            for path, methods in schema["paths"].items():
                for operation in methods.values():
                    operation["security"] = [] if path in OPEN else [{name: []}]
        return super().openapi()
