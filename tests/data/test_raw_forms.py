"""Raw files as people have them: each is read as the plain CSV is, or refused with the right reason and remedy."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hm_utils.data.raw import RawTables, read_raw
from hm_utils.data.raw_file import file_errors
from hm_utils.data.schema import RawDataError
from tests.helpers.raw_files import raw_frames, write

LOG, ARTICLES, CUSTOMERS = "transactions_train.csv", "articles.csv", "customers.csv"
Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "raw", raw_frames())


def as_text(name: str, change: Callable[[str], str]) -> Change:
    return lambda folder: (folder / name).write_text(change((folder / name).read_text()))


def as_bytes(name: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def as_frame(name: str, change: Callable[[pd.DataFrame], pd.DataFrame], index: bool = False) -> Change:
    def write_again(folder: Path) -> None:
        frame = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
        change(frame).to_csv(folder / name, index=index)

    return write_again


def column(name: str, table: str, change: Callable[[pd.Series], Any]) -> Change:
    return as_frame(table, lambda frame: frame.assign(**{name: change(frame[name])}))


def both(one: Change, other: Change) -> Change:
    return lambda folder: (one(folder), other(folder))


def parquet(name: str, new_name: str = "", **types: pa.DataType) -> Change:
    """The table as Parquet under another name."""

    def convert(folder: Path) -> None:
        table = pa.Table.from_pandas(pd.read_csv(folder / name, dtype=str), preserve_index=False)
        for column, kind in types.items():
            plain = table[column].cast(pa.float64()) if kind == pa.bool_() else table[column]
            values = pa.nulls(len(table), kind) if kind == pa.null() else plain.cast(kind)
            table = table.set_column(table.schema.get_field_index(column), column, values)
        (folder / name).unlink()
        pq.write_table(table, folder / (new_name or name.replace(".csv", ".parquet")))

    return convert


def zipped(name: str, new_name: str, *members: str) -> Change:
    def pack(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with zipfile.ZipFile(folder / new_name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in members:
                archive.writestr(member, content)

    return pack


def utc(folder: Path) -> None:
    """Midnights of Stockholm as UTC: 22:00 on the day before."""
    column("t_dat", LOG, lambda days: pd.to_datetime(days).dt.tz_localize("Europe/Stockholm").dt.tz_convert("UTC"))(
        folder
    )


def parquet_folder(folder: Path) -> None:
    (folder / LOG).unlink()
    (folder / "transactions_train.parquet").mkdir()


READ: dict[str, Change] = {
    "Kaggle's zip": zipped(LOG, f"{LOG}.zip", LOG),
    "a zip with another name inside": zipped(LOG, f"{LOG}.zip", "data.csv", "__MACOSX/data.csv"),
    "a zip named .csv": zipped(LOG, LOG, "some/folder/" + LOG, "other.csv"),
    "gzip named .csv": as_bytes(LOG, gzip.compress),
    "CSV named .csv.gz": lambda folder: (folder / CUSTOMERS).rename(folder / f"{CUSTOMERS}.gz"),
    "Parquet named .csv": parquet(ARTICLES, ARTICLES),
    "CR line ends": as_text(LOG, lambda text: text.replace("\n", "\r")),
    "CRLF line ends": as_bytes(CUSTOMERS, lambda text: text.replace(b"\n", b"\r\n")),
    "an empty first line": as_text(LOG, lambda text: "\n" + text),
    "empty lines": as_text(LOG, lambda text: text.replace("\n", "\n\n")),
    "every value quoted": as_text(LOG, lambda text: '"' + text[:-1].replace(",", '","').replace("\n", '"\n"') + '"\n'),
    "no line break at the end": as_text(CUSTOMERS, lambda text: text[:-1]),
    "an index column": as_frame(LOG, lambda frame: frame, index=True),
    "customer ids in capitals": column("customer_id", LOG, lambda ids: ids.str.upper()),
    "customer ids with a blank": column("customer_id", CUSTOMERS, lambda ids: ids + " "),
    "flags in words": column("FN", CUSTOMERS, lambda flags: flags.map({"1.0": "True", "": ""})),
    "flags as numbers": parquet(CUSTOMERS, FN=pa.float64(), Active=pa.float64()),
    "flags as booleans": parquet(CUSTOMERS, FN=pa.bool_(), Active=pa.bool_()),
    "local midnights as UTC": utc,
    "local midnights with their offset": column("t_dat", LOG, lambda days: days + "T00:00:00+02:00"),
    "New York's midnights as UTC": column("t_dat", LOG, lambda days: days + " 04:00:00"),
    "times of day": column("t_dat", LOG, lambda days: [f"{day} {i % 24:02}:59:59" for i, day in enumerate(days)]),
}


@pytest.mark.parametrize("change", READ.values(), ids=READ)
def test_is_read_as_the_plain_tables(folder: Path, change: Change) -> None:
    plain = read_raw(folder)
    change(folder)
    assert_same(read_raw(folder), plain)


def assert_same(one: RawTables, other: RawTables) -> None:
    for name in ("articles", "customers", "transactions"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


def test_false_is_a_flag(folder: Path) -> None:
    column("Active", CUSTOMERS, lambda flags: flags.map({"1.0": "TRUE", "": "FALSE"}))(folder)
    flags = read_raw(folder).customers["Active"]
    assert sorted(flags.unique()) == [0, 1]


NOTED: dict[str, tuple[Change, str, int]] = {
    "Parquet beside CSV": (
        lambda folder: shutil.copy(folder / ARTICLES, folder / "articles.parquet"),
        "articles: has one file (articles.csv is read, the others are not): 0 rows: noted (such as articles.parquet)",
        0,
    ),
    "an index column": (as_frame(LOG, lambda frame: frame, index=True), "(such as '')", 0),
    "no line break at the end": (as_text(LOG, lambda text: text[:-1]), "ends with a line break", 0),
    "a time of day": (
        column("t_dat", LOG, lambda days: [f"{day} 1{i % 10}:00:00" for i, day in enumerate(days)]),
        "has no time of day (it is cut off): 900 rows",
        0,
    ),
    "UTC midnights": (utc, "900 rows: moved to the next day (such as '2020-08-13 22:00:00+00:00' in row 1", 0),
    "blanks": (column("customer_id", CUSTOMERS, lambda ids: ids + " "), "has neither blanks nor capitals: 50 rows", 0),
    # A quote at the beginning of a value joins the lines up to the next quote.
    "quotes that join lines": (
        as_text(LOG, lambda text: join_lines(text, 11, 15)),
        "transactions: is one line (a quote can join several): 4 rows: row dropped",
        4,
    ),
    "quotes that join articles": (
        as_text(ARTICLES, lambda text: join_lines(text, 56, 58)),
        "articles: is one line (a quote can join several): 2 rows: noted",
        0,
    ),
}


def join_lines(text: str, first: int, last: int) -> str:
    lines = text.split("\n")
    start, _, end = lines[first].rpartition(",")
    lines[first] = f'{start},"{end}'
    lines[last] += '"'
    return "\n".join(lines)


@pytest.mark.parametrize(("change", "finding", "dropped"), NOTED.values(), ids=NOTED)
def test_is_read_with_a_finding(folder: Path, change: Change, finding: str, dropped: int) -> None:
    change(folder)
    tables = read_raw(folder)
    assert finding in "\n".join(map(str, tables.report))
    assert tables.rows_read["transactions"] == 900
    rows = len(tables.transactions)
    assert 900 - rows >= dropped


def shortened(ids: pd.Series) -> pd.Series:
    """One id in three, cut to its last digits."""
    return ids.where(ids.str[-2:].map(lambda digits: int(digits, 16)) % 3 > 0, ids.str[-8:])


REFUSED: dict[str, tuple[Change, tuple[str, ...]]] = {
    "UTF-16": (as_bytes(ARTICLES, lambda text: text.decode().encode("utf-16")), ("UTF-16", "iconv -f utf-16")),
    "UTF-16 without a mark": (as_bytes(ARTICLES, lambda text: text.decode().encode("utf-16-be")), ("UTF-16",)),
    "latin-1": (as_bytes(ARTICLES, lambda text: text.replace(b"prod", b"caf\xe9")), ("iconv -f latin1", "line 1:")),
    "zero bytes": (as_bytes(LOG, lambda text: bytes(len(text))), ("nothing but zero bytes", "Fetch it again")),
    "a web page": (as_bytes(LOG, lambda text: b"\n<!DOCTYPE html><title>Log in</title>"), ("is a web page",)),
    "an Excel workbook": (
        zipped(LOG, LOG, "[Content_Types].xml"),
        ("is a zip archive without a transactions_train.csv (it holds [Content_Types].xml)",),
    ),
    "bzip2": (as_bytes(LOG, lambda text: b"BZh91AY&SY"), ("is a bzip2 archive",)),
    "Git LFS": (as_bytes(LOG, lambda text: b"version https://git-lfs.github.com/spec/v1"), ("git lfs pull",)),
    "two tables in a zip": (zipped(LOG, f"{LOG}.zip", "a.csv", "b.csv"), ("it holds a.csv, b.csv",)),
    "the competition's zip": (zipped(LOG, "h-and-m.zip", LOG), ("Unpack h-and-m.zip there",)),
    "cut in mid-line": (
        as_bytes(LOG, lambda text: text[: len(text) // 2]),
        ("ends in the middle of a line", "cut short"),
    ),
    "a cut zip": (
        both(zipped(LOG, f"{LOG}.zip", LOG), as_bytes(f"{LOG}.zip", lambda data: data[:-500])),
        ("may be damaged or cut short: fetch it again",),
    ),
    "a comma at the end of each row": (
        as_text(LOG, lambda text: text.replace("\n", ",\n").replace(",\n", "\n", 1)),
        ("none of its 900 rows has as many fields as the header", "6 fields, not 5", "without them"),
    ),
    "R's row names": (
        as_text(LOG, lambda text: text.replace("\n2", '\n"1",2')),
        ("none of its 900 rows has as many fields as the header",),
    ),
    "a quote that joins most lines": (
        as_text(LOG, lambda text: join_lines(text, 11, 800)),
        ("789 rows: row dropped", "Remove the stray quotes"),
    ),
    "some customer ids as numbers": (
        both(*(column("customer_id", name, shortened) for name in (LOG, CUSTOMERS))),
        ("is 64 hexadecimal digits", "shortened or re-encoded the ids", "use the original ones"),
    ),
    "customer ids as numbers in the log": (
        column("customer_id", LOG, lambda ids: ids.str[-8:]),
        ("is listed in customers", "belongs with customers"),
    ),
    "ages as bands": (
        column("age", CUSTOMERS, lambda ages: ages.str[:1] + "0-" + ages.str[:1] + "9"),
        ("customers.csv: 50 of the 50 values of age break a rule", "'10-19' in row 1"),
    ),
    "ages in months": (column("age", CUSTOMERS, lambda ages: (ages.astype(int) * 12).astype(str)), ("values of age",)),
    "flags as yes and no": (column("FN", CUSTOMERS, lambda flags: "yes"), ("50 of the 50 values of FN",)),
    "codes in words": (
        column("colour_group_code", ARTICLES, lambda codes: "c" + codes),
        ("60 of the 60 values of colour_group_code",),
    ),
    "a Parquet folder": (
        parquet_folder,
        ("transactions_train.parquet is a folder", 'engine="ray"'),
    ),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_is_refused_with_the_reason_and_the_remedy(folder: Path, change: Change, words: tuple[str, ...]) -> None:
    change(folder)
    with pytest.raises(RawDataError) as refused:
        read_raw(folder)
    for each in words:
        assert each in str(refused.value)


def test_a_column_of_nulls_is_no_fault(folder: Path) -> None:
    parquet(CUSTOMERS, age=pa.null(), club_member_status=pa.null())(folder)
    tables = read_raw(folder)
    assert tables.report == []
    assert tables.customers["age"].isna().all()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_not_damaged(folder: Path) -> None:
    (folder / ARTICLES).chmod(0)
    with pytest.raises(RawDataError, match=r"Permission denied\. Check that you may read it"):
        read_raw(folder)


FAILURES: dict[str, tuple[Exception, str]] = {
    "no permission": (OSError(errno.EACCES, "Permission denied"), "Permission denied. Check that you may read it"),
    "a broken disk": (OSError(errno.EIO, "Input/output error"), "Input/output error. Check that you may read it"),
    "no memory": (MemoryError(), "MemoryError. It does not fit into memory"),
    "a type that is not read": (pa.ArrowNotImplementedError("no cast from list"), "Write its columns as text"),
    "a password": (RuntimeError("articles.csv is encrypted"), "is encrypted. Unpack it first"),
    "a cut file": (EOFError("the stream ended"), "the stream ended. It may be damaged or cut short: fetch it again"),
}


@pytest.mark.parametrize(("error", "words"), FAILURES.values(), ids=FAILURES)
def test_a_failure_to_read_has_the_remedy_of_its_cause(error: Exception, words: str) -> None:
    with pytest.raises(RawDataError) as refused, file_errors(Path("articles.csv")):
        raise error
    assert f"articles.csv cannot be read: {error.args[-1] if error.args else ''}" in str(refused.value)
    assert words in str(refused.value)
    assert ("fetch it again" in str(refused.value)) == isinstance(error, EOFError)
