"""How long the first 12 articles for every customer of a published model take, and the competition's file with them.

    python -m benchmarks.recommending [--model artifacts/model] [--customers 1371980] [--json out.json]

The batch command's own steps, in a process of its own: opening the model with its checks, and writing the Parquet
file and the gzipped submission.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measuring import machine, measured, save
from hm_utils.files import resolve
from hm_utils.recommend import SUBMITTED, write
from hm_utils.serving.recommender import Recommender


def recommend_to_all(model: Path, most: int | None) -> dict[str, Any]:
    """Seconds of opening the model and of writing both files for its customers, or the first ``most`` of them."""
    start = time.perf_counter()
    recommender = Recommender.load(model)
    opened = time.perf_counter()
    rows = np.arange(min(most or recommender.n_customers, recommender.n_customers))
    with tempfile.TemporaryDirectory() as folder:
        write(recommender, rows, SUBMITTED, Path(folder) / "recs.parquet", Path(folder) / "submission.csv.gz")
    seconds = time.perf_counter() - opened
    return {
        "seconds": seconds,
        "opening": opened - start,
        "customers": len(rows),
        "customers/s": len(rows) / seconds,
        "model": recommender.version,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recommending",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="artifacts/model", help="folder of a published model (%(default)s)")
    parser.add_argument("--customers", type=int, help="at most so many (all)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    try:
        run = measured(recommend_to_all, resolve(options.model), options.customers)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    save(options.json, {"machine": machine("torch", "numpy", "pyarrow"), "run": run})
    shown = {name: f"{value:,.2f}" if isinstance(value, float) else f"{value}" for name, value in run.items()}
    print(pd.Series(shown).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
