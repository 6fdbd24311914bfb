"""Every benchmark of speed, one after the other, on a synthetic set of one size.

    python -m benchmarks.all [--size full] [--output artifacts/benchmarks] [--model artifacts/model] [--only reading …]

The set is made in ``data/<size>`` if it is missing. Each stage prints its table and writes ``<output>/<stage>.json``. A
stage that fails is named at the end, and the others go on. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from hm_utils.files import resolve
from hm_utils.sample import SIZES, write_sample

# The arguments of ``python -m benchmarks.<first>``.
STAGES = {
    "reading": "reading --data-dir {data}",
    "cluster_reading": "reading --data-dir {data} --only ours ray",
    "training": "training --data-dir {data}",
    "cluster_training": "training --data-dir {data} --only ours ray",
    "search": "search --model {model}",
    "recommending": "recommending --model {model}",
    "serving": "serving --model {model}",
    "cluster_serving": "cluster_serving --model {model}",
    "edge": "edge --model {model}",
    "soak": "soak --model {model}",
    "page": "page --model {model}",
    "growth": "growth --rows {rows}",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.all", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=list(SIZES), default="full", help="size of the synthetic set (%(default)s)")
    parser.add_argument("--model", default="artifacts/model", help="folder of a published model (%(default)s)")
    parser.add_argument("--output", default="artifacts/benchmarks", help="folder of the JSON files (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(STAGES), default=list(STAGES), help="stages to run (all)")
    options = parser.parse_args(arguments)
    data, model, output = resolve(f"data/{options.size}"), resolve(options.model), resolve(options.output)
    output.mkdir(parents=True, exist_ok=True)
    if not (data / "sample.json").exists():
        write_sample(data, options.size, progress=True)
    rows = ["1", "3", "10", "31.8"] if options.size == "full" else ["0.1", "0.3", "1"]
    failed = []
    for stage in options.only:
        print(f"\n==== {stage} ====\n", flush=True)
        name, *given = STAGES[stage].split()
        values = {"{data}": [str(data)], "{model}": [str(model)], "{rows}": rows}
        words = [word for part in given for word in values.get(part, [part])]
        command = [sys.executable, "-m", f"benchmarks.{name}", *words, "--json", str(output / f"{stage}.json")]
        if subprocess.run(command).returncode:
            failed.append(stage)
    if failed:
        print(f"\nfailed: {', '.join(failed)}; the reason is above", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
