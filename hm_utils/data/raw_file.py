"""Opening a raw file: its first bytes say what it is, whatever its name says.

CSV is read as it is, gzipped, or from a zip archive as Kaggle's; other files are read as Parquet, or refused by name.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hm_utils.data.schema import RawDataError

SUFFIXES = (".csv", ".csv.gz", ".csv.zip", ".parquet")
PARQUET, GZIP, ZIP = b"PAR1", b"\x1f\x8b", b"PK"
HEAD = 1 << 20  # bytes that hold a header
HEAD_ROWS = 10_000
# First bytes of files that people name .csv; after blanks for text.
OTHERS = {
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstandard archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"ARROW1": "a Feather file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"\x80": "a pickle",
    b"<": "a web page (a download that failed, or that asked to log in)",
    b"{": "JSON",
    b"version https://git-lfs": "a pointer of Git LFS (`git lfs pull` fetches the file)",
}
NO_ROWS = "{path} has a header but no rows. Fetch the file again, or make a sample"
UTF16 = "{path} is UTF-16 text, not UTF-8. Convert it first: iconv -f utf-16 -t utf-8 {name} > fixed.csv"


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn a library's error about a file that cannot be read into a RawDataError that names the file."""
    try:
        yield
    except RawDataError:
        raise
    except (pa.ArrowException, OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError, csv.Error,
            MemoryError, RuntimeError) as error:  # fmt: skip
        if "utf8" in str(error).lower().replace("-", ""):
            raise _encoding_error(path) from None
        if "Empty CSV file" in str(error):
            raise RawDataError(NO_ROWS.format(path=path)) from None
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, MemoryError):
            remedy = 'It does not fit into memory: free some, or use a larger machine or engine="ray"'
        elif isinstance(error, OSError) and error.errno:
            reason, remedy = str(error.strerror), "Check that you may read it, and that its disk works"
        elif isinstance(error, pa.ArrowNotImplementedError | pa.ArrowTypeError):
            remedy = "Write its columns as text, whole numbers, numbers or dates"
        elif isinstance(error, RuntimeError):  # of zipfile
            remedy = "Unpack it first"
        else:
            remedy = "It may be damaged or cut short: fetch it again"
        raise RawDataError(f"{path} cannot be read: {reason}. {remedy}") from error


def _encoding_error(path: Path) -> RawDataError:
    """Find the first line that is not UTF-8. Called only after reading has failed, so speed does not matter."""
    fix = f"Convert it first, for example: iconv -f latin1 -t utf-8 {path.name} > fixed.csv"
    if not is_parquet(path):
        with open_csv(path, path.name.split(".")[0]) as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    bad = line[error.start : error.start + 8]
                    return RawDataError(f"{path}, line {number:,}: bytes that are not UTF-8 ({bad!r}). {fix}")
    return RawDataError(f"{path} holds text that is not UTF-8: it is damaged. Write it again")


def is_parquet(path: Path) -> bool:
    """Whether the file is Parquet; else it can only be CSV."""
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


def open_csv(path: Path, stem: str) -> BinaryIO:
    """The bytes of a CSV file: plain, gzipped, or the member ``stem``.csv (or the only .csv) of a zip archive.

    Raises:
        RawDataError: if it is something else, or a zip archive without such a member.
    """
    with path.open("rb") as file:
        start = file.read(len(GZIP))
    if start == GZIP:
        return cast(BinaryIO, gzip.open(path))
    if start != ZIP:
        return path.open("rb")
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if name.endswith(".csv") and not name.startswith("__MACOSX/")]
    wanted = [name for name in names if Path(name).name == f"{stem}.csv"] or names
    if len(wanted) != 1:
        held = ", ".join(archive.namelist()[:5]) or "nothing"
        raise RawDataError(f"{path} is a zip archive without a {stem}.csv (it holds {held}). Unpack the right one")
    return cast(BinaryIO, archive.open(wanted[0]))


def csv_header(path: Path, stem: str) -> list[str]:
    """The names of a CSV file's columns.

    Raises:
        RawDataError: if the file is empty or no CSV.
    """
    with open_csv(path, stem) as stream:
        head = stream.read(HEAD).lstrip(b"\r\n")
    if head and not head.strip(b"\0"):
        raise RawDataError(f"{path} begins with nothing but zero bytes: a copy of it failed. Fetch it again")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:4]:
        raise RawDataError(UTF16.format(path=path, name=path.name))
    for start, what in OTHERS.items():
        if head.lstrip().startswith(start):
            raise RawDataError(f"{path} is {what}, not a table: give it as CSV, gzipped CSV or Parquet")
    line = re.split(rb"[\r\n]", head, maxsplit=1)[0]
    if not line.strip():
        raise RawDataError(f"{path} is empty: not even a header. Fetch the file again")
    return csv_fields(line)


def csv_fields(line: bytes) -> list[str]:
    """The fields of one line."""
    return next(csv.reader([line.decode("utf-8-sig")]))


class CsvStream:
    """The bytes of a CSV file for pyarrow, which calls ``read``.

    Attributes:
        quoted: whether a quote was read.
        tail: the last bytes that were read.
    """

    def __init__(self, path: Path, stem: str) -> None:
        self._file = open_csv(path, stem)
        self.quoted = False
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if data:
            self.quoted = self.quoted or b'"' in data
            self.tail = data[-HEAD:] if len(data) >= HEAD else (self.tail + data)[-HEAD:]
        return data

    @property
    def last_line(self) -> bytes:
        """The last line if no line break ends it, else nothing."""
        return re.split(rb"[\r\n]", self.tail)[-1]

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        self._file.close()


def line_count(path: Path, stem: str) -> int:
    """The lines of a CSV file that are not empty."""
    with io.TextIOWrapper(open_csv(path, stem), encoding="latin-1") as lines:
        return sum(line != "\n" for line in lines)


def first_rows(path: Path, stem: str, columns: list[str]) -> pd.DataFrame:
    """Some columns of the first rows, as text; no rows if one of the columns is missing.

    Raises:
        RawDataError: the file cannot be read.
    """
    rows = None
    with file_errors(path):
        if is_parquet(path):
            file = pq.ParquetFile(path)
            if set(columns) <= set(file.schema_arrow.names):
                rows = next(file.iter_batches(HEAD_ROWS, columns=columns), None)
        elif set(columns) <= set(csv_header(path, stem)):
            reader = pyarrow.csv.open_csv(
                CsvStream(path, stem),
                parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=lambda row: "skip"),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
            rows = next(iter(reader), None)
        texts = {} if rows is None else {name: rows.column(name)[:HEAD_ROWS].cast(pa.string()) for name in columns}
        return pd.DataFrame({name: pd.Series(texts.get(name, ()), dtype="str") for name in columns})
