"""Recommendations for many customers: in chunks, as a table, and as the competition's file."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TextIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from hm_utils.arrays import Float32, Int32, Int64
from hm_utils.data.raw_columns import CUSTOMER_ID
from hm_utils.data.raw_file import csv_header, file_errors, is_parquet, open_csv
from hm_utils.files import atomic_replace
from hm_utils.serving.recommender import Recommender

CHUNK = 4_096  # customers
SUBMITTED = 12  # articles a customer in the competition's file

# (rows [n], articles [n, top_k], scores [n, top_k]) of a chunk of customers after the other.
Recommended = Iterator[tuple[Int64, Int32, Float32]]


def recommend_in_chunks(recommender: Recommender, rows: Int64, top_k: int) -> Recommended:
    """Yield ``(rows, articles [n, top_k], scores [n, top_k])`` for a few thousand customers at a time, in order.

    One thread a core: the search, numpy and torch release Python's lock. Only a few chunks are computed ahead.
    """
    chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    threads = os.cpu_count() or 1
    with (
        tqdm(total=len(rows), unit="customer", unit_scale=True, desc="recommending") as bar,
        ThreadPoolExecutor(threads) as pool,
    ):
        pending: deque[tuple[Int64, Future[tuple[Int32, Float32]]]] = deque()

        def recommend(some: Int64) -> tuple[Int32, Float32]:
            return recommender.recommend(recommender.customers(some), top_k)

        def submit(count: int) -> None:
            for some in islice(chunks, count):
                pending.append((some, pool.submit(recommend, some)))

        submit(2 * threads)
        while pending:
            some, answer = pending.popleft()
            articles, scores = answer.result()
            submit(1)
            yield some, articles, scores
            bar.update(len(some))


def read_customers(source: str, recommender: Recommender) -> tuple[Int64, list[str]]:
    """The rows of the customers in a file, or of ``all``; and the ids unknown to the model.

    Args:
        source: one id a line, or a table (CSV, also gzipped or zipped, or Parquet) with a column ``customer_id``.

    Raises:
        RawDataError: the file cannot be read.
        ValueError: the file has no id in it.
    """
    if source == "all":
        return np.arange(recommender.n_customers), []
    path = Path(source)
    with file_errors(path):
        written = pq.read_table(path, columns=[CUSTOMER_ID])[0].to_pylist() if is_parquet(path) else _ids_in_text(path)
    texts = ["" if each is None else str(each) for each in written]
    if recommender.hm_ids:
        texts = [word.lower() for text in texts for word in text.split()]
    ids = list(dict.fromkeys(filter(None, texts)))
    if not ids:
        raise ValueError(f"{source} has no customer id: write one a line")
    rows = recommender.customer_rows(ids)
    return rows[rows >= 0], [ids[i] for i in np.flatnonzero(rows < 0)]


def _ids_in_text(path: Path) -> list[str]:
    """The column ``customer_id`` of a CSV file, or else every line of a text."""
    header = csv_header(path, path.stem)
    with io.TextIOWrapper(open_csv(path, path.stem), encoding="utf-8-sig", newline="") as text:
        if CUSTOMER_ID in header:
            place = header.index(CUSTOMER_ID)
            return [row[place] for row in list(csv.reader(text))[1:] if len(row) > place]
        return text.read().replace("\r\n", "\n").split("\n")


def recommendation_table(recommender: Recommender, rows: Int64, articles: Int32, scores: Float32) -> pa.Table:
    """One row a recommendation: ``customer_id, article_id, rank`` (1 is the best), ``score``."""
    found = articles >= 0
    place, rank = np.nonzero(found)
    # Ids repeat top_k times: as dictionaries they are written, and held, once.
    customer_ids = pa.array(customer_texts(recommender, rows))
    return pa.table(
        {
            "customer_id": pa.DictionaryArray.from_arrays(pa.array(place.astype(np.int32)), customer_ids),
            "article_id": pa.DictionaryArray.from_arrays(pa.array(articles[found]), pa.array(recommender.article_ids)),
            "rank": pa.array((rank + 1).astype(np.int32)),
            "score": pa.array(scores[found]),
        }
    )


def submission_lines(recommender: Recommender, rows: Int64, articles: Int32) -> str:
    """The competition's lines ``customer_id,article_id article_id …``, twelve articles each."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for customer_id, found in zip(customer_texts(recommender, rows), articles[:, :SUBMITTED], strict=True):
        writer.writerow((customer_id, " ".join(recommender.article_ids[found[found >= 0]])))
    return lines.getvalue()


def customer_texts(recommender: Recommender, rows: Int64) -> list[str]:
    """The ids of customers."""
    return [customer_id.decode() for customer_id in recommender.customer_ids[rows].tolist()]


def has_blanks(recommender: Recommender) -> bool:
    """Whether the id of an article has a blank, which separates two ids in the competition's file."""
    return any(" " in article_id for article_id in recommender.article_ids.tolist())


def write(
    recommender: Recommender, recommended: Recommended, top_k: int, output: Path | None, submission: Path | None
) -> None:
    """Write the recommendations as Parquet and as a submission, whichever is asked for; whole or not at all.

    The Parquet file has ``top_k`` articles a customer, the submission always twelve.
    """
    with ExitStack() as files:
        parquet: pq.ParquetWriter | None = None
        table_path = files.enter_context(atomic_replace(output)) if output else None
        text: TextIO | None = None
        if submission:
            partial = files.enter_context(atomic_replace(submission))
            text = files.enter_context(_open_text(partial, zipped=submission.suffix == ".gz"))
            text.write("customer_id,prediction\n")
        for rows, articles, scores in recommended:
            if table_path:
                table = recommendation_table(recommender, rows, articles[:, :top_k], scores[:, :top_k])
                parquet = parquet or files.enter_context(pq.ParquetWriter(table_path, table.schema))
                parquet.write_table(table)
            if text is not None:
                text.write(submission_lines(recommender, rows, articles))


def _open_text(path: Path, zipped: bool) -> TextIO:
    """Open a new text file, gzipped or plain."""
    if zipped:
        # gzip's own default level; Python's, 9, takes five times as long for 1 % less.
        return cast(TextIO, gzip.open(path, "wt", compresslevel=6, encoding="utf-8"))
    return path.open("w", encoding="utf-8")
