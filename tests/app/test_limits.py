"""API key, concurrency limit, time limit and worker pool; monitoring is exempt."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from app.main import create_app
from app.middleware import limits
from app.middleware.worker_pool import PoolFull, WorkerPool, in_pool
from tests.helpers.live import ADMIN_KEY, CUSTOMER, KEY, Client, Fake, running, settings, wait_for

VERSION = "20260120T101530.123456Z-1f2e3d4c"
MONITORING = ("/health", "/live", "/ready", "/metrics")
WITH_KEY = {"X-API-Key": KEY}


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Slow work waits for it. It opens at the end of the test, so that no thread is left waiting."""
    gate = threading.Event()
    yield gate
    gate.set()


def fake_app(**values: Any) -> FastAPI:
    return create_app(load=lambda path: Fake(VERSION), settings=settings(**values))


def slow_app(gate: threading.Event, **values: Any) -> FastAPI:
    """With the endpoint /slow, which works in the pool until the gate opens."""
    app = fake_app(**values)

    @app.get("/slow")
    async def slow(request: Request) -> bool:
        return await in_pool(request, gate.wait, 20)

    return app


@contextmanager
def two_slow_requests(app: FastAPI) -> Iterator[tuple[Client, list[Future[int]]]]:
    """A client of the app, and the status codes of two requests to /slow that are in progress."""
    with running(app) as port, ThreadPoolExecutor(2) as threads, Client(port) as client:

        def ask_slow() -> int:
            with Client(port) as slow:
                return slow.ask("GET", "/slow")[0]

        codes = [threads.submit(ask_slow) for _ in range(2)]
        wait_for(lambda: "hm_requests_in_flight 2.0" in client.ask("GET", "/metrics")[1])
        yield client, codes


def test_every_endpoint_but_monitoring_documentation_and_the_page_needs_the_key() -> None:
    app = fake_app()
    body = {"customer_id": CUSTOMER}
    with TestClient(app) as client:
        for key in (b"", KEY[:-1].encode(), KEY.encode() + b"x", "ключ".encode()):
            for method, path in (("POST", "/recommend"), ("POST", "/admin/reload"), ("GET", "/nothing")):
                answer = client.request(method, path, headers={b"X-API-Key": key}, json=body)
                assert answer.status_code == 401, (method, path, key)
                assert KEY not in answer.text
        assert client.post("/recommend", headers=WITH_KEY, json=body).status_code == 200
        paths = ("/", "/static/main.js", "/docs", "/static/swagger-ui-bundle.js", "/openapi.json", *MONITORING)
        assert {client.get(path, follow_redirects=False).status_code for path in paths} == {200}
        schema = client.get("/openapi.json").json()
        assert schema["paths"]["/recommend"]["post"]["security"] == [{"X-API-Key": []}]
        assert schema["paths"]["/health"]["get"]["security"] == []


def test_one_key_is_for_asking_and_another_for_administering() -> None:
    body = {"customer_id": CUSTOMER}
    with TestClient(fake_app()) as client:
        for key, asking, administering in ((KEY, 200, 401), (ADMIN_KEY, 401, 200)):
            headers = {"X-API-Key": key}
            assert client.post("/recommend", headers=headers, json=body).status_code == asking
            assert client.post("/admin/reload", headers=headers).status_code == administering


@pytest.mark.parametrize("api_key", [KEY, None])
def test_without_a_key_of_its_own_administration_is_disabled(api_key: str | None) -> None:
    with TestClient(fake_app(api_key=api_key, admin_key=None), headers=WITH_KEY) as client:
        assert client.post("/recommend", json={"customer_id": CUSTOMER}).status_code == 200
        answer = client.post("/admin/reload")
        assert answer.status_code == 403
        assert "HM_ADMIN_KEY" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://elsewhere.example"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://testserver"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://testserver:81"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_page_of_another_site_cannot_ask(headers: dict[str, str], code: int) -> None:
    with TestClient(fake_app(api_key=None), headers=headers) as client:
        assert client.post("/recommend", content=f'{{"customer_id": "{CUSTOMER}"}}').status_code == code
        assert client.get("/").status_code == 200


def test_a_request_above_the_limit_is_rejected_at_once_but_not_monitoring(gate: threading.Event) -> None:
    with two_slow_requests(slow_app(gate, max_in_flight=2)) as (client, slow_codes):
        code, body, headers = client.recommend()
        assert (code, headers["retry-after"]) == (503, "1")
        assert "try again" in body["detail"]
        for path in MONITORING:
            assert client.ask("GET", path)[0] == 200
        assert client.ask("POST", "/admin/reload", headers={"X-API-Key": ADMIN_KEY})[0] == 200
        assert 'hm_requests_shed_total{at="door"} 1.0' in client.ask("GET", "/metrics")[1]
        gate.set()
        assert [code.result() for code in slow_codes] == [200, 200]
        wait_for(lambda: client.recommend()[0] == 200)


def test_requests_that_arrive_together_are_counted_together() -> None:
    app = fake_app(max_in_flight=3)
    codes: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            codes.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request", "body": f'{{"customer_id": "{CUSTOMER}"}}'.encode()}

    async def ask() -> None:
        scope = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b""}
        await app(scope | {"headers": [(b"x-api-key", KEY.encode())]}, receive, send)

    async def ask_all() -> None:
        async with app.router.lifespan_context(app):
            await asyncio.gather(*(ask() for _ in range(10)))

    asyncio.run(ask_all())
    assert sorted(codes) == [200] * 3 + [503] * 7


def test_work_that_takes_too_long_is_cancelled(gate: threading.Event) -> None:
    with TestClient(slow_app(gate, time_limit=0.05)) as client:
        answer = client.get("/slow", headers=WITH_KEY)
        assert (answer.status_code, set(answer.json())) == (504, {"detail"})
        assert "hm_requests_in_flight 0.0" in client.get("/metrics").text


def test_a_body_that_does_not_arrive_times_out(gate: threading.Event) -> None:
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


def test_slow_bodies_take_no_place(gate: threading.Event) -> None:
    app = fake_app(max_in_flight=2)
    with running(app) as port, Client(port) as client, ExitStack() as stack:
        for _ in range(10):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            slow.sendall(f"POST /recommend HTTP/1.1\r\nHost: h\r\nX-API-Key: {KEY}\r\n".encode())
            slow.sendall(b"Content-Type: application/json\r\nContent-Length: 90\r\n\r\n{")
        assert [client.recommend()[0] for _ in range(20)] == [200] * 20
        assert "hm_requests_in_flight 0.0" in client.ask("GET", "/metrics")[1]
        slow.sendall(f'"customer_id": "{CUSTOMER}"'.encode().ljust(88) + b"}")
        assert slow.recv(4_096).startswith(b"HTTP/1.1 200 OK")


def test_bodies_that_arrive_share_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BODIES", 100_000)
    app = fake_app()
    with running(app) as port, Client(port) as client, ExitStack() as stack:
        answers = []
        for _ in range(3):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            head = f"POST /recommend HTTP/1.1\r\nHost: h\r\nX-API-Key: {KEY}\r\nContent-Length: 60000\r\n\r\n"
            slow.sendall(head.encode() + b" " * 50_000)
            wait_for(lambda: app.state.limits.body_bytes >= 50_000)
            answers.append(slow)
        answers[2].settimeout(5)
        assert answers[2].recv(100).startswith(b"HTTP/1.1 503 ")
        stack.close()
        wait_for(lambda: app.state.limits.body_bytes == 0)
        assert client.recommend()[0] == 200


def test_a_full_pool_refuses(gate: threading.Event) -> None:
    with two_slow_requests(slow_app(gate, pool_threads=1, pool_queue=1)) as (client, slow_codes):
        code, body, headers = client.ask("GET", "/slow")
        assert (code, headers["retry-after"]) == (503, "1")
        assert "slow work" in body["detail"]
        assert client.recommend()[0] == 200
        assert 'hm_requests_shed_total{at="pool"} 1.0' in client.ask("GET", "/metrics")[1]
        gate.set()
        assert [code.result() for code in slow_codes] == [200, 200]


class SlowBatches(Fake):
    """Each part of a batch waits for the gate; single requests with filters do not."""

    gate: threading.Event
    parts = 0

    def recommend(self, rows: Any, top_k: int, excluded: Any = None, *_: Any) -> Any:
        if len(rows) > 1:
            type(self).parts += 1
            assert self.gate.wait(20)
        return super().recommend(rows, top_k)


@pytest.fixture
def batches(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> type[SlowBatches]:
    monkeypatch.setattr(SlowBatches, "gate", gate, raising=False)
    monkeypatch.setattr(SlowBatches, "parts", 0)
    return SlowBatches


def batch(customers: int, top_k: int = 10) -> dict[str, Any]:
    return {"customer_ids": [CUSTOMER] * customers, "top_k": top_k}


def test_batches_leave_the_threads_of_single_requests_alone_and_cost_what_they_take(
    gate: threading.Event, batches: type[SlowBatches]
) -> None:
    app = create_app(load=lambda path: batches(VERSION), settings=settings(pool_threads=1, batch_queue=0.5))

    @app.get("/single")
    async def single(request: Request) -> int:
        return await in_pool(request, int)

    with running(app) as port, Client(port) as client, ThreadPoolExecutor(3) as threads:

        def ask(customers: int) -> int:
            with Client(port) as other:
                return other.ask("POST", "/recommend/batch", batch(customers))[0]

        large = threads.submit(ask, 900)
        wait_for(lambda: batches.parts)
        small = threads.submit(ask, 40)
        assert ask(900) == 503
        for _ in range(5):
            assert client.ask("GET", "/single")[0] == 200
            assert client.recommend()[0] == 200
        gate.set()
        assert [large.result(), small.result()] == [200, 200]
        assert ask(900) == 200


def test_a_batch_whose_client_was_answered_or_has_gone_stops(gate: threading.Event, batches: type[SlowBatches]) -> None:
    app = create_app(load=lambda path: batches(VERSION), settings=settings(time_limit=0.2))
    with running(app) as port:
        with Client(port) as client:
            assert client.ask("POST", "/recommend/batch", batch(1_000))[0] == 504
        gone = socket.create_connection(("127.0.0.1", port), timeout=20)
        body = json.dumps(batch(1_000)).encode()
        head = f"POST /recommend/batch HTTP/1.1\r\nHost: h\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        gone.sendall(head.encode() + body)
        gone.close()
        gate.set()
        with Client(port) as client:
            assert client.ask("POST", "/recommend/batch", batch(10))[0] == 200
        assert batches.parts <= 3


def run_with(pool: WorkerPool, test: Callable[[WorkerPool], Any]) -> None:
    try:
        asyncio.run(test(pool))
    finally:
        pool.close()


def test_a_cancelled_caller_frees_its_place_in_the_queue_but_not_its_thread(gate: threading.Event) -> None:
    async def test(pool: WorkerPool) -> None:
        started = threading.Event()

        def work() -> None:
            started.set()
            gate.wait(20)

        working = asyncio.create_task(pool.run(work))
        await asyncio.to_thread(started.wait, 20)
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

    run_with(WorkerPool(1, 1), test)


def test_an_error_in_the_pool_reaches_the_caller() -> None:
    async def test(pool: WorkerPool) -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pool.run(divmod, 1, 0)

    run_with(WorkerPool(1, 0), test)


def test_a_large_body_is_refused_and_counted() -> None:
    with TestClient(fake_app()) as client:
        assert client.post("/recommend", headers=WITH_KEY, content=b" " * 140_000).status_code == 413
        assert 'status="413"} 1.0' in client.get("/metrics").text
