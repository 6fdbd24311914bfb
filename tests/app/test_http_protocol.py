"""The bounds on a connection, over real sockets: what a client may send and hold before the application is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi import FastAPI, Response

from app import http_protocol
from app.main import create_app
from tests.helpers.live import CUSTOMER, KEY, Client, Fake, running, settings, wait_for

VERSION = "20260120T101530.123456Z-1f2e3d4c"
BODY = json.dumps({"customer_id": CUSTOMER}).encode()
POST = b"POST /recommend HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nX-API-Key: " + KEY.encode() + b"\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n"


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(load=lambda path: Fake(VERSION), settings=settings())


@pytest.fixture(scope="module")
def port(app: FastAPI) -> Iterator[int]:
    with running(app) as port:
        yield port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def answer(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1_000_000):
            parts.append(part)
    return b"".join(parts)


def send(connection: socket.socket, *parts: bytes, pause: float = 0) -> bool:
    """Whether the connection was open to the end."""
    try:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
    except ConnectionError:
        return False
    return True


def fields(number: int, size: int) -> bytes:
    return b"".join(b"X-%d: %s\r\n" % (i, b"a" * size) for i in range(number))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(POST + fields(101, 1) + b"\r\n", id="101 headers"),
        pytest.param(POST + fields(20, 1_000) + b"\r\n", id="20 kB of headers"),
        pytest.param(POST + b"X-Big: " + b"a" * 2_000_000, id="a header without end"),
        pytest.param(POST + b"a" * 2_000_000, id="a name without end"),
        pytest.param(POST + fields(100_000, 10), id="headers without end"),
        pytest.param(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", id="a long path"),
        pytest.param(b"\r\n" * 100_000, id="nothing but ends of lines"),
        pytest.param(CHUNKED + b"0\r\n" + fields(200, 10) + b"\r\n", id="200 trailers"),
        pytest.param(CHUNKED + b"0\r\nX: " + b"a" * 2_000_000, id="a trailer without end"),
        pytest.param(CHUNKED + b"1;" + b"a" * 2_000_000, id="a chunk extension without end"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n" * 100, id="100 requests at once"),
    ],
)
def test_what_is_above_the_bounds_is_431_and_the_end_of_the_connection(
    port: int, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "DRAIN_SECONDS", 0.1)
    with connect(port) as connection:
        send(connection, data)
        found = answer(connection)
    assert b"HTTP/1.1 431 " in found
    assert b"connection: close" in found


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(POST + fields(90, 100) + WHOLE[len(POST) :], id="90 headers"),
        pytest.param(POST + fields(10, 1_500) + WHOLE[len(POST) :], id="15 kB of headers"),
        pytest.param(WHOLE * 10, id="ten requests at once"),
        pytest.param(CHUNKED + b"0\r\n" + fields(3, 10) + b"\r\n", id="trailers"),
        pytest.param(POST + b"Content-Length: 100000\r\n\r\n" + BODY.ljust(100_000) + WHOLE, id="a large body"),
    ],
)
def test_what_is_within_the_bounds_is_answered(port: int, data: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(data + b"GET /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        found = answer(connection)
    assert found.count(b"HTTP/1.1 200 OK") == data.count(b"POST /recommend")
    assert b"HTTP/1.1 431" not in found


@pytest.mark.parametrize(
    "trickled",
    [
        pytest.param([b"", *[b"a"] * 20], id="a path"),
        pytest.param([POST, *[b"a"] * 20], id="a header"),
        pytest.param([WHOLE, *[b"\r\n"] * 20], id="blank lines after an answer"),
        pytest.param([WHOLE, b"GET ", *[b"a"] * 20], id="a second request"),
        pytest.param([POST.replace(KEY.encode(), b"") + b"Content-Length: 999\r\n\r\n", *[b"a"] * 20], id="after 401"),
    ],
)
def test_bytes_that_trickle_in_do_not_keep_a_connection_open(
    port: int, trickled: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.3)
    with connect(port) as connection:
        began = time.monotonic()
        assert not send(connection, *trickled, pause=0.1)
        assert time.monotonic() - began < 1.5


def test_a_connection_that_sends_nothing_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.1)
    with connect(port) as connection:
        assert answer(connection) == b""


def test_an_answer_may_take_longer_than_a_head(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)

    @app.get("/late")
    async def late() -> bool:
        await asyncio.sleep(0.2)
        return True

    with running(app) as port, Client(port) as client:
        assert client.ask("GET", "/late")[0] == 200


def large_app() -> FastAPI:
    app = create_app(load=lambda path: Fake(VERSION), settings=settings())

    @app.get("/large")
    async def large() -> Response:
        return Response(b"a" * 20_000_000)

    return app


LARGE = f"GET /large HTTP/1.1\r\nHost: h\r\nX-API-Key: {KEY}\r\n\r\n".encode()


def test_an_answer_that_its_client_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(large_app()) as port:
        with connect(port) as quick:
            quick.sendall(LARGE.replace(b"Host: h", b"Host: h\r\nConnection: close"))
            assert len(answer(quick)) > 20_000_000
        monkeypatch.setattr(http_protocol, "READ_SECONDS", 1)
        slow = connect(port)
        slow.sendall(LARGE)
        wait_for(lambda: http_protocol.BoundedProtocol.unread)
        wait_for(lambda: not http_protocol.BoundedProtocol.unread)
        assert len(answer(slow)) < 20_000_000
        slow.close()


def test_answers_that_wait_to_be_read_share_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MAX_UNREAD", 25_000_000)
    with running(large_app()) as port, ExitStack() as stack:
        unread = [stack.enter_context(connect(port)) for _ in range(6)]
        for connection in unread:
            connection.sendall(LARGE)
            assert connection.recv(500).startswith(b"HTTP/1.1 200 OK")
        assert all(len(answer(connection)) < 20_000_000 for connection in unread[:3])
        with Client(port) as client:
            assert client.recommend()[0] == 200


def test_at_the_limit_the_longest_idle_connection_makes_room_and_a_log_line_says_so(
    app: FastAPI, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol.BoundedProtocol, "logged", -http_protocol.LOG_SECONDS)
    with caplog.at_level(logging.WARNING), running(app, max_connections=20) as port, ExitStack() as stack:
        idle = [stack.enter_context(connect(port)) for _ in range(100)]
        for _ in range(5):
            with Client(port) as client:
                assert client.recommend()[0] == 200
        assert answer(idle[0]) == b""
        idle[-1].sendall(WHOLE)
        assert idle[-1].recv(100).startswith(b"HTTP/1.1 200 OK")
    assert caplog.text.count("HM_MAX_CONNECTIONS") == 1


def test_the_limit_of_connections_is_within_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: Any = {"now": (256, 1_024)}
    monkeypatch.setattr(http_protocol.resource, "getrlimit", lambda which: limits["now"])
    monkeypatch.setattr(http_protocol.resource, "setrlimit", lambda which, new: limits.update(now=new))
    assert http_protocol.connections(300) == 300
    assert limits["now"] == (500, 1_024)
    assert http_protocol.connections(2_000) == 1_024 - http_protocol.OTHER_FILES
