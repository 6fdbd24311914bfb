"""The service on Ray Serve: requests a second beside `python -m app`, and what a kill and rollouts under load do.

    python -m benchmarks.cluster_serving --model artifacts/model [--seconds 10] [--json cluster_serving.json]

`wrk` sends as in `benchmarks.serving`, 16 at once, to one and two workers and to one and two replicas, the client
beside them on the same machine. Then clients that keep their connections, and open others when they are told to, ask
two replicas without a pause, while

* kills: a replica is killed (SIGKILL), as soon as the one before has been replaced;
* new model: another version of the model is published, and each replica takes it by itself. Each answer is compared
  with what each version says of that customer.
* rollout: the service is deployed again, and Serve replaces the replicas one by one.

A request is failed if it got no whole answer, or another than 200.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from app.cluster.__main__ import start, stop
from app.settings import Settings
from benchmarks.measuring import machine, save
from benchmarks.serving import load, posted, serving, write_bodies
from benchmarks.soak import point, publish_two
from hm_utils.files import resolve

CONNECTIONS, CUSTOMERS = 16, 200
SETTLED = 2.0  # seconds of load before and after what happens
TAKEN = 15.0  # seconds after which every replica has a new model
LONGEST = 120.0  # seconds until a replica must have been replaced


@dataclass
class Load:
    """What clients saw while something happened.

    Attributes:
        sent, failed: requests.
        longest: seconds that one waited for its answer.
        problems: of the first failed ones.
        answers: the different bodies that each message was answered with.
    """

    sent: int = 0
    failed: int = 0
    longest: float = 0.0
    problems: list[str] = field(default_factory=list)
    answers: dict[bytes, set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def fail(self, problem: str) -> None:
        self.failed += 1
        if len(self.problems) < 10:
            self.problems.append(problem)

    def facts(self) -> dict[str, Any]:
        return {"requests": self.sent, "failed": self.failed, "longest wait s": self.longest}


def under_load(port: int, messages: Sequence[bytes], happens: Callable[[], object]) -> Load:
    """Ask without a pause, from before ``happens`` is called until after it has returned."""
    seen = Load()

    async def client(number: int, over: asyncio.Event) -> None:
        place = number
        while not over.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            kept = True
            while kept and not over.is_set():
                message = messages[place % len(messages)]
                place += CONNECTIONS
                seen.sent += 1
                began = time.perf_counter()
                try:
                    status, kept, body = await answered(reader, writer, message)
                except (OSError, EOFError) as error:
                    seen.fail(f"{error!r} after {time.perf_counter() - began:.3f} s")
                    break
                seen.longest = max(seen.longest, time.perf_counter() - began)
                if status == 200:
                    seen.answers[message].add(body)
                else:
                    seen.fail(f"status {status}: {body[:200]!r}")
            writer.close()

    async def everybody() -> None:
        over = asyncio.Event()
        clients = [asyncio.create_task(client(number, over)) for number in range(CONNECTIONS)]
        try:
            await asyncio.sleep(SETTLED)
            await asyncio.to_thread(happens)
            await asyncio.sleep(SETTLED)
        finally:
            over.set()
            await asyncio.gather(*clients)

    asyncio.run(everybody())
    return seen


async def answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes
) -> tuple[int, bool, bytes]:
    """Send a message; the status, whether the connection may be used again, and the body. Raises EOFError."""
    writer.write(message)
    head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    length = next((int(line[15:]) for line in head if line.startswith(b"content-length:")), 0)
    return int(head[0].split()[1]), b"connection: close" not in head, await reader.readexactly(length)


def replicas(pid: int) -> list[int]:
    """The replicas among the processes that ``pid`` started, and those started, oldest first."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread or a process that ends meanwhile
            for child in map(int, (task / "children").read_text().split()):
                name = Path(f"/proc/{child}/cmdline").read_bytes()
                found += [child] if name.startswith(b"ray::ServeReplica") else replicas(child)
    return sorted(found)


def kill_one(pid: int) -> None:
    """Kill the newest replica of the service that ``pid`` started, and wait until another is in its place."""
    before = replicas(pid)
    os.kill(before[-1], signal.SIGKILL)
    wait_for(lambda: len(set(replicas(pid)) - {before[-1]}) == len(before))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"it did not happen within {LONGEST:.0f} s")
        time.sleep(0.1)


def throughput(model: Path, seconds: int) -> list[dict[str, Any]]:
    commands = {
        "python -m app": ["app"],
        "python -m app, two workers": ["app", "--workers", "2"],
        "one replica": ["app.cluster", "--replicas", "1"],
        "two replicas": ["app.cluster", "--replicas", "2"],
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = write_bodies(Path(folder), model)
        for name, command in commands.items():
            with serving(command, model) as (_, port, start):
                load(port, plain, CONNECTIONS, 3)
                rows.append({"": name, "start s": start, **load(port, plain, CONNECTIONS, seconds)})
            print(f"{name}: {rows[-1]['requests/s']:,.0f} requests/s", file=sys.stderr, flush=True)
    return rows


def events(model: Path, kills: int) -> dict[str, dict[str, Any]]:
    """What clients saw of kills, of a new model and of a rollout."""
    ids = np.load(model / "customer_ids.npy", mmap_mode="r", allow_pickle=False)
    messages = [posted({"customer_id": ids[row].decode()}) for row in range(min(CUSTOMERS, len(ids)))]
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:  # hard links need one file system
        versions = publish_two(model, Path(folder))
        link = Path(folder) / "model"
        point(link, versions[0])
        settings, port, pid = Settings(model=link, reload_seconds=1, access_log=False), free_port(), os.getpid()
        start(settings, 2, "127.0.0.1", port)
        try:
            first = under_load(port, messages, lambda: None).answers
            for number in range(kills):
                wait_for(lambda: len(replicas(pid)) == 2)
                found[f"kill {number + 1}"] = under_load(port, messages, lambda: kill_one(pid)).facts()

            def publish() -> None:
                point(link, versions[1])
                time.sleep(TAKEN)

            publishing = under_load(port, messages, publish)
            second = under_load(port, messages, lambda: None).answers
            known = {message: first[message] | second[message] for message in messages}
            odd = sum(len(publishing.answers[message] - known[message]) for message in messages)
            found["new model"] = publishing.facts() | {"answers of no version": odd}
            rollout = under_load(port, messages, lambda: start(settings, 2, "127.0.0.1", port))
            found["rollout"] = rollout.facts()
        finally:
            stop()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster_serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="artifacts/model", help="folder of a published model (%(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="of each row (%(default)s)")
    parser.add_argument("--kills", type=int, default=5, help="one after the other (%(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        print("error: wrk is not installed (Debian, Ubuntu: apt install wrk; macOS: brew install wrk)", file=sys.stderr)
        return 1
    model = resolve(options.model).resolve()
    report: dict[str, Any] = {"machine": machine("ray", "fastapi", "uvicorn", "torch", "scann")}
    report["rows"] = throughput(model, options.seconds)
    save(options.json, report)
    print(pd.DataFrame(report["rows"]).set_index("").to_string(float_format="{:,.2f}".format), flush=True)
    report["events"] = events(model, options.kills)
    save(options.json, report)
    seen = pd.DataFrame(list(report["events"].values()), index=list(report["events"]))
    print(seen.to_string(float_format="{:,.2f}".format, na_rep="–"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
