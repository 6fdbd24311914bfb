"""uvicorn's HTTP protocol with bounds on what a client may send, and keep open, before the application is asked.

uvicorn itself bounds neither the head of a request nor the time in which it must arrive, and at its limit of
connections it refuses the newest, even if the others only wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import time
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.logs import logger

MAX_HEAD = 16 * 1024  # bytes of the request line, the headers and the trailers together
MAX_HEADERS = 100
MAX_PIPELINED = 16  # requests that wait for the answer to the one before them
HEAD_SECONDS = 10.0  # for a head to arrive, or for the rest of a request that is answered already
DRAIN_SECONDS = 1.0  # between a refusal and the end of the connection, so that the client can read it
READ_SECONDS = 60.0  # for a client to read an answer that does not fit the system's buffers
MAX_UNREAD = 64 * 1024 * 1024  # bytes of all such answers
LOG_SECONDS = 10.0  # between two log lines about the limit of connections

OTHER_FILES = 200  # descriptors of a worker that are no connections


class TooLarge(Exception):
    """The head of a request, or its number of pipelined requests, is above a limit."""


class BoundedProtocol(HttpToolsProtocol):
    """A value for uvicorn's ``http`` setting. uvicorn's ``limit_concurrency`` is the limit of connections.

    At any moment a connection either has a request whose answer is pending, or it waits for its client. Whoever waits
    has a deadline that further bytes do not move, and is closed first when there are too many connections.
    """

    # Those that wait for their client, longest first.
    waiting: ClassVar[dict[BoundedProtocol, None]] = {}
    # Those whose client has not read its answer, longest first.
    unread: ClassVar[dict[BoundedProtocol, asyncio.TimerHandle]] = {}
    closed: ClassVar[int] = 0  # for the limit, since the last log line
    logged: ClassVar[float] = -LOG_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._deadline: asyncio.TimerHandle | None = None
        self._refused = False
        self._head = self._count = self._silent = 0
        super().connection_made(transport)
        limit = self.limit_concurrency
        while limit is not None and len(self.connections) >= limit and self.waiting:
            self._make_room(next(iter(self.waiting)), limit)
        self._wait()

    @classmethod
    def _make_room(cls, longest: BoundedProtocol, limit: int) -> None:
        del cls.waiting[longest]
        longest.connections.discard(longest)
        longest.transport.abort()
        cls.closed += 1
        if time.monotonic() - cls.logged >= LOG_SECONDS:
            logger.warning(
                "%d connections, the limit (HM_MAX_CONNECTIONS): closed %d that waited longest", limit, cls.closed
            )
            cls.closed, cls.logged = 0, time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.waiting.pop(self, None)
        self._stop_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # In parts: the parser reports a field when it is complete, and holds it until then.
        for start in range(0, len(data), MAX_HEAD):
            if self._refused or self.transport.is_closing():
                return
            part = data[start : start + MAX_HEAD]
            self._silent += len(part)  # set to 0 by whatever the parser finds
            super().data_received(part)
            if self._silent > MAX_HEAD:
                self._refuse()
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def on_message_begin(self) -> None:
        self._head = self._count = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._found(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._found(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._silent = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            raise TooLarge
        self._stop_waiting()
        self.waiting.pop(self, None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._silent = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self.waiting[self] = None  # until data comes, or uvicorn's keep-alive timer ends

    def pause_writing(self) -> None:
        super().pause_writing()
        # Closing would wait for the client as well.
        self.unread[self] = self.loop.call_later(READ_SECONDS, self.transport.abort)
        sizes = {other: other.transport.get_write_buffer_size() for other in self.unread}
        for longest, size in sizes.items():
            if sum(sizes.values()) <= MAX_UNREAD:
                break
            sizes[longest] -= size
            longest.transport.abort()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_reading()

    def _stop_reading(self) -> None:
        if (deadline := self.unread.pop(self, None)) is not None:
            deadline.cancel()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this for whatever the parser, or a limit here, does not accept."""
        if self._head > MAX_HEAD or self._count > MAX_HEADERS or len(self.pipeline) >= MAX_PIPELINED:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _found(self, size: int) -> None:
        self._silent = 0
        self._head += size
        if self._head > MAX_HEAD or self._count > MAX_HEADERS:
            raise TooLarge

    def _refuse(self) -> None:
        """Answer 431, ignore the rest, and close."""
        self._refused = True
        self._stop_waiting()
        detail = f"too much: at most {MAX_HEADERS} headers, {MAX_HEAD} bytes of them, {MAX_PIPELINED} requests at once"
        body = json.dumps({"detail": detail}).encode()
        head = [STATUS_LINE[431], *(b"%b: %b\r\n" % header for header in self.server_state.default_headers)]
        head += [b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)]
        self.transport.write(b"".join([*head, body]))
        self.loop.call_later(DRAIN_SECONDS, self.transport.abort)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        self.waiting[self] = None

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def connections(wanted: int) -> int:
    """The connections that a worker can hold: ``wanted``, or fewer if the system allows it fewer open files.

    The soft limit of open files is raised first, as far as needed and allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(1, min(wanted, soft - OTHER_FILES))
    return wanted


def uvicorn_settings(max_connections: int) -> dict[str, Any]:
    """Arguments of ``uvicorn.Config`` for this protocol."""
    return {
        "http": "app.http_protocol:BoundedProtocol",
        "ws": "none",  # an upgraded connection would leave this protocol
        "limit_concurrency": connections(max_connections),
    }
