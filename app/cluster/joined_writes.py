"""uvicorn's HTTP protocol with the head and the body of an answer in one write.

uvicorn writes the head, then the body. A process that is killed in between leaves a head without a body. A proxy that
has already forwarded the head cannot retry the request elsewhere. Here, all writes of one turn of the event loop are
joined, so the system receives an answer completely or not at all.
"""

from __future__ import annotations

import asyncio
from typing import Any

from app.http_protocol import BoundedProtocol


class JoinedWrites:
    """A transport that delays its writes to the end of the turn. Everything else is the wrapped transport's."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._pending: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        data, self._pending = b"".join(self._pending), []
        if data:
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class JoinedWritesProtocol(BoundedProtocol):
    """A value for uvicorn's ``http`` setting."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
