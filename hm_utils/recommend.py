"""Recommendations for many customers at once.

    python -m hm_utils.recommend --model artifacts/model --customers ids.txt --top-k 100 --output recs.parquet
    python -m hm_utils.recommend --model artifacts/model --customers all --submission submission.csv.gz
    python -m hm_utils.recommend --model /shared/model --output recs.parquet --engine ray --num-workers 8

The recommendations and scores are the ones that the service gives.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hm_utils import engines
from hm_utils.cluster import ClusterError
from hm_utils.files import check_writable
from hm_utils.serving.batch import SUBMITTED, has_blanks, read_customers, write
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.recommender import Recommender
from hm_utils.serving.stock import read_stock

MAX_TOP_K = 1_000


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hm_utils.recommend",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=Path("artifacts/model"), help="published model (%(default)s)")
    parser.add_argument(
        "--customers",
        default="all",
        help="a file of customer ids, one a line or in a column customer_id, or all (%(default)s)",
    )
    parser.add_argument("--top-k", type=int, default=SUBMITTED, help="articles a customer in --output (%(default)s)")
    parser.add_argument("--output", type=Path, help="a .parquet file: customer_id, article_id, rank, score")
    parser.add_argument("--submission", type=Path, help="the competition's file, .csv or .csv.gz")
    parser.add_argument("--stock", type=Path, help="ids of the articles in stock, one a line; all without it")
    parser.add_argument("--engine", default="local", help="local, or ray for a cluster (%(default)s)")
    parser.add_argument("--num-workers", type=int, default=1, help="of --engine ray (%(default)s)")
    options = parser.parse_args(arguments)
    if not (options.output or options.submission):
        parser.error("say what to write: --output recs.parquet, --submission submission.csv.gz, or both")
    if options.output and options.output.suffix != ".parquet":
        parser.error(f"--output is a .parquet file, not {options.output.name}")
    if options.submission and not options.submission.name.endswith((".csv", ".csv.gz")):
        parser.error(f"--submission is a .csv or .csv.gz file, not {options.submission.name}")
    if not 1 <= options.top_k <= MAX_TOP_K:
        parser.error(f"--top-k must be 1 to {MAX_TOP_K}, not {options.top_k}")
    try:
        for path in filter(None, (options.output, options.submission)):
            check_writable(path)  # now, not after computing everything
        engine = engines.choose(options.engine, options.num_workers)
        stock = read_stock(options.stock) if options.stock else None
        recommender = Recommender.load(options.model).with_stock(stock)
        rows, unknown = read_customers(options.customers, recommender)
        if options.submission and has_blanks(recommender):
            raise ValueError("some article ids have blanks, which separate the ids in --submission: use --output")
    except (BundleError, ClusterError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if recommender.in_stock is not None and recommender.in_stock.unknown:
        print(f"{recommender.in_stock.unknown} ids in {options.stock.name} are not in the model", file=sys.stderr)
    if unknown:
        shown = ", ".join(map(repr, unknown[:3])) + (", …" if len(unknown) > 3 else "")
        print(f"{len(unknown)} customers are not in the model and were excluded: {shown}", file=sys.stderr)
    if not len(rows):
        print("error: none of the customers is in the model, nothing was written", file=sys.stderr)
        return 1
    depth = max(options.top_k, SUBMITTED) if options.submission else options.top_k
    try:
        recommended = engine.recommend(recommender, rows, depth)
        write(recommender, recommended, options.top_k, options.output, options.submission)
    except (ClusterError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
