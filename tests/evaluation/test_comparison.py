"""The comparison table against loops over customers, and its intervals against scipy's bootstrap."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.evaluation.baselines import BASELINES
from hm_utils.evaluation.bootstrap import MIN_CUSTOMERS, RESAMPLES, resampled_means
from hm_utils.evaluation.comparison import BEYOND_ACCURACY, DIVERSITY_COLUMNS, evaluate, formatted, side_by_side
from hm_utils.evaluation.metrics import METRICS, average_precision, coverage, hit_matrix, recall

N_CUSTOMERS, N_ARTICLES, N_DAYS, AS_OF = 300, 200, 60, 57
SLICES = [
    *["bought before", "active, last 30 days", "dormant", "never bought"],
    *["aged under 25", "aged 25–34", "aged 35–44", "aged 45–54", "aged 55 and over", "age unknown"],
    *["bought again", "new to the customer", "new in the shop"],
]


@pytest.fixture(scope="module")
def log():
    """Customers from 250 on buy only in the test days; those from 200 on buy nothing in the month before them.

    Everyone buys some articles again. Articles from 160 on are first sold 14 days before the test.
    """
    rng = np.random.default_rng(0)
    n = 8_000
    customers = rng.integers(N_CUSTOMERS, size=n)
    days = np.where(customers < 250, rng.integers(N_DAYS, size=n), rng.integers(AS_OF, N_DAYS, size=n))
    away = (customers >= 200) & (customers < 250) & (days >= AS_OF - 30) & (days < AS_OF)
    days[away] %= AS_OF - 30
    articles = (rng.random(n) ** 2 * 20 + customers * 7).astype(int) % N_ARTICLES
    articles -= 40 * ((articles >= 160) & (days < AS_OF - 14))
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
def truth(log):
    return log.baskets_between(AS_OF, N_DAYS)


@pytest.fixture(scope="module")
def rankings(log, truth):
    names = ["popularity", "repurchase, popularity", "repurchase, item-item, popularity"]
    ranked = {name: BASELINES[name](log, truth.customers, AS_OF, 100) for name in names}
    return {**ranked, "nothing": np.full((len(truth), 100), -1, dtype=np.int32)}


@pytest.fixture(scope="module")
def ages():
    rng = np.random.default_rng(1)
    return pd.Series(np.where(rng.random(N_CUSTOMERS) < 0.1, np.nan, rng.integers(16, 80, N_CUSTOMERS)))


@pytest.fixture(scope="module")
def articles():
    rng = np.random.default_rng(2)
    table = pd.DataFrame({name: rng.integers(3, size=N_ARTICLES) for name in DIVERSITY_COLUMNS}, dtype="Int32")
    table.loc[rng.integers(N_ARTICLES, size=30), "section_no"] = pd.NA
    return table


@pytest.fixture(scope="module")
def evaluation(rankings, truth, log, ages, articles):
    return evaluate(rankings, truth, log, AS_OF, seed=3, ages=ages, articles=articles)


def bought(baskets: Baskets) -> list[set[int]]:
    return [set(part.tolist()) for part in np.split(baskets.articles, baskets.offsets[1:-1])]


def history(log: PurchaseLog, customers: np.ndarray, since: int = 0) -> list[set[int]]:
    """Each customer's purchases before the test days, from day ``since`` on."""
    return [set(log.article[(log.customer == c) & (log.day >= since) & (log.day < AS_OF)].tolist()) for c in customers]


def test_table_is_the_mean_over_every_buyer(evaluation, rankings, truth):
    table = evaluation.table()
    assert table.index.tolist() == list(rankings)
    assert table.columns.get_level_values(0).unique().tolist() == [*METRICS, *BEYOND_ACCURACY]
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


def test_customers_without_recommendations_count(rankings, truth, log, evaluation):
    half = rankings["popularity"].copy()
    half[::2] = -1
    result: Any = evaluate({"half": half}, truth, log, AS_OF)
    expected = evaluation.per_customer[:, 0, 0] * (np.arange(len(truth)) % 2)
    np.testing.assert_array_equal(result.per_customer[:, 0, 0], expected)
    # Only the rankings that are not empty have a novelty.
    np.testing.assert_allclose(
        result.beyond_accuracy.loc["half", "novelty@12"], evaluation.beyond_accuracy.iloc[0]["novelty@12"]
    )


def test_interval_is_the_bootstrap_of_drawn_customers(evaluation, truth):
    values = evaluation.per_customer
    drawn = np.random.default_rng(3).integers(len(truth), size=(RESAMPLES, len(truth)), dtype=np.int32)
    means = np.stack([values[rows].mean(axis=0) for rows in drawn])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    table = evaluation.table()[list(METRICS)]
    np.testing.assert_allclose(table.xs("low", axis=1, level=1), low)
    np.testing.assert_allclose(table.xs("high", axis=1, level=1), high)


def test_interval_agrees_with_scipy(evaluation):
    values = evaluation.per_customer[:, evaluation.rankings.index("repurchase, popularity"), 0]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5_000, method="percentile", rng=0).confidence_interval
    mine = evaluation.table().loc["repurchase, popularity", "MAP@12"]
    width = theirs.high - theirs.low
    assert abs(mine["low"] - theirs.low) < 0.05 * width
    assert abs(mine["high"] - theirs.high) < 0.05 * width


def test_resamples_of_many_customers_come_in_steps():
    n = 20_000  # 200 resamples at a time
    values = np.random.default_rng(1).exponential(size=(n, 2))
    means = resampled_means(values, seed=0)
    assert means.shape == (RESAMPLES, 2)
    assert len(np.unique(means[:, 0])) == RESAMPLES
    np.testing.assert_allclose(means.mean(axis=0), values.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(means.std(axis=0), values.std(axis=0) / np.sqrt(n), rtol=0.1)
    np.testing.assert_allclose(resampled_means(values[:, :1], seed=0)[:, 0], means[:, 0])  # the same draws for all
    np.testing.assert_array_equal(resampled_means(np.ones((7, 3)), seed=0, times=5), np.ones((5, 3)))


@pytest.mark.parametrize("columns", range(2, 40))
def test_equal_columns_have_equal_intervals(columns):
    column = np.random.default_rng(0).random(1_001)
    means = resampled_means(np.tile(column[:, None], columns), seed=0, times=50)
    np.testing.assert_array_equal(means, np.tile(means[:, :1], columns))


def test_difference_is_paired(rankings, truth, log):
    base = rankings["repurchase, popularity"]
    worse = base.copy()
    worse[:5] = -1  # nearly the same ranking: unpaired intervals overlap, the paired interval is narrow
    result: Any = evaluate({"base": base, "same": base, "worse": worse}, truth, log, AS_OF)
    against: Any = result.against("base")
    assert against.index.tolist() == ["same", "worse"]
    assert (against.loc["same"] == 0).all()
    difference = result.per_customer[:, 2] - result.per_customer[:, 0]
    unpaired = result.table().loc["base"]
    for i, metric in enumerate(METRICS):
        row = against.loc["worse", metric]
        np.testing.assert_allclose(row["mean"], difference[:, i].mean())
        low, high = np.percentile(resampled_means(difference, seed=0)[:, i], [2.5, 97.5])
        np.testing.assert_allclose([row["low"], row["high"]], [low, high], atol=1e-12)
        assert row["high"] - row["low"] < 0.5 * (unpaired[metric, "high"] - unpaired[metric, "low"])
    with pytest.raises(KeyError, match="no ranking 'best': there are base, same, worse"):
        result.against("best")


def test_difference_inside_a_slice_is_that_of_its_customers(evaluation):
    position = evaluation.rankings.index("repurchase, popularity")
    whole = evaluation.against("popularity")
    for name, part in evaluation.parts.items():
        difference = (part.scores[:, position] - part.scores[:, 0])[part.customers]
        row = evaluation.against("popularity", slice=name).loc["repurchase, popularity"]
        low, high = np.percentile(resampled_means(difference, seed=3), [2.5, 97.5], axis=0)
        if name != "everyone" and len(difference) < MIN_CUSTOMERS:
            low, high = low * np.nan, high * np.nan
        for i, metric in enumerate(METRICS):
            np.testing.assert_allclose(row[metric, "mean"], difference[:, i].mean(), atol=1e-12)
            np.testing.assert_allclose([row[metric, "low"], row[metric, "high"]], [low[i], high[i]], atol=1e-12)
        gain = evaluation.gain_by_slice("repurchase, popularity", "popularity").loc[name]
        assert gain["customers", "n"] == len(difference)
        assert gain.drop("customers", level=0).equals(row)
        assert name == "everyone" or row["MAP@12", "mean"] != whole.loc["repurchase, popularity", ("MAP@12", "mean")]
    assert list(evaluation.parts) == ["everyone", *SLICES]
    with pytest.raises(KeyError, match="no slice 'cold': there are everyone, bought before"):
        evaluation.against("popularity", slice="cold")
    with pytest.raises(ValueError, match="over itself"):
        evaluation.gain_by_slice("popularity", "popularity")


def test_share_of_the_oracle_is_paired(evaluation):
    shares = evaluation.share_of("repurchase, popularity")
    assert shares.index.tolist() == list(evaluation.rankings)
    assert (shares.loc["repurchase, popularity"] == 1).all()
    assert (shares.loc["nothing"] == 0).all()
    means = resampled_means(evaluation.per_customer, seed=3)[:, :, METRICS.index("recall@100")]
    low, high = np.percentile(means[:, 0] / means[:, 1], [2.5, 97.5])
    row = shares.loc["popularity", "recall@100"]
    expected = evaluation.mean("popularity", "recall@100") / evaluation.mean("repurchase, popularity", "recall@100")
    np.testing.assert_allclose([row["mean"], row["low"], row["high"]], [expected, low, high])
    assert evaluation.share_of("nothing").isna().all(axis=None)


def test_novelty_and_diversity_are_means_over_rankings(evaluation, rankings, truth, log, articles):
    buyers: dict[int, set[int]] = {}
    for article, customer, day in zip(log.article.tolist(), log.customer.tolist(), log.day.tolist(), strict=True):
        if AS_OF - 28 <= day < AS_OF:
            buyers.setdefault(article, set()).add(customer)
    n = len(set().union(*buyers.values()))
    codes = articles.astype(object).where(articles.notna(), "missing").to_numpy().tolist()
    table = evaluation.table()
    for name in ("popularity", "repurchase, popularity"):
        novelties, distances = [], []
        for row in rankings[name][:, :12].tolist():
            shares = [(len(buyers.get(article, ())) + 1) / (n + 2) for article in row]
            novelties.append(np.mean([-np.log2(share) for share in shares]))
            pairs = [(codes[a], codes[b]) for i, a in enumerate(row) for b in row[:i]]
            distances.append(np.mean([np.mean([x != y for x, y in zip(a, b, strict=True)]) for a, b in pairs]))
        np.testing.assert_allclose(table.loc[name, ("novelty@12", "mean")], np.mean(novelties))
        np.testing.assert_allclose(table.loc[name, ("diversity@12", "mean")], np.mean(distances))
    assert table.loc["nothing", "coverage@12"]["mean"] == 0
    assert np.isnan(table.loc["nothing", "novelty@12"]["mean"])
    bare: Any = evaluate(rankings, truth, log, AS_OF)
    assert bare.table()["diversity@12"].isna().all(axis=None)
    assert "age unknown" not in bare.parts


def test_slices_are_the_customers_they_say(evaluation, rankings, truth, log, ages):
    now, before = bought(truth), history(log, truth.customers)
    lately = history(log, truth.customers, since=AS_OF - 30)
    age = ages[truth.customers].to_numpy()
    known = set(log.article[log.day < AS_OF - 14].tolist())

    def purchases_of(keep: Any) -> list[set[int]]:
        return [articles if kept else set() for articles, kept in zip(now, keep, strict=True)]

    expected = {
        "bought before": purchases_of(before),
        "active, last 30 days": purchases_of(lately),
        "dormant": purchases_of(bool(a) and not b for a, b in zip(before, lately, strict=True)),
        "never bought": purchases_of(not articles for articles in before),
        "aged under 25": purchases_of(age < 25),
        "aged 25–34": purchases_of((age >= 25) & (age < 35)),
        "aged 35–44": purchases_of((age >= 35) & (age < 45)),
        "aged 45–54": purchases_of((age >= 45) & (age < 55)),
        "aged 55 and over": purchases_of(age >= 55),
        "age unknown": purchases_of(np.isnan(age)),
        "bought again": [a & b for a, b in zip(now, before, strict=True)],
        "new to the customer": [a - b for a, b in zip(now, before, strict=True)],
        "new in the shop": [articles - known for articles in now],
    }
    slices = evaluation.slices()
    assert slices.index.get_level_values("slice").unique().tolist() == list(expected) == SLICES
    for name, relevant in expected.items():
        rows = [i for i, articles in enumerate(relevant) if articles]
        assert 20 < len(rows) < len(truth)
        enough = len(rows) >= MIN_CUSTOMERS
        for ranking, ranked in rankings.items():
            row = slices.loc[(name, ranking)]
            assert row["customers", "n"] == len(rows)
            shares = [len(set(ranked[i].tolist()) & relevant[i]) / len(relevant[i]) for i in rows]
            np.testing.assert_allclose(row["recall@100", "mean"], np.mean(shares))
            precisions = []
            for i in rows:
                hits = np.array([article in relevant[i] for article in ranked[i, :12].tolist()])
                gains = np.cumsum(hits) / np.arange(1, 13) * hits
                precisions.append(gains.sum() / min(len(relevant[i]), 12))
            np.testing.assert_allclose(row["MAP@12", "mean"], np.mean(precisions))
            assert (row["MAP@12", "low"] <= row["MAP@12", "mean"] <= row["MAP@12", "high"]) == enough
            assert evaluation.mean(ranking, "MAP@12", name) == row["MAP@12", "mean"]


def test_slice_without_customers_is_blank(rankings, truth, log):
    warm = log.history_ends(truth.customers, AS_OF) > log.offsets[truth.customers]
    result: Any = evaluate({"popularity": rankings["popularity"][warm]}, truth.select(warm), log, AS_OF)
    cold = result.slices().loc[("never bought", "popularity")]
    assert cold["customers", "n"] == 0
    assert cold.drop("customers", level=0).isna().all()
    text: Any = formatted(result.slices()).loc[("never bought", "popularity")]
    assert (text["customers"], text["MAP@12"]) == ("0", "–")
    numbers = json.loads(json.dumps(result.to_dict(), allow_nan=False))["slices"]["never bought"]
    assert numbers["customers"] == 0
    assert numbers["rankings"]["popularity"]["MAP@12"] == {"mean": None, "low": None, "high": None}


@pytest.mark.parametrize(("n", "has_interval"), [(1, False), (29, False), (30, True)])
def test_small_slice_has_no_interval(rankings, truth, log, n, has_interval):
    some = np.arange(len(truth)) < n
    ages = pd.Series(20.0, index=range(N_CUSTOMERS))
    part = {name: ranked[some] for name, ranked in rankings.items()}
    result: Any = evaluate(part, truth.select(some), log, AS_OF, ages=ages)
    row = result.slices().loc[("aged under 25", "repurchase, popularity"), "MAP@12"]
    gain = result.against("popularity", slice="aged under 25").loc["repurchase, popularity", "MAP@12"]
    for numbers in (row, gain):
        assert not np.isnan(numbers["mean"])
        assert np.isnan(numbers[["low", "high"]]).any() != has_interval
    text: Any = formatted(result.slices()).loc[("aged under 25", "repurchase, popularity"), "MAP@12"]
    assert ("[" in text) == has_interval
    assert "[" in str(formatted(result.table()).loc["repurchase, popularity", "MAP@12"])  # everyone always has one


def test_formatted_for_reading(evaluation):
    table, numbers = formatted(evaluation.table()), evaluation.table().loc["popularity"]
    assert table.columns.tolist() == [*METRICS, *BEYOND_ACCURACY]
    assert table.index.tolist() == list(evaluation.rankings)
    mean, low, high = numbers["MAP@12"]
    assert table.loc["popularity", "MAP@12"] == f"{mean:.4f} [{low:.4f},\N{NO-BREAK SPACE}{high:.4f}]"
    assert table.loc["popularity", "coverage@12"] == f"{numbers['coverage@12', 'mean']:.4f}"
    slices: Any = formatted(evaluation.slices(), digits=2)
    assert slices.loc[("dormant", "nothing"), "NDCG@12"] == "0.00 [0.00,\N{NO-BREAK SPACE}0.00]"
    assert slices.loc[("dormant", "nothing"), "customers"] == f"{evaluation.parts['dormant'].customers.sum():,}"
    beside: Any = side_by_side(evaluation.slices(), "recall@100", ["nothing", "popularity"])
    assert beside.columns.tolist() == ["customers", "nothing", "popularity"]
    assert beside.index.tolist() == SLICES
    assert beside.loc["dormant", "customers"] == slices.loc[("dormant", "nothing"), "customers"]
    aged = evaluation.slices().loc[[("aged 25–34", "popularity")]]
    assert beside.loc["aged 25–34", "popularity"] == formatted(aged)["recall@100"].item()


def test_numbers_for_the_manifest(evaluation, truth):
    numbers = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    table, slices = evaluation.table(), evaluation.slices()
    assert numbers["customers"] == len(truth)
    assert list(numbers["rankings"]) == list(evaluation.rankings)
    popularity = numbers["rankings"]["popularity"]
    assert popularity["recall@100"] == table.loc["popularity", "recall@100"].to_dict()
    assert popularity["coverage@12"] == {"mean": table.loc["popularity", ("coverage@12", "mean")]}
    assert numbers["rankings"]["nothing"]["novelty@12"] == {"mean": None}
    assert list(numbers["slices"]) == SLICES
    new, row = numbers["slices"]["new in the shop"], slices.loc[("new in the shop", "popularity")]
    assert new["customers"] == row["customers", "n"]
    assert new["rankings"]["popularity"]["MAP@12"]["mean"] == row["MAP@12", "mean"]


def test_same_seed_same_intervals(rankings, truth, log):
    tables = [evaluate(rankings, truth, log, AS_OF, seed=seed).table() for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_what_is_not_a_ranking_is_refused(rankings, truth, log):
    good = rankings["popularity"]
    twice, outside = good.copy(), good.copy()
    twice[3, 5] = twice[3, 0]
    outside[0, 0] = N_ARTICLES
    for ranked, message in [
        (twice, "'bad' has an article twice for 1 customers"),
        (outside, "'bad' has articles outside the catalogue of 200"),
        (good[1:], "'bad' has shape"),
        (good[:, :12], "'bad' has shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            evaluate({"good": good, "bad": ranked}, truth, log, AS_OF)
    with pytest.raises(ValueError, match="no ranking"):
        evaluate({}, truth, log, AS_OF)
    with pytest.raises(ValueError, match="nobody bought anything from 2020-10-31"):
        evaluate({"good": good}, log.baskets_between(N_DAYS, N_DAYS + 7), log, N_DAYS)
