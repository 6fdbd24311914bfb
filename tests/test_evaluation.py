"""The comparison table against loops over customers and against scipy's bootstrap."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hm_utils.baselines import BASELINES
from hm_utils.evaluation import (
    METRICS,
    RESAMPLES,
    Evaluation,
    evaluate,
    formatted,
    resampled_means,
    truth_new_to_customer,
)
from hm_utils.metrics import average_precision, coverage, hit_matrix, recall
from hm_utils.purchases import Baskets, PurchaseLog

N_CUSTOMERS, N_ARTICLES, N_DAYS, AS_OF = 300, 200, 30, 27


@pytest.fixture(scope="module")
def log() -> PurchaseLog:
    """Customers from 250 on appear in the test days only; everyone buys some things again."""
    rng = np.random.default_rng(0)
    n = 3_000
    customers = rng.integers(N_CUSTOMERS, size=n)
    days = np.where(customers < 250, rng.integers(N_DAYS, size=n), rng.integers(AS_OF, N_DAYS, size=n))
    articles = (rng.random(n) ** 2 * 20 + customers * 7).astype(int) % N_ARTICLES
    days[0], customers[0] = 0, 0
    frame = pd.DataFrame(
        {
            "t_dat": np.datetime64("2020-09-01") + days.astype("timedelta64[D]"),
            "customer": customers,
            "article": articles,
            "price": 0.1,
            "sales_channel_id": 1,
        }
    )
    return PurchaseLog.from_transactions(frame, N_CUSTOMERS, N_ARTICLES)


@pytest.fixture(scope="module")
def truth(log: PurchaseLog) -> Baskets:
    return log.baskets_between(AS_OF, N_DAYS)


@pytest.fixture(scope="module")
def rankings(log: PurchaseLog, truth: Baskets) -> dict[str, np.ndarray]:
    names = ["popularity", "repurchase, popularity", "repurchase, item-item, popularity"]
    lists = {name: BASELINES[name](log, truth.customers, AS_OF, 100) for name in names}
    return {**lists, "nothing": np.full((len(truth), 100), -1, dtype=np.int32)}


@pytest.fixture(scope="module")
def evaluation(rankings: dict[str, np.ndarray], truth: Baskets, log: PurchaseLog) -> Evaluation:
    return evaluate(rankings, truth, log, AS_OF, seed=3)


def bought(baskets: Baskets) -> list[set[int]]:
    return [set(part.tolist()) for part in np.split(baskets.articles, baskets.offsets[1:-1])]


def bought_before(log: PurchaseLog, customers: np.ndarray) -> list[set[int]]:
    return [set(log.article[(log.customer == c) & (log.day < AS_OF)].tolist()) for c in customers]


def test_table_is_the_mean_over_every_buyer(
    evaluation: Evaluation, rankings: dict[str, np.ndarray], truth: Baskets
) -> None:
    table: Any = evaluation.table()
    assert table.index.tolist() == list(rankings)
    assert table.columns.get_level_values(0).unique().tolist() == [*METRICS, "coverage@12"]
    assert len(evaluation) == len(truth)
    for name, ranked in rankings.items():
        hits = hit_matrix(ranked, truth)
        row = table.loc[name]
        np.testing.assert_allclose(row["MAP@12", "mean"], average_precision(hits, truth.sizes).mean())
        np.testing.assert_allclose(row["recall@12", "mean"], recall(hits, truth.sizes, 12).mean())
        np.testing.assert_allclose(row["recall@100", "mean"], recall(hits, truth.sizes, 100).mean())
        assert row["coverage@12", "mean"] == coverage(ranked, N_ARTICLES)
        for metric in METRICS:
            assert row[metric, "low"] <= row[metric, "mean"] <= row[metric, "high"]
            assert evaluation.mean(name, metric) == row[metric, "mean"]
    assert (table.loc["nothing"].dropna() == 0).all()
    assert table.loc["repurchase, popularity", ("MAP@12", "low")] > table.loc["popularity", ("MAP@12", "high")]


def test_customers_without_recommendations_count(
    rankings: dict[str, np.ndarray], truth: Baskets, log: PurchaseLog, evaluation: Evaluation
) -> None:
    half = rankings["popularity"].copy()
    half[::2] = -1
    values = evaluate({"half": half}, truth, log, AS_OF).per_customer[:, 0, 0]
    expected = evaluation.per_customer[:, 0, 0] * (np.arange(len(truth)) % 2)
    np.testing.assert_array_equal(values, expected)


def test_interval_is_the_bootstrap_of_drawn_customers(evaluation: Evaluation, truth: Baskets) -> None:
    values = evaluation.per_customer
    drawn = np.random.default_rng(3).integers(len(truth), size=(RESAMPLES, len(truth)), dtype=np.int32)
    means = np.stack([values[rows].mean(axis=0) for rows in drawn])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    table = evaluation.table()[list(METRICS)]
    np.testing.assert_allclose(table.xs("low", axis=1, level=1), low)
    np.testing.assert_allclose(table.xs("high", axis=1, level=1), high)


def test_interval_agrees_with_scipy(evaluation: Evaluation) -> None:
    values = evaluation.per_customer[:, evaluation.rankings.index("repurchase, popularity"), 0]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5_000, method="percentile", rng=0).confidence_interval
    mine: Any = evaluation.table().loc["repurchase, popularity", "MAP@12"]
    width = theirs.high - theirs.low
    assert abs(mine["low"] - theirs.low) < 0.05 * width
    assert abs(mine["high"] - theirs.high) < 0.05 * width


def test_resamples_of_many_customers_come_in_steps() -> None:
    n = 20_000  # 200 resamples at a time
    values = np.random.default_rng(1).exponential(size=(n, 2))
    means = resampled_means(values, seed=0)
    assert means.shape == (RESAMPLES, 2)
    assert len(np.unique(means[:, 0])) == RESAMPLES
    np.testing.assert_allclose(means.mean(axis=0), values.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(means.std(axis=0), values.std(axis=0) / np.sqrt(n), rtol=0.1)
    np.testing.assert_allclose(resampled_means(values[:, :1], seed=0)[:, 0], means[:, 0])  # a column is not alone
    np.testing.assert_array_equal(resampled_means(np.ones((7, 3)), seed=0, times=5), np.ones((5, 3)))


def test_difference_is_paired(rankings: dict[str, np.ndarray], truth: Baskets, log: PurchaseLog) -> None:
    base = rankings["repurchase, popularity"]
    worse = base.copy()
    worse[:5] = -1  # nearly the same ranking: unpaired intervals overlap, the paired one is narrow
    result = evaluate({"base": base, "same": base, "worse": worse}, truth, log, AS_OF)
    against: Any = result.against("base")
    assert against.index.tolist() == ["same", "worse"]
    assert (against.loc["same"] == 0).all()
    difference = result.per_customer[:, 2] - result.per_customer[:, 0]
    table: Any = result.table()
    for i, metric in enumerate(METRICS):
        row = against.loc["worse", metric]
        np.testing.assert_allclose(row["mean"], difference[:, i].mean())
        low, high = np.percentile(resampled_means(difference, seed=0)[:, i], [2.5, 97.5])
        np.testing.assert_allclose([row["low"], row["high"]], [low, high], atol=1e-12)
        assert row["high"] - row["low"] < 0.5 * (
            table.loc["base", (metric, "high")] - table.loc["base", (metric, "low")]
        )
    with pytest.raises(KeyError, match="no ranking 'best': there are base, same, worse"):
        result.against("best")


def test_new_truth_is_what_the_customer_had_not_bought(truth: Baskets, log: PurchaseLog) -> None:
    new = truth_new_to_customer(truth, log, AS_OF)
    np.testing.assert_array_equal(new.customers, truth.customers)
    expected = [now - before for now, before in zip(bought(truth), bought_before(log, truth.customers), strict=True)]
    assert bought(new) == expected
    sizes = np.array([len(articles) for articles in expected])
    assert (sizes == 0).sum() > 0  # the data has all three cases
    assert ((sizes > 0) & (sizes < truth.sizes)).sum() > 0
    assert (sizes == truth.sizes).sum() > 0


def test_slices_are_the_customers_they_say(
    evaluation: Evaluation, rankings: dict[str, np.ndarray], truth: Baskets, log: PurchaseLog
) -> None:
    now, before = bought(truth), bought_before(log, truth.customers)
    warm = np.array([len(articles) > 0 for articles in before])
    new = [a - b for a, b in zip(now, before, strict=True)]
    has_new = np.array([len(articles) > 0 for articles in new])
    assert 0 < warm.sum() < len(warm)
    slices: Any = evaluation.slices()
    expected = {
        "warm": (warm, now),
        "cold": (~warm, now),
        "new articles": (has_new, new),
        "new articles, warm": (has_new & warm, new),
    }
    assert slices.index.get_level_values("slice").unique().tolist() == list(expected)
    for name, (keep, relevant) in expected.items():
        for ranking, ranked in rankings.items():
            row = slices.loc[(name, ranking)]
            assert row["customers", "n"] == keep.sum()
            rows = np.flatnonzero(keep)
            shares = [len(set(ranked[i].tolist()) & relevant[i]) / len(relevant[i]) for i in rows]
            np.testing.assert_allclose(row["recall@100", "mean"], np.mean(shares))
            precisions = []
            for i in rows:
                hits = np.array([article in relevant[i] for article in ranked[i, :12].tolist()])
                gains = np.cumsum(hits) / np.arange(1, 13) * hits
                precisions.append(gains.sum() / min(len(relevant[i]), 12))
            np.testing.assert_allclose(row["MAP@12", "mean"], np.mean(precisions))
            assert row["MAP@12", "low"] <= row["MAP@12", "mean"] <= row["MAP@12", "high"]


def test_slice_without_customers_is_blank(rankings: dict[str, np.ndarray], truth: Baskets, log: PurchaseLog) -> None:
    warm = log.history_ends(truth.customers, AS_OF) > log.offsets[truth.customers]
    result = evaluate({"popularity": rankings["popularity"][warm]}, truth.select(warm), log, AS_OF)
    cold: Any = result.slices().loc[("cold", "popularity")]
    assert cold["customers", "n"] == 0
    assert cold.drop("customers", level=0).isna().all()
    assert formatted(result.slices()).loc[("cold", "popularity"), "MAP@12"] == "–"
    numbers: Any = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert numbers["slices"]["cold"]["rankings"]["popularity"]["MAP@12"] == {"mean": None, "low": None, "high": None}


def test_formatted_for_reading(evaluation: Evaluation) -> None:
    table: Any = formatted(evaluation.table())
    assert table.columns.tolist() == [*METRICS, "coverage@12"]
    assert table.index.tolist() == list(evaluation.rankings)
    numbers: Any = evaluation.table().loc["popularity"]
    mean, low, high = numbers["MAP@12"]
    assert table.loc["popularity", "MAP@12"] == f"{mean:.4f} [{low:.4f}, {high:.4f}]"
    assert table.loc["popularity", "coverage@12"] == f"{numbers['coverage@12', 'mean']:.4f}"
    assert formatted(evaluation.slices(), digits=2).loc[("warm", "nothing"), "NDCG@12"] == "0.00 [0.00, 0.00]"
    assert formatted(evaluation.slices()).loc[("warm", "nothing"), "customers"] == f"{evaluation.warm.sum():,}"


def test_numbers_for_the_manifest(evaluation: Evaluation, truth: Baskets) -> None:
    numbers: Any = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert numbers["customers"] == len(truth)
    table: Any = evaluation.table()
    slices: Any = evaluation.slices()
    assert list(numbers["rankings"]) == list(evaluation.rankings)
    assert numbers["rankings"]["popularity"]["recall@100"] == table.loc["popularity", "recall@100"].to_dict()
    assert numbers["rankings"]["popularity"]["coverage@12"] == {
        "mean": table.loc["popularity", ("coverage@12", "mean")]
    }
    assert list(numbers["slices"]) == ["warm", "cold", "new articles", "new articles, warm"]
    new = numbers["slices"]["new articles"]
    assert new["customers"] == slices.loc[("new articles", "popularity"), ("customers", "n")]
    assert (
        new["rankings"]["popularity"]["MAP@12"]["mean"]
        == slices.loc[("new articles", "popularity"), ("MAP@12", "mean")]
    )


def test_same_seed_same_intervals(rankings: dict[str, np.ndarray], truth: Baskets, log: PurchaseLog) -> None:
    tables = [evaluate(rankings, truth, log, AS_OF, seed=seed).table() for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_what_is_not_a_ranking_is_refused(rankings: dict[str, np.ndarray], truth: Baskets, log: PurchaseLog) -> None:
    good = rankings["popularity"]
    twice, outside = good.copy(), good.copy()
    twice[3, 5] = twice[3, 0]
    outside[0, 0] = N_ARTICLES
    for ranked, message in [
        (twice, "'bad' lists an article twice for 1 customers"),
        (outside, "'bad' has articles outside the catalogue of 200"),
        (good[1:], "'bad' has shape"),
        (good[:, :12], "'bad' has shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            evaluate({"good": good, "bad": ranked}, truth, log, AS_OF)
    with pytest.raises(ValueError, match="no ranking"):
        evaluate({}, truth, log, AS_OF)
    with pytest.raises(ValueError, match="nobody bought anything from 2020-10-01"):
        evaluate({"good": good}, log.baskets_between(N_DAYS, N_DAYS + 7), log, N_DAYS)
