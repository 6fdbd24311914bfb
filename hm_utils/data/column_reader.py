"""The columns of a raw file: read as distinct values and codes, then converted to the schema's types.

pyarrow reads every column as a dictionary: the distinct values once, and an int32 code per row. Only the distinct
values are converted, so no row becomes a Python object. :mod:`hm_utils.data.raw_file` opens the file.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from hm_utils.data import raw_columns, schema
from hm_utils.data.raw_columns import Kind
from hm_utils.data.raw_file import (
    NO_ROWS,
    SUFFIXES,
    CsvStream,
    csv_fields,
    csv_header,
    file_errors,
    is_parquet,
    line_count,
)
from hm_utils.data.schema import Finding, RawDataError, Table

logger = logging.getLogger(__name__)

_BLOCK = 1 << 24  # bytes: each block has a dictionary of its own, so larger blocks repeat fewer ids
FIELDS_RULE = "has as many fields as the header"
NO_TIME = "has no time of day (it is cut off)"
HOUR, DAY = 3_600, 86_400  # seconds
LINES_RULE = "is one line (a quote can join several)"
ABSENT_RULE = "has every documented column (without one, its feature is off)"
SKIPPED_RULES = (FIELDS_RULE, LINES_RULE)  # of rows that are lost while reading, and have no number


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
    skipped: int = 0  # lines that gave no row: with the wrong number of fields, or joined by a quote

    @property
    def rows_read(self) -> int:
        """Rows in the file, including those that could not be read."""
        return len(next(iter(self.columns.values())).codes) + self.skipped

    @property
    def absent(self) -> list[str]:
        """The table's columns that the file lacks."""
        return [name for name in self.table.columns if name not in self.columns]

    def found(self, column: str, rule: str, rows: npt.NDArray, action: str) -> None:
        self.findings.append(
            Finding(self.table.name, column, rule, len(rows), action, self.columns[column].examples(rows))
        )


def read_source(table: Table, path: Path) -> Source:
    """Read the table's columns from a file as distinct values and codes."""
    started = time.perf_counter()
    logger.info("reading %s (%.1f MB)", path.name, path.stat().st_size / 1e6)
    source = Source(table, path)
    _note_other_files(source)
    with file_errors(path):
        stream = None if is_parquet(path) else CsvStream(path, table.stem)
        present = csv_header(path, table.stem) if stream else list(pyarrow.parquet.read_schema(path).names)
        names = _columns_to_read(source, present)
        arrow = _read_csv(source, stream, names) if stream else _read_parquet(source, names)
        if arrow.num_rows == 0:
            raise RawDataError(_no_rows(source))
        columns = [arrow.column(name) for name in names]
        del arrow  # so that each column is freed as soon as it is converted
        with ThreadPoolExecutor(pa.cpu_count()) as pool:  # a cluster task sets this to 1
            encoded = pool.map(encode, columns)
            columns.clear()
            source.columns = dict(zip(names, encoded, strict=True))
        if stream:
            _check_lines(source, stream, len(present))
    logger.info("read %s rows of %s in %.1f s", f"{source.rows_read:,}", path.name, time.perf_counter() - started)
    return source


def _columns_to_read(source: Source, present: list[str]) -> list[str]:
    """The table's columns that a file has. Those that it lacks, and others that it has, are noted."""
    wanted, path = source.table.columns, source.path
    missing = [name for name in source.table.needed if name not in present]
    if missing:
        raise RawDataError(
            f"{path} has no column {', '.join(missing)}. Its columns are {', '.join(map(repr, present))[:500]}; "
            f"needed are {', '.join(source.table.needed)}, separated by commas"
        )
    twice = [name for name in wanted if present.count(name) > 1]
    if twice:
        raise RawDataError(f"{path} has column {', '.join(twice)} twice. Remove or rename one of the two")
    extra = tuple(repr(name) for name in present if name not in wanted)
    if extra:
        rule = "has only the documented columns (others are ignored)"
        source.findings.append(Finding(source.table.name, "", rule, 0, schema.NOTED, extra[:3]))
    absent = [name for name in wanted if name not in present]
    if absent:
        source.findings.append(Finding(source.table.name, "", ABSENT_RULE, 0, schema.NOTED, (", ".join(absent),)))
    return [name for name in wanted if name in present]


def _note_other_files(source: Source) -> None:
    """Report the files and folders beside this file that may hold the same table: one of them may be newer."""
    stem, name = source.table.stem, source.path.name
    names = [stem + suffix for suffix in SUFFIXES]
    if name in names:
        others = tuple(other for other in (*names, stem) if other != name and source.path.with_name(other).exists())
        if others:
            rule = f"has one file ({name} is read, the others are not)"
            source.findings.append(Finding(source.table.name, "", rule, 0, schema.NOTED, others))


def _no_rows(source: Source) -> str:
    if not source.skipped:
        return NO_ROWS.format(path=source.path)
    return (
        f"{source.path}: none of its {source.skipped:,} rows has as many fields as the header "
        f"({source.findings[-1].examples[0]}). Each line may end with a comma, or begin with a row number that has no "
        "name: write the table again without them"
    )


def _check_lines(source: Source, stream: CsvStream, fields: int) -> None:
    """Compare the rows read with the lines of the file: a stray quote joins all lines up to the next quote."""
    if stream.last_line:
        if source.skipped and len(csv_fields(stream.last_line)) != fields:
            end = stream.last_line[-60:]
            raise RawDataError(f"{source.path} ends in the middle of a line ({end!r}): it is cut short. Fetch it again")
        rule = "ends with a line break (else it may be cut short)"
        source.findings.append(Finding(source.table.name, "", rule, 0, schema.NOTED))
    joined = line_count(source.path, source.table.stem) - 1 - source.rows_read if stream.quoted else 0
    if joined > 0:
        # Descriptions of articles may span lines.
        action = schema.NOTED if source.table.name == schema.ARTICLES.name else schema.DROP
        examples: tuple[str, ...] = ()
        for column in source.columns.values():
            broken = pc.match_substring(column.distinct.cast(pa.string()), "\n").to_numpy(zero_copy_only=False)
            rows = np.flatnonzero(column.spread(broken.astype(bool), False))
            examples += column.examples(rows)
        source.findings.append(Finding(source.table.name, "", LINES_RULE, joined, action, examples[:3]))
        source.skipped += joined if action == schema.DROP else 0


def _read_csv(source: Source, stream: CsvStream, names: list[str]) -> pa.Table:
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
        stream,
        read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
        parse_options=pyarrow.csv.ParseOptions(
            newlines_in_values=source.table.name == schema.ARTICLES.name,  # descriptions may span lines
            invalid_row_handler=skip,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=names,
            column_types=dict.fromkeys(names, text),
            null_values=[""],  # a garment may be called "null", and a news frequency is "NONE"
            strings_can_be_null=True,
        ),
    )
    if source.skipped:
        source.findings.append(Finding(source.table.name, "", FIELDS_RULE, source.skipped, schema.DROP, tuple(odd)))
    return arrow


def _read_parquet(source: Source, names: list[str]) -> pa.Table:
    fields = pyarrow.parquet.read_schema(source.path)
    texts = [item.name for item in fields if pa.types.is_string(item.type) or pa.types.is_large_string(item.type)]
    return pyarrow.parquet.read_table(source.path, columns=names, read_dictionary=texts)


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


def _flags(values: pa.Array) -> pa.Array:
    """The words true and false as numbers; everything else stays."""
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        return values
    words = _texts(values).str.strip().str.lower()
    return pa.array(words.replace({"true": "1", "false": "0"}), type=pa.string())


def _dates(source: Source) -> npt.NDArray[np.datetime64]:
    """The distinct dates, without their time of day.

    Midnights of a time zone that were stored as UTC have one time of day, or two with daylight saving. They belong to
    the nearest midnight: 22:00 is the start of the next day.
    """
    column = source.columns[raw_columns.T_DAT]
    zoned = pa.types.is_timestamp(column.distinct.type) and column.distinct.type.tz
    texts = _texts(pc.local_timestamp(column.distinct) if zoned else column.distinct).str.strip()
    parts = texts.str.extract(r"^(\d{4}-\d{2}-\d{2})(?:[T ](?:(\d{2}):(\d{2})(?::(\d{2}))?)?.*)?$")
    day = pd.to_datetime(parts[0], format="%Y-%m-%d", errors="coerce").to_numpy().astype("datetime64[s]")
    seconds = parts[[1, 2, 3]].fillna("0").to_numpy(dtype=np.int64) @ [HOUR, 60, 1]
    times = np.unique(seconds)
    if not times.any():
        return day
    midnights = len(times) <= 2 and np.ptp(times) in (0, HOUR, DAY - HOUR) and not (times % (HOUR // 4)).any()
    late = (seconds > DAY // 2) & midnights
    rule = "has no time of day (UTC midnights of a time zone count for the nearest day)" if midnights else NO_TIME
    rows = np.flatnonzero(column.spread(late if midnights else seconds > 0, False))
    if len(rows):
        source.found(raw_columns.T_DAT, rule, rows, schema.NOTED if not midnights else schema.MOVED)
    return day + np.where(late, np.timedelta64(DAY, "s"), np.timedelta64(0, "s"))


def ids_of(source: Source, name: str) -> pa.Array:
    """The distinct ids of a column: H&M's as :func:`_article_ids` and :func:`_customer_ids`, others as they are."""
    kind = source.table.columns[name]
    if kind is Kind.ARTICLE:
        return _article_ids(source)
    return _customer_ids(source) if kind is Kind.CUSTOMER else source.columns[name].distinct.cast(pa.string())


def _article_ids(source: Source) -> pa.Array:
    """The distinct article ids as 10 digits. Lost leading zeros are restored and reported."""
    column = source.columns[raw_columns.ARTICLE_ID]
    text = _texts(column.distinct).str.strip()
    short = text.str.fullmatch(r"\d{1,9}(?:\.0+)?|\d{10}\.0+", na=False)
    padded = text.str.replace(r"\.0+$", "", regex=True).str.zfill(10)
    rows = np.flatnonzero(column.spread(short.to_numpy(dtype=bool), False))
    if len(rows):
        source.found(raw_columns.ARTICLE_ID, "keeps its leading zeros", rows, schema.PADDED)
    return pa.array(text.where(~short, padded), type=pa.string())


def _customer_ids(source: Source) -> pa.Array:
    """The distinct customer ids without blanks around them and in lower case; changed ones are reported."""
    column = source.columns[raw_columns.CUSTOMER_ID]
    text = column.distinct.cast(pa.string())
    tidy = pc.ascii_lower(pc.ascii_trim_whitespace(text))
    changed = pc.fill_null(pc.not_equal(tidy, text), False).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(column.spread(changed.astype(bool), False))
    if len(rows):
        source.found(raw_columns.CUSTOMER_ID, "has neither blanks nor capitals", rows, schema.TIDIED)
    return tidy


def typed(source: Source, name: str) -> object:
    """``[n]`` the values of a column in the type of its kind; a column that the file lacks is empty."""
    kind = source.table.columns[name]
    if name not in source.columns:
        return _empty(kind, source.rows_read - source.skipped)
    column = source.columns[name]
    if kind in (Kind.TEXT, Kind.CATEGORY, Kind.CUSTOMER, Kind.ARTICLE, Kind.ID):
        is_id = name in (raw_columns.ARTICLE_ID, raw_columns.CUSTOMER_ID)
        values = ids_of(source, name) if is_id else column.distinct.cast(pa.string())
        codes = pa.array(column.codes, mask=column.codes < 0)
        return pd.Series(values.take(codes).to_pandas(), dtype="str")
    if kind is Kind.DATE:
        return column.spread(_dates(source), np.datetime64("NaT"))
    numbers = _numbers(_flags(column.distinct) if name in (raw_columns.FN, raw_columns.ACTIVE) else column.distinct)
    if kind is Kind.SMALL:
        small = np.where((np.abs(numbers) < 100) & (numbers == np.floor(numbers)), numbers, 0)
        return column.spread(small.astype(np.int8), 0)
    whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**31)
    readable = whole if kind is Kind.CODE else np.isfinite(numbers)
    # The price has its own rule, which drops the row. Other unreadable numbers become missing.
    unreadable = np.flatnonzero(column.spread(~readable, False))
    if name != raw_columns.PRICE and len(unreadable):
        source.found(name, f"is a {kind}", unreadable, schema.BLANK)
    values = np.where(readable, numbers, np.nan)
    if kind is Kind.NUMBER:
        return column.spread(values.astype(np.float32), np.nan)
    rows = column.spread(np.nan_to_num(values).astype(np.int32), 0)
    return pd.arrays.IntegerArray(rows, ~column.spread(readable, False))


def _empty(kind: Kind, rows: int) -> object:
    if kind is Kind.NUMBER:
        return np.full(rows, np.nan, dtype=np.float32)
    if kind is Kind.SMALL:
        return np.zeros(rows, dtype=np.int8)
    if kind is Kind.CODE:
        return pd.arrays.IntegerArray(np.zeros(rows, dtype=np.int32), np.ones(rows, dtype=bool))
    return pd.Series([None] * rows, dtype="str")
