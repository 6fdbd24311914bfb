"""Baselines against slow loops; none of them sees the day itself or later."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hm_utils.data.histories import history_rows
from hm_utils.data.popularity import HALF_LIFE, RECENT_DAYS, recent_sales
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.segments import AGE_BANDS
from hm_utils.evaluation import baselines
from hm_utils.evaluation.baselines import (
    BASELINES,
    Ranker,
    chain,
    co_purchase_similarity,
    history_matrix,
    item_item,
    popularity,
    popularity_by_age,
    random_articles,
    recent_popularity,
    repurchase,
    repurchase_item_item,
)

N_CUSTOMERS, N_ARTICLES, N_DAYS, AS_OF, K = 60, 80, 90, 70, 30
CUSTOMERS = np.random.default_rng(5).permutation(N_CUSTOMERS).astype(np.int32)
COLD_START = [0, 31, 59]  # never buy
SOLD_OUT = np.arange(70, 80)  # nobody buys these in the four weeks before AS_OF
AGES = pd.Series(np.random.default_rng(6).integers(16, 80, N_CUSTOMERS), dtype=np.float32)
AGES[CUSTOMERS[:6]] = np.nan
RANKERS = {**BASELINES, "popularity by age": popularity_by_age(AGES, prior_sales=5.0)}


def make_log(days: list[int], customers: list[int], articles: list[int], n_customers: int = 0) -> PurchaseLog:
    frame = pd.DataFrame(
        {
            "t_dat": np.datetime64("2020-01-01") + np.asarray(days).astype("timedelta64[D]"),
            "customer": customers,
            "article": articles,
            "price": 0.1,
            "sales_channel_id": 1,
        }
    )
    return PurchaseLog.from_transactions(frame, n_customers or max(customers) + 1, N_ARTICLES)


@pytest.fixture(scope="module")
def log() -> PurchaseLog:
    """Skewed sales and two styles; what sells best changes at AS_OF, so that a look ahead shows."""
    rng = np.random.default_rng(0)
    n = 1_500
    days = rng.integers(N_DAYS, size=n)
    days[0] = 0
    customers = rng.choice(np.setdiff1d(np.arange(N_CUSTOMERS), COLD_START), size=n)
    articles = (rng.random(n) ** 2 * 40).astype(int) * 2 + customers % 2
    articles = np.where(days < AS_OF, articles, N_ARTICLES - 1 - articles)
    articles[(days >= AS_OF - 28) & (days < AS_OF) & np.isin(articles, SOLD_OUT)] -= 20
    articles[:6], days[1:6] = SOLD_OUT[0], 3
    return make_log(days.tolist(), customers.tolist(), articles.tolist(), N_CUSTOMERS)


def history(log: PurchaseLog, customer: int) -> list[tuple[int, int]]:
    """(article, days since) of every purchase before AS_OF."""
    rows = range(log.offsets[customer], log.offsets[customer + 1])
    return [(int(log.article[i]), AS_OF - int(log.day[i])) for i in rows if log.day[i] < AS_OF]


def weights(log: PurchaseLog, customer: int) -> dict[int, float]:
    result: dict[int, float] = defaultdict(float)
    for article, days_since in history(log, customer):
        result[article] += 1 / days_since
    return result


@pytest.mark.parametrize("ranker", RANKERS.values(), ids=RANKERS.keys())
class TestEvery:
    def test_sees_nothing_from_the_day_on(self, log: PurchaseLog, ranker: Ranker) -> None:
        for as_of in (1, 30, AS_OF):
            whole, cut = (ranker(part, CUSTOMERS, as_of, K) for part in (log, log.before(as_of)))
            np.testing.assert_array_equal(whole, cut)

    def test_sees_what_is_before_the_day(self, log: PurchaseLog, ranker: Ranker) -> None:
        assert (ranker(log, CUSTOMERS, AS_OF, K) != ranker(log, CUSTOMERS, 30, K)).any()

    @pytest.mark.parametrize("k", [1, 12, N_ARTICLES + 5])
    def test_gives_distinct_articles_then_padding(self, log: PurchaseLog, ranker: Ranker, k: int) -> None:
        ranked = ranker(log, CUSTOMERS, AS_OF, k)
        assert ranked.shape == (N_CUSTOMERS, k)
        assert ranked.dtype == np.int32
        n_sold = np.count_nonzero(log.sales_between(AS_OF - 28 if ranker is random_articles else 0, AS_OF))
        for row in ranked.tolist():
            articles = [article for article in row if article >= 0]
            assert len(set(articles)) == len(articles) == min(k, n_sold)
            assert row == articles + [-1] * (k - len(articles))
            assert max(articles) < N_ARTICLES

    def test_chunks_change_nothing(self, log: PurchaseLog, ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
        ranked = ranker(log, CUSTOMERS, AS_OF, K)
        monkeypatch.setattr(baselines, "CHUNK", 7)
        np.testing.assert_array_equal(ranker(log, CUSTOMERS, AS_OF, K), ranked)


@pytest.mark.parametrize("ranker", [r for r in RANKERS.values() if r is not random_articles])  # draws by place
def test_ranks_each_customer_alone(log: PurchaseLog, ranker: Ranker) -> None:
    ranked = ranker(log, CUSTOMERS, AS_OF, K)
    np.testing.assert_array_equal(ranker(log, CUSTOMERS[7:9], AS_OF, K), ranked[7:9])
    assert ranker(log, CUSTOMERS[:0], AS_OF, K).shape == (0, K)


@pytest.mark.parametrize("ranker", [item_item, repurchase, repurchase_item_item])
def test_cold_start_customers_get_best_sellers(log: PurchaseLog, ranker: Ranker) -> None:
    cold_start = np.array(COLD_START, dtype=np.int32)
    np.testing.assert_array_equal(ranker(log, cold_start, AS_OF, K), recent_popularity(log, cold_start, AS_OF, K))


def test_popularity_is_the_order_of_sales(log: PurchaseLog) -> None:
    sales = Counter(log.article[log.day < AS_OF].tolist())
    expected = sorted(sales, key=lambda article: (-sales[article], article))[:K]
    assert popularity(log, CUSTOMERS, AS_OF, K).tolist() == [expected] * N_CUSTOMERS


def test_recent_popularity_is_the_order_of_decayed_sales(log: PurchaseLog) -> None:
    sales: dict[int, float] = defaultdict(float)
    for article, day in zip(log.article.tolist(), log.day.tolist(), strict=True):
        if AS_OF - RECENT_DAYS <= day < AS_OF:
            sales[article] += 0.5 ** ((AS_OF - day) / HALF_LIFE)
    ranked = recent_popularity(log, CUSTOMERS[:2], AS_OF, N_ARTICLES)
    np.testing.assert_array_equal(ranked[0], ranked[1])
    recent, rest = np.split(ranked[0], [len(sales)])
    assert set(recent.tolist()) == set(sales)
    np.testing.assert_allclose([sales[a] for a in recent.tolist()], sorted(sales.values(), reverse=True))
    ever = popularity(log, CUSTOMERS[:1], AS_OF, N_ARTICLES)[0].tolist()
    rest = rest[rest >= 0]
    assert rest.tolist() == [a for a in ever if a >= 0 and a not in sales]  # then those of all time
    assert len(rest) > 0


@pytest.mark.parametrize("prior_sales", [0.0, 2.0])
def test_popularity_by_age_is_the_order_of_smoothed_sales_in_the_band(log: PurchaseLog, prior_sales: float) -> None:
    def band(customer: int) -> int | None:
        age = AGES[customer]
        return None if np.isnan(age) else sum(age >= edge for edge in (25, 35, 45, 55))

    sales: dict[int | None, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    everyone: dict[int, float] = defaultdict(float)
    for article, day, customer in zip(log.article.tolist(), log.day.tolist(), log.customer.tolist(), strict=True):
        if AS_OF - 7 <= day < AS_OF:
            weight = 0.5 ** ((AS_OF - day) / HALF_LIFE)
            sales[band(customer)][article] += weight
            everyone[article] += weight
    ranked = popularity_by_age(AGES, prior_sales)(log, CUSTOMERS, AS_OF, N_ARTICLES).tolist()
    popular = recent_popularity(log, CUSTOMERS[:1], AS_OF, N_ARTICLES)[0].tolist()
    total = sum(everyone.values())
    for customer, row in zip(CUSTOMERS.tolist(), ranked, strict=True):
        if band(customer) is None:
            assert row == popular
            continue
        score = {a: sales[band(customer)][a] + prior_sales * everyone[a] / total for a in everyone}
        n = sum(value > 0 for value in score.values())
        np.testing.assert_allclose([score[a] for a in row[:n]], sorted(score.values(), reverse=True)[:n])
        rest = [a for a in popular if a >= 0 and a not in row[:n]]
        assert row[n:] == rest + [-1] * (len(row) - n - len(rest))
    assert len({tuple(row) for row in ranked}) == len(AGE_BANDS) + 1


def test_a_strong_prior_is_everybodys_order(log: PurchaseLog) -> None:
    by_age = popularity_by_age(AGES, prior_sales=1e6)(log, CUSTOMERS, AS_OF, K)
    sales = recent_sales(log, AS_OF)
    np.testing.assert_allclose(sales[by_age], sales[recent_popularity(log, CUSTOMERS, AS_OF, K)])


def test_random_articles_are_on_sale_and_differ(log: PurchaseLog) -> None:
    ranked = random_articles(log, np.zeros(2_000, np.int32), AS_OF, 10)
    on_sale = np.flatnonzero(log.sales_between(AS_OF - 28, AS_OF))
    counts = np.bincount(ranked.ravel(), minlength=N_ARTICLES)
    assert set(np.flatnonzero(counts).tolist()) == set(on_sale.tolist())
    assert counts[on_sale].min() > 0.7 * counts[on_sale].mean()


def test_history_rows_and_weights(log: PurchaseLog) -> None:
    owner, rows = history_rows(log, CUSTOMERS, AS_OF)
    matrix = history_matrix(log, CUSTOMERS, AS_OF).toarray()
    assert matrix.shape == (N_CUSTOMERS, N_ARTICLES)
    for i, customer in enumerate(CUSTOMERS.tolist()):
        expected = history(log, customer)
        mine = rows[owner == i]
        assert [(int(log.article[r]), AS_OF - int(log.day[r])) for r in mine] == expected
        row = np.zeros(N_ARTICLES)
        for article, weight in weights(log, customer).items():
            row[article] = weight
        np.testing.assert_allclose(matrix[i], row)


@pytest.mark.parametrize("ranker", [repurchase, repurchase_item_item])
def test_repurchase_starts_with_own_articles_on_sale(log: PurchaseLog, ranker: Ranker) -> None:
    on_sale = log.sales_between(AS_OF - 28, AS_OF) > 0
    sold_out = 0
    for customer, row in zip(CUSTOMERS.tolist(), ranker(log, CUSTOMERS, AS_OF, K).tolist(), strict=True):
        weight = weights(log, customer)
        own = [article for article in weight if on_sale[article]]
        sold_out += len(weight) - len(own)
        first = row[: len(own)]
        assert set(first) == set(own)
        np.testing.assert_allclose([weight[a] for a in first], sorted((weight[a] for a in own), reverse=True))
    assert sold_out > 0  # the data has the case


def test_repurchase_puts_recent_repeated_and_popular_first() -> None:
    # Customer 0: article 1 long ago, 2 twice, 3 and 4 on one day (4 sells better), 5 yesterday.
    days, articles = [0, 8, 8, 6, 6, 19], [1, 2, 2, 3, 4, 5]
    log = make_log([*days, 18, 18], [0] * 6 + [1, 1], [*articles, 4, 4])
    assert repurchase(log, np.array([0], np.int32), 20, 6).tolist() == [[5, 2, 4, 3, 1, -1]]


def test_similarity_is_the_cosine_with_one_shared_buyer_less(log: PurchaseLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "CO_PURCHASE_WEEKS", 2)
    buyers: dict[int, set[int]] = defaultdict(set)
    for article, day, customer in zip(log.article.tolist(), log.day.tolist(), log.customer.tolist(), strict=True):
        if AS_OF - 14 <= day < AS_OF:
            buyers[article].add(customer)
    expected = np.zeros((N_ARTICLES, N_ARTICLES))
    for i in buyers:
        for j in set(buyers) - {i}:
            shared = len(buyers[i] & buyers[j]) - 1
            expected[i, j] = max(shared, 0) / np.sqrt(len(buyers[i]) * len(buyers[j]))
    everything = co_purchase_similarity(log, AS_OF, neighbours=N_ARTICLES)
    np.testing.assert_allclose(everything.toarray(), expected, atol=1e-12)
    few = co_purchase_similarity(log, AS_OF, neighbours=5).toarray()
    np.testing.assert_allclose(-np.sort(-few, axis=1)[:, :5], -np.sort(-expected, axis=1)[:, :5], atol=1e-12)
    assert (few > 0).sum(axis=1).max() == 5


def test_item_item_sums_similarity_over_the_history(log: PurchaseLog) -> None:
    similarity = co_purchase_similarity(log, AS_OF).toarray()
    expected = history_matrix(log, CUSTOMERS, AS_OF).toarray() @ similarity
    ranked = item_item(log, CUSTOMERS, AS_OF, K)
    n = np.minimum((expected > 0).sum(axis=1), K)
    assert n.max() == K
    for row, scores, length in zip(ranked, expected, n.tolist(), strict=True):
        np.testing.assert_allclose(scores[row[:length]], -np.sort(-scores)[:length])


def test_repurchase_item_item_is_the_three_chained(log: PurchaseLog) -> None:
    on_sale = log.sales_between(AS_OF - 28, AS_OF) > 0
    n_own = [sum(on_sale[a] for a in weights(log, customer)) for customer in CUSTOMERS.tolist()]
    own = repurchase(log, CUSTOMERS, AS_OF, K)
    own[np.arange(K) >= np.array(n_own)[:, None]] = -1
    expected = chain(own, item_item(log, CUSTOMERS, AS_OF, N_ARTICLES), k=K)
    np.testing.assert_array_equal(repurchase_item_item(log, CUSTOMERS, AS_OF, K), expected)


def test_chain_is_the_first_of_each_in_order() -> None:
    rng = np.random.default_rng(2)
    lists = [rng.integers(-1, 12, size=(200, m)).astype(np.int32) for m in (4, 1, 6)]
    everyone = np.array([3, 0, -1, 7, 3], np.int32)
    for k in (3, 9, 20):
        expected = []
        for i in range(200):
            joined = [a for part in lists for a in part[i].tolist()] + everyone.tolist()
            unique = [a for a in dict.fromkeys(joined) if a >= 0][:k]
            expected.append(unique + [-1] * (k - len(unique)))
        assert chain(*lists, everyone, k=k).tolist() == expected


def test_nothing_is_similar_when_nobody_bought_two_things() -> None:
    log = make_log([0, 1, 2], [0, 1, 2], [4, 5, 6])
    similarity = co_purchase_similarity(log, 3)
    assert sparse.issparse(similarity)
    assert similarity.nnz == 0
    assert item_item(log, np.array([0], np.int32), 3, 3).tolist() == [[6, 5, 4]]
