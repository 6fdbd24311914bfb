"""The raw tables in many parts, read and checked on a cluster, where the log outgrows one machine.

Every part is read and checked in a task of its own, by the functions that one machine uses, and what is found wrong is
summed up. The purchases are then in shards: **a shard is a contiguous range of customer rows**. Nothing brings them
together again.

Plain Ray tasks do this and not Ray Data, which has readers, a group-by and a shuffle. Its readers lose a row's number
in the file, by which the log breaks ties and a finding says where; they skip the checks of
:mod:`hm_utils.data.column_reader`. Its shuffle by hash holds the rows in actors that are not restarted, so a worker
that dies ends the run: what a task made is made again. The listings are on every machine whole: each later notebook
reads them so, and they grow with the shop and not with its purchases.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import fs

from hm_utils.cluster import connected
from hm_utils.cluster.input_parts import Part, find_parts
from hm_utils.cluster.tasks import start_all, values_of
from hm_utils.data import schema
from hm_utils.data.column_reader import FIELDS_RULE, Column, Source, encode, file_errors, read_source
from hm_utils.data.raw import (
    SOURCE_COLUMN,
    RawTables,
    hash_file,
    hash_of_hashes,
    log_report,
    master_table,
    refuse_if_broken,
    transactions_of,
    without_broken,
)
from hm_utils.data.schema import Finding, Table

logger = logging.getLogger(__name__)

LOG_COLUMNS = [schema.T_DAT, schema.CUSTOMER, schema.ARTICLE, schema.PRICE, schema.CHANNEL]
SHARD_BYTES = 256 << 20  # of the raw files a shard at most: a task holds a shard, a few times over


@dataclass(frozen=True)
class ShardedTables(RawTables):
    """The raw data, clean; the transactions are in Ray's object store, and ``transactions`` is empty.

    Attributes:
        num_workers: tasks at once.
        bounds: ``[shards + 1]``; shard s is of the customers ``bounds[s] <= row < bounds[s + 1]``.
        pieces: for each part of the log, references of what each shard gets from it: frames as ``transactions``.
        sizes: ``[parts, shards]`` rows of the pieces.
        bytes_kept: memory of all pieces.
        dates: the first and the last of the log, ISO; None for an empty log.
        connection: keeps Ray running until :func:`hm_utils.cluster.preprocessing.preprocess` closes it.
    """

    num_workers: int
    bounds: list[int]
    pieces: list[list[Any]]
    sizes: np.ndarray
    bytes_kept: int
    dates: tuple[str, str] | None
    connection: ExitStack = field(repr=False)

    def size_frame(self) -> pd.DataFrame:
        """As :meth:`RawTables.size_frame`."""
        table, rows = super().size_frame(), int(self.sizes.sum())
        table.loc["transactions", "rows kept"] = rows
        table.loc["transactions", "rows dropped"] = self.rows_read["transactions"] - rows
        table.loc["transactions", "memory, MB"] = round(self.bytes_kept / 1e6, 1)
        return table


@dataclass(frozen=True)
class PartRead:
    """What is told of a part once it is read, beside its columns or rows."""

    sha256: str
    rows_read: int
    findings: list[Finding]
    sizes: tuple[int, ...] = ()  # rows of each shard's piece
    bytes_kept: int = 0
    dates: tuple[str, str] | None = None


def read_raw(data_dir: str | Path, num_workers: int, filesystem: fs.FileSystem | None = None) -> ShardedTables:
    """Read and check the tables, as :func:`hm_utils.data.raw.read_raw` does, ``num_workers`` parts at a time.

    Ray stays connected until ``preprocess`` has used the tables.

    Args:
        data_dir, filesystem: see :func:`hm_utils.cluster.input_parts.find_parts`.

    Raises:
        ClusterError: if Ray cannot be used.
        RawDataError: as :func:`hm_utils.data.raw.read_raw`.
    """
    parts = find_parts(data_dir, filesystem)
    with ExitStack() as connection:
        connection.enter_context(connected(num_workers))
        import ray

        articles, article_source, article_hashes = _read_master_table(
            schema.ARTICLES, schema.ARTICLE_ID, parts, num_workers
        )
        customers, source, customer_hashes = _read_master_table(
            schema.CUSTOMERS, schema.CUSTOMER_ID, parts, num_workers
        )
        log_parts = parts[schema.TRANSACTIONS.name]
        shards = max(num_workers, sum(part.bytes for part in log_parts) // SHARD_BYTES)
        bounds = np.linspace(0, len(customers), min(shards, max(1, len(customers))) + 1).astype(int)
        shared = [
            ray.put(of_all) for of_all in (articles[[schema.ARTICLE_ID]], customers[[schema.CUSTOMER_ID]], bounds)
        ]
        calls = [(part, *shared) for part in log_parts]
        results = start_all(_read_transactions, calls, num_workers, returns=len(bounds))
        read: list[PartRead] = values_of([references[-1] for references in results])
        findings = merged_findings(schema.TRANSACTIONS, read)
        rows_read = sum(part.rows_read for part in read)
        sizes = np.array([part.sizes for part in read])
        refuse_if_broken(_table_path(log_parts), rows_read, int(sizes.sum()), findings)
        report = [*article_source.findings, *source.findings, *findings]
        log_report(report)
        hashes = [*article_hashes, *customer_hashes, *(part.sha256 for part in read)]
        tables = [table.name for table in schema.TABLES for _ in parts[table.name]]
        dates = [date for part in read if part.dates for date in part.dates]
        return ShardedTables(
            articles=articles,
            customers=customers,
            transactions=pd.DataFrame(columns=LOG_COLUMNS),
            report=report,
            rows_read={"articles": article_source.rows_read, "customers": source.rows_read, "transactions": rows_read},
            fingerprint=hash_of_hashes(list(zip(tables, hashes, strict=True))),
            num_workers=num_workers,
            bounds=bounds.tolist(),
            pieces=[references[:-1] for references in results],
            sizes=sizes,
            bytes_kept=sum(part.bytes_kept for part in read),
            dates=(min(dates), max(dates)) if dates else None,
            connection=connection.pop_all(),
        )


def _read_master_table(
    table: Table, key: str, parts: dict[str, list[Part]], num_workers: int
) -> tuple[pd.DataFrame, Source, list[str]]:
    """The articles or the customers of all parts, checked together, and the SHA-256 of each part."""
    of_table = parts[table.name]
    references = start_all(_read_columns, [(part, table.name) for part in of_table], num_workers)
    results = values_of([both for (both,) in references])
    read: list[PartRead] = [told for _, told in results]
    source = Source(table, _table_path(of_table), findings=merged_findings(table, read))
    with file_errors(source.path):
        source.columns = {name: _joined([columns[name] for columns, _ in results]) for name in table.columns}
    source.skipped = sum(map(_skipped, read))
    return master_table(source, key), source, [told.sha256 for told in read]


def _table_path(parts: Sequence[Part]) -> Path:
    """What an error calls the table: its file, or the folder of its parts."""
    return Path(parts[0].path) if len(parts) == 1 else Path(parts[0].path).parent


def _joined(columns: Sequence[Column]) -> Column:
    """The column of all parts, in order."""
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array(column.codes, mask=column.codes < 0), column.distinct)
        for column in columns
    ]
    return encode(pa.chunked_array(chunks))


def _read_columns(part: Part, table_name: str) -> tuple[dict[str, Column], PartRead]:
    """A task: the columns of one part of a listing."""
    (table,) = (table for table in schema.TABLES if table.name == table_name)
    with part.local() as path:
        source, digest = read_source(table, path), hash_file(path)
    return source.columns, PartRead(digest, source.rows_read, source.findings)


def _read_transactions(part: Part, articles: pd.DataFrame, customers: pd.DataFrame, bounds: np.ndarray) -> list:
    """A task: the rows of one part of the log that hold what they should, for each shard, and what is told of them."""
    pa.set_cpu_count(1)  # a task is one core's work
    with part.local() as path:
        source, digest = read_source(schema.TRANSACTIONS, path), hash_file(path)
    frame = without_broken(source, transactions_of(source, articles, customers))
    shard = np.searchsorted(bounds, frame[schema.CUSTOMER].to_numpy(), side="right") - 1
    frame = frame.iloc[np.argsort(shard.astype(np.uint16), kind="stable")]  # of a shard, the rows stay in their order
    sizes = np.bincount(shard, minlength=len(bounds) - 1).tolist()
    ends = list(accumulate(sizes))
    pieces = [frame.iloc[end - size : end].reset_index(drop=True) for size, end in zip(sizes, ends, strict=True)]
    dates = frame[schema.T_DAT].to_numpy().astype("datetime64[D]")
    told = PartRead(
        sha256=digest,
        rows_read=source.rows_read,
        findings=source.findings,
        sizes=tuple(sizes),
        bytes_kept=int(frame.memory_usage(index=False).sum()),
        dates=(str(dates.min()), str(dates.max())) if len(dates) else None,
    )
    return [*pieces, told]


def merged_findings(table: Table, parts: Sequence[PartRead]) -> list[Finding]:
    """What was found in the parts as one machine reports it of one file: rows added up, in the order of the rules.

    A row's number is counted through all parts. (A row with a wrong number of fields is counted but has none.)
    """
    columns = table.schema.columns.items()
    rules = [(SOURCE_COLUMN.get(name, name), check.name) for name, column in columns for check in column.checks]
    while_reading = (schema.NOTED, schema.DROP, schema.PADDED)  # the order in which a file is looked at
    merged: dict[tuple[str, str, str], Finding] = {}
    numbered = accumulate((part.rows_read - _skipped(part) for part in parts), initial=0)
    for part, before in zip(parts, numbered, strict=False):
        for finding in part.findings:
            key = finding.column, finding.rule, finding.action
            so_far = merged.get(key, replace(finding, rows=0, examples=()))
            examples = so_far.examples + tuple(_renumbered(example, before) for example in finding.examples)
            if finding.action == schema.NOTED:  # of the whole file: the same in all parts
                examples = tuple(dict.fromkeys(examples))
            merged[key] = replace(so_far, rows=so_far.rows + finding.rows, examples=examples[:3])

    def place(finding: Finding) -> tuple[int, int]:
        rule = finding.column, finding.rule
        return (1, rules.index(rule)) if rule in rules else (0, while_reading.index(finding.action))

    return sorted(merged.values(), key=place)


def _skipped(part: PartRead) -> int:
    return sum(finding.rows for finding in part.findings if finding.rule == FIELDS_RULE)


def _renumbered(example: str, rows_before: int) -> str:
    """An example of :meth:`hm_utils.data.column_reader.Column.examples`, its row counted from the first part on."""
    told = re.fullmatch(r"(.*) in row ([\d,]+)", example, flags=re.DOTALL)
    return f"{told[1]} in row {int(told[2].replace(',', '')) + rows_before:,}" if told else example
