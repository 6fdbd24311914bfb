"""The edge of the service: what a crowd, and clients that mean no good, cost everybody else.

    python -m benchmarks.edge [--model artifacts/model] [--seconds 8] [--json edge.json]

* 16, 64 and 1,000 connections that ask without a pause (`wrk`), for known customers and for visitors with a history.
* 20 clients that send batches of 1,000 customers; four that send filtered requests are measured.
* 24 bodies that arrive a byte a second, 10,000 connections that send nothing, and headers of 300 MB; eight clients that
  ask for recommendations are measured, and the memory of the service.

Each row: answers with status 200 a second, other answers and broken connections, the longest wait for `/health`, and
the largest resident memory of the service. The clients are on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import serving as service
from benchmarks.load import memory, posted, requests_of, serving, under_load
from benchmarks.measuring import Run, machine, parser, save, show
from hm_utils.files import resolve

BODIES = 2_000
IDLE = 10_000
HEADERS = 300 * 2**20  # bytes


class Watch(threading.Thread):
    """Polls `/health` and the memory of the service until it is stopped.

    Attributes:
        wait: the longest wait for an answer, in seconds.
        memory: the largest resident memory, in MiB.
    """

    def __init__(self, pid: int, port: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._port, self._over = pid, port, threading.Event()
        self.wait = self.memory = 0.0

    def run(self) -> None:
        while not self._over.wait(0.02):
            began = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/health")
                connection.getresponse().read()
            self.wait = max(self.wait, time.perf_counter() - began)
            self.memory = max(self.memory, memory(self._pid, "Rss") * 1024)

    def stop(self) -> None:
        self._over.set()
        self.join()


@contextmanager
def watched(pid: int, port: int, run: Run) -> Iterator[None]:
    """Add the watch's figures to the row when the block ends."""
    watch = Watch(pid, port)
    watch.start()
    try:
        yield
    finally:
        watch.stop()
        run |= {"/health ms": watch.wait * 1e3, "MiB": watch.memory}


def crowd(port: int, bodies: Path, connections: int, seconds: int) -> Run:
    """Answers of `wrk`'s connections."""
    found = service.load(port, bodies, connections, seconds)
    total = found["requests/s"] * seconds
    return {"200s/s": (total - found["failed"]) / seconds, "others": found["failed"], "p99 ms": found["p99 ms"]}


def honest(port: int, messages: Sequence[bytes], seconds: float, connections: int = 8) -> Run:
    """What a few ordinary clients see."""
    seen = under_load(port, messages, lambda: time.sleep(seconds), connections, settled=0.0)
    others = sum(seen.statuses.values()) - seen.statuses[200] + len(seen.broken)
    p99 = float(np.percentile(seen.took, 99)) * 1e3 if seen.took else None
    return {"200s/s": seen.statuses[200] / seconds, "others": others, "p99 ms": p99}


async def _batches(port: int, message: bytes, clients: int) -> None:
    async def client() -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**25)
            with contextlib.suppress(OSError, EOFError):
                while True:
                    writer.write(message)
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    length = int(head.partition(b"content-length:")[2].split()[0])
                    await reader.readexactly(length)
                    if b" 503 " in head[:16]:
                        await asyncio.sleep(1)
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))


async def _slow_bodies(port: int, message: bytes, clients: int) -> None:
    async def client() -> None:
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head, _, body = message.partition(b"\r\n\r\n")
            writer.write(head + b"\r\n\r\n")
            with contextlib.suppress(OSError):
                for place in range(len(body)):
                    writer.write(body[place : place + 1])
                    await writer.drain()
                    await asyncio.sleep(1)
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))


async def _idle(port: int, message: bytes, clients: int) -> None:
    async def client() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(message[:20])
                await reader.read()
                writer.close()
            await asyncio.sleep(0.5)

    waiting = asyncio.Semaphore(200)

    async def one() -> None:
        async with waiting:
            await asyncio.sleep(0.01)
        await client()

    await asyncio.gather(*(one() for _ in range(clients)))


async def _headers(port: int, message: bytes, clients: int) -> None:
    async def client() -> None:
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(message.partition(b"\r\n")[0] + b"\r\nHost: x\r\n")
            with contextlib.suppress(OSError):
                for number in range(HEADERS // clients // 8_192):
                    writer.write(b"X-%d: " % number + b"a" * 8_192 + b"\r\n")
                    await writer.drain()
                await asyncio.sleep(20)
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))


def _attack(kind: str, port: int, message: bytes, clients: int) -> None:
    asyncio.run(ATTACKS[kind](port, message, clients))


ATTACKS: dict[str, Callable[[int, bytes, int], Any]] = {
    "batches": _batches,
    "slow bodies": _slow_bodies,
    "idle": _idle,
    "headers": _headers,
}


@contextmanager
def attacked(kind: str, port: int, message: bytes, clients: int) -> Iterator[None]:
    """Clients that mean no good, in a process of their own, from a second before the block."""
    process = multiprocessing.get_context("spawn").Process(target=_attack, args=(kind, port, message, clients))
    process.start()
    try:
        time.sleep(4)
        yield
    finally:
        process.kill()
        process.join()


def write_visitors(folder: Path, model: Path) -> Path:
    """Request bodies of visitors with a history of five articles, a line each."""
    rng = np.random.default_rng(0)
    articles = pd.read_parquet(model / "articles.parquet", columns=["article_id"])["article_id"].to_numpy()
    bodies = [
        {"history": rng.choice(articles, 5).tolist(), "customer": {"age": int(rng.integers(18, 70))}, "top_k": 10}
        for _ in range(BODIES)
    ]
    (folder / "visitors.txt").write_text("\n".join(map(json.dumps, bodies)))
    return folder / "visitors.txt"


def filtered(model: Path) -> list[bytes]:
    groups = pd.read_parquet(model / "articles.parquet", columns=["index_group_name"])["index_group_name"].dropna()
    ids = np.load(model / "customer_ids.npy", mmap_mode="r", allow_pickle=False)[:50]
    filters = {"index_group": [str(groups.iloc[0])]}
    return [posted({"customer_id": each.decode(), "top_k": 10, "filters": filters}) for each in ids]


def measure(model: Path, seconds: int, only: Sequence[str]) -> dict[str, Run]:
    """The rows of the table."""
    ids = np.load(model / "customer_ids.npy", mmap_mode="r", allow_pickle=False)
    batch = posted({"customer_ids": [each.decode() for each in ids[:1_000]], "top_k": 100}, "/recommend/batch")
    plain = requests_of(model)
    rows: dict[str, Run] = {}

    def row(name: str, work: Callable[[], Run], environment: Mapping[str, str] = {}) -> None:
        if only and not any(part in name for part in only):
            return
        with serving(["app"], model, **environment) as (pid, port, _):
            where["port"] = port
            service.load(port, bodies, 16, 2)
            found: Run = {}
            with watched(pid, port, found):
                rows[name] = work()
            rows[name] |= found
        print(name, rows[name], file=sys.stderr, flush=True)

    def under(kind: str, clients: int, message: bytes, messages: Sequence[bytes], connections: int = 8) -> Run:
        with attacked(kind, where["port"], message, clients):
            return honest(where["port"], messages, seconds, connections)

    where: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        bodies, _ = service.write_bodies(Path(name), model)
        visitors = write_visitors(Path(name), model)
        for connections in (16, 64, 1_000):
            row(f"{connections:,} connections", lambda c=connections: crowd(where["port"], bodies, c, seconds))  # type: ignore[misc]
        for connections in (16, 64):
            row(f"{connections} visitors", lambda c=connections: crowd(where["port"], visitors, c, seconds))  # type: ignore[misc]
        row("filtered, alone", lambda: honest(where["port"], filtered(model), seconds, 4))
        row("filtered, beside batches", lambda: under("batches", 20, batch, filtered(model), 4))
        row("ordinary, beside nobody", lambda: honest(where["port"], plain, seconds))
        row("ordinary, beside slow bodies", lambda: under("slow bodies", 24, plain[0], plain))
        row("ordinary, beside idle connections", lambda: under("idle", IDLE, plain[0], plain))
        row("ordinary, beside 300 MB of headers", lambda: under("headers", 4, plain[0], plain))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    options: argparse.ArgumentParser = parser("edge", __doc__, model=True)
    options.add_argument("--seconds", type=int, default=8, help="load of each row (%(default)s)")
    options.add_argument("--only", nargs="*", default=[], help="parts of the names of rows")
    chosen = options.parse_args(arguments)
    if shutil.which("wrk") is None:
        print(service.NO_WRK, file=sys.stderr)
        return 1
    report: Run = {"machine": machine("fastapi", "uvicorn", "torch", "scann")}
    rows = measure(resolve(chosen.model).resolve(), chosen.seconds, chosen.only)
    save(chosen.json, report | {"rows": rows})
    return show(chosen.model, pd.DataFrame.from_dict(rows, orient="index"), report)


if __name__ == "__main__":
    sys.exit(main())
