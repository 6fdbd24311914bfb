"""What simple methods score on the sample, beside the published figures of the real data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from benchmarks.realism.strong_ranker import Candidates
from hm_utils.arrays import Int32
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.evaluation import baselines
from hm_utils.evaluation.metrics import average_precision, hit_matrix, recall
from hm_utils.sample import Sample, oracle_ranking

WEEK, ACTIVE_DAYS, K = 7, 30, 100
BUYERS = 20_000  # drawn of a week's buyers
NEIGHBOURS, NEIGHBOUR_WEEKS = 1_000, 12

# Figure -> its value in the week of 2020-09-16 to 09-22 on the full data (68,984 buyers). None: no published figure.
REAL: dict[str, float | None] = {
    "best-sellers of all time: MAP@12": 0.003,
    "best-sellers of a week: MAP@12": 0.0085,
    "best-sellers of a week: recall@100": 0.119,
    "best-sellers of 28 days: recall@12": 0.0193,
    "best-sellers of 28 days: recall@50": 0.0618,
    "best-sellers of 28 days: recall@100": 0.1052,
    "best-sellers by age: MAP@12": 0.0087,
    "co-purchase, popular: MAP@12": 0.0086,
    "co-purchase alone: recall@12": 0.0178,
    "co-purchase alone: recall@100": 0.0582,
    "repurchase, popular: MAP@12": 0.0230,
    "own history alone: recall@50": 0.0297,
    "own history alone: recall@100": 0.0422,
    "user-user kNN, popular: MAP@12": 0.0271,
    "strong ranker: MAP@12": 0.031,  # two-stage rankers have 0.029 to 0.033
    "strong ranker, active in 30 days: MAP@12": 0.0445,
    "strong ranker, dormant: MAP@12": 0.0159,
    "pairs bought before": 0.048,
    "buyers who never bought before": 0.081,
    "articles first sold in the week": 0.037,
    "sales of articles first sold in the week": 0.037,
    "sales of articles first sold in the two weeks before": None,
    "sales of articles first sold in the two months before": None,
    "oracle: MAP@12": None,
    "oracle: recall@100": None,
}


def own_history(log: PurchaseLog, customers: Int32, as_of: int) -> Iterator[sparse.csr_array]:
    """``[chunk, n_articles]`` 1 for the customer's own purchases: in no other order than the catalogue's."""
    for part in _chunks(customers):
        yield baselines.history_matrix(log, part, as_of).sign()


def co_purchase(log: PurchaseLog, customers: Int32, as_of: int) -> Iterator[sparse.csr_array]:
    """``[chunk, n_articles]`` ten articles for each own article, bought by the same customers."""
    similarity = baselines.co_purchase_similarity(log, as_of, neighbours=10)
    for part in _chunks(customers):
        yield baselines.history_matrix(log, part, as_of) @ similarity


def user_user(log: PurchaseLog, customers: Int32, as_of: int) -> Iterator[sparse.csr_array]:
    """``[chunk, n_articles]`` what the most similar customers bought, the customer among them.

    Similarity is the cosine of tf-idf weighted purchases (binary term frequency). A purchase of a neighbour counts
    similarity squared x 1 / days since: on the real week better than the first or the third power.
    """
    everybody = np.unique(log.customer[log.rows_between(as_of - 7 * NEIGHBOUR_WEEKS, as_of)])
    weights = baselines.history_matrix(log, everybody, as_of)
    buyers = np.bincount(weights.indices, minlength=weights.shape[1])
    idf = sparse.diags_array(np.log((1 + len(everybody)) / (1 + buyers)))
    profiles = _unit(weights.sign() @ idf).T.tocsr()
    for part in _chunks(customers):
        alike = _unit(baselines.history_matrix(log, part, as_of).sign() @ idf) @ profiles
        nearest = _strongest(alike.tocsr(), NEIGHBOURS)
        yield nearest.multiply(nearest).tocsr() @ weights


@dataclass(frozen=True)
class _Week:
    """The buyers of the week from ``as_of``, some of their baskets, and what the methods need from the days before."""

    as_of: int
    past: PurchaseLog
    buyers: Int32
    bought: Baskets
    ages: pd.Series

    @classmethod
    def of(cls, sample: Sample, log: PurchaseLog, as_of: int) -> _Week:
        baskets = log.baskets_between(as_of, as_of + WEEK)
        return cls(as_of, log.before(as_of), baskets.customers, baskets.sample(BUYERS, seed=0), sample.customers["age"])

    @cached_property
    def neighbours(self) -> sparse.csr_array:
        return _best(user_user(self.past, self.bought.customers, self.as_of))

    @cached_property
    def co_purchased(self) -> sparse.csr_array:
        return _best(co_purchase(self.past, self.bought.customers, self.as_of))

    @cached_property
    def candidates(self) -> Candidates:
        who = self.bought.customers
        return Candidates.gather(self.past, who, self.as_of, self.ages, self.neighbours, self.co_purchased)


def outcomes(sample: Sample, weeks: int, slow: bool = True) -> dict[str, float]:
    """Every figure of :data:`REAL`: the mean of the last ``weeks`` weeks.

    Those of kNN, the strong ranker and the oracle only if ``slow``. The ranker is fitted on the week before each.
    """
    log, found = sample.log(), []
    week = _Week.of(sample, log, sample.truth.days - WEEK * (weeks + 1))
    for _ in tqdm(range(weeks), "weeks", disable=not sys.stderr.isatty()):
        before, week = week, _Week.of(sample, log, week.as_of + WEEK)
        found.append(_figures(sample, log, week, before if slow else None))
    means = pd.DataFrame(found).mean()
    return {name: float(means[name]) for name in REAL if name in means}


def _figures(sample: Sample, log: PurchaseLog, week: _Week, before: _Week | None) -> dict[str, float]:
    """The figures of a week, those of the slow methods only with the week before."""
    as_of, past, bought = week.as_of, week.past, week.bought
    sales = log.sales_between(as_of, as_of + WEEK)
    who = bought.customers
    popular = baselines.recent_popularity(past, who, as_of, K)
    rankings = {
        "best-sellers of all time": baselines.popularity(past, who, as_of, K),
        "best-sellers of a week": _best_sellers(past, who, as_of, days=7),
        "best-sellers of 28 days": _best_sellers(past, who, as_of, days=28),
        "best-sellers by age": baselines.popularity_by_age(week.ages)(past, who, as_of, K),
        "repurchase, popular": baselines.repurchase(past, who, as_of, K),
        "co-purchase alone": _ranking(week.co_purchased),
        "own history alone": _ranking(_best(own_history(past, who, as_of))),
    }
    rankings["co-purchase, popular"] = baselines.chain(rankings["co-purchase alone"], popular, k=K)
    if before is not None:
        rankings["user-user kNN, popular"] = baselines.chain(_ranking(week.neighbours), popular, k=K)
        rankings["strong ranker"] = week.candidates.rank(before.candidates.fit(before.bought))
        rankings["oracle"] = oracle_ranking(sample.truth, past, who, as_of, K)

    ever = past.has_bought(who, as_of)
    last = np.where(ever, past.day[np.maximum(past.offsets[who + 1] - 1, 0)], -ACTIVE_DAYS)
    active = ever & (last >= as_of - ACTIVE_DAYS)
    figures = {}
    for name, ranked in rankings.items():
        hits = hit_matrix(ranked, bought)
        precision = average_precision(hits, bought.sizes)
        counted = ever if name == "own history alone" else np.ones(len(who), dtype=bool)
        figures[f"{name}: MAP@12"] = precision[counted].mean()
        for k in (12, 50, 100):
            figures[f"{name}: recall@{k}"] = recall(hits, bought.sizes, k)[counted].mean()
        if name == "strong ranker":
            figures["strong ranker, active in 30 days: MAP@12"] = precision[active].mean()
            figures["strong ranker, dormant: MAP@12"] = precision[ever & ~active].mean()

    figures["pairs bought before"] = _share_owned(baselines.history_matrix(past, who, as_of), bought)
    first = past.first_sale_day
    new = first >= as_of
    figures["buyers who never bought before"] = (~past.has_bought(week.buyers, as_of)).mean()
    figures["articles first sold in the week"] = (new & (sales > 0)).sum() / (sales > 0).sum()
    for name, days in (("in the two weeks before", 14), ("in the two months before", 60)):
        since = ~new & (first >= as_of - days)
        figures[f"sales of articles first sold {name}"] = sales[since].sum() / sales.sum()
    figures["sales of articles first sold in the week"] = sales[new].sum() / sales.sum()
    return figures


def _best(scores: Iterator[sparse.csr_array]) -> sparse.csr_array:
    """``[n, n_articles]`` the scores of the K best articles of each row."""
    return sparse.csr_array(sparse.vstack([_strongest(part, K) for part in scores]))


def _ranking(best: sparse.csr_array) -> Int32:
    """``[n, K]`` the articles of each row by falling score, -1 padding; from :func:`_best`."""
    ranked = np.full((best.shape[0], K), -1, dtype=np.int32)
    row = np.repeat(np.arange(best.shape[0]), np.diff(best.indptr))
    ranked[row, np.arange(len(row)) - best.indptr[row]] = best.indices
    return ranked


def _best_sellers(log: PurchaseLog, customers: Int32, as_of: int, days: int) -> Int32:
    return np.tile(baselines.best_articles(log.sales_between(as_of - days, as_of), K), (len(customers), 1))


def _share_owned(owned: sparse.csr_array, bought: Baskets) -> float:
    pairs = sparse.csr_array((np.ones(len(bought.articles)), bought.articles, bought.offsets), shape=owned.shape)
    return owned.sign().multiply(pairs).sum() / pairs.sum()


def _chunks(customers: Int32, size: int = 256) -> Iterator[Int32]:
    return (customers[low : low + size] for low in range(0, len(customers), size))


def _unit(rows: sparse.csr_array) -> sparse.csr_array:
    """The rows divided by their Euclidean norms."""
    norm = np.sqrt(rows.multiply(rows).sum(axis=1))
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(norm, 1e-12)) @ rows)


def _strongest(rows: sparse.csr_array, k: int) -> sparse.csr_array:
    """The k largest entries of each row without zeros, by falling value; equal ones in order of column."""
    rows.eliminate_zeros()
    rows.sort_indices()
    kept = []
    for low, high in pairwise(rows.indptr):  # a sort of all entries takes most of a week's time
        data = rows.data[low:high]
        near = np.flatnonzero(data >= np.partition(data, -k)[-k]) if len(data) > k else np.arange(len(data))
        kept.append(low + near[np.argsort(-data[near], kind="stable")[:k]])
    keep, ends = np.concatenate(kept), np.cumsum([0, *map(len, kept)])
    return sparse.csr_array((rows.data[keep], rows.indices[keep], ends), shape=rows.shape)
