"""The service under load: requests a second, latency, memory and start, beside the usual design.

    python -m benchmarks.serving [--model artifacts/model] [--seconds 10] [--json serving.json]

`wrk` (a package of Debian's and others) sends `POST /recommend` on loopback, for customers drawn at random, after a
warm-up of a few seconds. One worker with its access log, as `make serve` starts it; the client is on the same machine.

* one at a time, 16 at once: known customers, ten articles each.
* excluding: the same, with five articles excluded.
* overload: four times as many connections as requests that the service accepts at once. The percentiles are of accepted
  requests. "recovered" is one connection right after it.
* usual: `benchmarks.usual_service`, a DataFrame scan, torch and the same index in a thread.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.load import Load, memory, posted, serving, under_load
from benchmarks.measuring import Run, machine, parser, save, show
from hm_utils.files import resolve

BODIES = 20_000
EXCLUDED = 5
IN_FLIGHT = 24  # a limit that the clients of the overload exceed
NO_WRK = "error: wrk is not installed (Debian, Ubuntu: apt install wrk; macOS: brew install wrk)"
WRK = """
local bodies, at = {}, 0
for line in io.lines("FILE") do bodies[#bodies + 1] = line end
request = function()
  at = at % #bodies + 1
  return wrk.format("POST", "/recommend", {["Content-Type"] = "application/json"}, bodies[at])
end
failed = 0
response = function(status) if status ~= 200 then failed = failed + 1 end end
local threads = {}
setup = function(thread) threads[#threads + 1] = thread end
done = function(summary, latency)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.timeout
  for _, thread in ipairs(threads) do failed = failed + thread:get("failed") end
  io.write(string.format('\\nJSON{"requests": %d, "us": %d, "failed": %d, "p50": %f, "p99": %f, "p99.9": %f}\\n',
    summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


def load(port: int, bodies: Path, connections: int, seconds: int) -> Run:
    """The figures of wrk; latencies in milliseconds."""
    script = bodies.with_suffix(".lua")
    script.write_text(WRK.replace("FILE", str(bodies)))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    output = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True).stdout
    found = json.loads(output.partition("JSON")[2])
    latencies = {f"{name} ms": found[name] / 1e3 for name in ("p50", "p99", "p99.9")}
    return {"requests/s": found["requests"] / found["us"] * 1e6, **latencies, "refused": 0, "failed": found["failed"]}


def overload(port: int, bodies: Path, connections: int, seconds: float) -> Run:
    """As :func:`load`, but refusals (503) count apart, and the figures are of the accepted requests."""
    messages = [posted(json.loads(line)) for line in bodies.read_text().splitlines()]
    seen: Load = under_load(port, messages, lambda: time.sleep(seconds), connections, settled=0.0)
    percentiles = dict(
        zip(("p50 ms", "p99 ms", "p99.9 ms"), np.percentile(seen.took, [50, 99, 99.9]) * 1e3, strict=True)
    )
    refused = seen.statuses[503]
    return {
        "requests/s": len(seen.took) / seconds, **percentiles, "refused": refused, "failed": seen.failed - refused
    }  # fmt: skip


def write_bodies(folder: Path, model: Path) -> tuple[Path, Path]:
    """Files of request bodies, a line each: plain, and with articles to exclude."""
    rng = np.random.default_rng(0)
    ids = np.load(model / "customer_ids.npy", mmap_mode="r", allow_pickle=False)
    customers = [ids[row].decode() for row in rng.integers(len(ids), size=BODIES)]
    articles = pd.read_parquet(model / "articles.parquet", columns=["article_id"])["article_id"].to_numpy()
    plain = [{"customer_id": customer, "top_k": 10} for customer in customers]
    excluding = [{**body, "exclude_items": rng.choice(articles, EXCLUDED).tolist()} for body in plain]
    for name, bodies in (("plain", plain), ("excluding", excluding)):
        (folder / f"{name}.txt").write_text("\n".join(map(json.dumps, bodies)))
    return folder / "plain.txt", folder / "excluding.txt"


def measure(model: Path, seconds: int) -> tuple[dict[str, Run], dict[str, float]]:
    """The rows of the table; start and memory."""
    with tempfile.TemporaryDirectory() as folder:
        plain, excluding = write_bodies(Path(folder), model)
        with serving(["app"], model, HM_MAX_IN_FLIGHT=str(IN_FLIGHT)) as (pid, port, start):
            load(port, plain, 16, 3)
            rows = {
                "one at a time": load(port, plain, 1, seconds),
                "16 at once": load(port, plain, 16, seconds),
                "16 at once, excluding": load(port, excluding, 16, seconds),
            }
            one = memory(pid)
            rows["overload"] = overload(port, plain, 4 * IN_FLIGHT, seconds)
            rows["recovered"] = load(port, plain, 1, 1)
        with serving(["app", "--workers", "2"], model) as (pid, port, _):
            load(port, plain, 16, 5)
            two = memory(pid)
        with serving(["benchmarks.usual_service"], model) as (_, port, _):
            load(port, plain, 4, 3)
            rows["usual, one at a time"] = load(port, plain, 1, seconds)
            rows["usual, 16 at once"] = load(port, plain, 16, seconds)
            rows["usual, excluding"] = load(port, excluding, 16, seconds)
    return rows, {"start s": start, "memory of one worker GiB": one, "of two GiB": two}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("serving", __doc__, model=True)
    options.add_argument("--seconds", type=int, default=10, help="load of each row (%(default)s)")
    chosen = options.parse_args(arguments)
    if shutil.which("wrk") is None:
        print(NO_WRK, file=sys.stderr)
        return 1
    report: Run = {"machine": machine("fastapi", "uvicorn", "torch", "scann")}
    rows, facts = measure(resolve(chosen.model).resolve(), chosen.seconds)
    save(chosen.json, report | {"rows": rows} | facts)
    heading = ", ".join(f"{name} {value:.2f}" for name, value in facts.items())
    return show(f"{chosen.model}: {heading}", pd.DataFrame.from_dict(rows, orient="index"), report)


if __name__ == "__main__":
    sys.exit(main())
