"""Logs as JSON, one line per event, each with the id of its request.

A thread writes them: a reader that stalls costs lines, which are counted, and no request.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import secrets
import select
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, ClassVar

from app.settings import Settings

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
MAX_LINES = 10_000  # a few MB
WRITE_SECONDS = 0.02
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


class QueuedLines(logging.Handler):
    """Writes to a file descriptor from a thread. While ``MAX_LINES`` wait, further lines are dropped and counted."""

    count_dropped: ClassVar[Callable[[], object]] = lambda: None  # the application's counter

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        logging.captureWarnings(True)  # Python would write them as plain text
        self._descriptor = descriptor
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0
        self._ending = False
        self._written = threading.Event()
        self._written.set()
        threading.Thread(target=self._work, name="hm-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
        else:
            self._put(line)

    def _put(self, line: str) -> None:
        if self._ending:
            if select.select([], [self._descriptor], [], 0)[1]:
                self._write(line)
        elif self._lines.qsize() >= MAX_LINES:
            self._dropped += 1
            type(self).count_dropped()
        else:
            self._written.clear()
            self._lines.put(line)

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            time.sleep(WRITE_SECONDS)  # so that one write has many lines
            lines = [line]
            while not self._lines.empty() and len(lines) < MAX_LINES and (more := self._lines.get()) is not None:
                lines.append(more)
            dropped, self._dropped = self._dropped, 0
            if dropped:
                message = f"{dropped} log lines were dropped: the reader of the log was too slow"
                lines.append(_encode({"level": "WARNING", "logger": __name__, "message": message}))
            self._write(*lines)
            if self._lines.empty():
                self._written.set()

    def _write(self, *lines: str) -> None:
        left = "".join(f"{line}\n" for line in lines).encode()
        with contextlib.suppress(OSError):  # nobody reads any more
            while left:
                left = left[os.write(self._descriptor, left) :]

    def flush(self) -> None:
        """Wait a second at most for the lines so far to be written."""
        if not self._lines.empty() or not self._written.is_set():
            self._written.wait(1)

    def end(self) -> None:
        """Write the lines so far, and further ones at once: the process may end with any of them."""
        self.flush()
        self._ending = True


def end_logs() -> None:
    """Call :meth:`QueuedLines.end`."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, QueuedLines):
            handler.end()


def log_config(settings: Settings) -> dict[str, Any]:
    """Configuration for ``logging.config.dictConfig``, which uvicorn calls in every worker. All logs go to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"stderr": {"()": QueuedLines, "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": settings.log_level},
        "loggers": {access.name: {"level": "INFO" if settings.access_log else "CRITICAL"}},
    }
