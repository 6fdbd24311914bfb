"""Hits and misses against loops over customers, reliability, and the decision; all of it can be drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hm_utils.analysis import evaluation_tables
from hm_utils.analysis.embedding_pca import embedding_pca, neighbour_agreement
from hm_utils.analysis.list_tables import lists_table, some_customers
from hm_utils.evaluation import error_analysis
from hm_utils.evaluation.baselines import BASELINES
from hm_utils.evaluation.comparison import evaluate
from hm_utils.evaluation.decision import PUBLISHED, TWO_TOWER, compared, decide, for_and_against, headline
from hm_utils.evaluation.reliability import best_temperature, mean_ratio, reliability
from hm_utils.model.scoring import Repurchase, Scoring
from hm_utils.plotting import evaluation_figures
from hm_utils.retrieval.index import ScannIndex, build_index
from hm_utils.retrieval.index_tuning import search_curve
from tests.helpers.data import article_table, customer_table, random_log
from tests.helpers.figures import check_figure
from tests.helpers.snapshots import random_snapshot

AS_OF = 43
SCORING = Scoring(1.0, 0.8, 1.0, 0.8, Repurchase(1.0, 0.8, bought=1.0, days_since=-0.3, variant=0.4))


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.fixture(scope="module")
def truth(log):
    return log.baskets_between(AS_OF, 50)


@pytest.fixture(scope="module")
def snapshot(log):
    return random_snapshot(log, AS_OF)


@pytest.fixture(scope="module")
def rankings(log, truth, snapshot):
    rankings = {name: BASELINES[name](log, truth.customers, AS_OF, 100) for name in ("popularity", "recent popularity")}
    rankings[TWO_TOWER] = snapshot.rank(truth.customers)
    rankings[PUBLISHED] = snapshot.rank(truth.customers, scoring=SCORING)
    # A ranking of 100 would find all 40 articles.
    return {name: np.where(np.arange(100) < 20, ranked, -1) for name, ranked in rankings.items()}


def baskets(truth):
    return [set(truth.articles[low:high].tolist()) for low, high in zip(truth.offsets, truth.offsets[1:], strict=False)]


def test_recall_by_depth(rankings, truth):
    curves = error_analysis.recall_by_depth(rankings, truth)
    assert curves.index.tolist() == list(range(1, 101))
    for k in (1, 7):
        each = [
            len(bought & set(ranked[:k].tolist())) / len(bought)
            for bought, ranked in zip(baskets(truth), rankings[PUBLISHED], strict=True)
        ]
        assert curves[PUBLISHED][k] == pytest.approx(np.mean(each))
    check_figure(evaluation_figures.recall_by_depth(curves, "popularity"))


def test_recall_by_history_and_by_age(rankings, truth, log):
    some = {name: rankings[name] for name in (PUBLISHED, "popularity")}
    by_history = error_analysis.recall_by_history(some, truth, log, AS_OF)
    by_age = error_analysis.recall_by_article_age(some, truth, log, AS_OF)
    assert by_history["customers"].sum() == len(truth)
    assert by_age["purchases"].sum() == len(truth.articles)
    found = error_analysis.found(rankings[PUBLISHED], truth)
    assert np.average(by_age[PUBLISHED], weights=by_age["purchases"]) == pytest.approx(found.mean())
    hits = [
        article in rankings[PUBLISHED][row] for row, bought in enumerate(baskets(truth)) for article in sorted(bought)
    ]
    assert found.tolist() == hits
    check_figure(evaluation_figures.recall_by_band(by_history, by_age, "popularity"))


def test_reasons(rankings, truth, log):
    articles = article_table()
    reasons = error_analysis.reasons(rankings[PUBLISHED], truth, log, articles, AS_OF)
    department = articles["department_no"]
    expected = []
    for customer, bought in zip(truth.customers, baskets(truth), strict=True):
        past = log.article[log.offsets[customer] : log.history_ends(np.array([customer]), AS_OF)[0]]
        known = set(department[past])
        expected += [len(past) > 0 and department[article] not in known for article in sorted(bought)]
    assert reasons.true["a department new to the customer"].tolist() == expected
    shares = reasons.shares()
    assert shares.shape == (8, 2)
    gap = shares["missed"] - shares["found"]
    assert gap.is_monotonic_increasing, "the largest difference is the last row, on top of the figure"
    check_figure(evaluation_figures.reasons(shares))


def test_worst_failures(truth, log):
    nothing = np.full((len(truth), 100), -1, dtype=np.int32)
    nothing[0] = np.arange(100) % 40
    nothing[0, 40:] = -1
    reasons = error_analysis.reasons(nothing, truth, log, article_table(), AS_OF)
    worst = reasons.worst(customer_table(), log, AS_OF, most=3)
    assert len(worst) == 3
    assert worst["bought in the test"].tolist() == sorted(truth.sizes[1:], reverse=True)[:3]
    everything = np.tile(nothing[0], (len(truth), 1))
    found = error_analysis.reasons(everything, truth, log, article_table(), AS_OF)
    assert found.worst(customer_table(), log, AS_OF).empty
    assert not found.shares()["found"].isna().any()


def test_probabilities_add_up_and_a_better_temperature_is_found(snapshot, truth, monkeypatch):
    monkeypatch.setattr("hm_utils.evaluation.reliability.MIN_PURCHASES", 0)
    curves = reliability(snapshot, SCORING, {"as it is": 1.0, "flat": 0.0}, truth)
    as_it_is = curves[curves["curve"] == "as it is"]
    assert as_it_is["purchases"].sum() == pytest.approx(len(truth), rel=0.2), "a probability of 1 for each customer"
    flat = curves[curves["curve"] == "flat"]
    assert flat["predicted"].tolist() == pytest.approx([1 / 40])
    assert flat["observed"].tolist() == pytest.approx([1 / 40])
    assert mean_ratio(flat) == pytest.approx(1)
    assert best_temperature(snapshot, SCORING, truth) == 0.5, "the scores of random towers mean nothing"
    check_figure(evaluation_figures.reliability(curves))
    check_figure(evaluation_figures.reliability(curves.head(0)))
    assert np.isnan(mean_ratio(curves.head(0)))


def test_probabilities_of_cold_start_customers_are_on_the_same_scale(snapshot, truth, monkeypatch):
    monkeypatch.setattr("hm_utils.evaluation.reliability.MIN_PURCHASES", 0)
    hidden = snapshot.without_histories()
    usual, strong = (
        reliability(hidden, replace(SCORING, cold_taste=times), {"it": 1.0}, truth) for times in (1.0, 15.0)
    )
    pd.testing.assert_frame_equal(usual, strong)


def test_rankings_to_read(rankings, truth, log):
    articles = article_table()
    articles.loc[:, "prod_name"] = "<b>Shirt & co"
    places = some_customers(truth, log, AS_OF, customers=4)
    assert len(set(places)) == 4
    text = lists_table(places, rankings[PUBLISHED], truth, log, articles, AS_OF).data
    assert text.count("<tr>") == 5
    assert "<b>Shirt" not in text
    assert "&lt;b&gt;Shirt &amp; co" in text
    hits = sum(len(baskets(truth)[place] & set(rankings[PUBLISHED][place][:12].tolist())) for place in places)
    middle = [row.split("<td ")[2] for row in text.split("<tr>")[2:]]
    assert sum(cell.count("✓") for cell in middle) == hits


def test_the_map_and_the_nearest_articles(snapshot):
    groups = article_table()["index_group_name"]
    places = embedding_pca(snapshot, groups)
    assert 0 < places.attrs["shown"] <= 1
    assert set(places["group"]) == {"Ladieswear", "Menswear"}
    near, anyhow = neighbour_agreement(snapshot, groups, k=3)
    assert 0 <= near <= 1
    assert 0.5 <= anyhow < 1
    assert neighbour_agreement(snapshot, pd.Series(["one"] * 40)) == (1.0, 1.0)
    check_figure(evaluation_figures.embedding_pca(places))


def test_the_curve_of_a_search():
    vectors = np.random.default_rng(0).normal(size=(2_000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = build_index(vectors)
    if not isinstance(index, ScannIndex):
        pytest.skip("no wheel of ScaNN here")
    curve = search_curve(index, vectors[:50])
    assert curve["leaves"].iloc[-1] == index.leaves
    assert curve["recall"].iloc[0] > 0.05, "few leaves hold too few articles: that is no recall of 0"
    assert curve["recall"].iloc[0] < curve["recall"].iloc[-1]
    assert curve["recall"].iloc[-1] > 0.95
    assert curve.attrs["exact"] > 0
    check_figure(evaluation_figures.recall_against_leaves(curve, index.leaves))


def test_the_figure_of_buying_again(snapshot):
    """The odds are those of the scorer's terms: an article due after its usual gap, bought once or three times."""
    scoring = Scoring(1.0, 0.5, repurchase=Repurchase(0.5, 0.2, 3.0, 1.0, -0.5, 0.8, -0.3, 0.4, -0.2, 0.3, 1.0))
    odds = evaluation_tables.buying_again(scoring, snapshot.rates, popularity=2.0)
    once = 3.0 - 0.3 * np.log(10) - 0.2 * np.log(odds.attrs["gap"]) + (0.2 - 0.5) * 2.0
    assert odds["bought once"].iloc[0] == pytest.approx(np.exp(once))
    assert (odds["bought on 3 days"] > odds["bought once"]).all()
    assert (np.diff(odds["bought once"]) < 0).any()
    check_figure(evaluation_figures.buying_again(odds))


def test_the_decision_in_words(rankings, truth, log):
    evaluation = evaluate(rankings, truth, log, AS_OF)
    decision = decide(evaluation, ["popularity", "recent popularity"])
    words = for_and_against(evaluation, decision, "recent popularity")
    assert words.startswith(f"**{decision.reason}.**")
    assert "oracle" not in words
    assert "nan" not in words
    assert headline(evaluation, "popularity")["best baseline"] == "popularity"
    gain = pd.Series({"mean": 0.01, "low": 0.002, "high": 0.02})
    assert compared(gain, "x") == "above that of *x*, by +0.0100 [+0.0020, +0.0200]"
    assert compared(-gain.rename({"low": "high", "high": "low"}), "x").startswith("below")
    assert compared(gain - 0.005, "x").startswith("not significantly different")
