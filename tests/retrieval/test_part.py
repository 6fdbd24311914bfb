"""Search for some of an index's articles, against exact search of these alone."""

from __future__ import annotations

import numpy as np
import pytest

from hm_utils.arrays import Float32, Int32
from hm_utils.retrieval.index import ExactIndex, ScannIndex
from hm_utils.retrieval.index_tuning import recall_at_k
from hm_utils.retrieval.part import NEEDED, PartOfIndex


def some_rows(n: int, share: float) -> Int32:
    return np.flatnonzero(np.random.default_rng(5).random(n) < share).astype(np.int32)


@pytest.mark.parametrize("share", [0.99, 0.5, 0.2, 0.05])
def test_it_finds_what_exact_search_of_the_part_finds(scann_index: ScannIndex, queries: Float32, share: float) -> None:
    rows = some_rows(len(scann_index), share)
    part = PartOfIndex(scann_index, rows)
    assert recall_at_k(part, queries) > recall_at_k(scann_index, queries) - 0.01
    found, scores = part.search(queries, 100)
    assert np.isin(found, rows).all()
    np.testing.assert_array_equal(scores, np.vecdot(scann_index.vectors[found], queries[:, None, :]))
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("share", [0.9, 0.3])
def test_a_ranking_depends_neither_on_its_length_nor_on_the_batch(
    scann_index: ScannIndex, queries: Float32, share: float
) -> None:
    part = PartOfIndex(scann_index, some_rows(len(scann_index), share))
    longest = part.search(queries, NEEDED)
    for k in (1, 10, 100):
        for short, long in zip(part.search(queries[:7], k), longest, strict=True):
            np.testing.assert_array_equal(short, long[:7, :k])
    for alone, batch in zip(part.search(queries[3:4], 60), longest, strict=True):
        np.testing.assert_array_equal(alone, batch[3:4, :60])


def test_a_query_whose_neighbours_are_outside_the_part_is_searched_exactly(
    scann_index: ScannIndex, queries: Float32
) -> None:
    """All near ones are outside, though most of the catalogue is inside."""
    near = np.unique(ExactIndex(scann_index.vectors, scann_index.ids).search(queries[:1], 1_000)[0])
    rows = np.setdiff1d(scann_index.ids, near).astype(np.int32)
    part = PartOfIndex(scann_index, rows)
    for found, exact in zip(
        part.search(queries[:1], 100), ExactIndex(scann_index.vectors[rows], rows).search(queries[:1], 100), strict=True
    ):
        np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("count", [1, 20, 1_500])
def test_a_part_smaller_than_k_is_padded(scann_index: ScannIndex, queries: Float32, count: int) -> None:
    rows = np.arange(0, 4 * count, 4, dtype=np.int32)
    k = count + 5
    found, scores = PartOfIndex(scann_index, rows).search(queries[:3], k)
    np.testing.assert_array_equal(np.sort(found[:, :count], axis=1), np.tile(rows, (3, 1)))
    assert (found[:, count:] == -1).all()
    assert (scores[:, count:] == -np.inf).all()
