"""The service on Ray Serve: requests a second beside `python -m app`, and failures during kills and rollouts.

    python -m benchmarks.cluster_serving [--model artifacts/model] [--seconds 10] [--json cluster_serving.json]

`wrk` sends as in `benchmarks.serving`, 16 at once, to one and two workers and to one and two replicas. The client is on
the same machine. Then 16 clients ask two replicas without a pause during these events:

* kill: the newest replica is killed (SIGKILL), five times, each after the one before has been replaced.
* new model: another version of the model is published, and each replica loads it. Each answer is compared with both
  versions' answers.
* rollout: the service is deployed again, and Serve replaces the replicas one by one.

A client opens a new connection when the service asks for it. A request has failed without a whole answer of status 200.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd

from app.cluster.__main__ import start, stop
from app.settings import Settings
from benchmarks.load import ask, free_port, publish_two, requests_of, serving, under_load, wait_for
from benchmarks.measuring import Run, machine, parser, save, show
from benchmarks.serving import NO_WRK, load, write_bodies
from hm_utils.files import point_link, resolve

TAKEN = 15.0  # seconds after which every replica has a new model
KILLS = 5
SERVICES = {
    "python -m app": ["app"],
    "python -m app, two workers": ["app", "--workers", "2"],
    "one replica": ["app.cluster", "--replicas", "1"],
    "two replicas": ["app.cluster", "--replicas", "2"],
}


def replicas(pid: int) -> list[int]:
    """The replicas among the descendants of the process ``pid``, oldest first."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread or a process that ends meanwhile
            for child in map(int, (task / "children").read_text().split()):
                name = Path(f"/proc/{child}/cmdline").read_bytes()
                found += [child] if name.startswith(b"ray::ServeReplica") else replicas(child)
    return sorted(found)


def kill_one(pid: int) -> None:
    """Kill the newest replica of the service that ``pid`` started, and wait for its replacement."""
    before = replicas(pid)
    os.kill(before[-1], signal.SIGKILL)
    wait_for(lambda: len(set(replicas(pid)) - {before[-1]}) == len(before))


def throughput(model: Path, seconds: int) -> dict[str, Run]:
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = write_bodies(Path(folder), model)
        for name, command in SERVICES.items():
            with serving(command, model) as (_, port, began):
                load(port, plain, 16, 3)
                rows[name] = {"start s": began, **load(port, plain, 16, seconds)}
    return rows


def events(model: Path) -> dict[str, Run]:
    """What clients saw of kills, of a new model and of a rollout."""
    messages, found = requests_of(model), {}
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:  # hard links need one file system
        versions, link = publish_two(model, Path(folder)), Path(folder) / "model"
        point_link(link, versions[0])
        settings, port, pid = Settings(model=link, reload_seconds=1, access_log=False), free_port(), os.getpid()

        def publish() -> None:
            point_link(link, versions[1])
            time.sleep(TAKEN)

        start(settings, 2, "127.0.0.1", port)
        try:
            first = ask(port, messages)
            for number in range(KILLS):
                wait_for(lambda: len(replicas(pid)) == 2)
                found[f"kill {number + 1}"] = under_load(port, messages, lambda: kill_one(pid)).facts()
            seen = under_load(port, messages, publish)
            found["new model"] = seen.facts() | seen.by_version([first, ask(port, messages)])
            found["rollout"] = under_load(port, messages, lambda: start(settings, 2, "127.0.0.1", port)).facts()
        finally:
            stop()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("cluster_serving", __doc__, model=True)
    options.add_argument("--seconds", type=int, default=10, help="load of each row (%(default)s)")
    chosen = options.parse_args(arguments)
    if shutil.which("wrk") is None:
        print(NO_WRK, file=sys.stderr)
        return 1
    model = resolve(chosen.model).resolve()
    report: Run = {"machine": machine("ray", "fastapi", "uvicorn", "torch", "scann")}
    for name, part in {
        "throughput": partial(throughput, model, chosen.seconds),
        "events": partial(events, model),
    }.items():
        report[name] = part()
        save(chosen.json, report)
        show(f"{chosen.model}: {name}", pd.DataFrame.from_dict(report[name], orient="index"), report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
