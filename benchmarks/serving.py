"""How the service stands load: requests a second, latency, memory and start, beside the usual design.

    python -m benchmarks.serving --model artifacts/model [--seconds 10] [--json serving.json]

`wrk` (a package of Debian's and others) sends `POST /recommend` on loopback, for customers drawn at random, after a
warm-up of a few seconds. One worker, with its access log, as `make serve` starts it, and the client beside it on the
same machine.

* one at a time, 16 at once: known customers, ten articles each.
* excluding: the same, with a few articles left out.
* overload: four times as many connections as requests that the service lets in. The percentiles are of the answers
  that are no refusals; ``recovered`` is the median latency of single requests right after it.
* usual: what such a service often is (`benchmarks.usual_service`): the customer is looked for in a DataFrame, then
  torch and the same ScaNN index, in a thread; leaving out articles builds a dictionary of the catalogue.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measuring import machine, save
from hm_utils.files import resolve

BODIES = 20_000
EXCLUDED = 5
IN_FLIGHT = 24  # the service's default
WRK = """
local bodies, at = {}, 0
for line in io.lines("FILE") do bodies[#bodies + 1] = line end
request = function()
  at = at % #bodies + 1
  return wrk.format("POST", "/recommend", {["Content-Type"] = "application/json"}, bodies[at])
end
refused, failed = 0, 0
response = function(status)
  if status == 503 then refused = refused + 1 elseif status ~= 200 then failed = failed + 1 end
end
local threads = {}
setup = function(thread) threads[#threads + 1] = thread end
done = function(summary, latency)
  local refused, failed = 0, 0
  for _, thread in ipairs(threads) do
    refused, failed = refused + thread:get("refused"), failed + thread:get("failed")
  end
  local e = summary.errors
  failed = failed + e.connect + e.read + e.write + e.timeout
  local form = '\\nJSON{"requests": %d, "us": %d, "refused": %d, "failed": %d, "p50": %f, "p99": %f, "p99.9": %f}\\n'
  io.write(string.format(form, summary.requests, summary.duration, refused, failed,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


@contextmanager
def serving(command: Sequence[str], model: Path) -> Iterator[tuple[int, int, float]]:
    """Start a service on a free port; yields its process id, its port, and the seconds until it was ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HM_MODEL": str(model), "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", str(port)],
        env=environment,
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


def ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def load(port: int, bodies: Path, connections: int, seconds: int) -> dict[str, Any]:
    """What wrk measures; latencies in milliseconds."""
    script = bodies.with_suffix(".lua")
    script.write_text(WRK.replace("FILE", str(bodies)))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    said = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True).stdout
    found = json.loads(said.partition("JSON")[2])
    answered = found["requests"] - found["refused"]
    return {
        "requests/s": answered / found["us"] * 1e6,
        **{f"{name} ms": found[name] / 1e3 for name in ("p50", "p99", "p99.9")},
        "refused": found["refused"],
        "failed": found["failed"],
    }


def posted(body: Any, path: str = "/recommend") -> bytes:
    """The whole message of a POST."""
    text = json.dumps(body).encode()
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(text), text)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> tuple[int, bytes]:
    """Send a message and read the answer, its status and its body. Raises EOFError if the other side hangs up."""
    writer.write(message)
    head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    length = next((int(line[15:]) for line in head if line.startswith(b"content-length:")), 0)
    bodiless = message.startswith(b"HEAD ")
    return int(head[0].split()[1]), b"" if bodiless else await reader.readexactly(length)


def accepted(port: int, bodies: Path, connections: int, seconds: float) -> dict[str, Any]:
    """As :func:`load`, from this process, to tell the latency of what is answered from that of refusals."""
    messages = [posted(json.loads(line)) for line in bodies.read_text().splitlines()]
    took: list[float] = []
    refused = failed = 0

    async def client(number: int, end: float) -> None:
        nonlocal refused, failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        place = number
        while time.perf_counter() < end:
            message = messages[place % len(messages)]
            place += connections
            began = time.perf_counter()
            status, _ = await exchange(reader, writer, message)
            if status == 200:
                took.append(time.perf_counter() - began)
            elif status == 503:
                refused += 1
                await asyncio.sleep(0.05)  # a client that is told to come back does not come back at once
            else:
                failed += 1
        writer.close()

    async def everybody() -> None:
        end = time.perf_counter() + seconds
        results = await asyncio.gather(*(client(i, end) for i in range(connections)), return_exceptions=True)
        nonlocal failed
        failed += sum(isinstance(each, BaseException) for each in results)

    asyncio.run(everybody())
    p50, p99, p999 = np.percentile(took, [50, 99, 99.9]) * 1e3
    return {
        "requests/s": len(took) / seconds,
        "p50 ms": p50,
        "p99 ms": p99,
        "p99.9 ms": p999,
        "refused": refused,
        "failed": failed,
    }


def memory(pid: int, kind: str = "Pss") -> float:
    """GiB that a process and its children hold, shared pages divided among those who share them.

    Args:
        kind: the line of ``smaps_rollup`` to read: "Anonymous" leaves out the pages of mapped files, which come and go
            as the system likes.
    """
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 2**20
    return own + sum(memory(int(child), kind) for child in tasks)


def write_bodies(folder: Path, model: Path) -> tuple[Path, Path]:
    """Files of request bodies, a line each: plain, and with articles to leave out."""
    rng = np.random.default_rng(0)
    ids = np.load(model / "customer_ids.npy", mmap_mode="r", allow_pickle=False)
    customers = [ids[row].decode() for row in rng.integers(len(ids), size=BODIES)]
    articles = pd.read_parquet(model / "articles.parquet", columns=["article_id"])["article_id"].to_numpy()
    plain = [{"customer_id": customer, "top_k": 10} for customer in customers]
    excluding = [{**body, "exclude_items": rng.choice(articles, EXCLUDED).tolist()} for body in plain]
    for name, bodies in (("plain", plain), ("excluding", excluding)):
        (folder / f"{name}.txt").write_text("\n".join(map(json.dumps, bodies)))
    return folder / "plain.txt", folder / "excluding.txt"


def measure(model: Path, seconds: int, usual: bool) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The rows of the table, and start and memory."""
    rows: list[dict[str, Any]] = []

    def row(name: str, found: dict[str, Any]) -> None:
        rows.append({"": name, **found})
        print(f"{name}: {found['requests/s']:,.0f} requests/s", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        plain, excluding = write_bodies(Path(folder), model)
        with serving(["app"], model) as (pid, port, start):
            load(port, plain, 16, 3)
            row("one at a time", load(port, plain, 1, seconds))
            row("16 at once", load(port, plain, 16, seconds))
            row("16 at once, excluding", load(port, excluding, 16, seconds))
            one = memory(pid)
            row("overload", accepted(port, plain, 4 * IN_FLIGHT, seconds))
            row("recovered", load(port, plain, 1, 1))
        with serving(["app", "--workers", "2"], model) as (pid, port, _):
            load(port, plain, 16, 5)
            two = memory(pid)
        if usual:
            with serving(["benchmarks.usual_service"], model) as (_, port, _):
                load(port, plain, 4, 3)
                row("usual, one at a time", load(port, plain, 1, seconds))
                row("usual, 16 at once", load(port, plain, 16, seconds))
                row("usual, excluding", load(port, excluding, 16, seconds))
    return rows, {"start s": start, "memory of one worker GiB": one, "of two GiB": two}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="artifacts/model", help="folder of a published model (%(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="of each row (%(default)s)")
    parser.add_argument("--no-usual", action="store_true", help="leave the usual design out")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        print("error: wrk is not installed (Debian, Ubuntu: apt install wrk; macOS: brew install wrk)", file=sys.stderr)
        return 1
    rows, facts = measure(resolve(options.model).resolve(), options.seconds, not options.no_usual)
    table = pd.DataFrame(rows).set_index("")
    save(options.json, {"machine": machine("fastapi", "uvicorn", "torch", "scann"), "rows": rows, **facts})
    print(table.to_string(float_format="{:,.2f}".format))
    print(pd.Series(facts).round(2).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
