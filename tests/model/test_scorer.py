"""Scores folded into unit vectors, and the model of buying again, against brute force."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from hm_utils.data.histories import Purchases, purchases_as_of
from hm_utils.data.purchases import PurchaseLog
from hm_utils.evaluation.baselines import repurchase
from hm_utils.model import repurchase as repurchase_module
from hm_utils.model import scorer as scorer_module
from hm_utils.model.repurchase import TERMS, RepeatRates, Variants, relatives
from hm_utils.model.scorer import Scorer
from hm_utils.model.scoring import (
    BEST_SELLERS,
    CHAIN,
    TOWERS_ALONE,
    Repurchase,
    Scoring,
    factor,
    fold_articles,
    fold_customers,
)
from tests.helpers import buying_again
from tests.helpers.data import ARTICLES, CUSTOMERS, DAYS, random_log
from tests.helpers.snapshots import random_snapshot
from tests.helpers.vectors import unit

CUSTOMER_ROWS = np.arange(CUSTOMERS, dtype=np.int32)
PRODUCTS = np.array([0, 1, *(2 + np.arange(ARTICLES - 2) // 3)], dtype=np.int32)  # of three each; two have none
ON_SALE = np.random.default_rng(3).random(ARTICLES) < 0.6
EVERYTHING = Repurchase(0.5, -0.3, 2.0, 0.4, -0.2, 0.7, -0.5, 0.3, -0.6, 0.4, 1.5)
SCORINGS = [
    Scoring(repurchase=Repurchase(taste=1.0, popularity=0.5, bought=4.0)),
    Scoring(repurchase=Repurchase(bought=-30.0)),
    Scoring(repurchase=Repurchase(variant=-3.0)),
    Scoring(repurchase=EVERYTHING),
    Scoring(0.3, 1.4, 0.7, 0.1, EVERYTHING),
    Scoring(0.0, 0.6, 1.2, 0.0, EVERYTHING),
    Scoring(0.8, 0.0, 0.0, 2.0, EVERYTHING),
    CHAIN,
    BEST_SELLERS,
    TOWERS_ALONE,
]


def random_vectors(seed: int, n: int):
    return unit(np.random.default_rng(seed).normal(size=(n, 16)))


def random_bonus(n: int):
    return -np.random.default_rng(2).exponential(2.0, n).astype(np.float32)


@pytest.mark.parametrize(("scale", "spread"), [(20.0, 1.0), (100.0, 0.3), (5.0, 1.0), (20.0, 0.0), (20.0, -1.0)])
def test_folded_dot_products_are_the_scores(scale, spread):
    vectors, queries, bonus = random_vectors(0, 300), random_vectors(1, 50), spread * random_bonus(300)
    folded, customers = fold_articles(vectors, bonus, scale), fold_customers(queries)
    assert folded.dtype == customers.dtype == np.float32
    assert folded.shape == (300, 18)
    np.testing.assert_allclose(np.linalg.norm(folded, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(customers, axis=1), 1, atol=1e-6)
    cosines = scale * (queries.astype(np.float64) @ vectors.astype(np.float64).T)
    dots = customers @ folded.T
    np.testing.assert_allclose(dots * factor(folded, scale), cosines + bonus, atol=1e-4)
    # The ranking is the same, except for scores that float32 cannot tell apart.
    ranked = np.take_along_axis(cosines + bonus, np.argsort(-dots, axis=1), axis=1)
    assert (np.diff(ranked, axis=1) <= 1e-4).all()
    # The bonus can have another weight for each customer.
    share = np.linspace(0, 3, 50, dtype=np.float32)
    dots = fold_customers(queries, share) @ folded.T
    np.testing.assert_allclose(dots * factor(folded, scale), cosines + np.outer(share, bonus), atol=2e-4)


@cache
def all_terms(as_of: int = 25):
    return buying_again.terms(random_log(), as_of, PRODUCTS, ON_SALE)


def related_as_of(as_of: int = 25, rows=CUSTOMER_ROWS):
    log = random_log()
    purchases = purchases_as_of(log, rows, as_of)
    return relatives(purchases, Variants.on_sale(PRODUCTS, ON_SALE), RepeatRates.as_of(log, as_of))


@pytest.mark.parametrize("at_once", [7, 1_000])
def test_rates_of_buying_again_are_those_of_a_loop_over_the_log(at_once, monkeypatch):
    monkeypatch.setattr(repurchase_module, "CUSTOMERS_AT_ONCE", at_once)
    rates = RepeatRates.as_of(random_log(), 25)
    again, log_gap = buying_again.repeat_rates(random_log(), 25)
    np.testing.assert_allclose(rates.again, again, rtol=1e-5)
    np.testing.assert_allclose(rates.log_gap, log_gap, rtol=1e-5)
    np.testing.assert_allclose(rates.log_price, buying_again.log_prices(random_log(), 25), rtol=1e-4, atol=1e-6)
    assert np.ptp(rates.again) > 0.1
    assert np.ptp(rates.log_gap) > 0.1
    assert np.ptp(rates.log_price) > 0.1


def test_rates_without_any_repeat_are_the_shops():
    log = random_log().before(1)
    rates = RepeatRates.as_of(log, 0)
    assert rates.again.shape == rates.log_gap.shape == (ARTICLES,)
    assert not rates.again.any()
    assert not rates.log_gap.any()
    assert not rates.log_price.any()


@pytest.mark.parametrize("as_of", [0, 25, DAYS, DAYS + 9])
def test_relatives_are_all_purchases_and_their_variants_on_sale_with_their_terms(as_of):
    related, expected = related_as_of(as_of), all_terms(as_of)
    owner, articles = np.nonzero(expected.any(axis=2))
    np.testing.assert_array_equal(related.owner, owner)
    np.testing.assert_array_equal(related.articles, articles)
    np.testing.assert_allclose(related.terms.T, expected[owner, articles], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(related.returning, expected[:, :, 0].any(axis=1))
    assert related.terms.shape[0] == len(TERMS)
    if as_of:
        assert related.bought.any()
        assert not related.bought.all()
        # A customer's relatives do not depend on the other customers, to the last bit.
        one = related_as_of(as_of, CUSTOMER_ROWS[17:18])
        np.testing.assert_array_equal(one.terms, related.terms[:, related.owner == 17])


def test_variants_are_bounded_latest_purchases_first():
    variants = Variants.on_sale(PRODUCTS, np.ones(ARTICLES, dtype=bool))
    owner, articles = np.array([0, 0, 0, 0, 1]), np.array([8, 2, 5, 0, 2])
    last = np.array([1.0, 2.0, 3.0, 4.0, 9.0])

    def found(most):
        owners, rows = variants.of(owner, articles, last, most)
        return [rows[owners == customer].tolist() for customer in (0, 1)]

    assert found(50) == [[8, 9, 10, 2, 3, 4, 5, 6, 7], [2, 3, 4]]
    assert found(5) == [[8, 9, 10, 2, 3], [2, 3, 4]]
    assert variants.of(owner[:0], articles[:0], last[:0])[1].tolist() == []


def best_of(scores, k: int):
    """``[n, k]`` articles by score, then by row, as a search finds them: -1 and -inf where there are no more."""
    order = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), scores.shape), -scores), axis=1)[:, :k]
    missing = ((0, 0), (0, k - order.shape[1]))
    found = np.pad(order, missing, constant_values=-1).astype(np.int32)
    return found, np.pad(np.take_along_axis(scores, order, axis=1), missing, constant_values=-np.inf)


@pytest.mark.parametrize("margin", [0, 3, 50])
@pytest.mark.parametrize("scoring", SCORINGS, ids=str)
def test_the_scores_of_the_ranking_of_some_and_of_all_articles_are_the_whole_scores(scoring, margin, monkeypatch):
    """Also where relatives fill more than the margin of the search."""
    monkeypatch.setattr(scorer_module, "MARGIN", margin)
    vectors, users, popularity, scale = (
        random_vectors(0, ARTICLES),
        random_vectors(1, CUSTOMERS),
        -random_bonus(ARTICLES),
        12.0,
    )
    log = random_log()
    variants, rates = Variants.on_sale(PRODUCTS, ON_SALE), RepeatRates.as_of(log, 25)
    scorer = Scorer.build(scoring, vectors, popularity, variants, rates, scale)
    related = scorer.relatives(purchases_as_of(log, CUSTOMER_ROWS, 25))
    logits = scale * users.astype(np.float64) @ vectors.T
    whole = buying_again.scores(scoring, logits, popularity.astype(np.float64), all_terms())
    for k in (1, 9, ARTICLES, ARTICLES + 5):
        ranked, scores = scorer.rank(lambda q, k: best_of(q @ scorer.vectors.T, k), users, related, k)
        assert ranked.dtype == np.int32
        assert scores.dtype == np.float32
        _, expected = best_of(whole, k)
        np.testing.assert_allclose(scores, expected, atol=2e-4)
        real = ranked >= 0
        np.testing.assert_allclose(np.take_along_axis(whole, ranked, axis=1)[real], scores[real], atol=2e-4)
        assert all(len(set(row[row >= 0].tolist())) == min(k, ARTICLES) for row in ranked)
    np.testing.assert_allclose(scorer.scores(users, related, ranked[:, :9]), scores[:, :9], atol=2e-4)
    np.testing.assert_allclose(scorer.scores_of_all(users, related), whole, atol=2e-4)


def long_histories() -> PurchaseLog:
    """Two customers with 70 and 55 different articles of 300, and best-sellers with sales of their own."""
    rng = np.random.default_rng(5)
    mine = [(customer, article, int(rng.integers(39))) for customer, n in ((0, 70), (1, 55)) for article in range(n)]
    rest = [(2 + sale, article, 33 + sale % 6) for article in range(300) for sale in range((article * 37) % 101)]
    rows = sorted(mine + rest)
    customer, article, day = (np.array(column) for column in zip(*rows, strict=True))
    counts = np.bincount(customer, minlength=110)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ones = np.ones(len(rows))
    return PurchaseLog(
        offsets,
        article.astype(np.int32),
        day.astype(np.int16),
        ones.astype(np.float32),
        ones.astype(np.int8),
        np.datetime64("2020-01-01"),
        300,
    )


def test_the_chain_is_a_point_of_the_model_and_more_than_fifty_own_articles_are_ranked():
    """Own articles by the sum of 1 / days, equal ones by recent sales, then the best-sellers."""
    log, rows = long_histories(), np.array([0, 1, 109], dtype=np.int32)
    expected = repurchase(log, rows, 39, 100)
    assert (expected >= 0).all()
    rng = np.random.default_rng(0)
    vectors, users = unit(rng.normal(size=(300, 16))), unit(rng.normal(size=(3, 16)))
    sales = np.bincount(log.article, 0.5 ** ((39 - log.day) / 2) * (39 - log.day <= 7), minlength=300)
    popularity = np.log1p(300 * sales / sales.sum()).astype(np.float32)
    variants = Variants.on_sale(np.zeros(300, np.int32), np.ones(300, dtype=bool))
    scorer = Scorer.build(CHAIN, vectors, popularity, variants, RepeatRates.as_of(log, 39), 20.0)
    related = scorer.relatives(purchases_as_of(log, rows, 39))
    ranked, _ = scorer.rank(lambda q, k: best_of(q @ scorer.vectors.T, k), users, related, 100)
    on_sale = np.isin(ranked, np.flatnonzero(log.sales_between(11, 39)))
    assert on_sale.all()
    np.testing.assert_array_equal(ranked[:, :55], expected[:, :55])
    np.testing.assert_array_equal(ranked[0, :70], expected[0, :70])
    np.testing.assert_allclose(popularity[ranked], popularity[expected], rtol=1e-6)  # equal best-sellers may differ


def test_the_chain_of_a_snapshot_is_the_baselines():
    log = random_log()
    snapshot = random_snapshot(log, 40)
    expected = repurchase(log, CUSTOMER_ROWS, 40, ARTICLES)
    ranked = snapshot.rank(CUSTOMER_ROWS, ARTICLES, CHAIN)
    own = (log.sales_between(12, 40) > 0).all()
    sold = snapshot._recent_sales
    for customer in CUSTOMER_ROWS:
        mine = len({*log.before(40).article[slice(*log.before(40).offsets[customer : customer + 2])].tolist()})
        assert own or mine == 0 or (expected[customer] >= 0).any()
        assert ranked[customer, :mine].tolist() == expected[customer, :mine].tolist()
        rest = ranked[customer, mine:]
        np.testing.assert_array_equal(
            sold[rest[sold[rest] > 0]], sold[expected[customer][mine:][sold[expected[customer][mine:]] > 0]]
        )


def test_purchases_of_a_visit_are_merged_in_order_of_days():
    bought = Purchases(np.zeros(3, np.int64), np.array([1, 2, 3], np.int32), np.array([6, 4, 4], np.int32), 1)
    merged = bought.merged([8, 9], [5, 0])
    assert merged.articles.tolist() == [1, 8, 2, 3, 9]
    assert merged.days_since.tolist() == [6, 5, 4, 4, 0]
    without = bought.without(np.array([2, 3], np.int32))
    assert without.customers == 2
    assert without.owner.tolist() == [0, 0, 1, 1]
    assert without.articles.tolist() == [1, 3, 1, 2]


def test_a_scoring_survives_json():
    scoring = SCORINGS[4]
    from dataclasses import asdict

    assert Scoring.from_dict(asdict(scoring)) == scoring
    assert Scoring.from_dict(asdict(TOWERS_ALONE)) == TOWERS_ALONE
    with pytest.raises(TypeError):
        Scoring.from_dict(asdict(scoring) | {"cold_start": 1.0})
    assert replace(scoring, taste=9.0).largest == (9.0, 1.4)
