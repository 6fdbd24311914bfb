"""The raw tables in many parts, read and checked on a cluster, for a log that one machine cannot hold.

Each part is read and checked in its own task, by the functions of the local engine; the findings are added up. The
purchases are then cut into shards: **a shard is a contiguous range of customer rows**. No machine ever holds them all.

This uses plain Ray tasks. Ray Data has readers, a group-by and a shuffle, but they do not fit:

- Its readers lose a row's number in the file, which breaks ties in the log and locates a finding. They also skip the
  checks of :mod:`hm_utils.data.column_reader`.
- Its hash shuffle keeps rows in actors that are not restarted, so a worker that dies ends the run. The results of a
  lost task are computed again.

Every machine holds the whole master tables, as later notebooks do: they grow with the shop, not with its purchases.
"""

from __future__ import annotations

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
from hm_utils.data import raw_columns, schema
from hm_utils.data.column_reader import SKIPPED_RULES, Column, Source, encode, read_source
from hm_utils.data.origin import Origin
from hm_utils.data.raw import (
    SOURCE_COLUMN,
    RawTables,
    distinct_ids,
    hash_file,
    hash_of_hashes,
    log_has_hm_ids,
    log_report,
    master_table,
    refuse_if_broken,
    source_from_log,
    transactions_of,
    without_broken,
)
from hm_utils.data.raw_file import file_errors
from hm_utils.data.schema import Finding, RawDataError, Table

LOG_COLUMNS = list(schema.TRANSACTIONS.schema.columns)
SHARD_BYTES = 256 << 20  # of raw files for each shard, at most; a task holds several copies of a shard


@dataclass(frozen=True)
class ShardedTables(RawTables):
    """The checked raw data; the transactions are in Ray's object store, and ``transactions`` is empty.

    Attributes:
        num_workers: number of tasks that run at the same time.
        bounds: ``[shards + 1]``; shard s has the customers ``bounds[s] <= row < bounds[s + 1]``.
        pieces: for each part of the log and each shard, a reference of its transactions as a frame.
        sizes: ``[parts, shards]`` rows of the pieces.
        bytes_kept: memory of all pieces.
        dates: first and last ISO date of the log; None for an empty log.
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
class PartReport:
    """Facts about a part that was read, without its rows.

    Attributes:
        sha256: of the file's bytes.
        rows_read: rows of the part, before any was dropped.
        findings: the rules that its rows broke.
        sizes: rows for each shard; () for a master table, as are the fields below.
        bytes_kept: memory of these rows.
        dates: first and last ISO date of these rows; None if none is left.
        absent: the columns that the part lacks.
    """

    sha256: str
    rows_read: int
    findings: list[Finding]
    sizes: tuple[int, ...] = ()
    bytes_kept: int = 0
    dates: tuple[str, str] | None = None
    absent: list[str] = field(default_factory=list)


def read_raw(
    data_dir: str | Path,
    num_workers: int,
    filesystem: fs.FileSystem | None = None,
    article_columns: Sequence[str] = (),
    customer_columns: Sequence[str] = (),
) -> ShardedTables:
    """Read and check the tables, as :func:`hm_utils.data.raw.read_raw` does, ``num_workers`` parts at a time.

    Ray stays connected until ``preprocess`` has used the tables.

    Args:
        data_dir, filesystem: see :func:`hm_utils.cluster.input_parts.find_parts`.
        article_columns, customer_columns: see :func:`hm_utils.data.raw.read_raw`.

    Raises:
        ClusterError: if Ray cannot be used.
        RawDataError: as :func:`hm_utils.data.raw.read_raw`.
    """
    parts = find_parts(data_dir, filesystem)
    log_parts = parts[schema.TRANSACTIONS.name]
    with log_parts[0].local() as path:
        hm_ids = log_has_hm_ids(path)
    tables = schema.tables_of(hm_ids, article_columns, customer_columns)
    with ExitStack() as connection:
        connection.enter_context(connected(num_workers))
        import ray

        (article_source, article_hashes), (customer_source, customer_hashes) = (
            _read_master_source(table, parts, tables[-1], num_workers) for table in tables[:2]
        )
        articles, customers = master_table(article_source), master_table(customer_source)
        shards = max(num_workers, sum(part.bytes for part in log_parts) // SHARD_BYTES)
        bounds = np.linspace(0, len(customers), min(shards, max(1, len(customers))) + 1).astype(int)
        shared = [
            ray.put(each) for each in (articles[[raw_columns.ARTICLE_ID]], customers[[raw_columns.CUSTOMER_ID]], bounds)
        ]
        calls = [(part, tables[-1], *shared) for part in log_parts]
        results = start_all(read_transactions, calls, num_workers, returns=len(bounds))
        reports: list[PartReport] = values_of([references[-1] for references in results])
        findings = merged_findings(tables[-1], reports)
        rows_read = sum(part.rows_read for part in reports)
        sizes = np.array([part.sizes for part in reports])
        refuse_if_broken(_table_path(log_parts), rows_read, int(sizes.sum()), findings)
        findings = [*article_source.findings, *customer_source.findings, *findings]
        log_report(findings)
        hashes = [*article_hashes, *customer_hashes, *(part.sha256 for part in reports)]
        names = [table.name for table in tables for _ in parts.get(table.name, ())]
        dates = [date for part in reports if part.dates for date in part.dates]
        all_read = {
            "articles": article_source.rows_read,
            "customers": customer_source.rows_read,
            "transactions": rows_read,
        }
        return ShardedTables(
            articles=articles,
            customers=customers,
            transactions=pd.DataFrame(columns=LOG_COLUMNS),
            report=findings,
            rows_read=all_read,
            fingerprint=hash_of_hashes(list(zip(names, hashes, strict=True))),
            origin=Origin.of(data_dir, all_read),
            hm_ids=hm_ids,
            absent={
                "articles": article_source.absent,
                "customers": customer_source.absent,
                "transactions": reports[0].absent,
            },
            num_workers=num_workers,
            bounds=bounds.tolist(),
            pieces=[references[:-1] for references in results],
            sizes=sizes,
            bytes_kept=sum(part.bytes_kept for part in reports),
            dates=(min(dates), max(dates)) if dates else None,
            connection=connection.pop_all(),
        )


def fingerprint(data_dir: str | Path, filesystem: fs.FileSystem | None = None) -> str:
    """The fingerprint of the tables of :func:`read_raw`."""
    hashes = []
    for table, parts in find_parts(data_dir, filesystem).items():
        for part in parts:
            with part.local() as path:
                hashes.append((table, hash_file(path)))
    return hash_of_hashes(hashes)


def _read_master_source(
    table: Table, parts: dict[str, list[Part]], log: Table, num_workers: int
) -> tuple[Source, list[str]]:
    """The articles or the customers of all parts together, and the SHA-256 of each part."""
    table_parts = parts.get(table.name)
    if table_parts is None:
        log_parts = parts[log.name]
        ids = values_of(start_all(_read_ids, [(part, log, table.key) for part in log_parts], num_workers))
        return source_from_log(table, _table_path(log_parts), ids), []
    results = values_of(start_all(_read_columns, [(part, table) for part in table_parts], num_workers))
    reports: list[PartReport] = [report for _, report in results]
    source = Source(table, _table_path(table_parts), findings=merged_findings(table, reports))
    names = results[0][0].keys()
    if any(columns.keys() != names for columns, _ in results):
        raise RawDataError(f"the parts of {source.path} have different columns: write them again with the same ones")
    with file_errors(source.path):
        source.columns = {name: _concatenated([columns[name] for columns, _ in results]) for name in names}
    source.skipped = sum(map(_skipped, reports))
    return source, [report.sha256 for report in reports]


def _table_path(parts: Sequence[Part]) -> Path:
    """The path by which an error names the table: its file, or the folder of its parts."""
    return Path(parts[0].path) if len(parts) == 1 else Path(parts[0].path).parent


def _concatenated(columns: Sequence[Column]) -> Column:
    """One column from those of the parts, in order."""
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array(column.codes, mask=column.codes < 0), column.distinct)
        for column in columns
    ]
    return encode(pa.chunked_array(chunks))


def _read_columns(part: Part, table: Table) -> tuple[dict[str, Column], PartReport]:
    """A task: the columns of one part of a master table."""
    with part.local() as path:
        source, digest = read_source(table, path), hash_file(path)
    return source.columns, PartReport(digest, source.rows_read, source.findings)


def _read_ids(part: Part, log: Table, key: str) -> pa.Array:
    """A task: the distinct ids in a column of one part of the log."""
    only = replace(log, columns={key: log.columns[key]}, needed=(key,))
    with part.local() as path:
        return distinct_ids(read_source(only, path), key)


def read_transactions(
    part: Part, log: Table, articles: pd.DataFrame, customers: pd.DataFrame, bounds: np.ndarray
) -> list:
    """A task: the valid rows of one part of the log, a frame for each shard, then the part's report."""
    pa.set_cpu_count(1)  # a task is one core's work
    with part.local() as path:
        source, digest = read_source(log, path), hash_file(path)
    frame = without_broken(source, transactions_of(source, articles, customers))
    shard = np.searchsorted(bounds, frame[raw_columns.CUSTOMER].to_numpy(), side="right") - 1
    frame = frame.iloc[np.argsort(shard.astype(np.uint16), kind="stable")]  # keeps the order of rows within a shard
    sizes = np.bincount(shard, minlength=len(bounds) - 1).tolist()
    ends = list(accumulate(sizes))
    pieces = [frame.iloc[end - size : end].reset_index(drop=True) for size, end in zip(sizes, ends, strict=True)]
    dates = frame[raw_columns.T_DAT].to_numpy().astype("datetime64[D]")
    report = PartReport(
        sha256=digest,
        rows_read=source.rows_read,
        findings=source.findings,
        sizes=tuple(sizes),
        bytes_kept=int(frame.memory_usage(index=False).sum()),
        dates=(str(dates.min()), str(dates.max())) if len(dates) else None,
        absent=source.absent,
    )
    return [*pieces, report]


def merged_findings(table: Table, parts: Sequence[PartReport]) -> list[Finding]:
    """The parts' findings as one machine reports them for one file: rows added up, in the order of the rules.

    A row's number counts through all parts. (A row with a wrong number of fields is counted but has no number.)
    """
    columns = table.schema.columns.items()
    rules = [(SOURCE_COLUMN.get(name, name), check.name) for name, column in columns for check in column.checks]
    # The order of the checks in a reader.
    while_reading = (schema.NOTED, schema.DROP, schema.MOVED, schema.TIDIED, schema.PADDED)
    merged: dict[tuple[str, str, str], Finding] = {}
    first_rows = accumulate((part.rows_read - _skipped(part) for part in parts), initial=0)
    for part, first_row in zip(parts, first_rows, strict=False):
        for finding in part.findings:
            key = finding.column, finding.rule, finding.action
            total = merged.get(key, replace(finding, rows=0, examples=()))
            examples = total.examples + tuple(_renumbered(example, first_row) for example in finding.examples)
            if finding.action == schema.NOTED and not finding.column:  # about the whole file, so the same in all parts
                examples = tuple(dict.fromkeys(examples))
            merged[key] = replace(total, rows=total.rows + finding.rows, examples=examples[:3])

    def place(finding: Finding) -> tuple[int, int]:
        rule = finding.column, finding.rule
        return (1, rules.index(rule)) if rule in rules else (0, while_reading.index(finding.action))

    return sorted(merged.values(), key=place)


def _skipped(part: PartReport) -> int:
    """Rows that could not be read."""
    return sum(finding.rows for finding in part.findings if finding.rule in SKIPPED_RULES)


def _renumbered(example: str, first_row: int) -> str:
    """An example of :meth:`hm_utils.data.column_reader.Column.examples`, its row counted from the first part on."""
    match = re.fullmatch(r"(.*) in row ([\d,]+)", example, flags=re.DOTALL)
    return f"{match[1]} in row {int(match[2].replace(',', '')) + first_row:,}" if match else example
