"""Folding scores into unit vectors, and buying again, against brute force."""

import numpy as np
import pytest

from hm_utils.data.histories import Histories, histories_as_of
from hm_utils.model import repurchase
from hm_utils.model.repurchase import Relatives, Variants, own_articles, relatives
from hm_utils.model.scorer import Scorer, add_repurchase
from hm_utils.model.scoring import TOWERS_ALONE, Scoring, factor, fold_articles, fold_customers
from tests.helpers.data import ARTICLES, CUSTOMERS, DAYS, random_log
from tests.helpers.vectors import unit

CUSTOMER_ROWS = np.arange(CUSTOMERS, dtype=np.int32)


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
    scores = scale * (queries.astype(np.float64) @ vectors.astype(np.float64).T) + bonus
    dots = customers @ folded.T
    np.testing.assert_allclose(dots * factor(folded, scale), scores, atol=1e-4)
    # The same ranking, but for articles whose scores differ by less than float32 tells apart.
    ranked = np.take_along_axis(scores, np.argsort(-dots, axis=1), axis=1)
    assert (np.diff(ranked, axis=1) <= 1e-4).all()


def test_the_bonus_counts_as_many_times_as_is_said_of_a_customer():
    vectors, queries, bonus = random_vectors(0, 300), random_vectors(1, 4), random_bonus(300)
    times = np.array([1.0, 0.0, 0.5, 3.0], dtype=np.float32)
    folded = fold_articles(vectors, bonus, 20.0)
    customers = fold_customers(queries, times)
    np.testing.assert_array_equal(customers[0], fold_customers(queries)[0])
    scores = 20.0 * queries @ vectors.T + np.outer(times, bonus)
    np.testing.assert_allclose(customers @ folded.T * factor(folded, 20.0), scores, atol=1e-4)


@pytest.mark.parametrize("length", [5, 50])
@pytest.mark.parametrize("as_of", [0, 25, DAYS, DAYS + 9])
def test_own_articles_are_listed_once_as_bought_last(as_of, length, monkeypatch):
    monkeypatch.setattr(repurchase, "OWN_LENGTH", length)
    log = random_log()
    own = own_articles(histories_as_of(log, CUSTOMER_ROWS, as_of, 50))
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


PRODUCTS = np.array([0, 1, *(2 + np.arange(ARTICLES - 2) // 3)], dtype=np.int32)  # of three each; two have none
ON_SALE = np.random.default_rng(3).random(ARTICLES) < 0.6


def variants_of(articles, on_sale=ON_SALE) -> list[int]:
    """The articles on sale that share a product with one of ``articles`` and are none of them, by brute force."""
    found = []
    for product in dict.fromkeys(PRODUCTS[articles].tolist()):
        found += [a for a in range(ARTICLES) if PRODUCTS[a] == product > 1 and on_sale[a] and a not in articles]
    return found


@pytest.mark.parametrize("as_of", [0, 25, DAYS])
def test_relatives_are_the_purchases_and_their_variants_on_sale(as_of):
    own = own_articles(histories_as_of(random_log(), CUSTOMER_ROWS, as_of, 60))
    related = relatives(histories_as_of(random_log(), CUSTOMER_ROWS, as_of, 60), Variants.on_sale(PRODUCTS, ON_SALE))
    some = 0
    for customer in CUSTOMER_ROWS:
        mine = own.articles[customer, own.mask[customer]].tolist()
        bought, variant = related.bought[customer], related.variant[customer]
        assert related.articles[customer, bought].tolist() == mine
        assert related.articles[customer, variant].tolist() == variants_of(mine)
        assert (related.articles[customer, ~bought & ~variant] == -1).all()
        np.testing.assert_allclose(
            related.log_days[customer, bought], np.log(own.days_since[customer, own.mask[customer]]), rtol=1e-6
        )
        assert not related.log_days[customer, ~bought].any()
        some += variant.sum()
    assert (some > 0) == (as_of > 0)


def test_variants_are_bounded_latest_purchases_first():
    variants = Variants.on_sale(PRODUCTS, np.ones(ARTICLES, dtype=bool))
    articles = np.array([[8, 2, 5, 0]], np.int32)
    own = Histories(articles, np.ones_like(articles), np.ones(articles.shape, dtype=bool))
    assert variants.of(own)[0].tolist() == [-1, 9, 10, -1, 3, 4, -1, 6, 7]  # own ones are taken out again
    assert variants.of(own, most=5)[0].tolist() == [-1, 9, 10, -1, 3]


def test_variants_survive_saving(tmp_path):
    saved = Variants.on_sale(PRODUCTS, ON_SALE)
    saved.save(tmp_path)
    loaded = Variants.load(tmp_path)
    for name in ("product", "offsets", "articles"):
        np.testing.assert_array_equal(getattr(saved, name), getattr(loaded, name))


def test_a_list_does_not_depend_on_who_else_is_in_the_batch():
    vectors, queries = random_vectors(0, ARTICLES), random_vectors(1, CUSTOMERS)
    scorer = scorer_of(vectors, random_bonus(ARTICLES), Scoring(bought=2.0, log_days=-0.5, variant=1.0))
    asked = fold_customers(queries)

    def ranked(rows):
        related = scorer.relatives(histories_as_of(random_log(), CUSTOMER_ROWS[rows], 25, 60))
        return scorer.rank(lambda q, k: best_of(q @ scorer.vectors.T, k), asked[rows], related, 9)[0]

    alone = [ranked(slice(row, row + 1)) for row in range(CUSTOMERS)]
    np.testing.assert_array_equal(ranked(slice(None)), np.concatenate(alone))


def scorer_of(vectors, bonus, scoring=TOWERS_ALONE, scale=12.0) -> Scorer:
    return Scorer(scoring, fold_articles(vectors, bonus, scale), Variants.on_sale(PRODUCTS, ON_SALE), scale, 4)


def test_scores_of_some_articles_are_those_of_the_search():
    vectors, queries = random_vectors(0, ARTICLES), random_vectors(1, CUSTOMERS)
    bonus = np.random.default_rng(2).gamma(2.0, size=ARTICLES).astype(np.float32)
    scorer = scorer_of(vectors, bonus)
    articles = scorer.relatives(histories_as_of(random_log(), CUSTOMER_ROWS, 25, 60)).articles
    scores = scorer.dot_product_scores(fold_customers(queries), articles)
    expected = np.take_along_axis(scorer.scale * queries @ vectors.T + bonus, np.maximum(articles, 0), axis=1)
    there = articles >= 0
    assert there.any()
    np.testing.assert_allclose(scores[there], expected[there], rtol=1e-4, atol=1e-3)
    assert (scores[~there] == 0).all()


def best_of(scores, k: int):
    """``[n, k]`` articles by score, then by row; -1 where there are no more: what a search would find."""
    order = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), scores.shape), -scores), axis=1)[:, :k]
    missing = ((0, 0), (0, k - order.shape[1]))
    found = np.pad(order, missing, constant_values=-1).astype(np.int32)
    highest = np.take_along_axis(scores, order, axis=1)
    return found, np.pad(highest, missing, constant_values=-np.inf)


@pytest.mark.parametrize("k", [1, 12, ARTICLES + 5])
@pytest.mark.parametrize(
    "scoring",
    [
        Scoring(bought=4.0),
        Scoring(bought=-3.0),
        Scoring(bought=-30.0),
        Scoring(bought=5.0, log_days=-1.5),
        Scoring(log_days=0.7),
        Scoring(variant=3.0),
        Scoring(variant=-3.0),
        Scoring(bought=4.0, log_days=-1.0, variant=2.0),
        TOWERS_ALONE,
    ],
    ids=str,
)
def test_repurchase_ranks_as_brute_force_over_the_catalogue(scoring, k):
    # Whole numbers, so that many scores are equal: ties are by article row.
    scores = np.random.default_rng(0).integers(-8, 1, size=(CUSTOMERS, ARTICLES)).astype(np.float32)
    own = own_articles(histories_as_of(random_log(), CUSTOMER_ROWS, 25, 60))
    related = relatives(histories_as_of(random_log(), CUSTOMER_ROWS, 25, 60), Variants.on_sale(PRODUCTS, ON_SALE))
    there = related.articles >= 0
    scores_of_related = np.where(there, np.take_along_axis(scores, np.maximum(related.articles, 0), axis=1), 0)
    found, found_scores = best_of(scores, k + int(there.sum(axis=1).max()))
    ranked, highest = add_repurchase(found, found_scores, related, scores_of_related, scoring, k)
    assert ranked.shape == highest.shape == (CUSTOMERS, k)
    assert ranked.dtype == np.int32
    assert highest.dtype == np.float32
    for customer in CUSTOMER_ROWS:
        days_since = {
            article: days
            for article, days, mask in zip(
                own.articles[customer].tolist(), own.days_since[customer].tolist(), own.mask[customer], strict=True
            )
            if mask
        }
        variants = variants_of(list(days_since))
        total = [
            float(np.float32(score + (scoring.bought + scoring.log_days * np.log(days_since[article]))))
            if article in days_since
            else float(np.float32(score + scoring.variant * (article in variants)))
            for article, score in enumerate(scores[customer].tolist())
        ]
        expected = sorted(range(ARTICLES), key=lambda article: (-total[article], article))[:k]
        short = k - len(expected)
        assert ranked[customer].tolist() == expected + [-1] * short
        np.testing.assert_allclose(
            highest[customer], [total[a] for a in expected] + [-np.inf] * short, rtol=1e-5, atol=1e-5
        )


def test_a_list_shorter_than_asked_for_ends_in_padding():
    none = Relatives(np.array([[-1, -1]], np.int32), np.zeros((1, 2), bool), np.zeros((1, 2), np.float32))
    one = Relatives(np.array([[7, -1]], np.int32), np.array([[True, False]]), np.zeros((1, 2), np.float32))
    found, scores = np.array([[4, -1]], np.int32), np.array([[0.5, 9.0]], np.float32)
    scores_of_related = np.array([[0.25, 0.0]], np.float32)
    ranked, highest = add_repurchase(found, scores, none, scores_of_related, Scoring(bought=1.0), 5)
    assert ranked.tolist() == [[4, -1, -1, -1, -1]]
    assert highest.tolist() == [[0.5] + 4 * [-np.inf]]
    ranked, highest = add_repurchase(found, scores, one, scores_of_related, Scoring(bought=1.0), 5)
    assert ranked.tolist() == [[7, 4, -1, -1, -1]]
    assert highest.tolist() == [[1.25, 0.5] + 3 * [-np.inf]]


def test_which_scoring_needs_the_customers_own_articles():
    assert not TOWERS_ALONE.has_repurchase
    assert not Scoring(popularity=0.5).has_repurchase
    assert Scoring(bought=-1.0).has_repurchase
    assert Scoring(log_days=0.1).has_repurchase
    assert Scoring(variant=0.1).has_repurchase


def test_the_whole_scores_of_some_articles_and_of_all_are_those_of_the_ranking():
    scoring = Scoring(bought=2.0, log_days=-0.5, variant=-1.0)
    scorer = scorer_of(random_vectors(0, ARTICLES), random_bonus(ARTICLES), scoring)
    queries = fold_customers(random_vectors(1, CUSTOMERS))
    related = scorer.relatives(histories_as_of(random_log(), CUSTOMER_ROWS, 25, 60))
    ranked, scores = scorer.rank(lambda q, k: best_of(q @ scorer.vectors.T, k), queries, related, ARTICLES)
    np.testing.assert_allclose(scorer.scores(queries, related, ranked), scores, atol=1e-4)
    np.testing.assert_allclose(
        np.take_along_axis(scorer.scores_of_all(queries, related), ranked, axis=1), scores, atol=1e-4
    )
