"""Snapshots: scores and rankings of all customers as of a day."""

import numpy as np
import pytest

from hm_utils.data.histories import Histories
from hm_utils.model.encoding import encode_customers
from hm_utils.model.scoring import CHAIN, TOWERS_ALONE, Repurchase, Scoring
from hm_utils.model.towers import TowerConfig, TwoTower
from tests.helpers import buying_again
from tests.helpers.data import ARTICLES, CUSTOMERS, random_log
from tests.helpers.snapshots import random_snapshot

EVERYTHING = Repurchase(0.5, -0.3, 2.0, 0.4, -0.2, 0.7, -0.5, 0.3, -0.6, 0.4, 1.5)


@pytest.mark.parametrize(
    "scoring",
    [TOWERS_ALONE, Scoring(0.3, 0.6, 1.4, 0.2), Scoring(0.4, 1.5, 0.0, 1.0, EVERYTHING), CHAIN],
    ids=str,
)
@pytest.mark.parametrize("k", [12, ARTICLES + 3])
def test_a_score_has_its_popularity_and_repurchase_terms(scoring, k):
    log = random_log()
    snapshot = random_snapshot(log, 40)
    rows = np.arange(CUSTOMERS, dtype=np.int32)
    towers = snapshot.scale * snapshot.customers(rows).astype(np.float64) @ snapshot.article_vectors.T
    terms = buying_again.terms(log, 40, snapshot.products, snapshot._recent_sales > 0)
    expected = buying_again.scores(scoring, towers, snapshot.popularity.astype(np.float64), terms)
    articles, scores = snapshot.score(rows, k, scoring)
    listed = min(k, ARTICLES)
    assert articles.shape == scores.shape == (CUSTOMERS, k)
    assert (articles[:, listed:] == -1).all()
    assert np.isneginf(scores[:, listed:]).all()
    assert all(len(set(row)) == listed for row in articles[:, :listed].tolist())
    best = -np.sort(-expected, axis=1)[:, :listed]
    np.testing.assert_allclose(scores[:, :listed], best, atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(expected, articles[:, :listed], axis=1), best, atol=1e-4)
    np.testing.assert_array_equal(snapshot.score(rows, k, scoring, chunk=7)[0], articles)
    np.testing.assert_array_equal(snapshot.rank(rows, k, scoring), articles)
    assert snapshot.rank(rows[:0], k, scoring).shape == (0, k)


def test_without_histories_every_customer_is_a_cold_start_customer():
    log = random_log()
    snapshot = random_snapshot(log, 40)
    rows = np.arange(CUSTOMERS, dtype=np.int32)
    hidden, scoring = snapshot.without_histories(), Scoring(repurchase=EVERYTHING)
    np.testing.assert_array_equal(hidden.popularity, snapshot.popularity)
    np.testing.assert_array_equal(hidden.rank(rows, 12, scoring), hidden.rank(rows, 12))
    never = np.diff(log.before(40).offsets) == 0
    assert never.any()
    np.testing.assert_allclose(hidden.customers(rows)[never], snapshot.customers(rows)[never], atol=1e-6)
    assert (np.abs(hidden.customers(rows) - snapshot.customers(rows)).max(axis=1)[~never] > 1e-3).all()


def test_a_vector_does_not_depend_on_the_rest_of_the_batch_to_the_last_bit():
    """At the widths of the notebooks, where BLAS kernels process rows in blocks."""
    rng = np.random.default_rng(0)
    articles, customers = 500, 90
    model = TwoTower(TowerConfig((articles, 50), 5, (20, 4)))
    vectors = rng.normal(size=(articles, model.config.vector_dim)).astype(np.float32)
    attributes = rng.integers(4, size=(customers, 2)).astype(np.int32)
    histories = Histories(
        rng.integers(articles, size=(customers, 20)).astype(np.int32),
        rng.integers(100, size=(customers, 20)).astype(np.int32),
        np.arange(20) < rng.integers(21, size=(customers, 1)),
    )

    def encoded(rows):
        return encode_customers(model.user_tower, vectors, attributes[rows], histories[rows], chunk=64)

    whole = encoded(slice(None))
    for size in (1, 2, 3, 5, 7, 32):
        parts = [encoded(slice(start, start + size)) for start in range(0, customers, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
