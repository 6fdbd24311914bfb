"""Popularity against plain loops, and as of the day."""

import numpy as np
import pandas as pd
import pytest

from hm_utils.data.popularity import DEBUT_WEEKS, debut_share, log_popularity, popularity_as_of, recent_sales
from hm_utils.data.purchases import PurchaseLog
from tests.helpers.data import ARTICLES, CUSTOMERS, DAYS, random_log, random_transactions


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.mark.parametrize(("as_of", "days", "half_life"), [(25, 7, 3.0), (40, 28, 1.0), (4, 7, float("inf"))])
@pytest.mark.parametrize("half", [False, True], ids=["everybody", "some"])
def test_recent_sales_equal_a_plain_loop(log, as_of, days, half_life, half):
    among = np.random.default_rng(1).random(CUSTOMERS) < 0.5 if half else None
    frame = random_transactions()
    frame["day"] = (frame["t_dat"] - frame["t_dat"].min()).dt.days
    expected = np.zeros(ARTICLES)
    for customer, article, day in frame[["customer", "article", "day"]].itertuples(index=False, name=None):
        if as_of - days <= day < as_of and (among is None or among[customer]):
            expected[article] += 0.5 ** ((as_of - day) / half_life)
    assert expected.any()
    sales = recent_sales(log, as_of, days, half_life, among)
    assert sales.dtype == np.float64
    np.testing.assert_allclose(sales, expected, rtol=1e-12)


@pytest.mark.parametrize("as_of", [0, 1, 25, DAYS, DAYS + 3])
def test_nothing_from_the_day_on_counts(log, as_of):
    np.testing.assert_array_equal(recent_sales(log, as_of), recent_sales(log.before(as_of), as_of))
    assert recent_sales(log, as_of).any() == (as_of > 0)


def test_log_popularity_is_the_share_over_a_uniform_one():
    sales = np.array([0.0, 1.0, 3.0, 0.0, 4.0])
    expected = np.log([1, 1 + 5 * 1 / 8, 1 + 5 * 3 / 8, 1, 1 + 5 * 4 / 8])
    popularity = log_popularity(sales)
    assert popularity.dtype == np.float32
    assert (popularity[sales == 0] == 0).all()
    np.testing.assert_allclose(popularity, expected, rtol=1e-6)
    np.testing.assert_allclose(log_popularity(1_000 * sales), popularity, rtol=1e-6)  # whatever the shop's size
    np.testing.assert_array_equal(log_popularity(sales.astype(np.int64)), popularity)


def test_log_popularity_rises_with_sales(log):
    sales = np.sort(recent_sales(log, 25))
    assert (np.diff(log_popularity(sales))[np.diff(sales) > 0] > 0).all()
    assert (np.diff(log_popularity(sales))[np.diff(sales) == 0] == 0).all()


def test_popularity_without_sales_is_zero():
    np.testing.assert_array_equal(log_popularity(np.zeros(4)), np.zeros(4, np.float32))


@pytest.mark.parametrize("as_of", [6, 7, 20, DAYS])
def test_an_article_without_sales_counts_like_such_articles_did(log, as_of):
    def first_day(article):
        return min((day for day, bought in zip(log.day, log.article, strict=True) if bought == article), default=DAYS)

    first = np.array([first_day(article) for article in range(ARTICLES)])
    shares = []
    for start in [as_of - 7 * week for week in range(1, DEBUT_WEEKS + 1) if as_of - 7 * week > 0]:
        sold = log.article[(log.day >= start) & (log.day < start + 7)]
        shares.append(np.mean(first[sold] >= start) / max(1, (first >= start).sum()))
    expected = np.mean(shares) if shares else 0.0
    assert debut_share(log, as_of) == pytest.approx(expected)
    sales = recent_sales(log, as_of)
    popularity = popularity_as_of(log, as_of, sales)
    unsold = first >= as_of
    total = sales.sum() * (1 + expected * unsold.sum())
    sales[unsold] = expected * sales.sum()
    np.testing.assert_allclose(popularity, np.log1p(sales * ARTICLES / total), rtol=1e-5)
    past = log.before(as_of)
    np.testing.assert_array_equal(popularity, popularity_as_of(past, as_of, recent_sales(past, as_of)))


def test_a_debut_is_expected_where_there_were_some():
    day, article = np.array([0, 1, 2, 8, 9, 10, 15, 16]), np.array([0, 0, 0, 0, 1, 0, 2, 0])
    table = pd.DataFrame({"t_dat": np.datetime64("2020-01-01") + day, "customer": 0, "article": article, "price": 0.1})
    log = PurchaseLog.from_transactions(table.assign(sales_channel_id=1), 1, 4)
    # In the week from day 7, one of three sales was of the three unsold articles; from day 14, one of two, of two.
    assert debut_share(log, 21) == pytest.approx((1 / 3 / 3 + 1 / 2 / 2) / 2)
    assert popularity_as_of(log, 17, recent_sales(log, 17))[3] > 0
