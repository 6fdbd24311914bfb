"""The reading benchmark on tiny data: every row does the same job. Speed is not tested."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import reading
from hm_utils.data.preprocessing import Preprocessed

SETTINGS = {"val_days": 5, "test_days": 4, "train_weeks": 6, "seed": 1, "negatives_per_positive": 3}
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(not reading.find_spec(needs), reason=f"{needs} is not installed"))
    for name, (part, _, _, needs) in reading.ROWS.items()
    if part in ("pandas", "polars")
]


@pytest.fixture(scope="module")
def ours(sample, tmp_path_factory) -> tuple[Preprocessed, dict[str, Any]]:
    """The output of ours, and its figures."""
    out = tmp_path_factory.mktemp("ours")
    found = reading.ours(sample, out, SETTINGS)
    return Preprocessed.load(out / "preprocessed"), found


@pytest.fixture(scope="module", params=OTHERS)
def other(request, sample, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The folder of each other row, and its figures."""
    out = tmp_path_factory.mktemp("other")
    _, work, arguments, _ = reading.ROWS[request.param]
    return out, work(sample, out, SETTINGS, *arguments)


def test_ours_is_notebook_02s_output(ours):
    data, found = ours
    assert data.manifest["parameters"] == SETTINGS | {"article_columns": [], "customer_columns": []}
    assert data.manifest["counts"].items() <= found["counts"].items()
    assert found["counts"]["negatives"] == 3 * found["counts"]["examples"] > 0
    assert found["seconds"] == pytest.approx(found["reading, s"] + found["the rest, s"])


def test_every_row_does_the_same_job(ours, other):
    assert other[1]["counts"] == ours[1]["counts"]


def test_every_row_leaves_the_same_log(ours, other):
    log = ours[0].log
    saved = pd.read_parquet(other[0] / "log.parquet")
    np.testing.assert_array_equal(saved["customer"], log.customer)
    np.testing.assert_array_equal(saved["day"], log.day)
    kept = pd.DataFrame({"customer": log.customer, "day": log.day, "article": log.article, "price": log.price})
    pd.testing.assert_frame_equal(in_order(saved[list(kept)]), in_order(kept), check_dtype=False)


def test_every_row_leaves_the_same_examples(ours, other):
    examples = ours[0].training.examples
    saved = pd.read_parquet(other[0] / "examples.parquet")
    assert saved["day"].is_monotonic_increasing
    kept = pd.DataFrame({"day": examples.day, "customer": examples.customer, "article": examples.article})
    pd.testing.assert_frame_equal(in_order(saved[list(kept)]), in_order(kept), check_dtype=False)


def test_negatives_were_on_sale_that_week_and_hardly_ever_bought(ours, other):
    data = ours[0]
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
    training = ours[0].training
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


def test_the_parts_for_ray_hold_every_line_once(sample, tmp_path):
    parts = sorted((reading.in_parts(sample, tmp_path) / "transactions_train").iterdir())
    assert len(parts) == reading.RAY_PARTS
    whole = (sample / reading.FILES[2]).read_text().splitlines()
    lines = [part.read_text().splitlines() for part in parts]
    assert [line for part in lines for line in part[1:]] == whole[1:]
    assert {part[0] for part in lines} == {whole[0]}


def test_a_run_writes_every_row(sample, tmp_path, monkeypatch, capsys):
    absent = ("pandas", reading.ours, (), "no_such")
    monkeypatch.setattr(reading, "ROWS", {"ours": reading.ROWS["ours"], "absent": absent})
    assert reading.main(["--data-dir", str(sample), "--json", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert list(rows) == ["ours"]
    printed = capsys.readouterr()
    assert "the rows did the same job" in printed.out
    assert "absent" in printed.err


def test_a_missing_file_is_an_error(tmp_path, capsys):
    assert reading.main(["--data-dir", str(tmp_path)]) == 1
    assert "articles.csv" in capsys.readouterr().err


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(frame.columns.to_list(), ignore_index=True)
