"""The weights of a score against an independent conditional logit, and their independence of the future."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.model.repurchase import TERMS
from hm_utils.model.scoring import BEST_SELLERS, CHAIN, TOWERS_ALONE, Repurchase
from hm_utils.training import calibration
from hm_utils.training.calibration import PRIOR, RIDGE, calibrate, fit_scoring
from tests.helpers import buying_again
from tests.helpers.data import ARTICLES, CUSTOMERS, random_log
from tests.helpers.snapshots import random_snapshot

AS_OF = 40
CANDIDATES, BEST_SELLING = 12, 6  # of 40: purchases are not always among them


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.fixture(scope="module")
def snapshot(log):
    return random_snapshot(log, AS_OF)


@pytest.fixture(scope="module")
def truth(log):
    return log.baskets_between(AS_OF, AS_OF + 7)


@pytest.fixture
def few_candidates(monkeypatch):
    monkeypatch.setattr(calibration, "CANDIDATES", CANDIDATES)
    monkeypatch.setattr(calibration, "BEST_SELLING", BEST_SELLING)


def best(scores, most: int):
    """``[n, n_articles]`` whether an article is among the first ``most`` of its row."""
    return (-scores).argsort(axis=1, kind="stable").argsort(axis=1) < most


def features_and_candidates(snapshot, rows, known: bool = True):
    """``[n, n_articles, 4 + terms]`` what the weights of every article multiply, and ``[n, n_articles]`` the
    candidates."""
    every_term = buying_again.terms(snapshot.log, AS_OF, snapshot.products, snapshot._recent_sales > 0, known)[rows]
    assert every_term[:, :, -1].any() == known
    logits = snapshot.scale * snapshot.customers(rows).astype(np.float64) @ snapshot.article_vectors.T
    both = np.stack([logits, np.broadcast_to(snapshot.popularity, logits.shape)], axis=2)
    bought = every_term[:, :, :1] > 0
    features = np.concatenate([both * ~bought, both * bought, every_term], axis=2)
    towers = logits + TOWERS_ALONE.popularity * snapshot.popularity
    selling = best(np.broadcast_to(snapshot.popularity, logits.shape), BEST_SELLING)
    selling &= snapshot.popularity > 0
    return features, every_term.any(axis=2) | best(towers, CANDIDATES) | selling


def bought_in(truth):
    bought = np.zeros((len(truth), ARTICLES), dtype=bool)
    bought[truth.owner, truth.articles] = True
    return bought


def vector(scoring):
    repurchase = scoring.repurchase or Repurchase()
    return np.array([scoring.taste, scoring.popularity, *vars(repurchase).values()])


def negative_log_likelihood(weights, features, among, bought) -> float:
    """Mean over customers of the mean -log probability of the candidates that they bought."""
    log_p = log_softmax(np.where(among, features @ weights, -np.inf), axis=1)
    return -np.mean([row[mine].mean() for row, mine in zip(log_p, bought & among, strict=True)])


def best_weights(start, features, among, bought):
    """The maximum of the penalised likelihood, by finite differences."""
    deviations = features[among].std(axis=0)

    def loss(weights):
        ridge = RIDGE * ((deviations * (weights - start)) ** 2).sum() / len(features)
        return negative_log_likelihood(weights, features, among, bought) + ridge

    bounds = [(0.0, None) if i < 2 else (None, None) for i in range(len(start))]
    options = {"maxfun": 50_000, "ftol": 1e-12, "gtol": 1e-8}
    return minimize(loss, start, method="L-BFGS-B", bounds=bounds, options=options).x  # type: ignore[call-overload]


def test_weights_are_those_of_an_independent_conditional_logit(snapshot, truth, few_candidates):
    """On a few customers with several purchases each, so that the pull towards the prior matters."""
    features, among = features_and_candidates(snapshot, truth.customers)
    bought = bought_in(truth) & among
    kept = bought.any(axis=1)
    everybody = [array[kept] for array in (features, among, bought)]
    returning = [array[everybody[0][:, :, 4].any(axis=1)] for array in everybody]
    assert (returning[2].sum(axis=1) > 1).any()
    found = calibrate(snapshot, truth)

    expected = best_weights(vector(PRIOR), *returning)
    assert np.abs(expected - vector(PRIOR)).max() > 0.1
    np.testing.assert_allclose(vector(found.scoring), expected, atol=0.02)
    assert found.customers == len(returning[0])
    assert found.loss_before == pytest.approx(negative_log_likelihood(vector(PRIOR), *returning), rel=1e-4)
    assert found.loss_after == pytest.approx(negative_log_likelihood(expected, *returning), rel=1e-3)

    alone = everybody[0][:, :, :2] + everybody[0][:, :, 2:4]  # what was bought before is as any other article
    expected = best_weights(vector(TOWERS_ALONE)[:2], alone, *everybody[1:])
    np.testing.assert_allclose([found.towers.taste, found.towers.popularity], expected, atol=0.02)
    assert found.towers.repurchase is None


def test_training_is_validated_with_the_weights_of_returning_customers(snapshot, truth):
    whole = calibrate(snapshot, truth).scoring
    found = fit_scoring(snapshot, truth)
    np.testing.assert_allclose(vector(found), vector(whole), rtol=1e-6)
    assert (found.cold_taste, found.cold_popularity) == (0, 1)


def choose(logits, seed: int = 1):
    """``[n]`` a draw from each row's softmax: the highest logit after Gumbel noise."""
    return (logits + np.random.default_rng(seed).gumbel(size=logits.shape)).argmax(axis=1).astype(np.int32)


@pytest.mark.parametrize(("strength", "better"), [(1.0, True), (0.0, False)])
def test_new_customers_get_the_best_sellers_unless_the_towers_rank_better(snapshot, strength, better):
    """Everybody chooses by the logit of their attributes times ``strength``, and by popularity."""
    rows = np.repeat(np.arange(CUSTOMERS, dtype=np.int32), 30)
    hidden = snapshot.without_histories()
    logits = snapshot.scale * hidden.customers(rows) @ snapshot.article_vectors.T
    chosen = choose(strength * logits + snapshot.popularity)
    found = calibrate(snapshot, Baskets(rows, np.arange(len(rows) + 1), chosen), max_customers=10_000)
    for scoring in (found.scoring, found.towers):
        if better:
            assert scoring.cold_taste == pytest.approx(1, abs=0.15)
        else:
            assert (scoring.cold_taste, scoring.cold_popularity) == (0, 1)


def test_new_customers_whom_nothing_tells_apart_get_the_best_sellers(snapshot):
    """However well one ranking for all of them does on the validation days."""
    rows = np.repeat(np.arange(CUSTOMERS, dtype=np.int32), 30)
    alike = replace(snapshot, attributes=np.repeat(snapshot.attributes[:1], CUSTOMERS, axis=0))
    logits = snapshot.scale * alike.without_histories().customers(rows) @ snapshot.article_vectors.T
    found = calibrate(alike, Baskets(rows, np.arange(len(rows) + 1), choose(logits)), max_customers=10_000)
    assert (found.scoring.cold_taste, found.scoring.cold_popularity) == (0, 1)


def test_without_validation_customers_the_ranking_is_the_chain(snapshot, truth):
    nobody = calibrate(snapshot, truth.select(np.zeros(len(truth), dtype=bool)))
    assert nobody == calibration.Calibration(CHAIN, replace(TOWERS_ALONE, cold_taste=0.0, cold_popularity=1.0), 0, 0, 0)
    assert fit_scoring(snapshot, truth.select(np.zeros(len(truth), dtype=bool))) == CHAIN


def test_without_histories_nothing_is_bought_again(snapshot, truth):
    found = calibrate(snapshot.without_histories(), truth)
    assert found.scoring.repurchase == CHAIN.repurchase
    assert found.customers == 0
    assert found.towers.taste > 0


def test_the_fewer_the_customers_the_nearer_are_the_weights_to_the_chain(snapshot, truth):
    few, many = (calibrate(snapshot, truth, max_customers=most).scoring for most in (3, 1_000))
    moved = [np.abs(vector(scoring) - vector(PRIOR)) for scoring in (few, many)]
    assert moved[0].sum() < moved[1].sum() / 2


def without(log: PurchaseLog, customers: np.ndarray) -> PurchaseLog:
    """The log without the purchases of ``customers`` before AS_OF."""
    keep = ~(np.isin(log.customer, customers) & (log.day < AS_OF))
    counts = np.bincount(log.customer[keep], minlength=log.n_customers)
    columns = {name: getattr(log, name)[keep] for name in ("article", "day", "price", "channel")}
    return replace(log, offsets=np.concatenate([[0], np.cumsum(counts)]), **columns)


def test_repurchase_is_fitted_on_returning_customers_and_the_towers_on_everybody(snapshot, log, truth):
    cold = np.isin(truth.customers, truth.customers[::3])
    snapshot = replace(snapshot, log=without(log, truth.customers[cold]))
    everybody, returning = calibrate(snapshot, truth), calibrate(snapshot, truth.select(~cold))
    np.testing.assert_array_equal(vector(everybody.scoring), vector(returning.scoring))
    assert everybody.towers.taste != returning.towers.taste
    assert everybody.customers == returning.customers <= (~cold).sum()


def test_calibration_reads_nothing_from_the_day_on(snapshot, log, truth):
    found = calibrate(snapshot, truth)
    assert found.scoring.repurchase != PRIOR.repurchase
    assert found == calibrate(replace(snapshot, log=log.before(AS_OF)), truth)


def test_a_sample_of_the_customers_depends_on_the_seed_alone(snapshot, truth):
    assert calibrate(snapshot, truth).customers > 20
    few = calibrate(snapshot, truth, max_customers=20)
    assert few.customers <= 20
    assert few == calibrate(snapshot, truth, max_customers=20)
    assert few != calibrate(snapshot, truth, max_customers=20, seed=1)


def test_chunks_change_nothing(snapshot, truth, monkeypatch):
    whole = calibrate(snapshot, truth)
    monkeypatch.setattr(calibration, "CHUNK", 7)
    assert calibrate(snapshot, truth).loss_after == pytest.approx(whole.loss_after, rel=1e-5)


def test_every_term_has_a_weight():
    assert list(vars(Repurchase()))[2:] == list(TERMS)
    assert (BEST_SELLERS.cold_taste, BEST_SELLERS.cold_popularity) == (CHAIN.cold_taste, CHAIN.cold_popularity)
