"""The split, and the folder that preprocessing leaves."""

import json

import numpy as np
import pandas as pd
import pytest

from hm_utils.preprocessing import Preprocessed, PreprocessedError, Split, preprocess
from hm_utils.raw import RawTables
from tests.data import DAYS, article_table, customer_table, random_log, random_transactions


@pytest.fixture(scope="module")
def tables():
    return RawTables(article_table(), customer_table(), random_transactions(), [], {}, "raw")


@pytest.fixture
def folder(tables, tmp_path):
    preprocess(tables, tmp_path / "made", val_days=3, test_days=5, train_weeks=2)
    return tmp_path / "made"


def test_split_is_the_last_days():
    split = Split.last_days(random_log(), val_days=3, test_days=5)
    assert (split.train_end, split.val_end, split.test_end) == (DAYS - 8, DAYS - 5, DAYS)


@pytest.mark.parametrize(("val_days", "test_days"), [(0, 5), (5, 0), (25, 25), (49, 1)])
def test_a_split_that_leaves_nothing_is_an_error(val_days, test_days):
    with pytest.raises(ValueError, match="val_days="):
        Split.last_days(random_log(), val_days, test_days)


def test_what_was_saved_is_what_was_made(tables, folder):
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


def test_other_parameters_are_another_fingerprint(tables, folder, tmp_path):
    other = preprocess(tables, tmp_path / "other", val_days=3, test_days=4, train_weeks=2)
    assert other.fingerprint != Preprocessed.load(folder).fingerprint


def test_a_missing_folder_a_missing_file_and_an_altered_file_are_said(folder, tmp_path):
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


def test_another_format_is_said(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(PreprocessedError, match="format 99"):
        Preprocessed.load(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(PreprocessedError, match="damaged"):
        Preprocessed.load(folder)


def test_a_folder_of_something_else_is_left_alone(tables, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(PreprocessedError, match="something else"):
        preprocess(tables, tmp_path / "mine", val_days=3, test_days=5)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"


def test_a_run_that_fails_leaves_the_old_folder(tables, folder, monkeypatch):
    before = Preprocessed.load(folder).fingerprint
    monkeypatch.setattr("hm_utils.preprocessing.file_entries", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        preprocess(tables, folder, val_days=4, test_days=5)
    monkeypatch.undo()
    assert Preprocessed.load(folder).fingerprint == before
