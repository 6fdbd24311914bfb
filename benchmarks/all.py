"""Every benchmark of speed, one after the other, on a synthetic set of one size.

    python -m benchmarks.all [--size full] [--output artifacts/benchmarks] [--model artifacts/model] [--only reading …]

The set is made in ``data/<size>`` if it is not there. Each stage prints its table and writes ``<output>/<stage>.json``;
a stage that fails is named at the end, and the others go on. Nothing else should run on the machine. `--only` and
`python -m benchmarks.<stage> --help` run and explain one stage alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hm_utils.files import resolve
from hm_utils.sample import SIZES, write_sample


def commands(data: Path, model: Path, size: str) -> dict[str, list[str]]:
    """What each stage is started with, after ``python -m benchmarks.``."""
    growth = ["growth"] if size == "full" else ["growth", "--rows", "0.1", "0.3", "1"]
    return {
        "reading": ["reading", "--data-dir", str(data)],
        "cluster_preprocessing": ["cluster_preprocessing", "--data-dir", str(data)],
        "training": ["training", "--data-dir", str(data)],
        "cluster_training": ["cluster_training", "--data-dir", str(data)],
        "search": ["search", "--model", str(model)],
        "recommending": ["recommending", "--model", str(model)],
        "serving": ["serving", "--model", str(model)],
        "cluster_serving": ["cluster_serving", "--model", str(model)],
        "soak": ["soak", "--model", str(model)],
        "page": ["page", "--model", str(model)],
        "growth": growth,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.all", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = list(commands(Path(), Path(), "full"))
    parser.add_argument("--size", choices=list(SIZES), default="full", help="of the synthetic set (%(default)s)")
    parser.add_argument("--model", default="artifacts/model", help="published model to search (%(default)s)")
    parser.add_argument("--output", default="artifacts/benchmarks", help="folder of the JSON files (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=stages, default=stages, help="stages to run (all)")
    options = parser.parse_args(arguments)
    data, model, output = resolve(f"data/{options.size}"), resolve(options.model), resolve(options.output)
    output.mkdir(parents=True, exist_ok=True)
    if not (data / "sample.json").exists():
        write_sample(data, options.size, progress=True)
    failed = []
    for stage, command in commands(data, model, options.size).items():
        if stage not in options.only:
            continue
        print(f"\n==== {stage} ====\n", flush=True)
        result = output / f"{stage}.json"
        finished = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:], "--json", str(result)]
        )
        if finished.returncode:
            failed.append(stage)
    if failed:
        print(f"\nfailed: {', '.join(failed)}; what each says is above", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
