"""Bad months of the service: reloads under load, a killed worker, and odd requests.

    python -m benchmarks.soak [--model artifacts/model] [--reloads 50] [--requests 200000] [--json soak.json]

* reloads: the model and another version of it (purchases count more) take turns under load. Each answer is compared
  with both versions' answers.
* killed: one of two workers is killed under load. Its connections break, the others are answered, and a new worker
  starts.
* odd: valid, invalid and hostile requests, drawn at random. No answer may be a server error, and the process's own
  memory (without the pages of the model's files) may not grow.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.load import (
    CONNECTIONS,
    SETTLED,
    ask,
    exchange,
    memory,
    publish_two,
    ready_version,
    requests_of,
    serving,
    under_load,
    wait_for,
)
from benchmarks.measuring import Run, machine, parser, save, show
from benchmarks.odd_requests import odd_requests
from hm_utils.files import point_link, resolve

CUSTOMERS = 200
PARTS = 10  # memory is measured after each part of the odd requests


def reloads(model: Path, times: int) -> Run:
    messages = requests_of(model, CUSTOMERS)
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:  # hard links need one file system
        versions, link = publish_two(model, Path(folder)), Path(folder) / "model"
        point_link(link, versions[1])
        with serving(["app"], link, HM_RELOAD_SECONDS="0.2") as (pid, port, _):

            def reload(version: Path) -> None:
                point_link(link, version)
                wait_for(lambda: ready_version(port) == version.name, pause=0.05)

            def take_turns() -> None:
                for turn in range(times):
                    reload(versions[(turn + 1) % 2])

            known = [ask(port, messages)]
            reload(versions[0])
            known.insert(0, ask(port, messages))
            before = memory(pid)
            seen = under_load(port, messages, take_turns)
            after = memory(pid)
    return {
        "reloads": times,
        **seen.facts(),
        **seen.by_version(known),
        "memory before GiB": before,
        "memory after GiB": after,
    }


def killed(model: Path, seconds: float) -> Run:
    with serving(["app", "--workers", "2"], model) as (pid, port, _):
        victim = max(workers(pid), key=memory)

        def kill() -> None:
            os.kill(victim, signal.SIGKILL)
            time.sleep(seconds)

        seen = under_load(port, requests_of(model, CUSTOMERS), kill)
        wait_for(lambda: len(workers(pid)) == 2)
        return {
            "sent": seen.sent,
            **{f"status {status}": count for status, count in seen.statuses.items()},
            "broken connections": len(seen.broken),
            "broken longer than a second after the kill": sum(at > SETTLED + 1 for at in seen.broken),
            "workers afterwards": len(workers(pid)),
        }


def workers(pid: int) -> list[int]:
    """The processes that answer: children of the service with a model in them, not Python's resource tracker."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def odd(model: Path, requests: int) -> Run:
    ids = np.load(model / "customer_ids.npy", mmap_mode="r", allow_pickle=False)[:CUSTOMERS]
    articles = pd.read_parquet(model / "articles.parquet", columns=["article_id"])["article_id"][:CUSTOMERS].tolist()
    messages = odd_requests([each.decode() for each in ids], articles)
    statuses: Counter[str] = Counter()
    with serving(["app"], model) as (pid, port, _):

        async def client(number: int) -> None:
            while number:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    while number:
                        number -= 1
                        message = next(messages)
                        status, _, _ = await asyncio.wait_for(exchange(reader, writer, message), 30)
                        statuses[f"status {status}"] += 1
                        if status >= 500 and status != 503:
                            statuses["server errors"] += 1
                            print(f"{status}: {message[:300]!r}", file=sys.stderr)
                except (EOFError, ConnectionError):  # the service may close the connection on what is no HTTP
                    statuses["closed"] += 1
                except TimeoutError:
                    statuses["unanswered"] += 1
                finally:
                    writer.close()

        async def part() -> None:
            await asyncio.gather(*(client(requests // PARTS // CONNECTIONS) for _ in range(CONNECTIONS)))

        own = []
        for _ in range(PARTS):
            asyncio.run(part())
            own.append(round(1024 * memory(pid, "Anonymous"), 1))
        return {"server errors": 0, **statuses, "own memory after each tenth, MiB": own, "memory GiB": memory(pid)}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("soak", __doc__, model=True)
    options.add_argument("--reloads", type=int, default=50, help="number of reloads (%(default)s)")
    options.add_argument("--requests", type=int, default=200_000, help="number of odd requests (%(default)s)")
    options.add_argument("--seconds", type=float, default=10, help="load after the kill (%(default)s)")
    chosen = options.parse_args(arguments)
    model = resolve(chosen.model).resolve()
    report: Run = {"machine": machine("fastapi", "uvicorn")}
    parts = {"reloads": partial(reloads, model, chosen.reloads), "killed": partial(killed, model, chosen.seconds)}
    for name, part in (parts | {"odd": partial(odd, model, chosen.requests)}).items():
        report[name] = part()
        save(chosen.json, report)
        show(f"{chosen.model}: {name}", pd.Series(report[name], dtype=object).to_frame(""), report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
