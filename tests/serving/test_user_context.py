"""Histories of purchases and of a visit, merged and without one article."""

from __future__ import annotations

import numpy as np

from hm_utils.data.histories import histories_as_of, purchases_as_of
from hm_utils.serving.recommender import NO_PURCHASES
from hm_utils.serving.user_context import UserContext
from tests.helpers.data import CUSTOMERS, random_log

visit = NO_PURCHASES.merged


def entries(histories, row=0):
    """(article, days since) of a history, in order."""
    mask = histories.mask[row]
    assert (np.diff(mask.astype(int)) <= 0).all(), "padding comes last"
    assert not (histories.articles + histories.days_since)[~histories.mask].any()
    return list(zip(histories.articles[row][mask].tolist(), histories.days_since[row][mask].tolist(), strict=True))


def test_a_visit_is_newest_first():
    found = visit([4, 5, 6, 7, 4], [3, 0, 0, 9, 3]).newest(8)
    assert found.mask.shape == (1, 8)
    assert entries(found) == [(6, 0), (5, 0), (4, 3), (4, 3), (7, 9)]
    assert entries(visit([4, 5, 6, 7], [3, 0, 0, 9]).newest(2)) == [(6, 0), (5, 0)]
    assert entries(visit([1, 2, 3], [5, 5, 5]).newest(3)) == [(3, 5), (2, 5), (1, 5)]
    assert entries(NO_PURCHASES.newest(3)) == []


def test_merged_histories_are_in_order_of_days_the_visit_first():
    bought = visit([1, 2, 3], [6, 4, 4])
    assert entries(bought.merged([8, 9], [4, 0]).newest(5)) == [(9, 0), (8, 4), (3, 4), (2, 4), (1, 6)]
    assert entries(bought.merged([8, 9, 7], [4, 0, 5]).newest(5)) == [(9, 0), (8, 4), (3, 4), (2, 4), (7, 5)]
    assert entries(bought.merged([], []).newest(5)) == entries(bought.newest(5))


def test_the_newest_purchases_are_the_histories_of_the_log():
    log, rows = random_log(), np.arange(CUSTOMERS, dtype=np.int32)
    for length in (1, 5, 60):
        found, expected = purchases_as_of(log, rows, 40).newest(length), histories_as_of(log, rows, 40, length)
        assert expected.mask.any(axis=1).sum() not in (0, CUSTOMERS)
        for name in ("articles", "days_since", "mask"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_a_history_without_an_article_keeps_the_order_of_the_others():
    histories = histories_as_of(random_log(), np.arange(CUSTOMERS, dtype=np.int32), 40, 60)
    for row in (0, 3, 58):
        articles = np.unique(histories.articles[row][histories.mask[row]])
        variants = UserContext(np.array([[1, 2]]), purchases_as_of(random_log(), [row], 40)).without(articles)
        assert len(variants) == len(articles)
        assert (variants.attributes == [1, 2]).all()
        for place, article in enumerate(articles.tolist()):
            expected = [(a, d) for a, d in entries(histories, row) if a != article]
            assert entries(variants.purchases.newest(60), place) == expected
