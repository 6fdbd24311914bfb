"""Preprocessing on Ray makes the folder of the local engine, bit for bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import fs

from hm_utils import engines
from hm_utils.cluster import ClusterError, preprocessing, reading, shards
from hm_utils.cluster.array_file import ArrayFile
from hm_utils.cluster.input_parts import find_parts
from hm_utils.data.examples import make_examples
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.data.schema import RawDataError
from hm_utils.sample import write_sample
from tests.helpers.raw_files import any_shop

SETTINGS = {"val_days": 5, "test_days": 6, "train_weeks": 6, "negatives_per_positive": 3, "seed": 7}
LOCAL, ON_RAY = engines.choose("local"), engines.OnRay(2)

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("small_ray")]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, list[str]]:
    """The lines of the three tables; some rows break rules."""
    folder = tmp_path_factory.mktemp("tiny")
    write_sample(folder, "tiny")
    lines = {path.stem: path.read_text().splitlines() for path in folder.glob("*.csv")}
    log = lines["transactions_train"]
    for place in (40, 9_000, 15_000):
        day, customer, article, price, channel = log[place].split(",")
        log[place] = f"{day},{customer},{article},-1,{channel}"
        log[place + 1] = f"{day},{customer},9999999999,{price},{channel}"
        log[place + 2] = f"{day},{'f' * 64},{int(article)},{price},{channel}"
        log[place + 3] = f"{day},{customer},{int(article)},{price},{channel}"
    log[12_000] = log[12_000].replace("2020-", "1920-").replace("2019-", "1919-")
    lines["articles"].insert(290, lines["articles"][7])  # a duplicate, in another part
    lines["customers"][700] = "nobody" + lines["customers"][700][6:]
    return lines


def write(folder: Path, tables: dict[str, list[str]], parts: dict[str, int], suffix: str) -> Path:
    """Write each table as one file or as ``parts``: those of a master table in its folder, those of the log beside."""
    folder.mkdir()
    for name, lines in tables.items():
        pieces = np.array_split(np.array(lines[1:], dtype=object), parts.get(name, 1))
        for i, piece in enumerate(pieces):
            path = folder / f"{name}{suffix}"
            if len(pieces) > 1:
                path = folder / (f"{name}-{i:03}{suffix}" if name == "transactions_train" else f"{name}/{i}{suffix}")
            path.parent.mkdir(exist_ok=True)
            if suffix == ".parquet":
                text = folder / "text"
                text.write_text("\n".join([lines[0], *piece]))
                pd.read_csv(text, dtype="str", keep_default_na=False, na_values=[""]).to_parquet(path, index=False)
                text.unlink()
            else:
                path.write_text("\n".join([lines[0], *piece]) + "\n")
    return folder


PARTS = {"transactions_train": 4, "articles": 2, "customers": 3}


@pytest.fixture(scope="module")
def folders(tables, tmp_path_factory) -> dict[str, Path]:
    """The same tables as single files and in parts, as CSV and as Parquet."""
    made = tmp_path_factory.mktemp("folders")
    torn = {name: list(lines) for name, lines in tables.items()}
    torn["transactions_train"].insert(100, "2020-01-01,half a row")  # impossible in Parquet
    torn["transactions_train"].insert(13_000, "2020-01-02,half a row")
    return {
        "csv": write(made / "csv", torn, PARTS, ".csv"),
        "one csv": write(made / "one-csv", torn, {}, ".csv"),
        "parquet": write(made / "parquet", tables, PARTS, ".parquet"),
        "one parquet": write(made / "one-parquet", tables, {}, ".parquet"),
    }


@pytest.fixture(scope="module")
def expected(folders, tmp_path_factory) -> dict[str, Preprocessed]:
    """The local engine's results from the single files."""
    made = tmp_path_factory.mktemp("expected")
    return {kind: preprocessed(LOCAL, folders[f"one {kind}"], made / kind) for kind in ("csv", "parquet")}


def preprocessed(engine: engines.Local, raw: Path, directory: Path, **changes: int) -> Preprocessed:
    return engine.preprocess(engine.read_raw(raw), directory, **SETTINGS | changes)


def contents(data: Preprocessed) -> dict:
    """The manifest without the fingerprints, which depend on the number of raw files, and without their folder."""
    apart = ("fingerprint", "raw_fingerprint", "origin")
    return {name: value for name, value in data.manifest.items() if name not in apart}


def test_a_log_alone_in_parts(tmp_path):
    """Three columns, ids of any text, and no tables of articles and customers."""
    log = any_shop([f"c {i}" for i in range(50)], [f"b/\u00e4 {i}" for i in range(60)])["transactions_train"]
    lines = {"transactions_train": log.to_csv(index=False).splitlines()}
    parts = write(tmp_path / "parts", lines, PARTS, ".csv")
    whole = write(tmp_path / "whole", lines, {}, ".csv")
    made = preprocessed(ON_RAY, parts, tmp_path / "on ray"), preprocessed(LOCAL, whole, tmp_path / "local")
    assert contents(made[0]) == contents(made[1])


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_parts_give_the_folder_of_one_machine(folders, expected, kind, num_workers, tmp_path):
    engine = engines.choose("ray", num_workers)
    tables = engine.read_raw(folders[kind])
    assert isinstance(tables, reading.ShardedTables)
    whole = LOCAL.read_raw(folders[f"one {kind}"])
    sizes = ["rows read", "rows dropped", "rows kept", "columns"]
    pd.testing.assert_frame_equal(tables.size_frame()[sizes], whole.size_frame()[sizes])
    pd.testing.assert_frame_equal(tables.report_frame(), whole.report_frame())
    assert len(tables.report) >= (8 if kind == "csv" else 7)
    made = engine.preprocess(tables, tmp_path / "made", **SETTINGS)
    assert len(tables.bounds) == num_workers + 1
    assert contents(made) == contents(expected[kind])
    assert made.manifest["raw_fingerprint"] != expected[kind].manifest["raw_fingerprint"], "other files"
    assert engine.load(tmp_path / "made", folders[kind]).fingerprint == made.fingerprint


def test_the_same_files_give_the_same_fingerprint_whatever_the_number_of_shards(
    folders, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(reading, "SHARD_BYTES", 100_000)
    tables = ON_RAY.read_raw(folders["one csv"])
    assert isinstance(tables, reading.ShardedTables)
    assert len(tables.bounds) > 15
    made = ON_RAY.preprocess(tables, tmp_path / "made", **SETTINGS)
    assert made.manifest == expected["csv"].manifest
    with pytest.raises(ClusterError, match="read them again"):
        ON_RAY.preprocess(tables, tmp_path / "made", **SETTINGS)


def test_workers_that_are_killed_change_nothing(folders, expected, tmp_path, monkeypatch):
    def mortal(module, name: str) -> Path:
        """Make a task kill its worker on its first call. Returns the file that marks the kill."""
        function, mark = getattr(module, name), tmp_path / name
        number, kill = os.getpid, os.kill

        def first_dies(*arguments):
            result = function(*arguments)  # the files are written, and nothing is returned
            if not mark.exists():
                mark.touch()
                kill(number(), signal.SIGKILL)
            return result

        monkeypatch.setattr(module, name, first_dies)
        return mark

    marks = [
        mortal(reading, "read_transactions"),
        mortal(shards, "write_log_shard"),
        mortal(preprocessing, "write_training_shard"),
    ]
    made = preprocessed(ON_RAY, folders["csv"], tmp_path / "made")
    assert all(mark.exists() for mark in marks)
    assert contents(made) == contents(expected["csv"])


def test_a_run_that_fails_leaves_the_old_folder(folders, expected, tmp_path, monkeypatch):
    old = preprocessed(LOCAL, folders["one csv"], tmp_path / "made")
    with pytest.raises(ValueError, match=r"^train_weeks must be 1 or more, not 0$"):
        preprocessed(ON_RAY, folders["csv"], old.directory, train_weeks=0)

    def fails(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(preprocessing, "write_training_shard", fails)
    with pytest.raises(OSError, match=r"^no space left on device$"):
        preprocessed(ON_RAY, folders["csv"], old.directory)
    assert Preprocessed.load(old.directory).manifest == expected["csv"].manifest


def test_a_customer_who_bought_everything_leaves_no_sampled_negatives(tables, tmp_path, caplog):
    bought = [line.split(",")[0] for line in tables["articles"][1:]]
    day, customer, *_ = tables["transactions_train"][15_500].split(",")
    log = tables["transactions_train"] + [f"{day},{customer},{article},0.01,1" for article in bought]
    folder = write(tmp_path / "raw", {**tables, "transactions_train": log}, {"transactions_train": 2}, ".csv")
    one = write(tmp_path / "one", {**tables, "transactions_train": log}, {}, ".csv")
    made = preprocessed(ON_RAY, folder, tmp_path / "made", val_days=2, test_days=2)
    assert "bought the whole catalogue" in caplog.text
    alone = preprocessed(LOCAL, one, tmp_path / "alone", val_days=2, test_days=2)
    assert made.training.examples.negatives is None
    assert contents(made) == contents(alone)


def test_an_object_store_is_read_through_pyarrow(folders, expected, tmp_path):
    store = fs.SubTreeFileSystem(str(folders["csv"].parent), fs.LocalFileSystem())  # pyarrow does not see it as local
    tables = reading.read_raw("csv", 2, store)
    assert tables.fingerprint == ON_RAY.read_raw(folders["csv"]).fingerprint
    made = ON_RAY.preprocess(tables, tmp_path / "made", **SETTINGS)
    assert contents(made) == contents(expected["csv"])


def test_a_part_that_cannot_be_read_is_named(tables, tmp_path):
    folder = write(tmp_path / "raw", tables, PARTS, ".csv")
    (folder / "transactions_train-002.csv").write_text("t_dat,customer_id\n2020-01-01,a\n")
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    for place in ((str(folder), None), ("raw", store)):
        with pytest.raises(RawDataError, match=r"^\S*raw/transactions_train-002.csv has no column article_id\."):
            reading.read_raw(place[0], 2, place[1])


def test_a_log_of_another_shop_is_refused_as_a_whole(tables, tmp_path):
    broken = [line.replace(",0", ",9") for line in tables["transactions_train"][1:2_000]]
    log = [tables["transactions_train"][0], *broken, *tables["transactions_train"][2_000:]]
    folder = write(tmp_path / "raw", {**tables, "transactions_train": log}, {"transactions_train": 9}, ".csv")
    with pytest.raises(RawDataError, match=r"of 16,\d{3} rows break a rule.*is listed in articles"):
        ON_RAY.read_raw(folder)


def test_tables_that_are_missing_are_named(folders, tmp_path):
    with pytest.raises(RawDataError, match=r"nowhere cannot be listed.*kaggle"):
        find_parts(tmp_path / "nowhere")
    with pytest.raises(RawDataError, match=r"has none of transactions_train.csv, .* or as transactions_train-\*"):
        find_parts(tmp_path)
    (tmp_path / "transactions_train.csv").touch()
    assert list(find_parts(tmp_path)) == ["transactions"]
    (tmp_path / "articles.xlsx").touch()
    with pytest.raises(RawDataError, match=r"has none of articles.csv, .* in articles/ or as articles-\*"):
        find_parts(tmp_path)
    with pytest.raises(RawDataError, match="cannot be listed"):
        find_parts("gopher://bucket/tables")
    assert [Path(part.path).name for part in find_parts(folders["csv"])["customers"]] == ["0.csv", "1.csv", "2.csv"]
    uri = (folders["one csv"]).as_uri()
    assert [part.path for part in find_parts(uri)["transactions"]] == [
        str(folders["one csv"] / "transactions_train.csv")
    ]


def test_a_shard_that_bought_nothing_is_an_empty_log():
    plan = shards.Plan(5, 4, first_date=np.datetime64("2020-01-01"), as_of=9, start=2, negatives=0, seed=0)
    nothing = pd.DataFrame(columns=reading.LOG_COLUMNS)
    log = shards.log_of(nothing, plan)
    assert (len(log), log.n_customers) == (0, 5)
    assert len(make_examples(log, 2, 9)) == 0


def test_a_worker_without_the_shared_folder_is_an_error(tmp_path):
    with pytest.raises(ClusterError, match="on a file system that all machines"):
        ArrayFile(tmp_path / "none" / "day.npy", 128, np.dtype(np.int16)).write([(0, np.zeros(3, np.int16))])
