"""What the service goes through in bad months: reloads, a killed worker, and odd requests by the hundred thousand.

    python -m benchmarks.soak --model artifacts/model [--reloads 50] [--requests 200000] [--json soak.json]

* reloads: the model and another version of it (purchases count more) take turns under load. Each answer is compared
  with what each version says of that customer: it must be all of one of them.
* killed: of two workers, one is killed under load. Its connections break; everybody else is answered, and a new worker
  comes.
* odd requests: valid, invalid and hostile ones, drawn at random. No answer may be a server's error, and the process's
  own memory (without the pages of the model's files) may not grow.

Everything is bounded in number and time, and goes to loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.measuring import machine, save
from benchmarks.odd_requests import odd_requests
from benchmarks.serving import exchange, memory, posted, serving
from hm_utils.files import resolve
from hm_utils.serving import bundle
from hm_utils.serving.recommender import Recommender

CONNECTIONS = 8
ASKED, CUSTOMERS = 2_000, 200  # customers looked at, and those whose answers tell one version from the other
LONGEST = 600.0  # seconds of any part
PARTS = 10  # of the odd requests: memory is measured after each

Answers = dict[str, list[dict[str, Any]]]  # each customer's list


# ---- reloads ---------------------------------------------------------------------------------------


def publish_two(model: Path, artifacts: Path) -> tuple[Path, Path]:
    """Two versions of a model in ``artifacts``, the second with another weight of purchases; files are hard links."""

    def write(more: float) -> Callable[[Path], dict[str, Any]]:
        def written(folder: Path) -> dict[str, Any]:
            shutil.copytree(model, folder, copy_function=os.link, dirs_exist_ok=True)
            manifest = json.loads((folder / bundle.MANIFEST).read_text())
            (folder / bundle.MANIFEST).unlink()
            recommender = Recommender.open(folder, {})
            scoring = replace(recommender.scoring, bought=recommender.scoring.bought + more)
            (folder / "scoring.json").unlink()
            (folder / "scoring.json").write_text(json.dumps(asdict(scoring)))
            golden = Recommender.open(folder, {}).golden(range(3))
            return {name: manifest[name] for name in bundle.FACTS} | {"golden": golden}

        return written

    first, second = (bundle.publish(artifacts, write(more)) for more in (0.0, 1.0))
    return first, second


def answers_of(folder: Path, rows: Sequence[int]) -> Answers:
    model = Recommender.load(folder)
    articles, scores = model.recommend(model.customers(np.asarray(rows)), 10)
    return {
        model.customer_ids[row].decode(): [
            {"article_id": str(model.article_ids[article]), "score": score, "rank": rank}
            for rank, (article, score) in enumerate(zip(found.tolist(), their.tolist(), strict=True), start=1)
            if article >= 0
        ]
        for row, found, their in zip(rows, articles, scores, strict=True)
    }


def reloads(model: Path, times: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:  # hard links need one file system
        versions = publish_two(model, Path(folder))
        bought = np.diff(np.load(model / "log" / "offsets.npy", mmap_mode="r", allow_pickle=False)) > 0
        asked = min(ASKED, int(bought.sum()))
        rows = np.random.default_rng(0).choice(np.flatnonzero(bought), asked, replace=False).tolist()
        one, other = (answers_of(version, rows) for version in versions)
        telling = [customer for customer in one if not same(one[customer], other[customer])][:CUSTOMERS]
        if not telling:
            raise RuntimeError("the two versions say the same of every customer: which one answers cannot be told")
        known = [{customer: answers[customer] for customer in telling} for answers in (one, other)]
        link = Path(folder) / "model"
        with setting("HM_RELOAD_SECONDS", "0.2"), serving(["app"], link) as (pid, port, _):
            before = memory(pid)
            counted = asyncio.run(_reload_under_load(port, link, versions, known, times))
            return {**counted, "memory before GiB": before, "memory after GiB": memory(pid)}


async def _reload_under_load(
    port: int, link: Path, versions: tuple[Path, Path], known: Sequence[Answers], times: int
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    customers, over = list(known[0]), asyncio.Event()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        place = number
        while not over.is_set():
            customer = customers[place % len(customers)]
            place += CONNECTIONS
            status, body = await exchange(reader, writer, posted({"customer_id": customer, "top_k": 10}))
            if status != 200:
                counts[f"status {status}"] += 1
                continue
            said = json.loads(body)["recommendations"]
            agreeing = [i for i, answers in enumerate(known) if same(said, answers[customer])]
            counts[f"answers of version {agreeing[0] + 1}" if agreeing else "answers of no version"] += 1
        writer.close()

    async def reloader() -> None:
        end = time.monotonic() + LONGEST
        try:
            for turn in tqdm(range(1, times + 1), "reloads"):
                point(link, versions[turn % 2])
                while await served(port) != versions[turn % 2].name:
                    if time.monotonic() > end:
                        raise TimeoutError(f"reload {turn} of {times} was not over after {LONGEST:.0f} s")
                    await asyncio.sleep(0.05)
                counts["reloads"] += 1
        finally:
            over.set()

    point(link, versions[0])
    results = await asyncio.gather(*map(client, range(CONNECTIONS)), reloader(), return_exceptions=True)
    counts["broken connections"] = sum(isinstance(each, OSError | EOFError) for each in results)
    for each in results:
        if isinstance(each, BaseException) and not isinstance(each, OSError | EOFError):
            raise each
    return dict(counts)


def same(said: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """The same articles in the same order, with the same scores but for a decimal's rounding."""
    return [item["article_id"] for item in said] == [item["article_id"] for item in expected] and all(
        abs(mine["score"] - theirs["score"]) < 1e-4 for mine, theirs in zip(said, expected, strict=True)
    )


def point(link: Path, version: Path) -> None:
    """Swap the link as a publication does."""
    new = link.with_name("model.new")
    new.symlink_to(version)
    new.replace(link)


async def served(port: int) -> str | None:
    """The version that answers now."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _, body = await exchange(reader, writer, b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
    writer.close()
    version: str | None = json.loads(body).get("version")
    return version


@contextmanager
def setting(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


# ---- a killed worker -------------------------------------------------------------------------------


def killed(model: Path, seconds: float) -> dict[str, Any]:
    ids = np.load(model / "customer_ids.npy", mmap_mode="r", allow_pickle=False)
    bodies = [posted({"customer_id": ids[row].decode(), "top_k": 10}) for row in range(min(CUSTOMERS, len(ids)))]
    with serving(["app", "--workers", "2"], model) as (pid, port, _):
        victim = max(workers(pid), key=memory)
        counts: Counter[str] = Counter()
        broken: list[float] = []

        async def client(number: int, begin: float) -> None:
            while time.monotonic() < begin + seconds:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    while time.monotonic() < begin + seconds:
                        status, _ = await exchange(reader, writer, bodies[(number + counts["sent"]) % len(bodies)])
                        counts["sent"] += 1
                        counts[f"status {status}"] += 1
                    writer.close()
                except (OSError, EOFError):
                    broken.append(time.monotonic() - begin)

        async def everybody() -> None:
            begin = time.monotonic()
            clients = [asyncio.create_task(client(number, begin)) for number in range(2 * CONNECTIONS)]
            await asyncio.sleep(seconds / 4)
            os.kill(victim, signal.SIGKILL)
            await asyncio.gather(*clients)

        asyncio.run(everybody())
        end = time.monotonic() + 60
        while len(workers(pid)) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        return {
            **counts,
            "broken connections": len(broken),
            "broken longer than a second after the kill": sum(at > seconds / 4 + 1 for at in broken),
            "workers afterwards": len(workers(pid)),
        }


def workers(pid: int) -> list[int]:
    """The processes that answer: children of the service with a model in them, not Python's resource tracker."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


# ---- odd requests ----------------------------------------------------------------------------------


def odd(model: Path, requests: int) -> dict[str, Any]:
    ids = np.load(model / "customer_ids.npy", mmap_mode="r", allow_pickle=False)
    customers = [ids[row].decode() for row in range(min(CUSTOMERS, len(ids)))]
    articles = pd.read_parquet(model / "articles.parquet", columns=["article_id"])["article_id"][:CUSTOMERS].tolist()
    messages = odd_requests(customers, articles)
    statuses: Counter[str] = Counter()
    with serving(["app"], model) as (pid, port, _):

        async def client(number: int, bar: tqdm[Any]) -> None:
            while number:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    while number:
                        number -= 1
                        bar.update()
                        message = next(messages)
                        status, _ = await asyncio.wait_for(exchange(reader, writer, message), 30)
                        statuses[str(status)] += 1
                        if status >= 500 and status != 503:
                            print(f"{status}: {message[:300]!r}", file=sys.stderr)
                except (EOFError, ConnectionError):  # the service may hang up on what is no HTTP
                    statuses["closed"] += 1
                except TimeoutError:
                    statuses["unanswered"] += 1
                finally:
                    writer.close()

        async def send(count: int, bar: tqdm[Any]) -> None:
            await asyncio.gather(*(client(count // CONNECTIONS, bar) for _ in range(CONNECTIONS)))

        own = []
        with tqdm(total=requests, desc="odd requests") as bar:
            for _ in range(PARTS):
                asyncio.run(send(requests // PARTS, bar))
                own.append(memory(pid, "Anonymous"))
        resident = memory(pid)
    errors = sum(count for status, count in statuses.items() if status[0] == "5" and status != "503")
    return {
        **{f"status {status}": count for status, count in sorted(statuses.items())},
        "server errors": errors,
        "own memory after each tenth, MiB": [round(1024 * gib, 1) for gib in own],
        "resident memory at the end GiB": resident,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="artifacts/model", help="folder of a published model (%(default)s)")
    parser.add_argument("--reloads", type=int, default=50, help="(%(default)s)")
    parser.add_argument("--requests", type=int, default=200_000, help="odd ones (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="of load around the kill (%(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    model = resolve(options.model).resolve()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "reloads": lambda: reloads(model, options.reloads),
        "killed": lambda: killed(model, options.seconds),
        "odd": lambda: odd(model, options.requests),
    }
    report: dict[str, Any] = {"machine": machine("fastapi", "uvicorn")}
    for name, part in parts.items():
        report[name] = part()
        save(options.json, report)
        print(f"\n{name}\n{pd.Series(report[name], dtype=object).to_string()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
