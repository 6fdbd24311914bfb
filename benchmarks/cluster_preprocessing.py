"""From raw tables in parts to the preprocessed folder: workers of a cluster beside one machine's way.

    python -m hm_utils.sample --size full --out data/full
    python -m benchmarks.cluster_preprocessing --data-dir data/full [--parts 16] [--workers 1 2] [--json out.json]

The purchases are cut into CSV parts first. Every row does all of notebook 02's work with its default parameters, in a
process of its own and with the files in the page cache:

* one machine: `raw.read_raw` and `preprocessing.preprocess` on the uncut tables, with threads of its own.
* Ray: `cluster.reading.read_raw` and `cluster.preprocessing.preprocess` on the parts, with so many tasks at once, each
  of one core, on a Ray of this machine. What Ray takes to start is told apart, and the peak is the driver's alone.

The rows must make the same files; the last line says whether they did.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.measuring import machine, measured, save
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.files import resolve
from hm_utils.pipeline.notebook_facts import peak_gib

FILES = ("articles.csv", "customers.csv", "transactions_train.csv")
OBJECT_STORE = 4 << 30  # bytes, of the Ray that is started

logger = logging.getLogger(__name__)


def on_one_machine(folder: Path, out: Path) -> dict[str, Any]:
    """Preprocess ``folder`` into ``out`` as notebook 02 does."""
    from hm_utils.data.preprocessing import preprocess
    from hm_utils.data.raw import read_raw

    start = time.perf_counter()
    tables = read_raw(folder)
    read = time.perf_counter()
    return told(preprocess(tables, out), start, read)


def on_ray(folder: Path, out: Path, num_workers: int) -> dict[str, Any]:
    """The same with ``engine="ray"``."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    from hm_utils.cluster.preprocessing import preprocess
    from hm_utils.cluster.reading import read_raw

    began = time.perf_counter()
    ray.init(num_cpus=num_workers, include_dashboard=False, log_to_driver=False, object_store_memory=OBJECT_STORE)
    start = time.perf_counter()
    tables = read_raw(folder, num_workers)
    read = time.perf_counter()
    facts = told(preprocess(tables, out), start, read)
    ray.shutdown()
    return {**facts, "starting Ray": start - began}


def told(data: Preprocessed, start: float, read: float) -> dict[str, Any]:
    """What a row says of itself."""
    seconds = time.perf_counter() - start
    files = json.dumps(data.manifest["files"], sort_keys=True)
    purchases = data.manifest["counts"]["purchases"]
    return {
        "seconds": seconds,
        "reading": read - start,
        "the rest": seconds - (read - start),
        "purchases/s": purchases / seconds,
        "purchases": purchases,
        "files": hashlib.sha256(files.encode()).hexdigest()[:16],
        "peak GiB": peak_gib(),
    }


def cut(folder: Path, out: Path, parts: int) -> None:
    """The tables of ``folder``, the purchases in ``parts`` files of whole lines."""
    (out / "transactions_train").mkdir(parents=True)
    for name in FILES[:2]:
        (out / name).symlink_to(folder / name)
    with (folder / FILES[2]).open("rb") as log:
        header = log.readline()
        size = (folder / FILES[2]).stat().st_size
        for i in range(parts):
            with (out / "transactions_train" / f"part-{i:05}.csv").open("wb") as part:
                part.write(header)
                end = size * (i + 1) // parts
                while log.tell() < end and (block := log.read(min(1 << 24, end - log.tell()))):
                    part.write(block)
                part.write(log.readline())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster_preprocessing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", default="data/full", help="folder of the three CSV files (%(default)s)")
    parser.add_argument("--parts", type=int, default=16, help="that the purchases are cut into (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="a row each (%(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    folder = resolve(options.data_dir)
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        print(f"error: {folder} has no {', '.join(missing)}", file=sys.stderr)
        return 1
    if find_spec("ray") is None:
        print("error: Ray is not installed: `make cluster-env`", file=sys.stderr)
        return 1
    rows: dict[str, dict[str, Any]] = {}
    report = {"parts": options.parts, "machine": machine("numpy", "pandas", "pyarrow", "ray"), "rows": rows}
    with tempfile.TemporaryDirectory() as scratch:
        parts, out = Path(scratch) / "parts", Path(scratch) / "preprocessed"
        cut(folder, parts, options.parts)
        calls: dict[str, tuple[Any, ...]] = {"one machine": (on_one_machine, folder, out)}
        calls |= {f"Ray, {n} worker{'s' * (n > 1)}": (on_ray, parts, out, n) for n in options.workers}
        for name, call in calls.items():
            try:
                rows[name] = measured(*call)
            except RuntimeError as error:
                rows[name] = {"error": str(error)}
            shutil.rmtree(out, ignore_errors=True)
            logger.info("%s: %s", name, rows[name])
            save(options.json, report)
    print(f"\n{options.parts} parts; peak: of the process, under Ray of the driver alone.\n")
    table = pd.DataFrame.from_dict(rows, orient="index").drop(columns=["files", "error"], errors="ignore")
    print(table.to_string(float_format="{:,.2f}".format, na_rep="–"))
    for name, row in rows.items():
        if "error" in row:
            print(f"\ndied: {name}: {row['error']}")
    made = {row["files"] for row in rows.values() if "files" in row}
    print(f"\nthe rows made {'the same files' if len(made) == 1 else 'DIFFERENT files'}")
    return 0 if len(made) == 1 and not any("error" in row for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
