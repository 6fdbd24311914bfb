"""The operator's view: counters, logs, errors, settings, start and shutdown."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app import logs
from app.logs import JsonFormatter, access, log_config, logger
from app.main import create_app
from app.settings import Settings, SettingsError, read_settings
from tests.helpers.live import CUSTOMER, KEY, Client, Fake, publish_fake, settings, wait_for

ROOT = Path(__file__).parents[2]
VERSION = "20260120T101530.123456Z-1f2e3d4c"
WITH_KEY = {"X-API-Key": KEY}


@pytest.fixture
def app() -> FastAPI:
    app = create_app(load=lambda path: Fake(VERSION, "2020-09-22"), settings=settings())

    @app.get("/broken/{part}")
    async def broken(part: str) -> None:
        raise RuntimeError(f"{part} in /secret/place")

    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, headers=WITH_KEY) as client:
        yield client


def metrics(client: TestClient) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_metrics_count_by_route_and_describe_the_model(client: TestClient) -> None:
    for _ in range(3):
        client.post("/recommend", json={"customer_id": CUSTOMER})
    client.post("/recommend", json={})
    client.get("/broken/a")
    client.get("/broken/b")
    found = metrics(client)
    assert found['hm_requests_total{method="POST",route="/recommend",status="200"}'] == 3
    assert found['hm_requests_total{method="POST",route="/recommend",status="422"}'] == 1
    assert found['hm_requests_total{method="GET",route="/broken/{part}",status="500"}'] == 2
    assert found['hm_request_seconds_count{route="/recommend"}'] == 4
    assert 'hm_request_seconds_bucket{le="0.0005",route="/recommend"}' in found
    assert found[f'hm_model_info{{data_until="2020-09-22",version="{VERSION}"}}'] == 1
    assert found["hm_index_articles"] == 20
    assert found["hm_model_age_seconds"] > 0
    assert found["hm_model_ready"] == 1
    assert found['hm_model_reloads_total{outcome="loaded"}'] == 1
    assert found["hm_requests_in_flight"] == 0


def test_a_scanner_does_not_grow_the_metrics(client: TestClient) -> None:
    client.get("/nothing")
    client.request("BREW", "/nothing")
    before = metrics(client)
    for number in range(50):
        client.get(f"/nothing/{number}")
        client.get(f"/broken/{number}")
        client.request(f"BREW{number}", "/nothing")
    after = metrics(client)
    assert after['hm_requests_total{method="GET",route="none",status="404"}'] == 51
    new = {name for name in after.keys() - before.keys() if "/metrics" not in name}
    assert {re.sub(r".*(route=\"[^\"]*\").*", r"\1", name) for name in new} == {'route="/broken/{part}"'}


def test_every_application_has_its_own_counters(client: TestClient) -> None:
    client.get("/health")
    with TestClient(create_app(load=lambda path: Fake(VERSION), settings=settings())) as other:
        assert not any("/health" in name for name in metrics(other))


@pytest.mark.parametrize("identity", ["mine", "A-1_b.c", "x" * 64])
def test_a_valid_request_id_is_kept(client: TestClient, identity: str) -> None:
    assert client.get("/health", headers={"X-Request-ID": identity}).headers["x-request-id"] == identity


@pytest.mark.parametrize("identity", ["", "x" * 65, "two words", 'a"b', "a/b", "a\tb"])
def test_an_invalid_request_id_is_replaced(client: TestClient, identity: str) -> None:
    answers = [client.get("/nothing", headers={"X-Request-ID": identity}) for _ in range(2)]
    new = {answer.headers["x-request-id"] for answer in answers}
    assert len(new) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", identity) for identity in new)


def test_an_unexpected_error_is_in_the_log_and_not_in_the_answer(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.get("/broken/thing", headers={"X-Request-ID": "the-one"})
    assert answer.status_code == 500
    assert answer.json() == {"detail": "internal error", "request_id": "the-one"}
    assert answer.headers["x-request-id"] == "the-one"
    assert "RuntimeError: thing in /secret/place" in caplog.text
    assert caplog.text.count("Traceback") == 1


def test_logs_are_json_with_the_request(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    lines: list[dict[str, Any]] = []

    class Formatted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter().format(record)))

    # Attached to the loggers themselves: uvicorn, started by another test, stops propagation.
    handler = Formatted()
    for ours in (logger, access):
        ours.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, "hm.access"):
            client.get("/broken/customer", headers={"X-Request-ID": "first"})
            client.get("/nothing/" + "x" * 500, headers={"X-Request-ID": "second"})
    finally:
        for ours in (logger, access):
            ours.removeHandler(handler)
    error, first, second = (line for line in lines if "request_id" in line)
    assert "RuntimeError" in error["trace"]
    assert (error["request_id"], error["level"]) == ("first", "ERROR")
    assert {key: first[key] for key in ("request_id", "method", "path", "status", "message")} == {
        "request_id": "first",
        "method": "GET",
        "path": "/broken/{part}",
        "status": 500,
        "message": "request",
    }
    assert first["ms"] >= 0
    assert (second["request_id"], second["status"], len(second["path"])) == ("second", 404, 200)


def test_the_access_log_can_be_turned_off() -> None:
    levels = [log_config(settings(access_log=on))["loggers"]["hm.access"]["level"] for on in (True, False)]
    assert levels == ["INFO", "CRITICAL"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HM_MAX_IN_FLIGHT", "0"),
        ("HM_MAX_IN_FLIGHT", "many"),
        ("HM_TIME_LIMIT", "0"),
        ("HM_TIME_LIMIT", "nan"),
        ("HM_RELOAD_SECONDS", "-1"),
        ("HM_POOL_THREADS", "0"),
        ("HM_POOL_QUEUE", "-1"),
        ("HM_SHUTDOWN_SECONDS", "0.5"),
        ("HM_LOG_LEVEL", "LOUD"),
        ("HM_ACCESS_LOG", "perhaps"),
        ("HM_API_KEY", "too-short"),
        ("HM_API_KEY", " " * 20),
        ("HM_API_KEY", "\t\u00a0" * 10),
        ("HM_API_KEY", "a key with some blanks in it"),
        ("HM_API_KEY", "ключ" * 5),
        ("HM_ADMIN_KEY", " " * 20),
        ("HM_MODEL_VERSION", "../../etc"),
        ("HM_MAX_CONNECTIONS", "0"),
        ("HM_BATCH_QUEUE", "0"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: ") as error:
        read_settings()
    assert value not in str(error.value) or len(value) < 10


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HM_LOG_LEVEL": "debug", "HM_API_KEY": KEY, "HM_POOL_QUEUE": "0", "HM_TIME_LIMIT": ""}.items():
        monkeypatch.setenv(name, value)
    found = read_settings()
    assert (found.log_level, found.pool_queue, found.time_limit) == ("DEBUG", 0, 10)
    assert KEY not in repr(found)


def test_the_two_keys_must_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HM_API_KEY", "HM_ADMIN_KEY"):
        monkeypatch.setenv(name, KEY)
    with pytest.raises(SettingsError, match="HM_API_KEY and HM_ADMIN_KEY must differ") as error:
        read_settings()
    assert KEY not in str(error.value)


def test_a_misspelt_setting_is_logged(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HM_APIKEY", KEY)
    monkeypatch.setenv("HM_POOL_QUEUE", "3")
    with TestClient(app):
        assert "HM_APIKEY is not a setting" in caplog.text
    assert "HM_POOL_QUEUE" not in caplog.text
    assert KEY not in caplog.text


def test_the_docs_have_every_setting() -> None:
    rows = re.findall(r"^\| `(HM_\w+)` \| ([^|]+) \|", (ROOT / "docs" / "service.md").read_text(), re.MULTILINE)
    defaults = {f"HM_{name.upper()}": field.default for name, field in Settings.model_fields.items()}
    assert [name for name, _ in rows] == list(defaults)
    for name, documented in rows:
        if name not in ("HM_MODEL", "HM_STOCK", "HM_IMAGES"):
            assert documented.strip() in (str(defaults[name]), str(defaults[name]).lower()), name


def python(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], int, list[dict[str, Any]]]]:
    """A server in its own process, its port, and its growing log. Stopped at the end if it still runs."""
    process = python(*arguments, **environment)
    lines: list[dict[str, Any]] = []

    def read() -> None:
        assert process.stderr is not None
        lines.extend(json.loads(line) for line in process.stderr)

    reader = threading.Thread(target=read)
    try:
        assert process.stderr is not None
        port = None
        while port is None:
            line = process.stderr.readline()
            assert line, "the process ended before it served"
            port = re.search(r"running on http://127.0.0.1:(\d+)", json.loads(line)["message"])
        reader.start()
        wait_for(lambda: any("startup complete" in line["message"] for line in lines), 60)
        yield process, int(port[1]), lines
    finally:
        process.terminate()
        process.wait(20)
        reader.join(20)


SLOW = ["-m", "tests.helpers.slow_app", "--port", "0"]


def test_sigterm_under_load_loses_no_accepted_request() -> None:
    answered: set[str] = set()

    def load(number: int) -> None:
        for request in range(100_000):
            identity = f"{number}-{request}"
            try:
                with Client(port) as client:
                    path, method = ("/recommend", "POST") if number else ("/slow", "GET")
                    code, _, headers = client.ask(method, path, {"customer_id": CUSTOMER}, {"X-Request-ID": identity})
            except (OSError, http.client.HTTPException):
                return  # not accepted: the server has stopped listening
            assert code == 200
            assert headers["x-request-id"] == identity
            answered.add(identity)

    # The threads end last, when the server does, even if this test fails.
    with ThreadPoolExecutor(6) as threads, serving(*SLOW) as (process, port, lines), Client(port) as waiting:
        working = [threads.submit(load, number) for number in range(4)]
        slow = threads.submit(waiting.ask, "GET", "/slow")
        wait_for(lambda: len(answered) > 100)
        with Client(port) as client:
            wait_for(lambda: "hm_requests_in_flight 2.0" in client.ask("GET", "/metrics")[1])
        process.send_signal(signal.SIGTERM)
        assert slow.result()[0] == 200
        for future in working:
            future.result()
        assert process.wait(20) in (0, -signal.SIGTERM)
    logged = {line["request_id"] for line in lines if re.fullmatch(r"\d-\d+", line.get("request_id", ""))}
    assert len(logged) > 100
    assert logged - answered == set()


def test_the_command_serves_with_the_bounds_on_connections() -> None:
    with (
        serving(*SLOW, HM_MAX_CONNECTIONS="5") as (_, port, lines),
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
        ExitStack() as stack,
    ):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n" + b"X: a\r\n" * 101 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")
        for _ in range(10):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        wait_for(lambda: any("5 connections, the limit (HM_MAX_CONNECTIONS)" in line["message"] for line in lines))


def test_the_metrics_sum_over_workers(tmp_path: Path) -> None:
    publish_fake(tmp_path)
    code = "import sys; sys.argv = ['app', '--port', '0', '--workers', '2']; from app.__main__ import main; main()"
    with serving("-c", code, HM_MODEL=str(tmp_path / "nothing"), HM_SHUTDOWN_SECONDS="1") as (process, port, lines):
        wait_for(lambda: sum("startup complete" in line["message"] for line in lines) == 2, 60)
        for _ in range(40):
            with Client(port) as client:
                assert client.ask("GET", "/health")[0] == 200

        def all_counted() -> bool:
            with Client(port) as client:
                text = client.ask("GET", "/metrics")[1]
            return 'hm_requests_total{method="GET",route="/health",status="200"} 40.0' in text

        wait_for(all_counted, 10)  # a request is counted after its answer is sent
        pids = {line["message"] for line in lines if "Started server process" in line["message"]}
        assert len(pids) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)


def test_a_request_has_one_thread_of_blas() -> None:
    code = "import os; {}import numpy as np; np.ones((900, 900)) @ np.ones((900, 900)); print(len(os.listdir(TASKS)))"
    code = code.replace("TASKS", "'/proc/self/task'")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    run = partial(subprocess.run, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert run([sys.executable, "-c", code.format("import app; ")]).stdout == "1\n"
    assert os.cpu_count() == 1 or int(run([sys.executable, "-c", code.format("")]).stdout) > 1


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_killed_are_replaced_and_their_requests_not_counted_for_ever(workers: int) -> None:
    with serving(*SLOW, "--workers", str(workers)) as (_, port, lines), ThreadPoolExecutor(1) as threads:

        def ask() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException), Client(port) as client:
                client.ask("GET", "/slow")

        def metrics() -> str:
            with Client(port) as client:
                return str(client.ask("GET", "/metrics")[1])

        wait_for(lambda: sum("startup complete" in line["message"] for line in lines) == workers, 60)
        asked = threads.submit(ask)
        wait_for(lambda: "hm_requests_in_flight 1.0" in metrics())
        for line in [line["message"] for line in lines if "Started server process" in line["message"]]:
            os.kill(int(re.findall(r"\d+", line)[0]), signal.SIGKILL)
        asked.result()
        wait_for(lambda: sum("startup complete" in line["message"] for line in lines) == 2 * workers, 60)
        assert "hm_requests_in_flight 0.0" in metrics()
        with Client(port) as client:
            assert client.recommend()[0] == 200


def test_workers_end_with_their_supervisor_and_leave_nothing(tmp_path: Path) -> None:
    with serving(*SLOW, "--workers", "2", TMPDIR=str(tmp_path)) as (process, port, lines):
        wait_for(lambda: sum("startup complete" in line["message"] for line in lines) == 2, 60)
        assert list(tmp_path.glob("hm-metrics-*"))
        process.kill()
        wait_for(lambda: sum("Finished server process" in line["message"] for line in lines) == 2)
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
        assert not list(tmp_path.glob("hm-metrics-*"))


def test_a_reader_of_the_log_that_stalls_costs_lines_and_nothing_else() -> None:
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, *SLOW], cwd=ROOT, stderr=write)
    os.close(write)
    found = b""
    while b"startup complete" not in found:
        found += os.read(read, 65_536)
    port = int(re.findall(rb"running on http://127.0.0.1:(\d+)", found)[0])
    try:
        with Client(port) as client:
            for number in range(2_500):
                assert client.ask("GET", f"/{number:0200d}")[0] == 404
            dropped = re.findall(r"hm_log_lines_dropped_total (\d\S*)", client.ask("GET", "/metrics")[1])
            assert float(dropped[0]) > 1_000
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        os.close(read)


def test_lines_that_were_dropped_are_counted_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    monkeypatch.setattr(logs, "MAX_LINES", 10)
    monkeypatch.setattr(logs, "WRITE_SECONDS", 0.2)
    handler = logs.QueuedLines(write)
    for number in range(100):
        handler.emit(logging.makeLogRecord({"msg": f"{number}"}))
    handler.end()
    os.close(write)
    with os.fdopen(read) as text:
        lines = text.read().splitlines()
    dropped = int(re.findall(r"\d+", json.loads(lines[-1])["message"])[0])
    assert dropped >= 80
    assert len(lines) - 1 + dropped == 100


def test_a_warning_of_a_library_is_a_json_line() -> None:
    code = """
import logging.config, warnings
from app.logs import log_config
from app.settings import Settings
logging.config.dictConfig(log_config(Settings()))
warnings.warn("overflow")
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=True)
    (line,) = run.stderr.splitlines()
    assert "overflow" in json.loads(line)["message"]


def test_wrong_settings_and_arguments_stop_the_start_with_one_line() -> None:
    for arguments, environment, message in (
        (
            ["-m", "app"],
            {"HM_API_KEY": "hunter2", "HM_TIME_LIMIT": "soon"},
            "wrong setting: HM_API_KEY: .*HM_TIME_LIMIT",
        ),
        (["-m", "app", "--workers", "0"], {}, "--workers must be 1 or more"),
    ):
        process = python(*arguments, **environment)
        stderr = process.communicate(timeout=30)[1]
        assert process.returncode not in (0, None)
        assert re.search(message, stderr)
        assert "hunter2" not in stderr
        assert "Traceback" not in stderr
