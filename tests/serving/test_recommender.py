"""The answers of a loaded model, against brute force over its own scores."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from hm_utils.data.histories import purchases_as_of
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.scoring import BEST_SELLERS, CHAIN, TOWERS_ALONE, Scoring
from hm_utils.serving.recommender import Recommender
from hm_utils.serving.user_context import UserContext
from tests.helpers.data import ARTICLES, CUSTOMERS, customer_table, random_transactions
from tests.helpers.served import SCORING, random_recommender
from tests.helpers.snapshots import random_training, snapshot_of

EVERYBODY = np.arange(CUSTOMERS)


with_scoring = cache(lambda scoring: random_recommender(scoring=scoring))


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return with_scoring(SCORING)


def history_of(recommender: Recommender, customer: int) -> tuple[list[int], list[int]]:
    """Everything that a customer bought, oldest first: articles, and days ago."""
    log = recommender.log
    rows = slice(log.offsets[customer], log.offsets[customer + 1])
    return log.article[rows].tolist(), (recommender.as_of - log.day[rows].astype(int)).tolist()


def attributes_of(customer: int) -> dict[str, Any]:
    row = customer_table().iloc[customer].drop("customer_id")
    return {str(name): None if value != value else value for name, value in row.items()}


def test_a_history_sent_and_the_same_one_stored_get_one_ranking(recommender):
    some = 0
    for customer in EVERYBODY.tolist():
        articles, days_ago = history_of(recommender, customer)
        some += len(articles) > 20
        sent = recommender.visitor(None, attributes_of(customer), articles, days_ago)
        for mine, stored in zip(
            recommender.recommend(sent, 30), recommender.recommend(recommender.customers([customer]), 30), strict=True
        ):
            np.testing.assert_array_equal(mine, stored)
    assert some > 30


def test_a_purchase_a_second_ago_counts_as_if_it_were_in_the_log(recommender):
    """Today's visit beside the stored history, and a log that includes it."""
    customer, new = 5, [11, 2]
    articles, days_ago = history_of(recommender, customer)
    whole = recommender.visitor(None, attributes_of(customer), [*articles, *new], [*days_ago, 0, 0])
    beside = recommender.visitor(customer, None, new, [0, 0])
    for one, other in zip(recommender.recommend(whole, 30), recommender.recommend(beside, 30), strict=True):
        np.testing.assert_array_equal(one, other)
    before = recommender.recommend(recommender.customers([customer]), 30)[0]
    assert (recommender.recommend(beside, 30)[0] != before).any()


def test_queries_are_those_of_the_evaluation_with_and_without_a_history(recommender):
    training = random_training(recommender.log, recommender.as_of)
    snapshot = snapshot_of(training, recommender.log, recommender.as_of)
    assert 0 < (np.diff(recommender.log.offsets) == 0).sum() < CUSTOMERS
    np.testing.assert_allclose(
        recommender.queries(recommender.customers(EVERYBODY)),
        snapshot.queries(EVERYBODY.astype(np.int32), snapshot.scorer(SCORING)),
        atol=1e-6,
    )


def test_attributes_sent_replace_the_stored_ones(recommender):
    as_other = recommender.visitor(5, attributes_of(9))
    np.testing.assert_array_equal(as_other.attributes, recommender.customers([9]).attributes)
    np.testing.assert_array_equal(as_other.purchases.articles, recommender.customers([5]).purchases.articles)
    unknown = recommender.visitor(None, {"age": None, "club_member_status": "no such status"})
    assert not len(unknown.purchases.owner)
    assert recommender.recommend(unknown, 10)[0].min() >= 0


@pytest.mark.parametrize("excluded", [[], [0, 3, 17], list(range(0, 40, 2))], ids=str)
@pytest.mark.parametrize("allowed", [None, [], [7], [1, 2, 3, 5, 8, 13, 21, 34], list(range(ARTICLES))], ids=str)
@pytest.mark.parametrize("scoring", [SCORING, Scoring(), CHAIN], ids=str)
def test_allowed_and_not_excluded_articles_keep_the_order_of_the_whole_ranking(scoring, allowed, excluded):
    recommender = with_scoring(scoring)
    users = recommender.customers(EVERYBODY)
    every, their_scores = recommender.recommend(users, ARTICLES)
    only = None if allowed is None else np.array(allowed, dtype=np.int32)
    found, scores = recommender.recommend(users, 9, np.array(excluded, dtype=np.int32), only)
    assert found.shape == scores.shape == (CUSTOMERS, 9)
    for row in EVERYBODY:
        fits = ~np.isin(every[row], excluded) & (True if allowed is None else np.isin(every[row], allowed))
        expected = every[row][fits][:9]
        assert found[row].tolist() == [*expected.tolist(), *[-1] * (9 - len(expected))]
        assert scores[row][: len(expected)].tolist() == their_scores[row][fits][:9].tolist()
        assert np.isneginf(scores[row][len(expected) :]).all()


@pytest.mark.parametrize("published", [SCORING, Scoring(), CHAIN], ids=str)
@pytest.mark.parametrize("scoring", [TOWERS_ALONE, BEST_SELLERS, SCORING], ids=str)
def test_other_weights_give_the_ranking_of_a_model_published_with_them(published, scoring):
    users, excluded = with_scoring(published).customers(EVERYBODY), np.array([0, 3, 17], dtype=np.int32)
    for allowed in (None, np.arange(1, ARTICLES, 2, dtype=np.int32)):
        _, expected = with_scoring(scoring).recommend(users, 12, excluded, allowed)
        found, scores = with_scoring(published).recommend(users, 12, excluded, allowed, scoring)
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        assert not np.isin(found, excluded).any()


def test_reasons_are_the_purchases_whose_removal_lowers_the_score_most(recommender):
    bought, some = random_transactions(), 0
    for customer in (0, 5, 31):
        user = recommender.customers([customer])
        found, scores = recommender.recommend(user, 12)
        newest = user.purchases.newest(5)
        expected = []
        history = np.unique(newest.articles[newest.mask]).tolist()
        lost = {}
        for article in history:
            without = bought[(bought["customer"] != customer) | (bought["article"] != article)]
            log = PurchaseLog.from_transactions(without, CUSTOMERS, ARTICLES)
            purchases = purchases_as_of(log, user.rows, recommender.as_of)
            ranked, values = recommender.recommend(UserContext(user.attributes, purchases), ARTICLES)
            lost[article] = dict(zip(ranked[0].tolist(), values[0].tolist(), strict=True))
        for article, score in zip(found[0].tolist(), scores[0].tolist(), strict=True):
            expected.append({h: score - lost[h][article] for h in history})
        for drops, part in zip(expected, recommender.reasons(user, found[0]), strict=True):
            largest = [drop for drop in sorted(drops.values(), reverse=True)[:3] if drop > 1e-4]
            assert [drops[h] for h in part[: len(largest)]] == pytest.approx(largest, abs=1e-4)
            some += len(largest)
    assert some > 20
    assert recommender.reasons(recommender.visitor(), np.array([1, 2], dtype=np.int32)) == [[], []]


def test_similar_articles_have_the_closest_embeddings(recommender):
    content = recommender._content
    embeddings = content.article_vectors.astype(np.float64)
    for article in (0, 7, ARTICLES - 1):
        cosines = embeddings @ embeddings[article]
        expected = [row for row in np.argsort(-cosines, kind="stable").tolist() if row != article][:6]
        found, reported = recommender.similar(article, 6)
        assert found.tolist() == expected
        np.testing.assert_allclose(reported, cosines[expected], atol=1e-5)
        assert len(recommender.similar(article, 100)[0]) == ARTICLES - 1


def test_a_diversified_ranking_has_the_candidates_scores(recommender):
    found, scores = (part[0] for part in recommender.recommend(recommender.customers([4]), 30))
    varied, theirs = recommender.diversify(found, scores, 0.8, 10)
    assert len(set(varied.tolist())) == 10
    assert varied.tolist() != found[:10].tolist()
    places = [found.tolist().index(article) for article in varied.tolist()]
    np.testing.assert_array_equal(theirs, scores[places])
    np.testing.assert_array_equal(recommender.diversify(found, scores, 0.0, 10)[0], found[:10])


def test_customer_details_are_the_tables(recommender):
    for customer in (0, 12, 59):
        found = recommender.customer_details(customer)
        expected = attributes_of(customer)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == (value if isinstance(value, str) or value is None else pytest.approx(float(value)))


def test_a_ranking_does_not_depend_on_the_rest_of_the_batch(recommender):
    together = recommender.recommend(recommender.customers(EVERYBODY), 12)
    for size in (1, 17):
        parts = [recommender.recommend(recommender.customers(EVERYBODY[i : i + size]), 12) for i in range(0, 60, size)]
        for whole, pieces in zip(together, zip(*parts, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(pieces), whole)
