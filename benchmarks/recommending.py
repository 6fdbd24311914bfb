"""How long the first 12 articles for every customer of a published model take, with the competition's file.

    python -m benchmarks.recommending [--model artifacts/model] [--json out.json]

The batch command's own steps, in a process of its own: open the model with its checks, write the Parquet file and the
gzipped submission.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measuring import Run, machine, measured, parser, save, show
from hm_utils.files import resolve
from hm_utils.serving.batch import SUBMITTED, recommend_in_chunks, write
from hm_utils.serving.recommender import Recommender


def recommend_to_all(model: Path, most: int | None) -> Run:
    """Seconds of opening the model and of writing both files for its customers, or the first ``most`` of them."""
    start = time.perf_counter()
    recommender = Recommender.load(model)
    opened = time.perf_counter()
    rows = np.arange(min(most or recommender.n_customers, recommender.n_customers))
    with tempfile.TemporaryDirectory() as folder:
        found = recommend_in_chunks(recommender, rows, SUBMITTED)
        write(recommender, found, SUBMITTED, Path(folder) / "recs.parquet", Path(folder) / "submission.csv.gz")
    seconds = time.perf_counter() - opened
    rate = {"customers": len(rows), "customers/s": len(rows) / seconds}
    return {"seconds": seconds, "opening": opened - start, **rate, "model": recommender.version}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("recommending", __doc__, model=True)
    options.add_argument("--customers", type=int, help="the first customers only, this number (all)")
    chosen = options.parse_args(arguments)
    try:
        run = measured(recommend_to_all, resolve(chosen.model), chosen.customers)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report: Run = {"machine": machine("torch", "numpy", "pyarrow"), "run": run}
    save(chosen.json, report)
    return show(f"{chosen.model}, {run['customers']:,} customers", pd.Series(run, dtype=object).to_frame(""), report)


if __name__ == "__main__":
    sys.exit(main())
