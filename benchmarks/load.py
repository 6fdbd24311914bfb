"""A started service and the load on it: the clients, and two versions of a model to swap."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hm_utils.serving import bundle
from hm_utils.serving.recommender import Recommender

CONNECTIONS = 16
SETTLED = 2.0  # seconds of load before and after the event
LONGEST = 120.0  # seconds to wait for anything


@contextmanager
def serving(command: Sequence[str], model: Path, **environment: str) -> Iterator[tuple[int, int, float]]:
    """Start a service on a free port; yields its process id, its port, and the seconds until it was ready."""
    port, began = free_port(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", str(port)],
        env={**os.environ, "HM_MODEL": str(model), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not ready(port):
            if process.poll() is not None or time.perf_counter() - began > 300:
                raise RuntimeError(f"{' '.join(command)} did not get ready (exit code {process.poll()})")
            time.sleep(0.02)
        yield process.pid, port, time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def ready(port: int) -> bool:
    return ready_version(port) is not None


def ready_version(port: int) -> str | None:
    """The version of the model that a service is ready with; None if it is not ready."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            return str(json.loads(answer.read()).get("version")) if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None


def wait_for(condition: Callable[[], object], pause: float = 0.1) -> None:
    """Raises TimeoutError after ``LONGEST`` seconds."""
    end = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"it did not happen within {LONGEST:.0f} s")
        time.sleep(pause)


def memory(pid: int, kind: str = "Pss") -> float:
    """GiB of a process and its children; a shared page is divided among those who share it.

    Args:
        kind: the line of ``smaps_rollup``. "Anonymous" excludes the pages of mapped files, which come and go as the
            system likes.
    """
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 2**20
    return own + sum(memory(int(child), kind) for child in tasks)


def posted(body: Any, path: str = "/recommend") -> bytes:
    """The whole message of a POST."""
    text = json.dumps(body).encode()
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(text), text)


def requests_of(model: Path, most: int = 200) -> list[bytes]:
    """A request for each of the first ``most`` customers who bought something."""
    ids = np.load(model / "customer_ids.npy", mmap_mode="r", allow_pickle=False)
    bought = np.flatnonzero(np.diff(np.load(model / "log" / "offsets.npy", mmap_mode="r", allow_pickle=False)))
    return [posted({"customer_id": ids[row].decode(), "top_k": 10}) for row in bought[:most]]


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes
) -> tuple[int, bool, bytes]:
    """Send a message; the status, whether the connection may be used again, and the body. Raises EOFError."""
    writer.write(message)
    head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    length = next((int(line[15:]) for line in head if line.startswith(b"content-length:")), 0)
    body = b"" if message.startswith(b"HEAD ") else await reader.readexactly(length)
    return int(head[0].split()[1]), b"connection: close" not in head, body


@dataclass
class Load:
    """What the clients of :func:`under_load` saw.

    Attributes:
        sent: requests.
        took: seconds of each answer with status 200.
        statuses: answers by status.
        broken: seconds after the start at which connections broke.
        problems: of the first failed requests.
        answers: how often each message got each body.
    """

    sent: int = 0
    took: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    answers: dict[bytes, Counter[bytes]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def failed(self) -> int:
        """Requests without a whole answer of status 200."""
        return len(self.broken) + sum(self.statuses.values()) - self.statuses[200]

    @property
    def longest(self) -> float:
        return max(self.took, default=0.0)

    def problem(self, text: str) -> None:
        if len(self.problems) < 10:
            self.problems.append(text)

    def facts(self) -> dict[str, Any]:
        return {"requests": self.sent, "failed": self.failed, "longest wait s": self.longest}

    def by_version(self, versions: Sequence[Mapping[bytes, bytes]]) -> dict[str, int]:
        """Answers by the version that gives them. Messages that the versions answer alike are not counted."""
        counts: Counter[str] = Counter()
        for message, bodies in self.answers.items():
            known = {version[message]: f"answers of version {i}" for i, version in enumerate(versions, 1)}
            if len(known) == len(versions):
                for body, count in bodies.items():
                    counts[known.get(body, "answers of no version")] += count
        return dict(counts)


def under_load(
    port: int,
    messages: Sequence[bytes],
    happens: Callable[[], object],
    connections: int = CONNECTIONS,
    settled: float = SETTLED,
) -> Load:
    """Ask without a pause, from ``settled`` seconds before ``happens`` is called until as long after its return."""
    seen, start = Load(), time.monotonic()

    async def client(number: int, over: asyncio.Event) -> None:
        place = number
        while not over.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            kept = True
            while kept and not over.is_set():
                message = messages[place % len(messages)]
                place += connections
                seen.sent += 1
                began = time.perf_counter()
                try:
                    status, kept, body = await exchange(reader, writer, message)
                except (OSError, EOFError) as error:
                    seen.broken.append(time.monotonic() - start)
                    seen.problem(f"{error!r} after {time.perf_counter() - began:.3f} s")
                    break
                seen.statuses[status] += 1
                if status == 200:
                    seen.took.append(time.perf_counter() - began)
                    seen.answers[message][body] += 1
                else:
                    seen.problem(f"status {status}: {body[:200]!r}")
                if status == 503:
                    await asyncio.sleep(0.05)  # Retry-After: a client does not come back at once
            writer.close()

    async def everybody() -> None:
        over = asyncio.Event()
        clients = [asyncio.create_task(client(number, over)) for number in range(connections)]
        try:
            await asyncio.sleep(settled)
            await asyncio.to_thread(happens)
            await asyncio.sleep(settled)
        finally:
            over.set()
            await asyncio.gather(*clients)

    asyncio.run(everybody())
    return seen


def ask(port: int, messages: Sequence[bytes]) -> dict[bytes, bytes]:
    """The body that each message is answered with."""

    async def each() -> dict[bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = {message: (await exchange(reader, writer, message))[2] for message in messages}
        writer.close()
        return answers

    return asyncio.run(each())


def publish_two(model: Path, artifacts: Path) -> tuple[Path, Path]:
    """Two versions of a model in ``artifacts``, the second with another weight of purchases; files are hard links."""

    def write(more: float) -> Callable[[Path], dict[str, Any]]:
        def written(folder: Path) -> dict[str, Any]:
            shutil.copytree(model, folder, copy_function=os.link, dirs_exist_ok=True)
            manifest = json.loads((folder / bundle.MANIFEST).read_text())
            (folder / bundle.MANIFEST).unlink()
            scoring = json.loads((folder / "scoring.json").read_text())
            (folder / "scoring.json").unlink()
            (folder / "scoring.json").write_text(json.dumps(scoring | {"taste": scoring["taste"] + more}))
            golden = Recommender.open(folder).golden(range(3))
            return {name: manifest[name] for name in bundle.FACTS} | {"golden": golden}

        return written

    first, second = (bundle.publish(artifacts, write(more)) for more in (0.0, 1.0))
    return first, second
