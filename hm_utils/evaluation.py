"""The comparison: rankings side by side, with intervals, slices and paired differences.

Rankings rank the whole catalogue, and every customer who bought in the test days counts, those with
a short or empty list too: they score 0 where they miss. Where a ranking comes from (a model, a
baseline, an oracle) makes no difference here: each is an array of articles.

    evaluation = evaluate({"popularity": ranked_a, "two-tower": ranked_b}, truth, log, as_of)
    formatted(evaluation.table())
    formatted(evaluation.against("popularity"))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils import metrics
from hm_utils.baselines import history_rows
from hm_utils.metrics import Bool, Float
from hm_utils.purchases import Baskets, Int32, PurchaseLog

METRICS = ("MAP@12", "recall@12", "recall@100", "NDCG@12", "hit rate@12")
COVERAGE = "coverage@12"
RESAMPLES = 1_000
LEVEL = 0.95


@dataclass(frozen=True)
class Evaluation:
    """What every customer got out of every ranking.

    Intervals are percentile bootstraps over customers: the customers of the slice are drawn with
    replacement 1,000 times, the same draws for every ranking and metric, so that differences are
    paired. Coverage is a property of all lists together and has no interval: a resample has fewer
    distinct customers, hence always covers less.

    Attributes:
        rankings: names, in the order of the tables.
        per_customer: ``[n, rankings, metrics]`` a value a customer, in the order of :data:`METRICS`.
        per_customer_new: the same, counting only articles that are new to the customer; rows of customers
            who bought none are NaN.
        warm: ``[n]`` whether the customer bought anything before the test days.
        coverage: share of the catalogue in anybody's first 12, a number a ranking.
        seed: of the bootstrap.
    """

    rankings: tuple[str, ...]
    per_customer: Float
    per_customer_new: Float
    warm: Bool
    coverage: Mapping[str, float]
    seed: int

    def __len__(self) -> int:
        return len(self.warm)

    def mean(self, ranking: str, metric: str = "MAP@12") -> float:
        """One cell of the table, for a check such as "better than popularity"."""
        return float(self.per_customer.mean(axis=0)[self._position(ranking), METRICS.index(metric)])

    def table(self) -> pd.DataFrame:
        """A row a ranking, columns ``(metric, "mean" | "low" | "high")``; coverage has a mean alone."""
        table = self._frame(self.per_customer.mean(axis=0), self._resampled, self.rankings)
        table[(COVERAGE, "mean")] = pd.Series(self.coverage)
        return table

    def against(self, reference: str) -> pd.DataFrame:
        """Every other ranking minus the reference, paired by customer; columns as in :meth:`table`.

        An interval that leaves out 0 is a difference that another draw of customers would show too.
        """
        position = self._position(reference)
        others = [i for i in range(len(self.rankings)) if i != position]
        mean = self.per_customer.mean(axis=0)
        return self._frame(
            mean[others] - mean[position],
            self._resampled[:, others] - self._resampled[:, [position]],
            [self.rankings[i] for i in others],
        )

    def slices(self) -> pd.DataFrame:
        """The table once for each slice, index ``(slice, ranking)``, with the slice's number of customers.

        Warm and cold are customers with and without a purchase before the test days. "New articles"
        leaves the lists as they are and counts only what the customer had never bought before, over
        the customers who bought such an article. A slice without customers has NaN throughout.
        """
        has_new = ~np.isnan(self.per_customer_new[:, 0, 0])
        parts = {
            "warm": self.per_customer[self.warm],
            "cold": self.per_customer[~self.warm],
            "new articles": self.per_customer_new[has_new],
            "new articles, warm": self.per_customer_new[has_new & self.warm],
        }
        frames = {name: self._slice(values) for name, values in parts.items()}
        return pd.concat(frames, names=["slice", "ranking"])

    def to_dict(self) -> dict[str, Any]:
        """Everything in the tables as plain numbers for a JSON file; what is not a number is None."""
        slices = self.slices()
        return {
            "customers": len(self),
            "rankings": _nested(self.table()),
            "slices": {
                str(name): {
                    "customers": int(part[("customers", "n")].iloc[0]),
                    "rankings": _nested(part.droplevel("slice").drop(columns="customers", level=0)),
                }
                for name, part in slices.groupby(level="slice", sort=False)
            },
        }

    @cached_property
    def _resampled(self) -> Float:
        return resampled_means(self.per_customer, self.seed)

    def _position(self, ranking: str) -> int:
        if ranking not in self.rankings:
            raise KeyError(f"no ranking {ranking!r}: there are {', '.join(self.rankings)}")
        return self.rankings.index(ranking)

    def _slice(self, values: Float) -> pd.DataFrame:
        if len(values):
            mean, resampled = values.mean(axis=0), resampled_means(values, self.seed)
        else:
            mean = np.full(values.shape[1:], np.nan)
            resampled = mean[None]
        frame = self._frame(mean, resampled, self.rankings)
        frame.insert(0, ("customers", "n"), len(values))
        return frame

    @staticmethod
    def _frame(mean: Float, resampled: Float, names: tuple[str, ...] | list[str]) -> pd.DataFrame:
        """``mean`` ``[rankings, metrics]`` with the interval of ``resampled`` ``[times, rankings, metrics]``."""
        low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        columns = pd.MultiIndex.from_product([METRICS, ["mean", "low", "high"]], names=["metric", None])
        numbers = np.stack([mean, low, high], axis=-1).reshape(len(names), -1)
        return pd.DataFrame(numbers, index=pd.Index(names, name="ranking"), columns=columns)


def evaluate(rankings: Mapping[str, Int32], truth: Baskets, log: PurchaseLog, as_of: int, seed: int = 0) -> Evaluation:
    """Compare rankings with what the customers bought.

    Args:
        rankings: ``[n, 100]`` articles a name, best first, -1 where a list is short; row i is for
            ``truth.customers[i]``.
        truth: who bought in the test days, and what: ``log.baskets_between(as_of, as_of + test_days)``.
        log: tells what the customers had bought before ``as_of``, and the size of the catalogue.
        as_of: first test day.
        seed: of the bootstrap.

    Raises:
        ValueError: if nobody bought, there is no ranking, or a ranking has a wrong shape, an article
            outside the catalogue or an article twice in a list.
    """
    if not len(truth):
        raise ValueError(f"nobody bought anything from {log.date(as_of)} on: there is nothing to evaluate")
    if not rankings:
        raise ValueError("there is no ranking to evaluate")
    new = truth_new_to_customer(truth, log, as_of)
    some_new = (new.sizes > 0) & (new.sizes < truth.sizes)  # whoever bought new articles alone has the same values
    values = np.empty((len(truth), len(rankings), len(METRICS)))
    new_values = np.empty_like(values)
    for i, (name, ranked) in enumerate(rankings.items()):
        _check(name, ranked, len(truth), log.n_articles)
        values[:, i] = _values(ranked, truth)
        new_values[:, i] = values[:, i]
        new_values[some_new, i] = _values(ranked[some_new], new.select(some_new))
    new_values[new.sizes == 0] = np.nan
    return Evaluation(
        rankings=tuple(rankings),
        per_customer=values,
        per_customer_new=new_values,
        warm=log.history_ends(truth.customers, as_of) > np.asarray(log.offsets)[truth.customers],
        coverage={name: metrics.coverage(ranked, log.n_articles, k=12) for name, ranked in rankings.items()},
        seed=seed,
    )


def formatted(table: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """A table of :class:`Evaluation` for reading: one column a metric, cells like ``0.0348 [0.0331, 0.0365]``."""

    def cell(numbers: pd.Series) -> str:
        if "n" in numbers:
            return f"{int(numbers['n']):,}"
        if np.isnan(numbers["mean"]):
            return "–"
        mean = f"{numbers['mean']:.{digits}f}"
        return f"{mean} [{numbers['low']:.{digits}f}, {numbers['high']:.{digits}f}]" if "low" in numbers else mean

    names = table.columns.get_level_values(0).unique()
    return pd.DataFrame({name: table[name].apply(cell, axis=1) for name in names}, index=table.index)


def truth_new_to_customer(truth: Baskets, log: PurchaseLog, as_of: int) -> Baskets:
    """The truth without the articles that the customer bought before ``as_of``; some baskets become empty."""
    owner, rows = history_rows(log, truth.customers, as_of)
    before = owner * log.n_articles + log.article[rows]
    row = np.repeat(np.arange(len(truth)), truth.sizes)
    new = ~np.isin(row * log.n_articles + truth.articles, before, kind="sort")
    sizes = np.bincount(row[new], minlength=len(truth))
    return Baskets(truth.customers, np.concatenate([[0], np.cumsum(sizes)]), truth.articles[new])


def resampled_means(values: Float, seed: int, times: int = RESAMPLES) -> Float:
    """``[times, ...]`` means of ``values`` (``[n, ...]``) over n rows drawn with replacement, ``times`` times.

    The draws depend on n and the seed alone: columns are resampled together.
    """
    n = len(values)
    rng = np.random.default_rng(seed)
    flat = values.reshape(n, -1)
    means = np.empty((times, flat.shape[1]))
    step = max(1, 4_000_000 // n)  # resamples at a time: about 100 MB
    for low in range(0, times, step):
        m = min(step, times - low)
        drawn = rng.integers(n, size=(m, n), dtype=np.int32)
        # How often each row was drawn is enough: the mean is then a matrix product.
        drawn += np.arange(m, dtype=np.int32)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=m * n).reshape(m, n)
        means[low : low + m] = counts.astype(np.float64) @ flat / n
    return means.reshape(times, *values.shape[1:])


def _values(ranked: Int32, truth: Baskets) -> Float:
    """``[n, metrics]`` in the order of :data:`METRICS`."""
    hits, bought = metrics.hit_matrix(ranked, truth), truth.sizes
    return np.stack(
        [
            metrics.average_precision(hits, bought, k=12),
            metrics.recall(hits, bought, k=12),
            metrics.recall(hits, bought, k=100),
            metrics.ndcg(hits, bought, k=12),
            metrics.hit_rate(hits, k=12),
        ],
        axis=1,
    )


def _check(name: str, ranked: Int32, n: int, n_articles: int) -> None:
    if ranked.ndim != 2 or ranked.shape[0] != n or ranked.shape[1] < 100:
        raise ValueError(f"ranking {name!r} has shape {ranked.shape}: it needs {n:,} rows of 100 articles, -1 if short")
    if ranked.min() < -1 or ranked.max() >= n_articles:
        raise ValueError(f"ranking {name!r} has articles outside the catalogue of {n_articles:,}")
    articles: npt.NDArray[np.int32] = np.sort(ranked, axis=1)
    twice = ((articles[:, 1:] == articles[:, :-1]) & (articles[:, 1:] >= 0)).any(axis=1)
    if twice.any():
        raise ValueError(f"ranking {name!r} lists an article twice for {twice.sum():,} customers")


def _nested(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """``{ranking: {metric: {"mean": ..., "low": ..., "high": ...}}}``"""
    return {
        str(ranking): {
            metric: {key: None if np.isnan(x) else float(x) for key, x in row[metric].items()}
            for metric in row.index.get_level_values(0).unique()
        }
        for ranking, row in table.iterrows()
    }
