"""Recommendations for many customers at once.

    python -m hm_utils.recommend --model artifacts/model --customers ids.txt --top-k 100 --output recs.parquet
    python -m hm_utils.recommend --model artifacts/model --customers all --submission submission.csv.gz
    python -m hm_utils.recommend --model /shared/model --output recs.parquet --engine ray --num-workers 8

The lists and scores are the ones that the service gives.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TextIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from hm_utils.arrays import Float32, Int32, Int64
from hm_utils.cluster import ClusterError
from hm_utils.engines import check_engine
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.recommender import Recommender

CHUNK = 4_096  # customers at a time
MAX_TOP_K = 1_000
SUBMITTED = 12  # articles a customer in the competition's file

Lists = Iterator[tuple[Int64, Int32, Float32]]
InChunks = Callable[[Recommender, Int64, int], Lists]


def recommend_in_chunks(recommender: Recommender, rows: Int64, top_k: int) -> Lists:
    """Yield ``(rows, articles [n, top_k], scores [n, top_k])`` for a few thousand customers at a time, in order.

    A thread a core works on them: the search, numpy and torch let go of Python's lock. Only a few chunks are under
    way or waiting to be read at any time.
    """
    chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    threads = os.cpu_count() or 1
    with (
        tqdm(total=len(rows), unit="customer", unit_scale=True, desc="recommending") as bar,
        ThreadPoolExecutor(threads) as pool,
    ):
        under_way: deque[tuple[Int64, Future[tuple[Int32, Float32]]]] = deque()

        def recommend(some: Int64) -> tuple[Int32, Float32]:
            return recommender.recommend(recommender.customers(some), top_k)

        def begin(count: int) -> None:
            for some in islice(chunks, count):
                under_way.append((some, pool.submit(recommend, some)))

        begin(2 * threads)
        while under_way:
            some, answer = under_way.popleft()
            articles, scores = answer.result()
            begin(1)
            yield some, articles, scores
            bar.update(len(some))


def read_customers(source: str, recommender: Recommender) -> tuple[Int64, list[str]]:
    """The rows of the customers in a text file of one id a line, or of ``all``; and the ids unknown to the model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has no id in it.
    """
    if source == "all":
        return np.arange(recommender.n_customers), []
    lines = Path(source).read_text(encoding="utf-8").split()
    ids = list(dict.fromkeys(line for line in lines if line != "customer_id"))
    if not ids:
        raise ValueError(f"{source} has no customer id: write one a line")
    rows = recommender.customer_rows(ids)
    return rows[rows >= 0], [ids[i] for i in np.flatnonzero(rows < 0)]


def recommendation_table(recommender: Recommender, rows: Int64, articles: Int32, scores: Float32) -> pa.Table:
    """One row a recommendation: ``customer_id, article_id, rank`` (1 is the best), ``score``."""
    found = articles >= 0
    place, rank = np.nonzero(found)
    # Ids repeat top_k times: as dictionaries they are written, and held, once.
    customer_ids = pa.array(recommender.customer_ids[rows].astype("U64"))
    return pa.table(
        {
            "customer_id": pa.DictionaryArray.from_arrays(pa.array(place.astype(np.int32)), customer_ids),
            "article_id": pa.DictionaryArray.from_arrays(
                pa.array(articles[found]), pa.array(recommender.article_ids.astype("U10"))
            ),
            "rank": pa.array((rank + 1).astype(np.int32)),
            "score": pa.array(scores[found]),
        }
    )


def submission_lines(recommender: Recommender, rows: Int64, articles: Int32) -> str:
    """The competition's lines ``customer_id,article_id article_id …``, twelve articles each."""
    lines = io.StringIO()
    ids = recommender.customer_ids[rows].astype("U64")
    for customer_id, found in zip(ids, articles[:, :SUBMITTED], strict=True):
        lines.write(f"{customer_id},{' '.join(recommender.article_ids[found[found >= 0]])}\n")
    return lines.getvalue()


def open_text(path: Path, zipped: bool) -> TextIO:
    """Open a new ASCII file, gzipped or plain."""
    if zipped:
        # gzip's own default; Python's, 9, takes five times as long for a hundredth less.
        return cast(TextIO, gzip.open(path, "wt", compresslevel=6, encoding="ascii"))
    return path.open("w", encoding="ascii")


def write(
    recommender: Recommender,
    rows: Int64,
    top_k: int,
    output: Path | None,
    submission: Path | None,
    in_chunks: InChunks = recommend_in_chunks,
) -> None:
    """Write the recommendations as Parquet and as a submission, whichever is asked for; whole or not at all.

    The Parquet file has ``top_k`` articles a customer, the submission always twelve. ``in_chunks`` makes the lists.
    """
    depth = max(top_k, SUBMITTED) if submission else top_k
    with ExitStack() as files:
        parquet: pq.ParquetWriter | None = None
        partial = {path: path.with_name(f".{path.name}.partial") for path in (output, submission) if path}
        for path in partial:
            path.parent.mkdir(parents=True, exist_ok=True)
        text: TextIO | None = None
        if submission:
            text = files.enter_context(open_text(partial[submission], zipped=submission.suffix == ".gz"))
            text.write("customer_id,prediction\n")
        for some, articles, scores in in_chunks(recommender, rows, depth):
            if output:
                table = recommendation_table(recommender, some, articles[:, :top_k], scores[:, :top_k])
                parquet = parquet or files.enter_context(pq.ParquetWriter(partial[output], table.schema))
                parquet.write_table(table)
            if text is not None:
                text.write(submission_lines(recommender, some, articles))
    for path, written in partial.items():
        written.replace(path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hm_utils.recommend",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=Path("artifacts/model"), help="published model (%(default)s)")
    parser.add_argument("--customers", default="all", help="a file of customer ids, one a line, or all (%(default)s)")
    parser.add_argument("--top-k", type=int, default=SUBMITTED, help="articles a customer in --output (%(default)s)")
    parser.add_argument("--output", type=Path, help="Parquet file: customer_id, article_id, rank, score")
    parser.add_argument("--submission", type=Path, help="the competition's file, .csv or .csv.gz")
    parser.add_argument("--engine", default="local", help="local, or ray for a cluster (%(default)s)")
    parser.add_argument("--num-workers", type=int, default=1, help="of --engine ray (%(default)s)")
    options = parser.parse_args(arguments)
    if not (options.output or options.submission):
        parser.error("say what to write: --output recs.parquet, --submission submission.csv.gz, or both")
    if not 1 <= options.top_k <= MAX_TOP_K:
        parser.error(f"--top-k must be 1 to {MAX_TOP_K}, not {options.top_k}")
    try:
        check_engine(options.engine, options.num_workers)
        model = options.model.resolve()  # once: the link may move on
        recommender = Recommender.load(model)
        rows, unknown = read_customers(options.customers, recommender)
    except (BundleError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if unknown:
        shown = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        print(f"{len(unknown)} customers are not in the model and were left out: {shown}", file=sys.stderr)
    if not len(rows):
        print("error: none of the customers is in the model, nothing was written", file=sys.stderr)
        return 1
    in_chunks: InChunks = recommend_in_chunks
    if options.engine == "ray":
        from hm_utils.cluster import ranking

        in_chunks = partial(ranking.recommend_in_chunks, model=model, num_workers=options.num_workers)
    try:
        write(recommender, rows, options.top_k, options.output, options.submission, in_chunks)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
