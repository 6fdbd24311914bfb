"""The weights of a score against an independent conditional logit, and their independence of the future."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from hm_utils.data.features import FIRST_CODE
from hm_utils.data.popularity import recent_sales
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.model.scoring import TOWERS_ALONE, Scoring
from hm_utils.training import calibration
from hm_utils.training.calibration import LOWEST, RIDGE, START, calibrate
from tests.helpers.data import ARTICLES, CUSTOMERS, random_log
from tests.helpers.snapshots import random_snapshot

AS_OF = 40
CANDIDATES = 30  # of 40: purchases are not always among them


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.fixture(scope="module")
def snapshot(log):
    return random_snapshot(log, AS_OF)


@pytest.fixture(scope="module")
def truth(log):
    return log.baskets_between(AS_OF, AS_OF + 7)


def last_days(log) -> np.ndarray:
    """``[n_customers, n_articles]`` the day of the last purchase before AS_OF, -1 for none."""
    past = log.before(AS_OF)
    last = np.full((CUSTOMERS, ARTICLES), -1)
    np.maximum.at(last, (past.customer, past.article), past.day)
    return last


def features_and_candidates(snapshot, rows):
    """``[n, n_articles, 5]`` the terms of every article's score, and ``[n, n_articles]`` the candidates."""
    last = last_days(snapshot.log)
    cosine = snapshot.customers(rows) @ snapshot.article_vectors.T
    bought = last[rows] >= 0
    same = (snapshot.products[:, None] == snapshot.products) & (snapshot.products >= FIRST_CODE)
    variant = (bought @ same) & ~bought & (recent_sales(snapshot.log, snapshot.as_of) > 0)
    assert variant.any()
    terms = [
        snapshot.scale * cosine,
        np.broadcast_to(snapshot.popularity, cosine.shape),
        bought,
        np.where(bought, np.log(AS_OF - last[rows]), 0),
        variant,
    ]
    features = np.stack(terms, axis=2)
    ranks = (features @ START).argsort(axis=1).argsort(axis=1)
    return features, bought | variant | (ranks >= ARTICLES - CANDIDATES)


def choose(logits, seed: int = 1):
    """``[n]`` a draw from each row's softmax: the highest logit after Gumbel noise."""
    return (logits + np.random.default_rng(seed).gumbel(size=logits.shape)).argmax(axis=1).astype(np.int32)


def negative_log_likelihood(weights, features, among, bought) -> float:
    """Mean over customers of the mean -log probability of the candidates that they bought."""
    log_p = log_softmax(np.where(among, features @ weights, -np.inf), axis=1)
    return -np.mean([row[mine].mean() for row, mine in zip(log_p, bought & among, strict=True)])


def best_weights(terms, features, among, bought):
    """The maximum of the penalised likelihood by finite differences; the weights of other terms are 0."""

    def loss(weights):
        whole = np.zeros(len(START))
        whole[terms] = weights
        ridge = RIDGE * ((weights - START[terms]) ** 2).sum() / len(features)
        return negative_log_likelihood(whole, features, among, bought) + ridge

    return minimize(loss, START[terms], method="L-BFGS-B", bounds=[(low, None) for low in LOWEST[terms]]).x


def test_weights_are_those_of_an_independent_conditional_logit(snapshot, truth, monkeypatch):
    """On a few customers with several purchases each, so that the pull towards the two-tower matters."""
    monkeypatch.setattr(calibration, "CANDIDATES", CANDIDATES)
    features, among = features_and_candidates(snapshot, truth.customers)
    bought = np.zeros_like(among)
    bought[np.repeat(np.arange(len(truth)), truth.sizes), truth.articles] = True
    bought &= among
    kept = bought.any(axis=1)
    returning = (last_days(snapshot.log)[truth.customers] >= 0).any(axis=1)[kept]
    everybody = [array[kept] for array in (features, among, bought)]
    mine = [array[returning] for array in everybody]
    assert (mine[2].sum(axis=1) > 1).any()
    found = calibrate(snapshot, truth)

    temperature, popularity, *repurchase = best_weights([0, 1, 2, 3, 4], *mine)
    assert found.customers == len(mine[0])
    assert found.temperature == pytest.approx(temperature, rel=0.01)
    scoring = [getattr(found.scoring, name) for name in ("popularity", "bought", "log_days", "variant")]
    np.testing.assert_allclose(np.multiply(scoring, temperature), [popularity, *repurchase], atol=0.02)
    assert found.loss_before == pytest.approx(negative_log_likelihood(START, *mine), rel=1e-4)
    fitted = np.array([temperature, popularity, *repurchase])
    assert found.loss_after == pytest.approx(negative_log_likelihood(fitted, *mine), rel=1e-4)

    temperature, popularity = best_weights([0, 1], *everybody)
    assert found.towers.popularity * temperature == pytest.approx(popularity, abs=0.02)
    assert not found.towers.has_repurchase


@pytest.mark.parametrize("weight", [1.2, -0.5])
def test_the_cold_start_popularity_weight_is_fitted_with_every_history_hidden(snapshot, monkeypatch, weight):
    """It is the common weight where that is 0: a factor of 0 means nothing."""
    monkeypatch.setattr(calibration, "CANDIDATES", ARTICLES)
    # Everybody chooses by their history, and weighs popularity differently from the towers' training.
    rows = np.repeat(np.arange(CUSTOMERS, dtype=np.int32), 30)
    logits = snapshot.scale * snapshot.customers(rows) @ snapshot.article_vectors.T + weight * snapshot.popularity
    chosen = choose(logits)
    found = calibrate(snapshot, Baskets(rows, np.arange(len(rows) + 1), chosen))
    both = found.scoring, found.towers
    if weight < 0:
        assert {(scoring.popularity, scoring.cold_start) for scoring in both} == {(0, 1)}
        return
    features, _ = features_and_candidates(snapshot.without_histories(), rows)
    bought = chosen[:, None] == np.arange(ARTICLES)
    temperature, cold_start = best_weights([0, 1], features, np.ones_like(bought), bought)
    for scoring in both:
        assert scoring.popularity == pytest.approx(weight, abs=0.15)
        assert scoring.cold_start * scoring.popularity == pytest.approx(cold_start / temperature, rel=0.01)
        assert scoring.cold_start > 2


def test_a_negative_cold_start_weight_is_no_factor_of_a_positive_one():
    assert calibration._with_cold_start(Scoring(popularity=0.8), 0.4) == Scoring(popularity=0.8, cold_start=0.5)
    assert calibration._with_cold_start(Scoring(popularity=0.8), -0.1) == Scoring(popularity=0.8)


def test_without_anything_to_fit_on_the_weights_stay_as_trained(snapshot, monkeypatch):
    monkeypatch.setattr(calibration, "CANDIDATES", 1)
    cold_start = np.array([57, 58, 59], dtype=np.int32)  # without purchases they have one candidate
    worst = snapshot.rank(cold_start, ARTICLES)[:, -1]
    found = calibrate(snapshot, Baskets(cold_start, np.arange(4), worst))
    assert found == calibration.Calibration(TOWERS_ALONE, TOWERS_ALONE, 1.0, 0, 0.0, 0.0)


def test_without_histories_nothing_is_bought_again(snapshot, truth):
    found = calibrate(snapshot.without_histories(), truth)
    assert not found.scoring.has_repurchase
    assert found.customers > 0


def test_repurchase_is_fitted_on_returning_customers_and_the_dot_product_on_everybody(snapshot, log, truth):
    cold_start = np.isin(truth.customers, truth.customers[::3])
    snapshot = replace(snapshot, log=without(log, truth.customers[cold_start]))
    everybody, returning = calibrate(snapshot, truth), calibrate(snapshot, truth.select(~cold_start))
    # The cold-start popularity weight is fitted on all buyers, the other published weights on returning ones.
    scoring = replace(everybody.scoring, cold_start=returning.scoring.cold_start)
    assert replace(everybody, scoring=scoring, towers=returning.towers) == returning
    assert everybody.scoring.cold_start != returning.scoring.cold_start
    assert everybody.towers != returning.towers
    assert everybody.customers == (~cold_start).sum()
    alone = calibrate(snapshot, truth.select(cold_start))  # nobody had bought before
    assert alone.customers == cold_start.sum()
    assert not alone.scoring.has_repurchase


def without(log: PurchaseLog, customers: np.ndarray) -> PurchaseLog:
    """The log without the purchases of ``customers`` before AS_OF."""
    keep = ~(np.isin(log.customer, customers) & (log.day < AS_OF))
    counts = np.bincount(log.customer[keep], minlength=log.n_customers)
    columns = {name: getattr(log, name)[keep] for name in ("article", "day", "price", "channel")}
    return replace(log, offsets=np.concatenate([[0], np.cumsum(counts)]), **columns)


def test_calibration_reads_nothing_from_the_day_on(snapshot, log, truth):
    found = calibrate(snapshot, truth)
    assert found.scoring.has_repurchase
    assert found == calibrate(replace(snapshot, log=log.before(AS_OF)), truth)


def test_a_sample_of_the_customers_depends_on_the_seed_alone(snapshot, truth):
    assert calibrate(snapshot, truth).customers == len(truth) > 20
    few = calibrate(snapshot, truth, max_customers=20)
    assert few.customers == 20
    assert few == calibrate(snapshot, truth, max_customers=20)
    assert few != calibrate(snapshot, truth, max_customers=20, seed=1)


def test_chunks_change_nothing(snapshot, truth, monkeypatch):
    whole = calibrate(snapshot, truth)
    monkeypatch.setattr(calibration, "CHUNK", 7)
    assert calibrate(snapshot, truth).loss_after == pytest.approx(whole.loss_after, rel=1e-5)
