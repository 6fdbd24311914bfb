"""Logs that are legal and strange go through all four notebooks: every cell runs, and a model is published."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from hm_utils.data.raw_columns import ARTICLE_COLUMNS, Kind
from hm_utils.plotting import style
from hm_utils.serving.recommender import Recommender
from tests.helpers.notebooks import NAMES, run_cells
from tests.helpers.raw_files import Tables, any_shop, purchases, raw_frames, write

SMALL = {"num_epochs": 1, "batch_size": 64, "embedding_dim": 8, "hidden_dims": [8], "output_dim": 8, "device": "cpu"}
TEXTS = [name for name, kind in ARTICLE_COLUMNS.items() if kind in (Kind.TEXT, Kind.CATEGORY)]
CODES = [name for name, kind in ARTICLE_COLUMNS.items() if kind is Kind.CODE]

pytestmark = pytest.mark.slow


def emptied(columns: list[str], every: int = 1) -> Tables:
    """All values of some columns of the articles, or one in ``every``, are empty."""
    tables = raw_frames()
    tables["articles"].loc[::every, columns] = ""
    return tables


def changed(table: str, column: str, value: str) -> Tables:
    tables = raw_frames()
    tables[table][column] = value
    return tables


def no_attributes() -> Tables:
    tables = raw_frames()
    tables["customers"].iloc[:, 1:] = ""
    return tables


def one_purchase_in_the_test() -> Tables:
    tables = raw_frames()
    log = tables["transactions_train"]
    early = log[log["t_dat"] < log["t_dat"].max()].iloc[: -len(log) // 4]
    tables["transactions_train"] = pd.concat([early, log.tail(1)])
    return tables


def everybody_bought_everything() -> Tables:
    tables = raw_frames(articles=12, customers=6)
    days = pd.date_range("2020-08-14", periods=8, freq="4D").strftime("%Y-%m-%d")
    pairs = pd.MultiIndex.from_product([days, tables["customers"]["customer_id"], tables["articles"]["article_id"]])
    tables["transactions_train"] = purchases(*map(pairs.get_level_values, range(3)))
    return tables


def large_baskets() -> Tables:
    """Three customers buy 1,200 of 1,300 articles at once, every fourth day."""
    tables, rng = raw_frames(articles=1_300, customers=3), np.random.default_rng(0)
    days = pd.date_range("2020-08-14", periods=8, freq="4D").strftime("%Y-%m-%d")
    ids = [str(each) for each in tables["articles"]["article_id"]]
    visits = [(day, customer) for day in days for customer in tables["customers"]["customer_id"]]
    articles = np.concatenate([rng.choice(ids, 1_200, replace=False) for _ in visits])
    day, customer = np.repeat(visits, 1_200, axis=0).T
    tables["transactions_train"] = purchases(day, customer, articles)
    return tables


def three_columns() -> Tables:
    return any_shop([f"customer {i}" for i in range(50)], [f"b/\u00e4$ {i}" for i in range(60)], rows=900)


LOGS: dict[str, Callable[[], Tables]] = {
    "one article": lambda: raw_frames(articles=1),
    "two articles": lambda: raw_frames(articles=2),
    "five articles": lambda: raw_frames(articles=5),
    "150 articles": lambda: raw_frames(articles=150),
    "one customer": lambda: raw_frames(customers=1),
    "one purchase in the test": one_purchase_in_the_test,
    "everybody bought everything": everybody_bought_everything,
    "large baskets": large_baskets,
    "half of the texts are empty": lambda: emptied(TEXTS, every=2),
    "no texts and no codes": lambda: emptied([*TEXTS, *CODES]),
    "no attributes": no_attributes,
    "prices are 0": lambda: changed("transactions_train", "price", "0"),
    "three columns": three_columns,
    "formulas in names": lambda: changed("articles", "index_group_name", r"$5-$10 $\frac{$"),
}


def run_all(
    tables: Tables, folder: Path, patch: pytest.MonkeyPatch, names: list[str] = NAMES, **more: object
) -> list[str]:
    """What could not be shown."""
    # Every figure is drawn once, without rendering: laying out and writing images takes most of the time.
    patch.setitem(style.STYLE, "figure.constrained_layout.use", False)
    patch.setattr(Figure, "savefig", lambda self, file, **options: file.write(bytes(24)))
    write(folder / "raw", tables)
    parameters = SMALL | more | {"data_dir": str(folder / "raw"), "artifacts_dir": str(folder / "artifacts")}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return [each for name in names for each in run_cells(name, parameters, patch)]


@pytest.mark.parametrize("make", LOGS.values(), ids=LOGS)
def test_every_cell_runs(
    make: Callable[[], Tables],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tables = make()
    assert run_all(tables, tmp_path, monkeypatch, publish_if="always") == []
    Recommender.load(tmp_path / "artifacts" / "model")
    log = tables["transactions_train"]
    alone = any(len(tables.get(f"{one}s", log[f"{one}_id"].unique())) == 1 for one in ("customer", "article"))
    assert ("the loss is 0" in caplog.text) == alone


def test_a_log_of_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "customer_id,article_id,t_dat\nAnn,soap,2024-01-01\nBob,bread/rye,2024-01-02\nAnn,soap,2024-01-03\n"
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "transactions_train.csv").write_text(lines)
    assert run_all({}, tmp_path, monkeypatch, publish_if="always", val_days=1, test_days=1) == []
    model = Recommender.load(tmp_path / "artifacts" / "model")
    assert not model.hm_ids
    found, _ = model.recommend(model.customers(model.customer_rows(["Ann", "Bob"])), 2)
    assert sorted(model.article_ids[found[0]]) == ["bread/rye", "soap"]


def test_a_run_goes_on_after_towers_that_collapsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = run_all(raw_frames(), tmp_path, monkeypatch, learning_rate=1e6)
    assert "the towers diverged" in reasons[0]
    assert "a diverged or untrained tower" in reasons[1]
    assert not (tmp_path / "artifacts" / "model").exists()


def test_a_file_system_without_symbolic_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(self))

    monkeypatch.setattr(Path, "symlink_to", none)
    assert run_all(raw_frames(), tmp_path, monkeypatch) == []
    assert (tmp_path / "artifacts" / "preprocessed").is_file()


def test_a_log_of_one_day_is_explored_and_then_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = changed("transactions_train", "t_dat", "2020-09-22")
    assert run_all(tables, tmp_path, monkeypatch, ["01_eda"]) == []
    with pytest.raises(ValueError, match="the log has 1 days"):
        run_all(tables, tmp_path, monkeypatch, ["02_preprocessing"])
