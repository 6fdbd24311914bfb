"""Read and validate the three raw tables: CSV, gzipped CSV or Parquet to typed pandas frames.

Only the log is needed, with its customers, articles and days. Without a table of articles or of customers, its rows are
those of the log; a column that a file lacks is empty.

    tables = read_raw(Path("data/raw"))
    tables.articles, tables.customers, tables.transactions
    tables.report_frame()          # rows dropped or repaired, and why

A fault of a file (missing, empty, damaged, without a column, not UTF-8) is an error. A fault of a row is dropped or
repaired, counted and reported. Too many faulty rows are an error of the file.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandera.errors import SchemaErrors

from hm_utils.data import raw_columns, schema
from hm_utils.data.column_reader import FIELDS_RULE, LINES_RULE, Column, Source, ids_of, read_source, typed
from hm_utils.data.ids import are_hms
from hm_utils.data.origin import Origin
from hm_utils.data.raw_file import SUFFIXES, file_errors, first_rows
from hm_utils.data.schema import Finding, RawDataError, Table
from hm_utils.files import file_entry

logger = logging.getLogger(__name__)

HOW_TO_GET = (
    "Put a log there as transactions_train.csv, with the columns customer_id, article_id and t_dat; or Kaggle's "
    "articles.csv, customers.csv and transactions_train.csv "
    "(kaggle competitions download -c h-and-m-personalized-fashion-recommendations -f articles.csv, and so on), "
    "or make a synthetic set: python -m hm_utils.sample --out {folder} --size sample"
)


@dataclass(frozen=True)
class RawTables:
    """The raw data after validation. A column that a file lacks has no values.

    Attributes:
        articles: the columns of :data:`raw_columns.ARTICLE_COLUMNS` and those of the parameter ``article_columns``,
            sorted by ``article_id``; the index is the article row. H&M's codes are nullable ``Int32``, all others text.
        customers: the columns of :data:`raw_columns.CUSTOMER_COLUMNS` and those of the parameter ``customer_columns``,
            sorted by ``customer_id``; the index is the customer row. ``age``, ``FN`` and ``Active`` are float32 with
            nan, the others text.
        transactions: ``t_dat`` (datetime64[s], whole days), ``customer`` and ``article`` (int32 row numbers),
            ``price`` (float32), ``sales_channel_id`` (int8), in the order of the file.
        report: every rule that rows broke, and the action taken.
        rows_read: rows in each file before any was dropped, by table.
        fingerprint: the :func:`fingerprint` of the files.
        origin: where they were read from.
        hm_ids: whether the ids are H&M's, see :mod:`hm_utils.data.ids`.
        absent: the columns that each table lacks.
    """

    articles: pd.DataFrame
    customers: pd.DataFrame
    transactions: pd.DataFrame
    report: list[Finding]
    rows_read: dict[str, int]
    fingerprint: str
    origin: Origin
    hm_ids: bool = field(default=True, kw_only=True)
    absent: dict[str, list[str]] = field(default_factory=dict, kw_only=True)

    def report_frame(self) -> pd.DataFrame:
        """The report as a table, one row per finding."""
        columns = ["table", "column", "rule", "rows", "action", "examples"]
        frame = pd.DataFrame([asdict(finding) for finding in self.report], columns=columns)
        frame["examples"] = ["; ".join(examples) for examples in frame["examples"]]
        return frame

    def size_frame(self) -> pd.DataFrame:
        """One row per table: rows read, dropped and kept, columns, and memory in MB."""
        kept = {"articles": self.articles, "customers": self.customers, "transactions": self.transactions}
        return pd.DataFrame(
            {
                "rows read": pd.Series(self.rows_read),
                "rows dropped": pd.Series({name: self.rows_read[name] - len(frame) for name, frame in kept.items()}),
                "rows kept": pd.Series({name: len(frame) for name, frame in kept.items()}),
                "columns": pd.Series({name: frame.shape[1] for name, frame in kept.items()}),
                "memory, MB": pd.Series(
                    {name: frame.memory_usage(deep=True).sum() / 1e6 for name, frame in kept.items()}
                ).round(1),
            }
        ).loc[list(kept)]


def read_raw(data_dir: Path, article_columns: Sequence[str] = (), customer_columns: Sequence[str] = ()) -> RawTables:
    """Read ``articles``, ``customers`` and ``transactions_train`` from a folder (:data:`raw_file.SUFFIXES`).

    Args:
        article_columns, customer_columns: further columns to keep, for features of their own.

    Raises:
        RawDataError: if the log or a needed column is missing, a file is empty, damaged or not UTF-8, or more than
            5 % of a table's rows are dropped, or most values of a column. Fewer bad rows are dropped or repaired, and
            reported.
    """
    paths = input_files(data_dir)
    hm_ids = log_has_hm_ids(paths[schema.TRANSACTIONS.name])
    tables = schema.tables_of(hm_ids, article_columns, customer_columns)
    with ThreadPoolExecutor() as pool:  # pyarrow and hashing release Python's lock
        digest = pool.submit(_hash_files, paths)
        reading = {
            table.name: pool.submit(read_source, table, paths[table.name]) for table in tables if table.name in paths
        }

        def source_of(table: Table) -> Source:
            if table.name in reading:
                return reading[table.name].result()
            ids = distinct_ids(reading[schema.TRANSACTIONS.name].result(), table.key)
            return source_from_log(table, paths[schema.TRANSACTIONS.name], [ids])

        sources = [source_of(table) for table in tables[:2]]
        articles, customers = map(master_table, sources)
        log = reading[schema.TRANSACTIONS.name].result()
        transactions = _validated(log, transactions_of(log, articles, customers))
        file_hash = digest.result()
    sources.append(log)
    report = [finding for source in sources for finding in source.findings]
    log_report(report)
    rows_read = {source.table.name: source.rows_read for source in sources}
    return RawTables(
        articles=articles,
        customers=customers,
        transactions=transactions,
        report=report,
        rows_read=rows_read,
        fingerprint=file_hash,
        origin=Origin.of(data_dir, rows_read),
        hm_ids=hm_ids,
        absent={source.table.name: source.absent for source in sources},
    )


def log_report(report: Sequence[Finding]) -> None:
    """Log the findings: dropped and repaired rows as warnings."""
    for finding in report:
        logger.log(logging.INFO if finding.action == schema.NOTED else logging.WARNING, "%s", finding)


def input_files(data_dir: Path) -> dict[str, Path]:
    """The file of each table that is there, by table name; the first of :data:`raw_file.SUFFIXES` takes precedence.

    Raises:
        RawDataError: if the folder or the log is missing, or another table is there in a form that is not read.
    """
    folder = Path(data_dir)
    help_ = HOW_TO_GET.format(folder=data_dir)
    if not folder.is_dir():
        raise RawDataError(f"there is no folder {folder}. {help_}")
    paths = {}
    for table in schema.TABLES:
        names = [table.stem + suffix for suffix in SUFFIXES]
        present = [folder / name for name in names if (folder / name).is_file()]
        if present:
            paths[table.name] = present[0]
        elif table.name == schema.TRANSACTIONS.name or _named_like(folder, table.stem):
            raise RawDataError(
                f"{folder} has none of {', '.join(names)}. {_in_another_form(folder, table.stem)}{help_}"
            )
    return paths


def _named_like(folder: Path, stem: str) -> list[str]:
    """The files and folders that seem to be the table."""
    return sorted(path.name for path in folder.iterdir() if path.name.lower().startswith(stem))


def _in_another_form(folder: Path, stem: str) -> str:
    """A sentence about a folder of parts, or about archives that may hold the table."""
    for parts in (folder / f"{stem}{suffix}" for suffix in ("", *SUFFIXES)):
        if parts.is_dir():
            return f'{parts} is a folder: engine="ray" reads tables of many parts; else write one file. '
    archives = [path.name for path in sorted(folder.glob("*")) if path.suffix in (".zip", ".tar", ".gz", ".7z")]
    if archives:
        return f"Unpack {' and '.join(archives)} there. "
    similar = _named_like(folder, stem)
    return f"Rename {similar[0]}, or move it away if it is something else. " if similar else ""


def fingerprint(data_dir: Path) -> str:
    """SHA-256 over the SHA-256 of the three files' bytes.

    The same rows as CSV and as Parquet differ. Kaggle's 3.5 GB take a few seconds.
    """
    return _hash_files(input_files(data_dir))


def _hash_files(paths: dict[str, Path]) -> str:
    return hash_of_hashes([(name, hash_file(paths[name])) for name in sorted(paths)])


def hash_file(path: Path) -> str:
    """SHA-256 of a raw file's bytes."""
    with file_errors(path):
        return str(file_entry(path)["sha256"])


def hash_of_hashes(hashes: Sequence[tuple[str, str]]) -> str:
    """The fingerprint of files given as (table, SHA-256), in order of table name."""
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in hashes).encode()).hexdigest()


def log_has_hm_ids(path: Path) -> bool:
    """Whether the ids of a log are H&M's. Raises RawDataError if the file cannot be read."""
    return are_hms(first_rows(path, schema.TRANSACTIONS.stem, [raw_columns.CUSTOMER_ID, raw_columns.ARTICLE_ID]))


def distinct_ids(log: Source, key: str) -> pa.Array:
    """The distinct ids in a column of a log."""
    return ids_of(Source(log.table, log.path, log.columns), key)  # findings about them are reported with the log's rows


def source_from_log(table: Table, log_path: Path, log_ids: Sequence[pa.Array]) -> Source:
    """The missing table of articles or of customers, with the ids of the log's parts and nothing else."""
    ids = pc.unique(pa.chunked_array(log_ids, type=pa.string()).drop_null())
    source = Source(table, log_path, {table.key: Column(np.arange(len(ids), dtype=np.int32), ids)})
    rule = f"is there (without {table.stem}, its rows are those of the log, and its features are off)"
    source.findings.append(Finding(table.name, "", rule, 0, schema.NOTED))
    return source


def master_table(source: Source) -> pd.DataFrame:
    """The valid articles or customers, sorted by their id.

    A column of numbers that the file lacks has the values of its column of names.
    """
    columns = {name: typed(source, name) for name in source.table.columns}
    for name in source.absent:
        if name != raw_columns.PRODUCT_CODE:
            columns[name] = columns.get(raw_columns.name_column(name), columns[name])
    frame, key = _validated(source, pd.DataFrame(columns)), source.table.key
    if not frame[key].is_monotonic_increasing:
        frame = frame.sort_values(key, ignore_index=True)
    return frame


def transactions_of(source: Source, articles: pd.DataFrame, customers: pd.DataFrame) -> pd.DataFrame:
    """The transactions with row numbers for ids, not checked yet. Only the ids of the master tables are used."""
    data = {
        raw_columns.T_DAT: typed(source, raw_columns.T_DAT),
        raw_columns.CUSTOMER: _rows_of(source, raw_columns.CUSTOMER_ID, customers),
        raw_columns.ARTICLE: _rows_of(source, raw_columns.ARTICLE_ID, articles),
        raw_columns.PRICE: typed(source, raw_columns.PRICE),
        raw_columns.CHANNEL: typed(source, raw_columns.CHANNEL),
    }
    return pd.DataFrame(data, copy=False)


def _rows_of(source: Source, key: str, master: pd.DataFrame) -> npt.NDArray[np.int32]:
    """``[n]`` the row of each transaction's id in the master table, -1 for an unknown id."""
    rows = pc.index_in(ids_of(source, key), value_set=pa.array(master[key], type=pa.string()))
    return source.columns[key].spread(pc.fill_null(rows, -1).to_numpy(), -1)


REMEDIES = {  # by the rule that most of the dropped rows break
    schema.HEXADECIMAL: "Somebody has shortened or re-encoded the ids: use the original ones, in both tables",
    schema.LISTED.format("customers"): "Check that the file belongs with customers, and has its ids",
    schema.LISTED.format("articles"): "Check that the file belongs with articles, and has its ids",
    FIELDS_RULE: "Check the file's separators and quotes, and that it is whole",
    LINES_RULE: "Remove the stray quotes",
}
SOURCE_COLUMN = {raw_columns.CUSTOMER: raw_columns.CUSTOMER_ID, raw_columns.ARTICLE: raw_columns.ARTICLE_ID}


def _validated(source: Source, frame: pd.DataFrame) -> pd.DataFrame:
    kept = without_broken(source, frame)
    refuse_if_broken(source.path, source.rows_read, len(kept), source.findings)
    _refuse_if_blanked(source)
    return kept


def _refuse_if_blanked(source: Source) -> None:
    """Raise RawDataError if more than ``schema.MAX_BLANKED_SHARE`` of a column's values were set to missing."""
    for name, column in source.columns.items():
        blanked = [each for each in source.findings if each.column == name and each.action == schema.BLANK]
        values, lost = np.count_nonzero(column.codes >= 0), sum(finding.rows for finding in blanked)
        if lost > schema.MAX_BLANKED_SHARE * values:
            raise RawDataError(
                f"{source.path}: {lost:,} of the {values:,} values of {name} break a rule. "
                f"{'; '.join(map(str, blanked))}. Write them as docs/data.md says, or leave the column empty"
            )


def without_broken(source: Source, frame: pd.DataFrame) -> pd.DataFrame:
    """Apply the table's schema: drop or blank the rows that break a rule, and report them."""
    drop = np.zeros(len(frame), dtype=bool)
    try:
        # No coercion; a copy would take a second.
        source.table.schema.remove_columns(source.absent).validate(frame, lazy=True, inplace=True)
    except SchemaErrors as errors:
        for error in errors.schema_errors:
            if not isinstance(error.check_output, pd.Series):
                raise  # a wrong type or a lost column is a mistake in this module
            bad = error.check_output.index[~error.check_output.to_numpy(dtype=bool)].to_numpy()
            column, action = error.schema.name, error.check.description
            source.found(SOURCE_COLUMN.get(column, column), error.check.name, bad, action)
            if action == schema.DROP:
                drop[bad] = True
            else:
                frame.loc[bad, column] = np.nan
    return frame[~drop].reset_index(drop=True) if drop.any() else frame


def refuse_if_broken(path: str | Path, rows_read: int, rows_kept: int, findings: Sequence[Finding]) -> None:
    """Raise RawDataError if more than ``schema.MAX_DROPPED_SHARE`` of a table's rows were dropped."""
    dropped = rows_read - rows_kept
    if dropped > schema.MAX_DROPPED_SHARE * rows_read:
        dropping = [finding for finding in findings if finding.action == schema.DROP]
        worst = max(dropping, key=lambda finding: finding.rows).rule
        broken = "; ".join(map(str, dropping))
        raise RawDataError(
            f"{path}: {dropped:,} of {rows_read:,} rows break a rule, more than the "
            f"{schema.MAX_DROPPED_SHARE:.0%} that may be dropped. {broken}. "
            + REMEDIES.get(worst, "Write these values as docs/data.md says")
        )
