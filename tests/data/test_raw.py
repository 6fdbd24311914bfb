"""Reading raw tables: types and values are kept; bad input is an error in words or a counted drop."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hm_utils.data import column_reader, raw_columns, schema
from hm_utils.data.raw import RawTables, fingerprint, read_raw
from hm_utils.data.schema import BLANK, DROP, NOTED, PADDED, Finding, RawDataError
from hm_utils.files import repository_root, resolve

N_ARTICLES, N_CUSTOMERS, N_TRANSACTIONS = 40, 60, 400
ARTICLE_IDS = [f"0{108775 + i // 2:06d}{15 + i % 2:03d}" for i in range(N_ARTICLES)]
CUSTOMER_IDS = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(N_CUSTOMERS)]


def frames() -> dict[str, pd.DataFrame]:
    """A valid set of raw tables as text, by file stem; unsorted, with missing values as in the real ones."""
    rng = np.random.default_rng(0)
    row = np.arange(N_ARTICLES)
    articles = {
        name: [f"{name} {i % 5}" for i in row]
        if kind in (raw_columns.Kind.TEXT, raw_columns.Kind.CATEGORY)
        else (row % 7).astype(str)
        for name, kind in raw_columns.ARTICLE_COLUMNS.items()
    }
    articles["article_id"] = ARTICLE_IDS[::-1]
    articles["product_code"] = [text[1:7] for text in ARTICLE_IDS[::-1]]
    articles["detail_desc"][3] = ""
    customers = pd.DataFrame(
        {
            "customer_id": CUSTOMER_IDS,
            "FN": ["1.0" if i % 3 == 0 else "" for i in range(N_CUSTOMERS)],
            "Active": ["1.0" if i % 4 == 0 else "" for i in range(N_CUSTOMERS)],
            "club_member_status": "ACTIVE",
            "fashion_news_frequency": ["NONE" if i % 2 else "Regularly" for i in range(N_CUSTOMERS)],
            "age": ["" if i == 7 else f"{18 + i}.0" for i in range(N_CUSTOMERS)],
            "postal_code": [CUSTOMER_IDS[i // 2] for i in range(N_CUSTOMERS)],
        }
    )
    transactions = pd.DataFrame(
        {
            "t_dat": pd.date_range("2020-09-01", periods=20).strftime("%Y-%m-%d").repeat(N_TRANSACTIONS // 20),
            "customer_id": rng.choice(CUSTOMER_IDS, N_TRANSACTIONS),
            "article_id": rng.choice(ARTICLE_IDS, N_TRANSACTIONS),
            "price": rng.uniform(0.001, 0.5, N_TRANSACTIONS).round(6).astype(str),
            "sales_channel_id": rng.integers(1, 3, N_TRANSACTIONS).astype(str),
        }
    )
    return {"articles": pd.DataFrame(articles), "customers": customers, "transactions_train": transactions}


def write(folder: Path, tables: dict[str, pd.DataFrame]) -> Path:
    folder.mkdir(exist_ok=True)
    for stem, frame in tables.items():
        frame.to_csv(folder / f"{stem}.csv", index=False)
    return folder


def read_with(folder: Path, stem: str, column: str, values: dict[int, str]) -> RawTables:
    """Read the valid tables with some cells of one column replaced (row number to value)."""
    tables = frames()
    for row, value in values.items():
        tables[stem].loc[row, column] = value
    return read_raw(write(folder, tables))


def only(tables: RawTables) -> Finding:
    assert len(tables.report) == 1, tables.report
    return tables.report[0]


def assert_clean(tables: RawTables) -> None:
    for table, frame in zip(schema.TABLES, (tables.articles, tables.customers, tables.transactions), strict=True):
        table.schema.validate(frame)
        assert isinstance(frame.index, pd.RangeIndex)
        assert frame.index.start == 0


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    return write(tmp_path / "raw", frames())


def test_types_order_and_values(valid):
    tables = read_raw(valid)
    assert tables.report == []
    assert tables.report_frame().empty
    assert_clean(tables)
    assert tables.articles.article_id.tolist() == sorted(ARTICLE_IDS)
    assert tables.customers.customer_id.tolist() == sorted(CUSTOMER_IDS)
    assert list(tables.articles) == list(raw_columns.ARTICLE_COLUMNS)
    assert list(tables.customers) == list(raw_columns.CUSTOMER_COLUMNS)
    source = frames()
    log, raw = tables.transactions, source["transactions_train"]
    assert tables.articles.article_id[log.article].tolist() == raw.article_id.tolist()
    assert tables.customers.customer_id[log.customer].tolist() == raw.customer_id.tolist()
    assert log.t_dat.dt.strftime("%Y-%m-%d").tolist() == raw.t_dat.tolist()
    np.testing.assert_allclose(log.price, raw.price.astype(float), rtol=1e-6)
    assert log.dtypes.astype(str).tolist() == ["datetime64[s]", "int32", "int32", "float32", "int8"]
    by_id = tables.customers.set_index("customer_id").loc[CUSTOMER_IDS]
    assert by_id.age.isna().tolist() == [i == 7 for i in range(N_CUSTOMERS)]
    assert by_id.FN.notna().tolist() == [i % 3 == 0 for i in range(N_CUSTOMERS)]
    assert tables.articles.detail_desc.isna().sum() == 1
    assert tables.size_frame()["rows kept"].tolist() == [N_ARTICLES, N_CUSTOMERS, N_TRANSACTIONS]


def test_gzip_reads_the_same(valid, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    for path in valid.iterdir():
        (packed / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert_same(read_raw(packed), read_raw(valid))


@pytest.mark.parametrize("id_type", ["str", "int64", "float64"])
def test_parquet_reads_the_same(valid, tmp_path, id_type):
    """Typed columns as other tools write them: dates as DATE, numbers as numbers, missing values as null."""
    folder = tmp_path / "parquet"
    folder.mkdir()
    for stem, kinds in {table.stem: table.columns for table in schema.TABLES}.items():
        frame = frames()[stem].replace("", None)
        for name, kind in kinds.items():
            if kind in (raw_columns.Kind.CODE, raw_columns.Kind.SMALL):
                frame[name] = frame[name].astype("int64")
            elif kind is raw_columns.Kind.ARTICLE:
                frame[name] = frame[name].astype(id_type)
            elif kind is raw_columns.Kind.NUMBER:
                frame[name] = frame[name].astype("float64")
            elif kind is raw_columns.Kind.DATE:
                frame[name] = pd.to_datetime(frame[name]).dt.date
        frame.to_parquet(folder / f"{stem}.parquet", index=False)
    tables = read_raw(folder)
    assert_same(tables, read_raw(valid))
    assert [finding.action for finding in tables.report] == [PADDED] * (0 if id_type == "str" else 2)


def assert_same(one: RawTables, other: RawTables) -> None:
    for name in ("articles", "customers", "transactions"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("form", [lambda text: str(int(text)), lambda text: f"{int(text)}.0"], ids=["int", "float"])
def test_ids_that_lost_their_zero_get_it_back(valid, tmp_path, form):
    tables = frames()
    for stem in ("articles", "transactions_train"):
        tables[stem]["article_id"] = tables[stem]["article_id"].map(form)
    read = read_raw(write(tmp_path / "bare", tables))
    assert_same(read, read_raw(valid))
    assert [(finding.table, finding.rows, finding.action) for finding in read.report] == [
        ("articles", N_ARTICLES, PADDED),
        ("transactions", N_TRANSACTIONS, PADDED),
    ]


def test_a_column_without_any_value(tmp_path):
    tables = frames()
    for name in list(raw_columns.CUSTOMER_COLUMNS)[1:]:
        tables["customers"][name] = ""
    read = read_raw(write(tmp_path / "csv", tables))
    assert_clean(read)
    assert read.customers.drop(columns="customer_id").isna().all(axis=None)
    for stem, frame in tables.items():
        for name in [str(name) for name in frame if (frame[name] == "").all()]:
            frame[name] = pd.Series([None] * len(frame), dtype=object)  # Arrow's type for this is null
        frame.replace("", None).to_parquet(tmp_path / f"{stem}.parquet", index=False)
    assert_same(read_raw(tmp_path), read)


def test_text_that_resembles_a_missing_value_is_kept(tmp_path):
    read = read_with(tmp_path, "articles", "prod_name", {0: "null", 1: "NA", 2: "two\nlines", 3: 'a "quote", too'})
    assert {"null", "NA", "two\nlines", 'a "quote", too'} <= set(read.articles.prod_name)
    assert len(read.articles) == N_ARTICLES


def test_a_file_of_many_blocks(tmp_path, monkeypatch):
    """Large files are read in blocks with a dictionary each; a value with line breaks may span two blocks."""
    tables = frames()
    tables["articles"]["detail_desc"] = [f"text {i}\n" * 40 for i in range(N_ARTICLES)]
    folder = write(tmp_path, tables)
    whole = read_raw(folder)
    monkeypatch.setattr(column_reader, "_BLOCK", 1 << 11)
    assert_same(read_raw(folder), whole)
    assert whole.articles.detail_desc.tolist() == tables["articles"].detail_desc.tolist()[::-1]


BAD_ROWS = {
    "date that does not parse": ("transactions_train", "t_dat", {5: "2020-13-45", 9: "", 11: "yesterday"}, DROP),
    "date far away": ("transactions_train", "t_dat", {5: "1900-01-01"}, DROP),
    "unknown article": ("transactions_train", "article_id", {5: "0999999999", 9: ""}, DROP),
    "unknown customer": ("transactions_train", "customer_id", {5: "f" * 64, 9: ""}, DROP),
    "negative price": ("transactions_train", "price", {5: "-0.01"}, DROP),
    "no price": ("transactions_train", "price", {5: "", 6: "nan", 7: "inf", 8: "free"}, DROP),
    "wrong channel": ("transactions_train", "sales_channel_id", {5: "3", 6: "", 7: "web", 8: "1.5", 9: "300"}, DROP),
    "malformed customer id": ("customers", "customer_id", {5: "0123abc"}, DROP),
    "empty customer id": ("customers", "customer_id", {5: ""}, DROP),
    "duplicate customer id": ("customers", "customer_id", {5: CUSTOMER_IDS[4]}, DROP),
    "malformed article id": ("articles", "article_id", {5: "12345678901"}, DROP),
    "lettered article id": ("articles", "article_id", {5: "01087750AB"}, DROP),
    "duplicate article id": ("articles", "article_id", {5: ARTICLE_IDS[::-1][4]}, DROP),
    "age out of range": ("customers", "age", {5: "3", 6: "-1", 8: "1000"}, BLANK),
    "age in words": ("customers", "age", {5: "young"}, BLANK),
    "odd flag": ("customers", "FN", {5: "2"}, BLANK),
    "code in words": ("articles", "colour_group_code", {5: "red", 6: "1.5", 7: "99999999999"}, BLANK),
}


@pytest.mark.parametrize(("stem", "column", "cells", "action"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_rows_are_counted_and_reported(tmp_path, stem, column, cells, action):
    tables = read_with(tmp_path, stem, column, cells)
    assert_clean(tables)
    finding = tables.report[0]
    table = stem.removesuffix("_train")
    assert (finding.table, finding.column, finding.action) == (table, column, action)
    assert finding.rows == len(cells)
    assert len(finding.examples) == min(3, len(cells))
    first, value = next(iter(cells.items()))
    assert finding.examples[0] == f"{value!r} in row {first + 1}" if value else finding.examples[0].startswith("empty")
    sizes = tables.size_frame().loc[table]
    assert sizes["rows dropped"] == (len(cells) if action == DROP else 0)
    if action == BLANK:
        frame = tables.customers if stem == "customers" else tables.articles
        empty = frames()[stem][column].eq("").sum()
        wanted = {row for row in cells if frames()[stem][column][row] != ""}
        assert frame[column].isna().sum() == empty + len(wanted)
    if stem != "transactions_train" and action == DROP:  # transactions of the dropped id are dropped too
        lost = "malformed" not in finding.rule and set(frames()["transactions_train"][column]) - set(
            (tables.articles if stem == "articles" else tables.customers)[column]
        )
        assert [f.rows for f in tables.report[1:]] == [
            int(frames()["transactions_train"][column].isin(list(lost or ())).sum())
        ]


def test_one_duplicate_keeps_the_first(tmp_path):
    tables = frames()
    tables["customers"].loc[5, ["customer_id", "age"]] = [CUSTOMER_IDS[4], "99"]
    read = read_raw(write(tmp_path, tables))
    assert read.customers.set_index("customer_id").age[CUSTOMER_IDS[4]] == 22


def test_lines_with_the_wrong_number_of_fields(valid):
    with (valid / "transactions_train.csv").open("a") as file:
        file.write("2020-09-20,cut short\n")
    tables = read_raw(valid)
    finding = only(tables)
    assert (finding.rows, finding.action) == (1, DROP)
    assert "cut short" in finding.examples[0]
    assert tables.rows_read["transactions"] == N_TRANSACTIONS + 1
    assert len(tables.transactions) == N_TRANSACTIONS


def test_too_many_lines_with_the_wrong_number_of_fields(valid):
    path = valid / "customers.csv"
    path.write_text(path.read_text() + "cut short\n" * 4)
    assert "customers.csv: 4 of 64 rows" in refusal(valid)


def test_too_many_bad_rows_are_an_error(tmp_path):
    cells = dict.fromkeys(range(N_TRANSACTIONS // 20 + 1), "2020-99-99")
    with pytest.raises(RawDataError, match=r"transactions_train.csv: 21 of 400 rows.*more than the 5%.*2020-99-99"):
        read_with(tmp_path, "transactions_train", "t_dat", cells)


def test_extra_columns_are_ignored_with_a_note(tmp_path):
    tables = frames()
    tables["customers"]["shoe_size"] = "42"
    read = read_raw(write(tmp_path, tables))
    assert only(read).action == NOTED
    assert only(read).examples == ("'shoe_size'",)
    assert list(read.customers) == list(raw_columns.CUSTOMER_COLUMNS)


def refusal(folder: Path) -> str:
    with pytest.raises(RawDataError) as caught:
        read_raw(folder)
    return str(caught.value)


def test_missing_folder_and_missing_log(valid):
    assert "no folder" in refusal(valid / "nowhere")
    (valid / "transactions_train.csv").unlink()
    message = refusal(valid)
    assert "transactions_train.csv, transactions_train.csv.gz, transactions_train.csv.zip" in message
    assert "customer_id, article_id and t_dat" in message
    assert "hm_utils.sample" in message


@pytest.mark.parametrize("name", ["customers", "Customers.csv", "customers.csv.bz2", "customers-00000.csv"])
def test_a_table_in_another_form_is_not_passed_over(valid, name):
    (valid / "customers.csv").rename(valid / name)
    assert "has none of customers.csv" in refusal(valid)


@pytest.mark.parametrize(
    ("stem", "column"),
    [
        ("articles", "article_id"),
        ("customers", "customer_id"),
        *(("transactions_train", name) for name in ("t_dat", "customer_id", "article_id")),
    ],
)
def test_missing_column(tmp_path, stem, column):
    tables = frames()
    tables[stem] = tables[stem].drop(columns=column)
    message = refusal(write(tmp_path, tables))
    assert f"{stem}.csv has no column {column}. " in message


def test_semicolons(valid):
    path = valid / "customers.csv"
    path.write_text(path.read_text().replace(",", ";"))
    assert "customers.csv has no column customer_id" in refusal(valid)


def test_column_twice(valid):
    path = valid / "customers.csv"
    path.write_text(path.read_text().replace("FN,Active", "FN,age", 1).replace("customer_id,FN", "Active,FN", 1))
    assert "no column customer_id" in refusal(valid)
    path.write_text(path.read_text().replace("Active,FN,age,club", "customer_id,FN,Active,age,club", 1))
    assert "has column age twice" in refusal(valid)


@pytest.mark.parametrize("stem", ["articles", "customers", "transactions_train"])
def test_empty_and_header_only(valid, stem):
    path = valid / f"{stem}.csv"
    header = path.read_text().splitlines()[0]
    path.write_text(header + "\n")
    assert f"{stem}.csv has a header but no rows" in refusal(valid)
    path.write_text(header)
    assert f"{stem}.csv has a header but no rows" in refusal(valid)
    path.write_text("")
    assert f"{stem}.csv is empty" in refusal(valid)


def test_empty_parquet(valid):
    (valid / "articles.csv").unlink()
    frames()["articles"].head(0).to_parquet(valid / "articles.parquet")
    assert "articles.parquet has a header but no rows" in refusal(valid)


def test_bytes_that_are_not_utf8(valid):
    path = valid / "articles.csv"
    lines = path.read_bytes().split(b"\n")
    lines[12] = lines[12].replace(b"prod_name", b"caf\xe9")
    path.write_bytes(b"\n".join(lines))
    message = refusal(valid)
    assert "articles.csv, line 13: bytes that are not UTF-8" in message
    assert "iconv" in message
    path.write_text(path.read_bytes().decode("latin1"), encoding="utf-16")
    assert "articles.csv is UTF-16 text" in refusal(valid)
    assert "iconv -f utf-16" in refusal(valid)


def test_byte_order_mark_is_fine(valid):
    path = valid / "articles.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_raw(valid).report == []


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet"])
def test_damaged_files(valid, suffix):
    path = valid / f"customers{suffix}"
    if suffix == ".parquet":
        frames()["customers"].to_parquet(path)
    else:
        path.write_bytes(gzip.compress((valid / "customers.csv").read_bytes()))
    (valid / "customers.csv").unlink()
    whole = path.read_bytes()
    for damaged in (
        whole[: len(whole) * 2 // 3],
        whole[:20],
        whole[:40] + b"\xff" * 20 + whole[60:],
        b"not what the name says",
    ):
        path.write_bytes(damaged)
        assert f"customers{suffix}" in refusal(valid)


def test_unreadable_file(valid):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (valid / "articles.csv").chmod(0)
    assert "articles.csv cannot be read" in refusal(valid)


def test_fingerprint_is_of_the_bytes(valid):
    first = fingerprint(valid)
    assert read_raw(valid).fingerprint == first
    path = valid / "customers.csv"
    path.write_text(path.read_text().replace("24.0", "42.0", 1))
    assert fingerprint(valid) != first


def test_paths_start_at_the_repository(tmp_path):
    root = Path(__file__).resolve().parents[2]
    code = "from hm_utils.files import resolve; print(resolve('data/sample'))"
    environment = os.environ | {"PYTHONPATH": str(root)}
    for folder in (root / "notebooks", tmp_path):
        run = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
        assert run.stdout.strip() == str(root / "data/sample"), run.stderr
    assert repository_root(root / "hm_utils") == root
    assert resolve(tmp_path) == tmp_path.resolve()
