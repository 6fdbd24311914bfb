"""Logs as JSON, one line per event, each with the id of its request."""

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
VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_encode = json.JSONEncoder(default=str).encode  # json.dumps would build an encoder for every line

# A child of uvicorn's logger, the only one that uvicorn's own command sets up.
logger = logging.getLogger("uvicorn.error").getChild("hm")
# Silent unless `python -m app` sets it up: uvicorn's own command writes access lines itself.
access = logging.getLogger("hm.access")


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's X-Request-ID if it matches ``VALID_ID``, else a new one."""
    for name, value in headers:
        if name == b"x-request-id":
            if VALID_ID.fullmatch(value):
                return value.decode()
            break
    return secrets.token_hex(8)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON. Keys of ``extra={"fields": {...}}`` become keys of the line."""

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
    """Configuration for ``logging.config.dictConfig``, which uvicorn calls in every worker. All logs go to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": settings.log_level},
        "loggers": {access.name: {"level": "INFO" if settings.access_log else "CRITICAL"}},
    }
