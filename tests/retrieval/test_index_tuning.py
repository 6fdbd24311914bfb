"""Choosing search settings: the recall is the true one, and no cheaper setting reaches the target."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hm_utils.arrays import Float32, Int32
from hm_utils.model.scoring import fold_articles, fold_customers
from hm_utils.retrieval.index import ExactIndex, ScannIndex, build_index
from hm_utils.retrieval.index_tuning import choose_leaves, recall_at_k
from tests.helpers.vectors import exact_ranking, needs_scann, unit


def test_choose_leaves_takes_the_smallest_that_reaches_the_target(
    vectors: Float32, queries: Float32, scann_index: ScannIndex
) -> None:
    choice = choose_leaves(scann_index, queries, k=100, target=0.99)
    assert isinstance(choice.index, ScannIndex)
    assert choice.reached
    assert choice.recall >= 0.99
    # An independent count of the overlap, on the vectors themselves.
    found, _ = choice.index.search(queries, 100)
    assert all(choice.index.approximate(query, 100) for query in queries), "exact search answered in ScaNN's place"
    truth, _ = exact_ranking(vectors, queries, 100)
    overlap = np.mean([len(set(a) & set(b)) / 100 for a, b in zip(found.tolist(), truth.tolist(), strict=True)])
    assert overlap == pytest.approx(choice.recall, abs=1e-3)
    assert recall_at_k(choice.index, queries, 100) == pytest.approx(choice.recall)
    smaller = [row for row in choice.table if row.leaves_to_search < choice.index.leaves_to_search]
    assert smaller
    assert all(row.recall < 0.99 for row in smaller if row.reorder == choice.index.reorder)
    assert choice.index.leaves_to_search < choice.index.leaves
    assert all(row.microseconds > 0 for row in choice.table)


@needs_scann
def test_structureless_vectors_reach_the_target_or_report_that_they_do_not() -> None:
    vectors = unit(np.random.default_rng(4).normal(size=(6_000, 64)))
    queries = unit(np.random.default_rng(5).normal(size=(100, 64)))
    index = build_index(vectors, leaves_to_search=5)
    assert recall_at_k(index, queries, 100) < 0.5
    assert choose_leaves(index, queries).reached
    shallow = choose_leaves(index, queries, reorders=(200,))
    assert not shallow.reached
    assert shallow.recall == max(row.recall for row in shallow.table) < 0.99


def test_choose_leaves_has_nothing_to_choose_in_an_exact_index(vectors: Float32, queries: Float32) -> None:
    choice = choose_leaves(build_index(vectors, "exact"), queries)
    assert choice.reached
    assert choice.recall == 1.0
    assert choice.index.kind == "exact"
    assert len(choice.table) == 1
    with pytest.raises(ValueError, match="needs queries"):
        choose_leaves(choice.index, queries[:0])


def test_recall_counts_an_article_that_ties_for_the_last_place() -> None:
    twins = np.repeat(unit(np.eye(4)), 10, axis=0)
    last_of_each = ExactIndex(twins[[9, 19, 29, 39]], np.array([9, 19, 29, 39], np.int32))

    class TheOtherTwin:
        vectors, ids = twins, np.arange(40, dtype=np.int32)

        def search(self, queries: npt.ArrayLike, k: int) -> tuple[Int32, Float32]:
            return last_of_each.search(queries, k)

    assert recall_at_k(TheOtherTwin(), twins[:1], 1) == 1.0
    assert recall_at_k(TheOtherTwin(), twins[:1], 4) == 0.25


@needs_scann
def test_popular_articles_share_leaves(vectors: Float32, queries: Float32) -> None:
    """If popularity decides much of a score, the best articles are not spread over the leaves by embedding."""
    rng = np.random.default_rng(0)
    popularity = rng.exponential(2.0, len(vectors)).astype(np.float32)
    index = build_index(fold_articles(vectors, popularity, 20.0), kind="scann")
    choice = choose_leaves(index, fold_customers(queries))
    assert isinstance(choice.index, ScannIndex)
    assert choice.reached
    assert choice.index.leaves_to_search <= choice.index.leaves / 4
