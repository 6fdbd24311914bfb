"""Scores folded into unit vectors, and the terms of repurchase, against brute force."""

from functools import cache

import numpy as np
import pytest

from hm_utils.data.histories import Histories, histories_as_of
from hm_utils.model import repurchase
from hm_utils.model.repurchase import Variants, own_articles, relatives
from hm_utils.model.scorer import Scorer, add_repurchase
from hm_utils.model.scoring import TOWERS_ALONE, Scoring, factor, fold_articles, fold_customers
from tests.helpers.data import ARTICLES, CUSTOMERS, DAYS, random_log
from tests.helpers.vectors import unit

CUSTOMER_ROWS = np.arange(CUSTOMERS, dtype=np.int32)
PRODUCTS = np.array([0, 1, *(2 + np.arange(ARTICLES - 2) // 3)], dtype=np.int32)  # of three each; two have none
ON_SALE = np.random.default_rng(3).random(ARTICLES) < 0.6
SCORINGS = [
    Scoring(bought=4.0),
    Scoring(bought=-3.0),
    Scoring(bought=-30.0),
    Scoring(bought=5.0, log_days=-1.5),
    Scoring(log_days=0.7),
    Scoring(variant=3.0),
    Scoring(variant=-3.0),
    Scoring(bought=4.0, log_days=-1.0, variant=2.0),
    TOWERS_ALONE,
]


def random_vectors(seed: int, n: int):
    return unit(np.random.default_rng(seed).normal(size=(n, 16)))


def random_bonus(n: int):
    return -np.random.default_rng(2).exponential(2.0, n).astype(np.float32)


@cache
def histories(as_of: int = 25, length: int = 60) -> Histories:
    return histories_as_of(random_log(), CUSTOMER_ROWS, as_of, length)


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


@pytest.mark.parametrize("length", [5, 50])
@pytest.mark.parametrize("as_of", [0, 25, DAYS, DAYS + 9])
def test_own_articles_are_listed_once_with_the_latest_purchase(as_of, length, monkeypatch):
    monkeypatch.setattr(repurchase, "OWN_LENGTH", length)
    log = random_log()
    own = own_articles(histories(as_of, 50))
    repeated = 0
    for customer in CUSTOMER_ROWS:
        rows = range(log.offsets[customer], log.offsets[customer + 1])
        past = [(int(log.article[row]), as_of - int(log.day[row])) for row in rows if log.day[row] < as_of]
        expected: dict[int, int] = {}
        for article, days_since in past[::-1][:length]:  # the newest first
            repeated += article in expected
            expected.setdefault(article, days_since)
        mask = own.mask[customer]
        found = zip(own.articles[customer][mask].tolist(), own.days_since[customer][mask].tolist(), strict=True)
        assert list(found) == list(expected.items())
    assert (repeated > 0) == (as_of > 0)


def variants_of(articles) -> list[int]:
    """The articles on sale that share a product with one of ``articles`` and are none of them, by brute force."""
    found = []
    for product in dict.fromkeys(PRODUCTS[articles].tolist()):
        found += [a for a in range(ARTICLES) if PRODUCTS[a] == product > 1 and ON_SALE[a] and a not in articles]
    return found


@pytest.mark.parametrize("as_of", [0, 25, DAYS])
def test_relatives_are_the_purchases_and_their_variants_on_sale(as_of):
    own = own_articles(histories(as_of))
    related = relatives(histories(as_of), Variants.on_sale(PRODUCTS, ON_SALE))
    some = 0
    for customer in CUSTOMER_ROWS:
        mine = own.articles[customer, own.mask[customer]].tolist()
        bought, variant = related.bought[customer], related.variant[customer]
        assert related.articles[customer, bought].tolist() == mine
        assert related.articles[customer, variant].tolist() == variants_of(mine)
        assert (related.articles[customer, ~bought & ~variant] == -1).all()
        log_days = np.log(own.days_since[customer, own.mask[customer]])
        np.testing.assert_allclose(related.log_days[customer, bought], log_days, rtol=1e-6)
        assert not related.log_days[customer, ~bought].any()
        some += variant.sum()
    assert (some > 0) == (as_of > 0)


def test_variants_are_bounded_latest_purchases_first():
    variants = Variants.on_sale(PRODUCTS, np.ones(ARTICLES, dtype=bool))
    articles = np.array([[8, 2, 5, 0]], np.int32)
    own = Histories(articles, np.ones_like(articles), np.ones(articles.shape, dtype=bool))
    assert variants.of(own)[0].tolist() == [-1, 9, 10, -1, 3, 4, -1, 6, 7]  # -1: the own ones
    assert variants.of(own, most=5)[0].tolist() == [-1, 9, 10, -1, 3]


def repurchase_terms(scoring):
    """``[n, n_articles]`` of every customer and article, by brute force."""
    own, terms = own_articles(histories()), np.zeros((CUSTOMERS, ARTICLES))
    for customer, mask in enumerate(own.mask):
        mine = own.articles[customer][mask]
        terms[customer, variants_of(mine.tolist())] = scoring.variant
        terms[customer, mine] = scoring.bought + scoring.log_days * np.log(own.days_since[customer][mask])
    return terms


def best_of(scores, k: int):
    """``[n, k]`` articles by score, then by row, as a search finds them: -1 and -inf where there are no more."""
    order = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), scores.shape), -scores), axis=1)[:, :k]
    missing = ((0, 0), (0, k - order.shape[1]))
    found = np.pad(order, missing, constant_values=-1).astype(np.int32)
    return found, np.pad(np.take_along_axis(scores, order, axis=1), missing, constant_values=-np.inf)


@pytest.mark.parametrize("k", [1, 12, ARTICLES + 5])
@pytest.mark.parametrize("scoring", SCORINGS, ids=str)
def test_repurchase_ranks_as_brute_force_over_the_catalogue(scoring, k):
    # Whole numbers, so that many scores are equal: ties are by article row.
    scores = np.random.default_rng(0).integers(-8, 1, size=(CUSTOMERS, ARTICLES)).astype(np.float32)
    related = relatives(histories(), Variants.on_sale(PRODUCTS, ON_SALE))
    present = related.articles >= 0
    scores_of_related = np.where(present, np.take_along_axis(scores, np.maximum(related.articles, 0), axis=1), 0)
    found, found_scores = best_of(scores, k + int(present.sum(axis=1).max()))
    ranked, highest = add_repurchase(found, found_scores, related, scores_of_related, scoring, k)
    assert ranked.dtype == np.int32
    assert highest.dtype == np.float32
    expected, expected_scores = best_of((scores + repurchase_terms(scoring)).astype(np.float32), k)
    np.testing.assert_array_equal(ranked, expected)
    np.testing.assert_allclose(highest, expected_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scoring", SCORINGS, ids=str)
def test_the_scores_of_the_ranking_of_some_and_of_all_articles_are_the_whole_scores(scoring):
    vectors, queries, bonus, scale = (
        random_vectors(0, ARTICLES),
        random_vectors(1, CUSTOMERS),
        random_bonus(ARTICLES),
        12,
    )
    scorer = Scorer(scoring, fold_articles(vectors, bonus, scale), Variants.on_sale(PRODUCTS, ON_SALE), scale)
    related, customers = scorer.relatives(histories()), fold_customers(queries)
    towers = scale * queries @ vectors.T + bonus
    whole = towers + repurchase_terms(scoring)
    for k in (9, ARTICLES):
        ranked, scores = scorer.rank(lambda q, k: best_of(q @ scorer.vectors.T, k), customers, related, k)
        np.testing.assert_allclose(scores, -np.sort(-whole, axis=1)[:, :k], atol=1e-4)
        np.testing.assert_allclose(np.take_along_axis(whole, ranked, axis=1), scores, atol=1e-4)
        np.testing.assert_allclose(scorer.scores(customers, related, ranked), scores, atol=1e-4)
    np.testing.assert_allclose(scorer.scores_of_all(customers, related), whole, atol=1e-4)
    of_related = np.take_along_axis(towers, np.maximum(related.articles, 0), axis=1)
    expected = np.where(related.articles >= 0, of_related, 0)
    np.testing.assert_allclose(scorer.dot_product_scores(customers, related.articles), expected, atol=1e-4)
