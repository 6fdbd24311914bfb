"""Logs as JSON, a line an event, each with the id of the request that it belongs to."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from app.settings import Settings

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
SANE = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_encode = json.JSONEncoder(default=str).encode  # made once: json.dumps would make one a line

# uvicorn sets up its own logger and no other, so what is said here is seen however the service was started.
logger = logging.getLogger("uvicorn.error").getChild("hm")
# Silent until `python -m app` sets it up: started with uvicorn's command, uvicorn writes such lines itself.
access = logging.getLogger("hm.access")


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's X-Request-ID if it is short and plain enough to log and send back, else a new one."""
    for name, value in headers:
        if name == b"x-request-id":
            if SANE.fullmatch(value):
                return value.decode()
            break
    return secrets.token_hex(8)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; what is given as ``extra={"fields": {...}}`` becomes keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        identity = REQUEST_ID.get()
        if identity is not None:
            line["request_id"] = identity
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return _encode(line)


def log_config(settings: Settings) -> dict[str, Any]:
    """For ``logging.config.dictConfig``, which uvicorn calls in every worker: all of it to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": settings.log_level},
        "loggers": {access.name: {"level": "INFO" if settings.access_log else "CRITICAL"}},
    }
