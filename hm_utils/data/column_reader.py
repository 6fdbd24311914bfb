"""The columns of a raw file: read as distinct values and codes, then converted to the schema's types.

pyarrow reads every column as a dictionary: the distinct values once, and an int32 code per row. Only the distinct
values are converted, so no row becomes a Python object.
"""

from __future__ import annotations

import csv
import gzip
import logging
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from hm_utils.data import raw_columns, schema
from hm_utils.data.raw_columns import Kind
from hm_utils.data.schema import Finding, RawDataError, Table

logger = logging.getLogger(__name__)

_BLOCK = 1 << 24  # bytes: each block has a dictionary of its own, so larger blocks repeat fewer ids
FIELDS_RULE = "has as many fields as the header"
_NO_ROWS = "{path} has a header but no rows. Fetch the file again, or make a sample"


@dataclass(frozen=True)
class Column:
    """A column as its distinct values and the code of each row (-1 where empty)."""

    codes: npt.NDArray[np.int32]
    distinct: pa.Array

    def spread(self, per_value: npt.NDArray, missing: object) -> npt.NDArray:
        """``[n]`` the element of ``per_value`` for each row; ``missing`` where empty."""
        return np.append(per_value, np.array([missing], dtype=per_value.dtype))[self.codes]

    def examples(self, rows: npt.NDArray) -> tuple[str, ...]:
        """The values of the first three rows, with their row numbers, for a :class:`Finding`."""
        texts = ["empty" if self.codes[row] < 0 else repr(str(self.distinct[self.codes[row]])) for row in rows[:3]]
        return tuple(f"{text[:80]} in row {row + 1:,}" for text, row in zip(texts, rows, strict=False))


@dataclass
class Source:
    """One file during reading: its path, its columns, and the findings so far."""

    table: Table
    path: Path
    columns: dict[str, Column] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    skipped: int = 0  # lines with the wrong number of fields

    @property
    def rows_read(self) -> int:
        """Rows in the file, including those with the wrong number of fields."""
        return len(next(iter(self.columns.values())).codes) + self.skipped

    def found(self, column: str, rule: str, rows: npt.NDArray, action: str) -> None:
        self.findings.append(
            Finding(self.table.name, column, rule, len(rows), action, self.columns[column].examples(rows))
        )


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn a library's error about a broken file into a RawDataError that names the file."""
    try:
        yield
    except RawDataError:
        raise
    except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if "utf8" in str(error).lower().replace("-", ""):
            raise _encoding_error(path) from None
        if "Empty CSV file" in str(error):
            raise RawDataError(_NO_ROWS.format(path=path)) from None
        reason = (str(error) or type(error).__name__).splitlines()[0]
        message = f"{path} cannot be read: {reason}. It may be damaged or cut short: fetch it again"
        raise RawDataError(message) from error


def _encoding_error(path: Path) -> RawDataError:
    """Find the first line that is not UTF-8. Called only after reading has failed, so speed does not matter."""
    fix = f"Convert it first, for example: iconv -f latin1 -t utf-8 {path.name} > fixed.csv"
    if path.suffix != ".parquet":
        with _open(path) as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    bad = line[error.start : error.start + 8]
                    return RawDataError(f"{path}, line {number:,}: bytes that are not UTF-8 ({bad!r}). {fix}")
    return RawDataError(f"{path} holds text that is not UTF-8: it is damaged. Write it again")


def read_source(table: Table, path: Path) -> Source:
    """Read the table's columns from a file as distinct values and codes."""
    started = time.perf_counter()
    logger.info("reading %s (%.1f MB)", path.name, path.stat().st_size / 1e6)
    source = Source(table, path)
    with file_errors(path):
        present = _parquet_names(path) if path.suffix == ".parquet" else _csv_header(path)
        _check_columns(source, present)
        arrow = _read_parquet(source) if path.suffix == ".parquet" else _read_csv(source)
        if arrow.num_rows == 0:
            raise RawDataError(_NO_ROWS.format(path=path))
        columns = [arrow.column(name) for name in table.columns]
        del arrow  # so that each column is freed as soon as it is converted
        with ThreadPoolExecutor(pa.cpu_count()) as pool:  # a cluster task sets this to 1
            encoded = pool.map(encode, columns)
            columns.clear()
            source.columns = dict(zip(table.columns, encoded, strict=True))
    logger.info("read %s rows of %s in %.1f s", f"{source.rows_read:,}", path.name, time.perf_counter() - started)
    return source


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _csv_header(path: Path) -> list[str]:
    with _open(path) as stream:
        line = stream.readline()
    if not line.strip():
        raise RawDataError(f"{path} is empty: not even a header. Fetch the file again")
    return next(csv.reader([line.decode("utf-8-sig")]))


def _parquet_names(path: Path) -> list[str]:
    return list(pyarrow.parquet.read_schema(path).names)


def _check_columns(source: Source, present: list[str]) -> None:
    wanted, path = source.table.columns, source.path
    missing = [name for name in wanted if name not in present]
    if missing:
        raise RawDataError(
            f"{path} has no column {', '.join(missing)}. Its columns are {', '.join(map(repr, present))[:500]}; "
            f"needed are {', '.join(wanted)}, separated by commas"
        )
    twice = [name for name in wanted if present.count(name) > 1]
    if twice:
        raise RawDataError(f"{path} has column {', '.join(twice)} twice. Remove or rename one of the two")
    extra = tuple(name for name in present if name not in wanted)
    if extra:
        rule = "has only the documented columns (others are ignored)"
        source.findings.append(Finding(source.table.name, "", rule, 0, schema.NOTED, extra[:3]))


def _read_csv(source: Source) -> pa.Table:
    odd: list[str] = []
    lock = threading.Lock()  # pyarrow calls the handler from its own threads

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        with lock:
            source.skipped += 1
            if len(odd) < 3:
                odd.append(f"{row.text[:60]!r} has {row.actual_columns} fields, not {row.expected_columns}")
        return "skip"

    text = pa.dictionary(pa.int32(), pa.string())
    arrow = pyarrow.csv.read_csv(
        source.path,
        read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
        parse_options=pyarrow.csv.ParseOptions(
            newlines_in_values=source.table is schema.ARTICLES,  # descriptions may span lines
            invalid_row_handler=skip,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(source.table.columns),
            column_types=dict.fromkeys(source.table.columns, text),
            null_values=[""],  # a garment may be called "null", and a news frequency is "NONE"
            strings_can_be_null=True,
        ),
    )
    if source.skipped:
        source.findings.append(Finding(source.table.name, "", FIELDS_RULE, source.skipped, schema.DROP, tuple(odd)))
    return arrow


def _read_parquet(source: Source) -> pa.Table:
    fields = pyarrow.parquet.read_schema(source.path)
    texts = [item.name for item in fields if pa.types.is_string(item.type) or pa.types.is_large_string(item.type)]
    return pyarrow.parquet.read_table(source.path, columns=list(source.table.columns), read_dictionary=texts)


def encode(column: pa.ChunkedArray) -> Column:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    codes = [pc.fill_null(chunk.indices.cast(pa.int32()), -1).to_numpy() for chunk in column.chunks]
    distinct = column.chunk(0).dictionary
    distinct.validate(full=True)  # Parquet readers do not check that text is UTF-8
    return Column(np.concatenate(codes), distinct)


def _texts(values: pa.Array) -> pd.Series:
    return pd.Series(values.cast(pa.string()).to_pandas(), dtype="str")


def _numbers(values: pa.Array) -> npt.NDArray[np.float64]:
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    if any(is_numeric(values.type) for is_numeric in numeric):
        return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return pd.to_numeric(_texts(values), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _dates(values: pa.Array) -> npt.NDArray[np.datetime64]:
    # Only the date: a time of day or a zone is cut off.
    day = _texts(values).str.strip().str.extract(r"^(\d{4}-\d{2}-\d{2})(?:[T ].*)?$", expand=False)
    return pd.to_datetime(day, format="%Y-%m-%d", errors="coerce").to_numpy().astype("datetime64[s]")


def article_ids(source: Source) -> pa.Array:
    """The distinct article ids as 10 digits. Lost leading zeros are restored and reported."""
    column = source.columns[raw_columns.ARTICLE_ID]
    text = _texts(column.distinct).str.strip()
    short = text.str.fullmatch(r"\d{1,9}(?:\.0+)?|\d{10}\.0+", na=False)
    padded = text.str.replace(r"\.0+$", "", regex=True).str.zfill(10)
    rows = np.flatnonzero(column.spread(short.to_numpy(dtype=bool), False))
    if len(rows):
        source.found(raw_columns.ARTICLE_ID, "keeps its leading zeros", rows, schema.PADDED)
    return pa.array(text.where(~short, padded), type=pa.string())


def typed(source: Source, name: str) -> object:
    """``[n]`` the values of a column in the type of its kind."""
    kind, column = source.table.columns[name], source.columns[name]
    if kind in (Kind.TEXT, Kind.CATEGORY, Kind.CUSTOMER, Kind.ARTICLE):
        values = article_ids(source) if kind is Kind.ARTICLE else column.distinct.cast(pa.string())
        codes = pa.array(column.codes, mask=column.codes < 0)
        return pd.Series(values.take(codes).to_pandas(), dtype="str")
    if kind is Kind.DATE:
        return column.spread(_dates(column.distinct), np.datetime64("NaT"))
    numbers = _numbers(column.distinct)
    if kind is Kind.SMALL:
        small = np.where((np.abs(numbers) < 100) & (numbers == np.floor(numbers)), numbers, 0)
        return column.spread(small.astype(np.int8), 0)
    whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**31)
    readable = whole if kind is Kind.CODE else np.isfinite(numbers)
    # The price has its own rule, which drops the row. Other unreadable numbers become missing.
    if name != raw_columns.PRICE and not readable.all():
        source.found(name, f"is a {kind}", np.flatnonzero(column.spread(~readable, False)), schema.BLANK)
    values = np.where(readable, numbers, np.nan)
    if kind is Kind.NUMBER:
        return column.spread(values.astype(np.float32), np.nan)
    rows = column.spread(np.nan_to_num(values).astype(np.int32), 0)
    return pd.arrays.IntegerArray(rows, ~column.spread(readable, False))
