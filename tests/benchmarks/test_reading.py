"""The reading benchmark on tiny data: every row does the same job. Speed is not tested."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import reading
from hm_utils.data.examples import gather_histories
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.sample import write_sample

SETTINGS = {
    "val_days": 5,
    "test_days": 4,
    "train_weeks": 6,
    "seed": 1,
    "history_length": 6,
    "negatives_per_positive": 3,
}
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(not row.available, reason=f"{row.needs} is not installed"))
    for name, row in reading.ROWS.items()
    if name != "ours"
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_sample(folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def ours(sample, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The folder that ours left, and what it returned."""
    out = tmp_path_factory.mktemp("ours")
    return out, reading.ours(sample, out, SETTINGS)


@pytest.fixture(scope="module", params=OTHERS)
def other(request, sample, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The same of each other row."""
    out = tmp_path_factory.mktemp("other")
    row = reading.ROWS[request.param]
    return out, row.work(sample, out, SETTINGS, *row.arguments)


def test_ours_is_what_notebook_02_saves(ours):
    out, found = ours
    data = Preprocessed.load(out / "preprocessed")
    assert data.manifest["parameters"].items() <= SETTINGS.items()
    assert data.manifest["counts"].items() <= found["counts"].items()
    assert found["counts"]["training purchases"] == data.log.before(data.split.train_end).offsets[-1]
    assert found["counts"]["negatives"] == 3 * found["counts"]["examples"] > 0


def test_the_histories_are_those_of_the_batches(ours):
    out, found = ours
    data = Preprocessed.load(out / "preprocessed")
    examples = data.training.examples
    ends = data.log.history_ends(examples.customer, examples.day)
    histories = gather_histories(data.log, examples.customer, ends, examples.day, SETTINGS["history_length"])
    np.testing.assert_array_equal(np.load(out / "history_articles.npy"), histories.articles)
    np.testing.assert_array_equal(np.load(out / "history_days_since.npy"), histories.days_since)
    assert found["counts"]["purchases in histories"] == histories.mask.sum()


def test_every_row_does_the_same_job(ours, other):
    assert other[1]["counts"] == ours[1]["counts"]


def test_every_row_leaves_the_same_log(ours, other):
    log = Preprocessed.load(ours[0] / "preprocessed").log
    saved = pd.read_parquet(other[0] / "log.parquet")
    np.testing.assert_array_equal(saved["customer"], log.customer)
    np.testing.assert_array_equal(saved["day"], log.day)
    kept = pd.DataFrame({"customer": log.customer, "day": log.day, "article": log.article, "price": log.price})
    pd.testing.assert_frame_equal(in_order(saved[list(kept)]), in_order(kept), check_dtype=False)


def test_every_row_leaves_the_same_examples(ours, other):
    examples = Preprocessed.load(ours[0] / "preprocessed").training.examples
    saved = pd.read_parquet(other[0] / "examples.parquet")
    assert saved["day"].is_monotonic_increasing
    kept = pd.DataFrame({"day": examples.day, "customer": examples.customer, "article": examples.article})
    pd.testing.assert_frame_equal(in_order(saved[list(kept)]), in_order(kept), check_dtype=False)


def test_every_row_gathers_the_same_histories(ours, other):
    examples = Preprocessed.load(ours[0] / "preprocessed").training.examples
    saved = pd.read_parquet(other[0] / "examples.parquet")[["day", "customer", "article"]]
    order = np.lexsort(saved.to_numpy().T[::-1])
    np.testing.assert_array_equal(saved["customer"].to_numpy()[order], examples.customer)
    for name in ("history_days_since.npy", "history_articles.npy"):
        found, expected = np.load(other[0] / name)[order], np.load(ours[0] / name)
        if "articles" in name:  # where the length cuts a basket, or in which order it lists it, is any row's own
            days = np.load(ours[0] / "history_days_since.npy")
            cut = days == days[:, -1:]
            found, expected = (np.sort(np.where(cut, 0, each), axis=1) for each in (found, expected))
        np.testing.assert_array_equal(found, expected)


def test_negatives_were_on_sale_that_week_and_hardly_ever_bought(ours, other):
    data = Preprocessed.load(ours[0] / "preprocessed")
    saved = pd.read_parquet(other[0] / "examples.parquet")
    names = [name for name in saved if str(name).startswith("negative")]
    negatives = np.array(saved[names].to_numpy().tolist()).reshape(len(saved), -1)
    train = data.log.before(data.split.train_end)
    customer, week = saved["customer"].to_numpy(), saved["day"].to_numpy() // 7
    sold = np.zeros((week.max() + 1, train.n_articles), dtype=bool)
    sold[train.day // 7, train.article] = True
    assert sold[week[:, None], negatives].all()
    assert len(np.unique(negatives)) > len(np.unique(saved["article"])) / 2
    bought = np.zeros((train.n_customers, train.n_articles), dtype=bool)
    bought[train.customer, train.article] = True
    by_chance = (bought[customer] & sold[week]).sum() / sold[week].sum()
    assert bought[customer[:, None], negatives].mean() < by_chance / 3


def test_every_row_codes_what_ours_codes(ours, other):
    """Codes are numbered by each row as it likes, but tell the same values apart."""
    training = Preprocessed.load(ours[0] / "preprocessed").training
    for name, expected in (("article_codes", training.categories), ("customer_codes", training.attributes)):
        codes = pd.read_parquet(other[0] / f"{name}.parquet")
        assert codes.shape == expected.shape
        assert not codes.drop(columns=["age", "price"], errors="ignore").isna().to_numpy().any()
    articles = pd.read_parquet(other[0] / "articles.parquet")
    codes = pd.read_parquet(other[0] / "article_codes.parquet")
    for name in ("product_type_no", "product_group_name", "index_code"):
        pairs = pd.DataFrame({"value": articles[name], "code": codes[name]}).drop_duplicates()
        assert pairs["value"].is_unique
        assert pairs["code"].is_unique
    prices = codes["price"].to_numpy()
    assert len(np.unique(prices)) == len(np.unique(training.categories[:, -1]))


def test_the_job_ends_before_the_histories(ours, other):
    for _, found in (ours, other):
        assert found["seconds"] == pytest.approx(sum(found["stages"].values()))
        assert list(found["stages"]) == ["reading", "the rest"]
        assert found["histories"]["seconds"] > 0
        assert found["histories"]["peak GiB"] >= found["peak GiB"] > 0


def die(*_: Any) -> dict[str, Any]:
    os._exit(9)  # as if the system had killed it


def test_a_run_reports_every_row_and_one_that_dies(sample, tmp_path, monkeypatch, capsys):
    rows = {name: reading.ROWS[name] for name in ("ours", "pandas, factorize", "polars")}
    rows |= {"dead": reading.Row("pandas", die), "absent": reading.Row("pandas", die, (), ("no_such", "no-such"))}
    monkeypatch.setattr(reading, "ROWS", rows)
    path = tmp_path / "out.json"
    assert reading.main(["--data-dir", str(sample), "--only", "ours", "pandas", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert list(report["rows"]) == ["ours", "pandas, factorize", "dead"]
    (run,), (other,), (dead,) = report["rows"].values()
    assert run["counts"] == other["counts"]
    assert list(dead) == ["error"]
    assert {"train_weeks": 16, "history_length": 20}.items() <= report["settings"].items()
    assert {"pandas", "pyarrow"} <= set(report["machine"]["versions"])
    said = capsys.readouterr()
    lines = {name: line for line in said.out.splitlines() for name in rows if line.startswith(f"{name} ")}
    assert f"{other['seconds'] / run['seconds']:.2f}" in lines["pandas, factorize"]
    assert "–" in lines["dead"]
    assert "exit code 9" in said.out
    assert "no-such is not installed" in said.err


def test_rows_are_repeated_in_turn(sample, monkeypatch, tmp_path):
    asked = []

    def run(name: str, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
        asked.append(name)
        return {"error": name}

    monkeypatch.setattr(reading, "run", run)
    path = tmp_path / "out.json"
    assert (
        reading.main(["--data-dir", str(sample), "--only", "ours", "pandas", "--repeats", "2", "--json", str(path)])
        == 0
    )
    rows = json.loads(path.read_text())["rows"]
    assert asked == [*rows, *rows]
    assert "ours" in rows
    assert "polars" not in rows
    assert all(runs == [{"error": name}] * 2 for name, runs in rows.items())


def test_the_table_shows_the_median_run_and_its_ratio():
    def run(seconds: float) -> dict[str, Any]:
        return {
            "seconds": seconds,
            "peak GiB": seconds / 2,
            "stages": {"reading": seconds - 1, "the rest": 1.0},
            "histories": {"seconds": 0.5, "peak GiB": seconds},
            "counts": {"purchases": 4_000_000},
        }

    dead = {"error": "it ended"}
    table = reading.comparison({"ours": [run(9), run(2), run(4)], "one": [run(8), dead], "two": [dead]})
    shown = table[["seconds", "reading, s", "million rows/s", "seconds / ours", "GiB / ours"]]
    assert shown.to_numpy()[:2].tolist() == [[4, 3, 1, 1, 1], [8, 7, 0.5, 2, 2]]
    assert table.loc["two"].isna().all()


def test_a_missing_file_is_said(tmp_path, capsys):
    assert reading.main(["--data-dir", str(tmp_path)]) == 1
    assert "articles.csv" in capsys.readouterr().err


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(frame.columns.to_list(), ignore_index=True)
