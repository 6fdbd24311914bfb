"""A fake model whose answers carry its version, published like a real one and served over a real socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import uvicorn
from fastapi import FastAPI

from app.http_protocol import uvicorn_settings
from app.settings import Settings
from hm_utils.serving.bundle import publish, verify

CUSTOMER = "a" * 64
KEY = "correct-horse-battery"
ADMIN_KEY = "staple-for-operators"


class Fake:
    """Row, articles and scores are all the version's number, so an answer of two versions is visible."""

    is_remote, hm_ids, in_stock = False, True, None

    def __init__(self, version: str, last_date: str | None = None) -> None:
        self.version = version
        self.number = zlib.crc32(version.encode()) % 10_000
        self.article_ids = np.array([f"{self.number:04d}{row:06d}" for row in range(20)])
        self.manifest = {"data": {"last_date": last_date}}

    def customer_rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.full(len(ids), self.number)

    def customers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return rows

    def with_stock(self, _: object) -> Fake:
        return self

    def recommend(
        self, rows: npt.NDArray[np.int64], top_k: int, excluded: object = None, *_: object
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        assert (rows == self.number).all()
        articles = np.tile(np.arange(top_k, dtype=np.int32), (len(rows), 1))
        return articles, np.full(articles.shape, self.number, np.float32)


def publish_fake(artifacts: Path) -> str:
    """Publish a new version into ``artifacts`` and return its name."""

    def write(folder: Path) -> dict[str, Any]:
        (folder / "weights.bin").write_bytes(b"w" * 1_000)
        return {"data": {"last_date": "2020-09-22"}, "parameters": {}, "metrics": {}, "golden": {}}

    return publish(artifacts, write).name


def load_fake(path: Path) -> Fake:
    """Verify the folder like a real model's."""
    manifest = verify(path.resolve())
    return Fake(manifest["version"], manifest["data"]["last_date"])


def settings(**values: Any) -> Settings:
    """Settings of a test: the service does not poll for a new model."""
    return Settings(**{"reload_seconds": 0, "api_key": KEY, "admin_key": ADMIN_KEY, **values})


@contextlib.contextmanager
def running(app: FastAPI, max_connections: int = 500) -> Iterator[int]:
    """Run a real server on a free port, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_config=None, access_log=False, **uvicorn_settings(max_connections))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_for(lambda: server.started or not thread.is_alive())
        assert server.started
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)


class Client:
    """One connection, kept open, that sends the key."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}) -> tuple[int, Any, Any]:
        """Status, body (parsed if it is JSON) and headers."""
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, path, sent, {"X-API-Key": KEY, **headers})
        answer = self._connection.getresponse()
        text = answer.read().decode()
        is_json = answer.headers["content-type"] == "application/json"
        return answer.status, json.loads(text) if is_json else text, answer.headers

    def recommend(self) -> tuple[int, Any, Any]:
        return self.ask("POST", "/recommend", {"customer_id": CUSTOMER})
