"""The key, how many at once, how long, and how much slow work; whoever watches is answered all the same."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from app.main import create_app
from app.middleware.limits import OPEN
from app.middleware.worker_pool import Pool, PoolFull, in_pool
from tests.helpers.live import CUSTOMER, KEY, Client, Fake, running, settings, wait_for

VERSION = "20260120T101530.123456Z-1f2e3d4c"
WATCHED = ("/health", "/ready", "/metrics")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Slow work waits for it; opened at the end, so that nothing is left waiting."""
    gate = threading.Event()
    yield gate
    gate.set()


def slow_app(gate: threading.Event, **values: Any) -> FastAPI:
    """With an endpoint more, which works in the pool until the gate opens."""
    app = create_app(load=lambda path: Fake(VERSION), settings=settings(**values))

    @app.get("/slow")
    async def slow(request: Request) -> bool:
        return await in_pool(request, gate.wait, 20)

    return app


def test_all_but_watching_and_the_documentation_asks_for_the_key() -> None:
    app = create_app(load=lambda path: Fake(VERSION), settings=settings())
    body = {"customer_id": CUSTOMER}
    with TestClient(app) as client:
        for key in (b"", KEY[:-1].encode(), KEY.encode() + b"x", "ключ".encode()):
            for method, path in (("POST", "/recommend"), ("POST", "/admin/reload"), ("GET", "/nothing")):
                answer = client.request(method, path, headers={b"X-API-Key": key}, json=body)
                assert answer.status_code == 401, (method, path, key)
                assert KEY not in answer.text
        assert client.post("/recommend", headers={"X-API-Key": KEY}, json=body).status_code == 200
        assert {client.get(path, follow_redirects=False).status_code for path in OPEN} == {200}
        schema = client.get("/openapi.json").json()
        assert schema["paths"]["/recommend"]["post"]["security"] == [{"X-API-Key": []}]
        assert schema["paths"]["/health"]["get"]["security"] == []


def test_without_a_key_everything_is_open_but_administration() -> None:
    app = create_app(load=lambda path: Fake(VERSION), settings=settings(api_key=None))
    with TestClient(app) as client:
        assert client.post("/recommend", json={"customer_id": CUSTOMER}).status_code == 200
        answer = client.post("/admin/reload", headers={"X-API-Key": KEY})
        assert answer.status_code == 403
        assert "HM_API_KEY" in answer.json()["detail"]


def test_one_too_many_is_refused_at_once_and_watching_goes_on(gate: threading.Event) -> None:
    with running(slow_app(gate, max_in_flight=2)) as port, ThreadPoolExecutor(2) as threads, Client(port) as client:

        def ask_slow() -> int:
            with Client(port) as slow:
                return slow.ask("GET", "/slow")[0]

        under_way = [threads.submit(ask_slow) for _ in range(2)]
        wait_for(lambda: "hm_requests_in_flight 2.0" in client.ask("GET", "/metrics")[1])
        code, body, headers = client.recommend()
        assert (code, headers["retry-after"]) == (503, "1")
        assert "try again" in body["detail"]
        for path in WATCHED:
            assert client.ask("GET", path)[0] == 200
        assert client.ask("POST", "/admin/reload")[0] == 200
        assert 'hm_requests_shed_total{at="door"} 1.0' in client.ask("GET", "/metrics")[1]
        gate.set()
        assert [future.result() for future in under_way] == [200, 200]
        wait_for(lambda: client.recommend()[0] == 200)


def test_requests_that_arrive_together_are_counted_together() -> None:
    """A recommendation never waits: without letting all of them in first, no more than one would ever be counted."""
    app = create_app(load=lambda path: Fake(VERSION), settings=settings(max_in_flight=3))
    codes: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            codes.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request", "body": f'{{"customer_id": "{CUSTOMER}"}}'.encode()}

    async def ask() -> None:
        scope = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b""}
        await app(scope | {"headers": [(b"x-api-key", KEY.encode())]}, receive, send)

    async def together() -> None:
        async with app.router.lifespan_context(app):
            await asyncio.gather(*(ask() for _ in range(10)))

    asyncio.run(together())
    assert sorted(codes) == [200] * 3 + [503] * 7


def test_work_that_takes_too_long_is_given_up(gate: threading.Event) -> None:
    with TestClient(slow_app(gate, time_limit=0.05)) as client:
        answer = client.get("/slow", headers={"X-API-Key": KEY})
        assert (answer.status_code, set(answer.json())) == (504, {"detail"})
        assert "hm_requests_in_flight 0.0" in client.get("/metrics").text


def test_a_body_that_does_not_arrive_is_not_waited_for(gate: threading.Event) -> None:
    with (
        running(slow_app(gate, time_limit=0.1)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
    ):
        connection.sendall(
            f"POST /recommend HTTP/1.1\r\nHost: h\r\nX-API-Key: {KEY}\r\nContent-Length: 90\r\n\r\n{{".encode()
        )
        answer = connection.recv(4_096)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nconnection: close\r\n" in answer


def test_a_full_pool_refuses(gate: threading.Event) -> None:
    app = slow_app(gate, pool_threads=1, pool_queue=1)
    with running(app) as port, ThreadPoolExecutor(2) as threads, Client(port) as client:

        def ask_slow() -> int:
            with Client(port) as slow:
                return slow.ask("GET", "/slow")[0]

        under_way = [threads.submit(ask_slow) for _ in range(2)]
        wait_for(lambda: "hm_requests_in_flight 2.0" in client.ask("GET", "/metrics")[1])
        code, body, headers = client.ask("GET", "/slow")
        assert (code, headers["retry-after"]) == (503, "1")
        assert "slow work" in body["detail"]
        assert client.recommend()[0] == 200
        assert 'hm_requests_shed_total{at="pool"} 1.0' in client.ask("GET", "/metrics")[1]
        gate.set()
        assert [future.result() for future in under_way] == [200, 200]


def in_a_loop(test: Callable[[Pool], Any], pool: Pool) -> None:
    try:
        asyncio.run(test(pool))
    finally:
        pool.close()


def test_who_waits_no_longer_gives_the_place_back_and_work_that_began_keeps_its_own(gate: threading.Event) -> None:
    async def test(pool: Pool) -> None:
        began = threading.Event()

        def work() -> None:
            began.set()
            gate.wait(20)

        working = asyncio.create_task(pool.run(work))
        await asyncio.to_thread(began.wait, 20)
        waiting = asyncio.create_task(pool.run(int))
        await asyncio.sleep(0)
        with pytest.raises(PoolFull):
            await pool.run(int)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        again = asyncio.create_task(pool.run(int, "7"))
        await asyncio.sleep(0)
        with pytest.raises(PoolFull):
            await pool.run(int)
        gate.set()
        assert await again == 7

    in_a_loop(test, Pool(1, 1))


def test_an_error_in_the_pool_is_the_callers() -> None:
    async def test(pool: Pool) -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pool.run(divmod, 1, 0)

    in_a_loop(test, Pool(1, 0))


def test_a_large_body_is_refused_and_counted() -> None:
    with TestClient(create_app(load=lambda path: Fake(VERSION), settings=settings())) as client:
        headers = {"X-API-Key": KEY}
        assert client.post("/recommend", headers=headers, content=b" " * 140_000).status_code == 413
        assert 'status="413"} 1.0' in client.get("/metrics").text
