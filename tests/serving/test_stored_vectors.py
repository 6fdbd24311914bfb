"""Precomputed vectors equal the user tower's, and are read only where a request brings nothing new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hm_utils.serving import recommender as recommender_module
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.recommender import Recommender
from hm_utils.serving.stored_vectors import StoredVectors, write_vectors
from tests.helpers.data import CUSTOMERS
from tests.helpers.served import random_recommender

ROWS = np.arange(CUSTOMERS, dtype=np.int32)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recommender:
    monkeypatch.setattr(recommender_module, "STORED_AT_ONCE", 7)  # several parts, the last one shorter
    random_recommender().store_vectors(tmp_path)
    return with_vectors(tmp_path / "user_vectors.npy")


def with_vectors(path: Path, **changes: Any) -> Recommender:
    """The random recommender with these stored vectors."""
    return Recommender(replace(random_recommender()._content, user_vectors=StoredVectors(path), **changes))


def test_they_are_the_user_towers_to_the_last_bit(stored: Recommender) -> None:
    fresh = random_recommender()
    assert len(stored._content.user_vectors or ()) == CUSTOMERS
    for rows in (ROWS, ROWS[::-3], ROWS[5:6], ROWS[:0]):
        np.testing.assert_array_equal(stored.vectors(stored.customers(rows)), fresh.vectors(fresh.customers(rows)))


def test_only_new_information_needs_the_tower(stored: Recommender, monkeypatch) -> None:
    expected = [random_recommender().recommend(stored.customers(ROWS[i : i + 1]), 10) for i in range(5)]
    visiting = stored.visitor(3, articles=[1, 2], days_ago=[0, 0])
    with_attributes = stored.visitor(3, attributes={"age": 30.0})
    unknown = stored.visitor()
    for user in (visiting, with_attributes, unknown):
        assert user.rows is None
        np.testing.assert_array_equal(stored.vectors(user), stored.encoded(user))
    assert not np.array_equal(stored.vectors(visiting), stored.vectors(stored.customers(ROWS[3:4])))
    np.testing.assert_array_equal(stored.visitor(3).rows, [3])
    assert stored.customers(ROWS[3:4]).without(np.array([1], dtype=np.int32)).rows is None

    def fail(users):
        raise AssertionError("the tower ran")

    monkeypatch.setattr(stored, "encoded", fail)
    for row, (articles, scores) in enumerate(expected):
        found, theirs = stored.recommend(stored.customers(ROWS[row : row + 1]), 10)
        np.testing.assert_array_equal(found, articles)
        np.testing.assert_array_equal(theirs, scores)
    with pytest.raises(AssertionError, match="the tower ran"):
        stored.recommend(visiting, 10)


def test_vectors_of_other_towers_are_refused(stored: Recommender, tmp_path: Path) -> None:
    manifest = {"golden": stored.golden([0, 3])}
    with_vectors(tmp_path / "user_vectors.npy", manifest=manifest).check_golden()
    vectors = np.load(tmp_path / "user_vectors.npy")
    write_vectors(tmp_path / "others.npy", [np.roll(vectors, 1, axis=1)], CUSTOMERS)
    with pytest.raises(BundleError, match=r"user_vectors\.npy does not belong to these towers"):
        with_vectors(tmp_path / "others.npy", manifest=manifest).check_golden()


def test_other_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "user_vectors.npy"
    with pytest.raises(FileNotFoundError):
        StoredVectors(path)
    for array in (np.zeros((3, 4)), np.zeros(3, np.float32), np.asfortranarray(np.zeros((3, 4), np.float32))):
        np.save(path, array)
        with pytest.raises(ValueError, match="publish again"):
            StoredVectors(path)
    with pytest.raises(ValueError, match="of 3 customers, not of 4"):
        write_vectors(path, [np.zeros((3, 2), np.float32)], 4)


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "user_vectors.npy"
    write_vectors(path, [np.ones((2, 4), np.float32), np.full((1, 4), 2, np.float32)], 3)
    vectors = StoredVectors(path)
    assert vectors.read(np.array([2, 0]))[:, 0].tolist() == [2, 1]
    np.testing.assert_array_equal(np.load(path), [[1] * 4, [1] * 4, [2] * 4])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match="end before their last customer"):
        vectors.read(np.array([2]))
