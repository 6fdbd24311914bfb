"""The split, and the preprocessed folder."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from hm_utils.analysis import data_tables
from hm_utils.data.preprocessed_folder import PreprocessedError
from hm_utils.data.preprocessing import Preprocessed, Split, make_training_data, preprocess
from hm_utils.training.batches import BatchMaker
from tests.helpers.data import DAYS, article_table, customer_table, random_log, raw_tables


@pytest.fixture(scope="module")
def tables():
    return raw_tables()


@pytest.fixture
def folder(tables, tmp_path):
    preprocess(tables, tmp_path / "made", val_days=3, test_days=5, train_weeks=2)
    return tmp_path / "made"


def test_split_is_the_last_days():
    split = Split.last_days(random_log(), val_days=3, test_days=5)
    assert (split.train_end, split.val_end, split.test_end) == (DAYS - 8, DAYS - 5, DAYS)


@pytest.mark.parametrize(("val_days", "test_days"), [(0, 5), (5, 0), (25, 25), (49, 1)])
def test_a_split_with_an_empty_part_is_an_error(val_days, test_days):
    with pytest.raises(ValueError, match="val_days="):
        Split.last_days(random_log(), val_days, test_days)


def test_the_saved_data_equal_the_made_data(tables, folder):
    made = preprocess(tables, folder, val_days=3, test_days=5, train_weeks=2)
    loaded = Preprocessed.load(folder)
    assert loaded.split == made.split
    assert loaded.fingerprint == made.fingerprint
    assert loaded.training.as_of == made.split.train_end
    pd.testing.assert_frame_equal(loaded.articles, made.articles)
    np.testing.assert_array_equal(loaded.log.article, random_log().article)
    examples = loaded.training.examples
    assert examples.day.min() >= made.split.train_end - 14
    assert examples.day.max() < made.split.train_end
    assert examples.negatives is not None
    assert examples.negatives.shape == (len(examples), 4)


@pytest.fixture
def without_negatives(tables, tmp_path):
    """Preprocessed data of a log in which the first customer bought the whole catalogue on the first day."""
    rows = tables.transactions
    everything = pd.DataFrame(
        {"t_dat": rows["t_dat"].min(), "customer": 0, "article": np.arange(len(tables.articles)), "price": 0.01}
    ).assign(sales_channel_id=1)
    transactions = pd.concat([rows, everything.astype(rows.dtypes)], ignore_index=True)
    return preprocess(replace(tables, transactions=transactions), tmp_path / "made", val_days=3, test_days=5)


def test_a_customer_who_bought_everything_leaves_no_sampled_negatives(without_negatives, caplog):
    log, examples = without_negatives.log, without_negatives.training.examples
    assert examples.negatives is None
    assert len(BatchMaker(log, examples, 64, 5))
    with pytest.raises(ValueError, match="set use_in_batch_negatives=True"):
        BatchMaker(log, examples, 64, 5, use_in_batch_negatives=False)
    make_training_data(article_table(), customer_table(), log, 40, 4, negatives_per_positive=2)
    assert "bought the whole catalogue" in caplog.text


def test_the_notebook_shows_examples_without_sampled_negatives(without_negatives):
    notebook = nbformat.read(Path(__file__).parents[2] / "notebooks" / "02_preprocessing.ipynb", as_version=4)
    shown: list[str] = []
    names = {
        "np": np, "pd": pd, "Markdown": str, "display": shown.append, "tables": without_negatives,
        "data_tables": data_tables, "log": without_negatives.log, "training": without_negatives.training,
    }  # fmt: skip
    for cell in notebook.cells:
        if cell.cell_type == "code" and "negatives" in cell.source:
            exec(cell.source, names)
    assert "0 sampled negative pairs (0 " in shown[0]


@pytest.mark.parametrize("train_weeks", [0, -1])
def test_train_weeks_below_one_are_an_error(tables, tmp_path, train_weeks):
    with pytest.raises(ValueError, match=f"train_weeks must be 1 or more, not {train_weeks}"):
        preprocess(tables, tmp_path / "made", val_days=3, test_days=5, train_weeks=train_weeks)
    assert not (tmp_path / "made").exists()


def test_weeks_without_a_purchase_are_an_error():
    log = random_log()
    with pytest.raises(ValueError, match=r"train_weeks=2 .* no purchase in the 14 days before 2020-10-\d\d"):
        make_training_data(article_table(), customer_table(), log.before(40), 60, 2)


def test_one_row_of_a_distant_day_is_named(tmp_path):
    tables = raw_tables()
    tables.transactions.loc[7, "t_dat"] = pd.Timestamp("2050-01-01")
    with pytest.raises(ValueError, match=r"the log ends on 2050-01-01\. If that is a wrong date, remove its rows"):
        preprocess(tables, tmp_path / "made", val_days=3, test_days=5, train_weeks=2)


def test_other_parameters_give_another_fingerprint(tables, folder, tmp_path):
    other = preprocess(tables, tmp_path / "other", val_days=3, test_days=4, train_weeks=2)
    assert other.fingerprint != Preprocessed.load(folder).fingerprint


def test_a_missing_folder_a_missing_file_and_an_altered_file_are_errors(folder, tmp_path):
    with pytest.raises(PreprocessedError, match="run notebook 02_preprocessing first"):
        Preprocessed.load(tmp_path / "none")
    path = folder / "training" / "example_article.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PreprocessedError, match=r"example_article\.npy is altered"):
        Preprocessed.load(folder)
    path.unlink()
    with pytest.raises(PreprocessedError, match=r"example_article\.npy is missing"):
        Preprocessed.load(folder)


def test_another_format_is_an_error(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(PreprocessedError, match="format 99"):
        Preprocessed.load(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(PreprocessedError, match="damaged"):
        Preprocessed.load(folder)


PREPROCESS = """
import sys
from pathlib import Path
from hm_utils.data.preprocessing import preprocess
from tests.helpers.data import raw_tables
tables = raw_tables()
for _ in range(4):
    made = preprocess(tables, Path(sys.argv[1]), val_days=3, test_days=5, train_weeks=2)
    assert len(made.log) == len(tables.transactions)
"""


def test_runs_with_the_same_parameters_at_once(tmp_path):
    command = [sys.executable, "-c", PREPROCESS, str(tmp_path / "made")]
    runs = [subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE) for _ in range(3)]
    for run in runs:
        _, said = run.communicate()
        assert run.returncode == 0, said.decode()
    assert [each.name for each in tmp_path.iterdir()] == ["made"]


def test_an_equal_folder_stays_and_an_altered_one_is_replaced(tables, folder):
    before = folder.stat().st_ino
    preprocess(tables, folder, val_days=3, test_days=5, train_weeks=2)
    assert folder.stat().st_ino == before
    (folder / "articles.parquet").write_bytes(b"altered")
    preprocess(tables, folder, val_days=3, test_days=5, train_weeks=2)
    assert folder.stat().st_ino != before
    Preprocessed.load(folder)


def test_a_folder_with_other_files_is_not_replaced(tables, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(PreprocessedError, match="something else"):
        preprocess(tables, tmp_path / "mine", val_days=3, test_days=5)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"


def test_a_run_that_fails_leaves_the_old_folder(tables, folder, monkeypatch):
    before = Preprocessed.load(folder).fingerprint
    monkeypatch.setattr("hm_utils.data.preprocessed_folder.file_entries", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        preprocess(tables, folder, val_days=4, test_days=5)
    monkeypatch.undo()
    assert Preprocessed.load(folder).fingerprint == before
    assert not list(folder.parent.glob(".*.partial"))  # a full disk would stay full
