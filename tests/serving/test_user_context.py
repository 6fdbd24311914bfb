"""Histories of a visit and of purchases, merged and without one article."""

from __future__ import annotations

import numpy as np

from hm_utils.data.histories import histories_as_of, purchases_as_of, visit
from hm_utils.serving.user_context import UserContext
from tests.helpers.data import CUSTOMERS, random_log


def entries(histories, row=0):
    """(article, days since) of a history, in order."""
    mask = histories.mask[row]
    assert (np.diff(mask.astype(int)) <= 0).all(), "padding comes last"
    return list(zip(histories.articles[row][mask].tolist(), histories.days_since[row][mask].tolist(), strict=True))


def test_a_visit_is_newest_first():
    found = visit([4, 5, 6, 7, 4], [3, 0, 0, 9, 3], 8)
    assert found.mask.shape == (1, 8)
    assert entries(found) == [(6, 0), (5, 0), (4, 3), (4, 3), (7, 9)]
    assert entries(visit([4, 5, 6, 7], [3, 0, 0, 9], 2)) == [(6, 0), (5, 0)]
    assert entries(visit([1, 2, 3], [5, 5, 5], 3)) == [(3, 5), (2, 5), (1, 5)]
    assert entries(visit([], [], 3)) == []


def test_merged_histories_are_in_order_of_days_the_visit_first():
    bought = visit([1, 2, 3], [6, 4, 4], 5)
    seen = visit([8, 9], [4, 0], 5)
    assert entries(seen.merged(bought)) == [(9, 0), (8, 4), (3, 4), (2, 4), (1, 6)]
    assert entries(visit([8, 9, 7], [4, 0, 5], 5).merged(bought)) == [(9, 0), (8, 4), (3, 4), (2, 4), (7, 5)]
    assert entries(visit([], [], 5).merged(bought)) == entries(bought)


def test_a_history_without_an_article_keeps_the_order_of_the_others():
    histories = histories_as_of(random_log(), np.arange(CUSTOMERS, dtype=np.int32), 40, 12)
    for row in (0, 3, 58):
        one = histories_as_of(random_log(), np.array([row], dtype=np.int32), 40, 12)
        articles = np.unique(histories.articles[row][histories.mask[row]])
        purchases = purchases_as_of(random_log(), [row], 40)
        variants = UserContext(np.array([[1, 2]]), one, purchases).without(articles)
        assert len(variants) == len(articles)
        assert (variants.attributes == [1, 2]).all()
        for place, article in enumerate(articles.tolist()):
            expected = [(a, d) for a, d in entries(histories, row) if a != article]
            assert entries(variants.histories, place) == expected
