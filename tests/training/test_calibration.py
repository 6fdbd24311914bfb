"""The weights of a score: the likelihood, what is recovered from it, and that it looks at the past alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import log_softmax

from hm_utils.data.features import FIRST_CODE
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.model.scoring import TOWERS_ALONE, Scoring
from hm_utils.training import calibration
from hm_utils.training.calibration import START, WITH_REPURCHASE, calibrate
from tests.helpers.data import ARTICLES, CUSTOMERS, random_log
from tests.helpers.snapshots import random_snapshot

AS_OF = 40
# Embedding, identity code, log popularity, bought before, log days since, variant.
WEIGHTS = np.array([0.4, 0.0, 1.6, 1.5, -0.6, 0.9])


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.fixture(scope="module")
def snapshot(log):
    return random_snapshot(log, AS_OF)


def choice_features(n: int, candidates: int = 30, seed: int = 0):
    """``[n, candidates, 6]`` random features as the calibration makes them, some places without a candidate."""
    rng = np.random.default_rng(seed)
    bought = rng.random((n, candidates)) < 0.2
    features = np.stack(
        [
            rng.normal(size=(n, candidates)),
            rng.normal(size=(n, candidates)),
            -rng.exponential(size=(n, candidates)),
            bought,
            bought * np.log(rng.integers(1, 100, (n, candidates))),
            ~bought & (rng.random((n, candidates)) < 0.2),
        ],
        axis=2,
    )
    none = rng.random((n, candidates)) < 0.1
    none[:, 0] = False
    features[none] = [-np.inf, 0, 0, 0, 0, 0]
    return features.astype(np.float32)


def choose(logits, seed: int = 1):
    """``[n]`` a draw from each row's softmax: the highest logit after Gumbel noise."""
    return (logits + np.random.default_rng(seed).gumbel(size=logits.shape)).argmax(axis=1)


def logits_of(features, weights):
    finite = np.isfinite(features[:, :, 0])
    return np.where(finite, np.where(finite[:, :, None], features, 0) @ weights, -np.inf)


@pytest.mark.parametrize("weights", [START, WEIGHTS, np.array([0.05, 0.3, 0.0, -3.0, 1.0, 2.0])], ids=str)
def test_likelihood_is_of_the_articles_bought_and_its_gradient_that_of_finite_differences(weights):
    features = choice_features(40)
    chosen = (np.random.default_rng(2).random(features.shape[:2]) < 0.1) & np.isfinite(features[:, :, 0])
    chosen[:, 0] = True
    assert (chosen.sum(axis=1) > 1).any()
    log_p = log_softmax(logits_of(features, weights), axis=1)
    expected = -np.mean([row[bought].mean() for row, bought in zip(log_p, chosen, strict=True)])

    def loss(w):
        return calibration._negative_log_likelihood(w, features, chosen)[0]

    def slope(w):
        return calibration._negative_log_likelihood(w, features, chosen)[1]

    assert loss(weights) == pytest.approx(expected, rel=1e-6)
    assert check_grad(loss, slope, weights) < 1e-5


def simulated_choices(n: int):
    """Features, and one article chosen by each of ``n`` customers with WEIGHTS."""
    features = choice_features(n)
    chosen = np.zeros(features.shape[:2], dtype=bool)
    chosen[np.arange(n), choose(logits_of(features, WEIGHTS))] = True
    return features, chosen


def test_the_fit_finds_the_weights_that_choices_were_made_with(monkeypatch):
    monkeypatch.setattr(calibration, "RIDGE", 0.0)
    features, chosen = simulated_choices(6_000)

    def gradient(weights):
        return calibration._negative_log_likelihood(weights, features, chosen)[1]

    steps = 1e-3 * np.eye(len(WEIGHTS))
    curvature = np.stack([(gradient(WEIGHTS + step) - gradient(WEIGHTS - step)) / 2e-3 for step in steps])
    standard_errors = np.sqrt(np.diag(np.linalg.inv(curvature)) / len(features))
    assert (standard_errors < 0.15).all()
    found = calibration._fit(features, chosen, WITH_REPURCHASE)
    np.testing.assert_allclose((found - WEIGHTS) / standard_errors, 0, atol=3)
    assert found[1] == 0  # names are not among the terms


def test_with_next_to_nothing_to_fit_on_the_weights_stay_near_the_two_tower_alone(monkeypatch):
    features, chosen = simulated_choices(3)
    pulled = calibration._fit(features, chosen, WITH_REPURCHASE)
    monkeypatch.setattr(calibration, "RIDGE", 0.0)
    free = calibration._fit(features, chosen, WITH_REPURCHASE)
    fitted = START * np.isin(range(6), WITH_REPURCHASE)
    assert np.linalg.norm(pulled - fitted) < 0.75 * np.linalg.norm(free - fitted)


def test_the_pull_towards_the_two_tower_fades_with_the_number_of_customers(monkeypatch):
    monkeypatch.setattr(calibration, "RIDGE", 1.0)  # strong enough to differ from the optimiser's tolerance
    features, chosen = simulated_choices(500)
    few = calibration._fit(features, chosen, WITH_REPURCHASE)
    many = calibration._fit(np.tile(features, (8, 1, 1)), np.tile(chosen, (8, 1)), WITH_REPURCHASE)
    monkeypatch.setattr(calibration, "RIDGE", 0.0)
    free = calibration._fit(features, chosen, WITH_REPURCHASE)
    assert np.linalg.norm(many - free) < 0.5 * np.linalg.norm(few - free)


def test_calibration_finds_the_weights_that_customers_chose_with(snapshot, log, monkeypatch):
    """Towers, popularity and repurchase together: each customer chooses a few thousand times."""
    monkeypatch.setattr(calibration, "CANDIDATES", 30)  # of 40: what is owned is not always among them
    past = log.before(AS_OF)
    last = np.full((CUSTOMERS, ARTICLES), -1)
    np.maximum.at(last, (past.customer, past.article), past.day)
    rows = np.repeat(np.flatnonzero((last >= 0).any(axis=1)).astype(np.int32), 150)
    names = snapshot.model.config.total_output_dim
    vectors, users = snapshot.article_vectors, snapshot.customers(rows)
    embedding, name = (users[:, part] @ vectors[:, part].T for part in (slice(names), slice(names, None)))
    bought = last[rows] >= 0
    same = (snapshot.products[:, None] == snapshot.products) & (snapshot.products >= FIRST_CODE)
    variant = (bought @ same) & ~bought & (snapshot.popularity > 0)
    assert variant.any()
    features = np.stack(
        [
            snapshot.scale * embedding,
            snapshot.scale * name,
            np.broadcast_to(snapshot.popularity, embedding.shape),
            bought,
            np.where(bought, np.log(AS_OF - last[rows]), 0),
            variant,
        ],
        axis=2,
    )
    among = bought | variant | ((features[:, :, :3] @ START[:3]).argsort(axis=1).argsort(axis=1) >= ARTICLES - 30)
    chosen = choose(np.where(among, features @ WEIGHTS, -np.inf))
    truth = Baskets(rows, np.arange(len(rows) + 1), chosen.astype(np.int32))
    found = calibrate(snapshot, truth)
    temperature, name, popularity, has, log_days, of_a_variant = WEIGHTS
    assert found.customers == len(rows)
    assert found.temperature == pytest.approx(temperature, abs=0.03)
    assert found.scoring.identity == name == 0
    assert found.scoring.popularity * found.temperature == pytest.approx(popularity, abs=0.15)
    assert found.scoring.bought * found.temperature == pytest.approx(has, abs=0.2)
    assert found.scoring.log_days * found.temperature == pytest.approx(log_days, abs=0.1)
    assert found.scoring.variant * found.temperature == pytest.approx(of_a_variant, abs=0.15)
    assert found.loss_after < found.loss_before - 0.1
    log_p = log_softmax(np.where(among, features @ START, -np.inf), axis=1)
    assert found.loss_before == pytest.approx(-log_p[np.arange(len(rows)), chosen].mean(), rel=1e-4)


def test_the_dot_product_alone_is_fitted_without_the_terms_of_repurchase(snapshot, log, monkeypatch):
    asked = []
    fit = calibration._fit

    def recorded(features, chosen, terms):
        asked.append((features, chosen, terms))
        return fit(features, chosen, terms)

    monkeypatch.setattr(calibration, "_fit", recorded)
    found = calibrate(snapshot, log.baskets_between(AS_OF, AS_OF + 7))
    features, chosen, terms = asked[0]
    assert terms == [0, 1, 2]
    temperature, name, popularity, *repurchase = fit(features, chosen, terms)
    assert repurchase == [0, 0, 0]
    assert replace(found.towers, cold_start=1.0) == Scoring(name / temperature, popularity / temperature)
    assert found.towers != TOWERS_ALONE
    assert not found.towers.has_repurchase


def test_the_cold_start_popularity_weight_is_fitted_with_every_history_hidden(snapshot, monkeypatch):
    monkeypatch.setattr(calibration, "CANDIDATES", ARTICLES)
    # Everybody chooses by their attributes alone, and makes more of popularity than the towers were taught.
    rows = np.repeat(np.arange(CUSTOMERS, dtype=np.int32), 100)
    hidden = snapshot.without_histories()
    logits = snapshot.scale * hidden.customers(rows) @ snapshot.article_vectors.T + 1.2 * snapshot.popularity
    truth = Baskets(rows, np.arange(len(rows) + 1), choose(logits).astype(np.int32))
    found = calibrate(snapshot, truth)
    for scoring in (found.scoring, found.towers):
        assert scoring.cold_start * scoring.popularity == pytest.approx(1.2, abs=0.1)
        assert scoring.cold_start != pytest.approx(1, abs=0.05)


def test_the_cold_start_weight_is_the_common_one_unless_both_are_positive():
    assert calibration._with_cold_start(Scoring(popularity=0.8), 0.4) == Scoring(popularity=0.8, cold_start=0.5)
    for popularity, theirs in ((0.0, 0.4), (-0.1, 0.4), (0.8, -0.1)):
        assert calibration._with_cold_start(Scoring(popularity=popularity), theirs) == Scoring(popularity=popularity)


def test_without_anything_to_fit_on_the_towers_are_left_alone(snapshot, monkeypatch):
    monkeypatch.setattr(calibration, "CANDIDATES", 1)
    cold_start = np.array([57, 58, 59], dtype=np.int32)  # they own nothing, so they have one candidate
    worst = snapshot.rank(cold_start, ARTICLES)[:, -1]
    found = calibrate(snapshot, Baskets(cold_start, np.arange(4), worst))
    assert found == calibration.Calibration(TOWERS_ALONE, TOWERS_ALONE, 1.0, 0, 0.0, 0.0)


def test_without_histories_nothing_is_bought_again(snapshot, log):
    found = calibrate(snapshot.without_histories(), log.baskets_between(AS_OF, AS_OF + 7))
    assert not found.scoring.has_repurchase
    assert found.customers > 0


def test_repurchase_is_fitted_on_who_bought_before_and_the_dot_product_on_everybody(snapshot, log):
    truth = log.baskets_between(AS_OF, AS_OF + 7)
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
    """The log without what these bought before the day."""
    keep = ~(np.isin(log.customer, customers) & (log.day < AS_OF))
    counts = np.bincount(log.customer[keep], minlength=log.n_customers)
    columns = {name: getattr(log, name)[keep] for name in ("article", "day", "price", "channel")}
    return replace(log, offsets=np.concatenate([[0], np.cumsum(counts)]), **columns)


def test_calibration_reads_nothing_from_the_day_on(snapshot, log):
    truth = log.baskets_between(AS_OF, AS_OF + 7)
    found = calibrate(snapshot, truth)
    assert found.scoring.has_repurchase
    assert found == calibrate(replace(snapshot, log=log.before(AS_OF)), truth)


def test_no_more_customers_are_asked_than_wanted(snapshot, log):
    truth = log.baskets_between(AS_OF, AS_OF + 7)
    assert calibrate(snapshot, truth).customers == len(truth) > 20
    few = calibrate(snapshot, truth, max_customers=20)
    assert few.customers == 20
    assert few == calibrate(snapshot, truth, max_customers=20)
    assert few != calibrate(snapshot, truth, max_customers=20, seed=1)


def test_chunks_change_nothing(snapshot, log, monkeypatch):
    truth = log.baskets_between(AS_OF, AS_OF + 7)
    whole = calibrate(snapshot, truth)
    monkeypatch.setattr(calibration, "CHUNK", 7)
    assert calibrate(snapshot, truth).loss_after == pytest.approx(whole.loss_after, rel=1e-5)
