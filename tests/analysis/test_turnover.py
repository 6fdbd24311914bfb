"""Changes over time, and the upper bounds of simple rankings, compared with plain counts over the rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from hm_utils.analysis import eda, turnover
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.segments import AGE_BANDS
from hm_utils.evaluation import upper_bounds
from hm_utils.evaluation.slices import bought_before
from tests.helpers.data import ARTICLES, CUSTOMERS, article_table, random_log, random_transactions


def days_of(transactions: pd.DataFrame) -> pd.Series:
    return (transactions.t_dat - transactions.t_dat.min()).dt.days


def short_log(days: int = 6) -> PurchaseLog:
    transactions = random_transactions()
    return PurchaseLog.from_transactions(transactions[days_of(transactions) < days], CUSTOMERS, ARTICLES)


@pytest.fixture(scope="module")
def log() -> PurchaseLog:
    return random_log()


def test_weeks_end_with_the_log_and_short_logs_have_days(log: PurchaseLog) -> None:
    periods = turnover.Periods.of(log)
    assert (periods.unit, periods.count) == ("week", 7)
    assert periods.days(6) == (43, 50)
    assert (periods.of_day[:1] == -1).all()
    days = turnover.Periods.of(short_log())
    assert (days.unit, days.count, days.days(5)) == ("day", 6, (5, 6))
    assert (days.words(1), days.words(2)) == ("1 day", "2 days")


def test_overlap_of_best_sellers(log: PurchaseLog) -> None:
    periods = turnover.Periods.of(log)
    overlap = turnover.best_seller_overlap(log, periods)
    top = overlap.attrs["top"]
    assert top == np.count_nonzero(log.sales_between(0, 50)) // 5, "a small shop's top is a fifth of what it sells"
    best = []
    for period in range(7):
        sales = Counter(log.article[np.isin(log.day, range(*periods.days(period)))].tolist())
        best.append({article for article, _ in sorted(sales.items(), key=lambda item: (-item[1], item[0]))[:top]})
    for later in (1, 3):
        pairs = [len(best[i] & best[i + later]) / top for i in range(7 - later)]
        assert overlap["mean"][later] == pytest.approx(np.mean(pairs))
        assert overlap["low"][later] == pytest.approx(np.quantile(pairs, 0.1))
    assert turnover.best_seller_overlap(short_log(1), turnover.Periods.of(short_log(1))).empty


def test_age_of_sales() -> None:
    transactions = random_transactions()
    transactions["article"] = (transactions.article // 19 + days_of(transactions) // 2).astype(np.int32)
    log = PurchaseLog.from_transactions(transactions, CUSTOMERS, ARTICLES)
    periods = turnover.Periods.of(log)
    shares = turnover.age_of_sales(log, periods)
    assert list(shares.columns) == ["first sold that week", "sold before"]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    first = transactions.assign(day=days_of(transactions)).groupby("article").day.min()
    last_week = transactions[days_of(transactions) >= 43]
    new = (first[last_week.article].to_numpy() >= 43).mean()
    assert shares.iloc[-1, 0] == pytest.approx(new)
    assert new > 0
    assert len(turnover.age_of_sales(short_log(2), turnover.Periods.of(short_log(2))))


def test_seasons_and_prices_need_a_log_that_shows_them(log: PurchaseLog) -> None:
    groups = article_table()["product_type_name"]
    assert turnover.season_shares(log, groups).empty
    long = random_transactions()
    long["t_dat"] = pd.Timestamp("2019-01-01") + pd.to_timedelta(days_of(long) * 8, unit="D")
    spread = PurchaseLog.from_transactions(long, CUSTOMERS, ARTICLES)
    shares = turnover.season_shares(spread, groups)
    np.testing.assert_allclose(shares.sum(axis=1), 1)  # two types, both shown
    month = long[long.t_dat.dt.to_period("M") == "2019-03"]
    expected = (groups[month.article] == shares.columns[0]).mean()
    assert shares.loc["2019-03-01"].iloc[0] == pytest.approx(expected)

    prices = turnover.price_over_life(PurchaseLog.from_transactions(long.assign(price=0.05), CUSTOMERS, ARTICLES))
    assert (prices[["low", "median", "high"]] == 1).all(axis=None)
    assert turnover.price_over_life(short_log(1)).shape[0] <= 1


def test_purchases_by_age(log: PurchaseLog) -> None:
    ages = pd.Series(np.where(np.arange(CUSTOMERS) % 3, 20.0 + np.arange(CUSTOMERS) % 50, np.nan))
    groups = article_table()["index_group_name"]
    shares = eda.groups_by_age(log, groups, ages)
    assert list(shares.index) == list(AGE_BANDS)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    young = (ages < 25).to_numpy()[log.customer]
    expected = (groups[log.article[young]] == shares.columns[0]).mean()
    assert shares.iloc[0, 0] == pytest.approx(expected)
    overlap = eda.best_sellers_by_age(log, ages)
    assert overlap.between(0, 1).all()
    band = ((ages >= 25) & (ages < 35)).to_numpy()
    late = np.flatnonzero(log.day >= 50 - 28)
    everyone = np.bincount(log.article[late], minlength=ARTICLES)
    own = np.bincount(log.article[late][band[log.customer[late]]], minlength=ARTICLES)
    top = int(np.count_nonzero(everyone)) // 5
    tops = [set(np.argsort(-sales, kind="stable")[:top].tolist()) for sales in (own, everyone)]
    assert overlap["25–34"] == pytest.approx(len(tops[0] & tops[1]) / top)
    assert overlap.min() < 1
    everybody = eda.best_sellers_by_age(log, pd.Series(np.full(CUSTOMERS, 30.0)))
    assert everybody.to_dict() == {"25–34": 1.0}
    nobody = pd.Series(np.full(CUSTOMERS, np.nan))
    assert eda.groups_by_age(log, groups, nobody).empty
    assert eda.best_sellers_by_age(log, nobody).empty


def test_upper_bounds_are_upper_bounds(log: PurchaseLog) -> None:
    as_of, truth = upper_bounds.last_days(log)
    assert as_of == 43
    reach = upper_bounds.reach(log, as_of, truth)
    assert not reach.isna().any(axis=None)
    known, perfect = reach[~reach["perfect"].astype(bool)], reach[reach["perfect"].astype(bool)]
    assert len(known) == 2
    assert len(perfect) == 3
    both = reach.loc[upper_bounds.BOTH]
    for metric in ("MAP@12", "recall@100"):
        assert both[metric] >= reach[metric].max() - 1e-12
    again = bought_before(truth, log, as_of)
    owner = np.repeat(np.arange(len(truth)), truth.sizes)
    right = np.bincount(owner[again], minlength=len(truth))
    assert reach["recall@100"][upper_bounds.PERFECT_REPURCHASE] == pytest.approx((right / truth.sizes).mean())


def test_no_ranking_for_everybody_finds_more_than_the_one_in_hindsight(log: PurchaseLog) -> None:
    _, truth = upper_bounds.last_days(log)

    def found(ranking: np.ndarray) -> float:
        hit = np.isin(truth.articles, ranking)
        owner = np.repeat(np.arange(len(truth)), truth.sizes)
        return float((np.bincount(owner[hit], minlength=len(truth)) / truth.sizes).mean())

    best = upper_bounds.best_in_hindsight(truth, ARTICLES, k=5)
    rng = np.random.default_rng(0)
    assert found(best) >= max(found(rng.permutation(ARTICLES)[:5]) for _ in range(300))
    assert upper_bounds.best_in_hindsight(truth, ARTICLES).shape == (100,), "short rankings are padded"
    assert upper_bounds.last_days(short_log())[0] == 5, "of a short log, the last day"
