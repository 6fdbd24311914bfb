"""The comparison: rankings side by side, with intervals, slices and paired differences.

Rankings rank the whole catalogue, and every customer who bought in the test days counts, those with
a short or empty list too: they score 0 where they miss. Where a ranking comes from (a model, a
baseline, an oracle) makes no difference here: each is an array of articles.

    evaluation = evaluate({"popularity": ranked_a, "two-tower": ranked_b}, truth, log, as_of)
    formatted(evaluation.table())
    formatted(evaluation.against("popularity"))
    formatted(evaluation.against("popularity", slice="never bought"))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Bool, Float64, Int32
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.data.segments import ACTIVE_DAYS, NEW_IN_SHOP_DAYS
from hm_utils.evaluation import metrics
from hm_utils.evaluation.baselines import AGE_BANDS, age_bands, history_rows

METRICS = ("MAP@12", "recall@12", "recall@100", "NDCG@12", "hit rate@12")
COVERAGE, NOVELTY, DIVERSITY = OF_LISTS = ("coverage@12", "novelty@12", "diversity@12")
# What two articles may share, for the diversity of a list: what it is, its pattern, its colour, where it hangs.
DIVERSITY_COLUMNS = ("product_type_no", "graphical_appearance_no", "colour_group_code", "section_no")
NOVELTY_DAYS = 28  # before the test days: how many customers bought an article in these says how well it is known
EVERYONE = "everyone"
MIN_CUSTOMERS = 30  # of a slice, for an interval: the bootstrap of fewer is too narrow (of one, it has no width)
RESAMPLES = 1_000
LEVEL = 0.95


@dataclass(frozen=True)
class Slice:
    """Some of the customers, and what they got out of every ranking when some of the articles count.

    Attributes:
        customers: ``[n]`` who is in the slice.
        scores: ``[n, rankings, metrics]`` in the order of :data:`METRICS`; only the slice's rows are read.
    """

    customers: Bool
    scores: Float64


@dataclass(frozen=True)
class Evaluation:
    """What every customer got out of every ranking.

    Intervals are percentile bootstraps over customers: the customers of the slice are drawn with
    replacement 1,000 times, the same draws for every ranking and metric, so that differences are
    paired. Coverage, novelty and diversity tell what the lists are like, not how right they are, and
    have no interval.

    Attributes:
        rankings: names, in the order of the tables.
        parts: the slices by name (see :meth:`slices`); the first is :data:`EVERYONE`.
        of_lists: a row a ranking; columns :data:`OF_LISTS`: share of the catalogue in anybody's first 12,
            and the means over customers of :func:`metrics.novelty` and :func:`metrics.intra_list_diversity`.
        seed: of the bootstrap.
    """

    rankings: tuple[str, ...]
    parts: Mapping[str, Slice]
    of_lists: pd.DataFrame
    seed: int

    def __len__(self) -> int:
        return len(self.per_customer)

    @property
    def per_customer(self) -> Float64:
        """``[n, rankings, metrics]`` a value a customer, in the order of :data:`METRICS`."""
        return self.parts[EVERYONE].scores

    def mean(self, ranking: str, metric: str = "MAP@12", slice: str = EVERYONE) -> float:
        """One cell of the table, for a check such as "better than popularity"."""
        return float(self._mean(slice)[self._position(ranking), METRICS.index(metric)])

    def table(self) -> pd.DataFrame:
        """A row a ranking, columns ``(metric, "mean" | "low" | "high")``; :data:`OF_LISTS` have a mean alone."""
        table = self._frame(self._mean(EVERYONE), self._resampled(EVERYONE), self.rankings)
        for name in self.of_lists:
            table[(name, "mean")] = self.of_lists[name]
        return table

    def against(self, reference: str, slice: str = EVERYONE) -> pd.DataFrame:
        """Every other ranking minus the reference, paired by customer; columns as in :meth:`table`.

        An interval that leaves out 0 is a difference that another draw of customers would show too.
        ``slice`` is one of :meth:`slices`: then only its customers, and the articles that count there.
        """
        position = self._position(reference)
        others = [i for i in range(len(self.rankings)) if i != position]
        mean, resampled = self._mean(slice), self._resampled(slice)
        return self._frame(
            mean[others] - mean[position],
            resampled[:, others] - resampled[:, [position]],
            [self.rankings[i] for i in others],
        )

    def share_of(self, reference: str) -> pd.DataFrame:
        """Every ranking's mean as a share of the reference's (of an oracle: 1 is the ceiling); paired, as above.

        NaN where the reference itself has 0.
        """
        position = self._position(reference)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean, resampled = (values / values[..., [position], :] for values in (self._mean(), self._resampled()))
        unknown = ~np.isfinite(resampled).all(axis=0)
        return self._frame(np.where(unknown, np.nan, mean), np.where(unknown, np.nan, resampled), self.rankings)

    def slices(self) -> pd.DataFrame:
        """The table once for each slice, index ``(slice, ranking)``, with the slice's number of customers.

        Slices of customers, by what they bought before the test days: "bought before", which is "active"
        (in the last :data:`ACTIVE_DAYS` too) or "dormant" (not in these), and "never bought". By age, where
        ages were given: a slice for each of :data:`hm_utils.evaluation.baselines.AGE_BANDS` and "age unknown".

        Slices of articles leave the lists as they are and count only some of what was bought, over the
        customers who bought such an article: "bought again" is what the customer had bought before the test
        days, "new to the customer" the rest. "new in the shop" is what nobody had bought until
        :data:`NEW_IN_SHOP_DAYS` before the test; a log that begins less than twice as long before cannot
        tell, and has no customer there.

        A slice without customers has NaN throughout, one with fewer than :data:`MIN_CUSTOMERS` no interval.
        """
        frames = {}
        for name, part in self.parts.items():
            frame = self._frame(self._mean(name), self._resampled(name), self.rankings)
            frame.insert(0, ("customers", "n"), int(part.customers.sum()))
            frames[name] = frame
        del frames[EVERYONE]  # is the table
        return pd.concat(frames, names=["slice", "ranking"])

    def gain_by_slice(self, ranking: str, reference: str) -> pd.DataFrame:
        """:meth:`against` for one ranking: a row for everyone and for each slice, with its number of customers."""
        if ranking == reference:
            raise ValueError(f"the gain of {ranking!r} over itself is 0 everywhere: name another reference")
        rows = [self.against(reference, name).loc[[ranking]].rename({ranking: name}) for name in self.parts]
        gains = pd.concat(rows).rename_axis("slice")
        gains.insert(0, ("customers", "n"), [int(part.customers.sum()) for part in self.parts.values()])
        return gains

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

    def _mean(self, slice: str = EVERYONE) -> Float64:
        """``[rankings, metrics]``"""
        values = self._scores(slice)
        return values.mean(axis=0) if len(values) else np.full(values.shape[1:], np.nan)

    def _resampled(self, slice: str = EVERYONE) -> Float64:
        """``[times, rankings, metrics]``; NaN, once, for a slice that is too small."""
        if slice not in self._resamples:  # several tables read them
            values = self._scores(slice)
            enough = slice == EVERYONE or len(values) >= MIN_CUSTOMERS
            nothing = np.full((1, *values.shape[1:]), np.nan)
            self._resamples[slice] = resampled_means(values, self.seed) if enough else nothing
        return self._resamples[slice]

    @cached_property
    def _resamples(self) -> dict[str, Float64]:
        return {}

    def _scores(self, slice: str) -> Float64:
        """``[customers of the slice, rankings, metrics]``"""
        if slice not in self.parts:
            raise KeyError(f"no slice {slice!r}: there are {', '.join(self.parts)}")
        part = self.parts[slice]
        return part.scores[part.customers]

    def _position(self, ranking: str) -> int:
        if ranking not in self.rankings:
            raise KeyError(f"no ranking {ranking!r}: there are {', '.join(self.rankings)}")
        return self.rankings.index(ranking)

    @staticmethod
    def _frame(mean: Float64, resampled: Float64, names: tuple[str, ...] | list[str]) -> pd.DataFrame:
        """``mean`` ``[rankings, metrics]`` with the interval of ``resampled`` ``[times, rankings, metrics]``."""
        low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        columns = pd.MultiIndex.from_product([METRICS, ["mean", "low", "high"]], names=["metric", None])
        numbers = np.stack([mean, low, high], axis=-1).reshape(len(names), -1)
        return pd.DataFrame(numbers, index=pd.Index(names, name="ranking"), columns=columns)


def evaluate(
    rankings: Mapping[str, Int32],
    truth: Baskets,
    log: PurchaseLog,
    as_of: int,
    seed: int = 0,
    *,
    ages: pd.Series | None = None,
    articles: pd.DataFrame | None = None,
) -> Evaluation:
    """Compare rankings with what the customers bought.

    Args:
        rankings: ``[n, 100]`` articles a name, best first, -1 where a list is short; row i is for
            ``truth.customers[i]``.
        truth: who bought in the test days, and what: ``log.baskets_between(as_of, as_of + test_days)``.
        log: tells what the customers had bought before ``as_of``, and the size of the catalogue.
        as_of: first test day.
        seed: of the bootstrap.
        ages: ``[all customers]`` by customer row, NaN where unknown; without it no slice is by age.
        articles: the catalogue by article row, with :data:`DIVERSITY_COLUMNS`; without it diversity is NaN.

    Raises:
        ValueError: if nobody bought, there is no ranking, or a ranking has a wrong shape, an article
            outside the catalogue or an article twice in a list.
    """
    if not len(truth):
        raise ValueError(f"nobody bought anything from {log.date(as_of)} on: there is nothing to evaluate")
    if not rankings:
        raise ValueError("there is no ranking to evaluate")
    for name, ranked in rankings.items():
        _check(name, ranked, len(truth), log.n_articles)
    everyone = _slice(rankings, truth)
    again = bought_before(truth, log, as_of)
    parts = {
        EVERYONE: everyone,
        **{name: Slice(keep, everyone.scores) for name, keep in _customers(truth.customers, log, as_of, ages).items()},
        "bought again": _slice(rankings, _only(truth, again)),
        "new to the customer": _slice(rankings, _only(truth, ~again)),
        "new in the shop": _slice(rankings, _only(truth, _new_in_shop(log, as_of)[truth.articles])),
    }
    return Evaluation(tuple(rankings), parts, _of_lists(rankings, log, as_of, articles), seed)


def formatted(table: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """A table of :class:`Evaluation` for reading: one column a metric, cells like ``0.0348 [0.0331, 0.0365]``."""

    def cell(numbers: pd.Series) -> str:
        if "n" in numbers:
            return f"{int(numbers['n']):,}"
        if np.isnan(numbers["mean"]):
            return "–"
        mean = f"{numbers['mean']:.{digits}f}"
        if "low" not in numbers or np.isnan(numbers["low"]):
            return mean
        # The inner space does not break: in a narrow column the interval goes below the mean as a whole.
        return f"{mean} [{numbers['low']:.{digits}f},\N{NO-BREAK SPACE}{numbers['high']:.{digits}f}]"

    names = table.columns.get_level_values(0).unique()
    return pd.DataFrame({name: table[name].apply(cell, axis=1) for name in names}, index=table.index)


def side_by_side(slices: pd.DataFrame, metric: str, rankings: Sequence[str]) -> pd.DataFrame:
    """One metric of :meth:`Evaluation.slices` for reading: a row a slice, its customers, and a column a ranking."""
    cells = formatted(slices[["customers", metric]])
    columns = {name: cells[metric].xs(name, level="ranking") for name in rankings}
    return pd.DataFrame({"customers": cells["customers"].xs(rankings[0], level="ranking"), **columns})


def bought_before(truth: Baskets, log: PurchaseLog, as_of: int) -> Bool:
    """``[m]`` for each of ``truth.articles`` whether its customer bought it before ``as_of`` too."""
    owner, rows = history_rows(log, truth.customers, as_of)
    before = owner * log.n_articles + log.article[rows]
    row = np.repeat(np.arange(len(truth)), truth.sizes)
    return np.isin(row * log.n_articles + truth.articles, before, kind="sort")


def resampled_means(values: Float64, seed: int, times: int = RESAMPLES) -> Float64:
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


def _customers(customers: Int32, log: PurchaseLog, as_of: int, ages: pd.Series | None) -> dict[str, Bool]:
    """``[n]`` for each slice of customers who is in it."""
    start = np.asarray(log.offsets)[customers]
    before, long_before = (log.history_ends(customers, day) for day in (as_of, as_of - ACTIVE_DAYS))
    bought, active = before > start, before > long_before
    slices = {
        "bought before": bought,
        f"active, last {ACTIVE_DAYS} days": active,
        "dormant": bought & ~active,
        "never bought": ~bought,
    }
    if ages is not None:
        band = age_bands(ages)[customers]
        slices |= {f"aged {name}": band == i for i, name in enumerate(AGE_BANDS)} | {"age unknown": band < 0}
    return slices


def _new_in_shop(log: PurchaseLog, as_of: int) -> Bool:
    """``[n_articles]`` whether nobody bought the article until ``NEW_IN_SHOP_DAYS`` before ``as_of``."""
    since = as_of - NEW_IN_SHOP_DAYS
    if since < NEW_IN_SHOP_DAYS:
        return np.zeros(log.n_articles, dtype=bool)
    return log.sales_between(0, since) == 0


def _only(truth: Baskets, counts: Bool) -> Baskets:
    """The truth with only the articles that count (``[m]`` bool); some baskets become empty."""
    row = np.repeat(np.arange(len(truth)), truth.sizes)
    sizes = np.bincount(row[counts], minlength=len(truth))
    return Baskets(truth.customers, np.concatenate([[0], np.cumsum(sizes)]), truth.articles[counts])


def _slice(rankings: Mapping[str, Int32], truth: Baskets) -> Slice:
    """The customers who bought any of what counts, and how each ranking did for them."""
    some = truth.sizes > 0
    bought = truth.select(some)
    values = np.full((len(truth), len(rankings), len(METRICS)), np.nan)
    for i, ranked in enumerate(rankings.values()):
        values[some, i] = _values(ranked[some], bought)
    return Slice(some, values)


def _of_lists(
    rankings: Mapping[str, Int32], log: PurchaseLog, as_of: int, articles: pd.DataFrame | None
) -> pd.DataFrame:
    """What the lists are like: columns :data:`OF_LISTS`, a row a ranking."""
    recent = log.baskets_between(as_of - NOVELTY_DAYS, as_of)
    information = metrics.self_information(np.bincount(recent.articles, minlength=log.n_articles), len(recent))
    table = pd.DataFrame(np.nan, index=list(rankings), columns=list(OF_LISTS))
    table[COVERAGE] = [metrics.coverage(ranked, log.n_articles) for ranked in rankings.values()]
    table[NOVELTY] = _means(metrics.novelty(ranked, information) for ranked in rankings.values())
    if articles is not None:
        # A value that is missing is a value of its own (-1).
        codes = np.stack([pd.factorize(articles[column])[0] for column in DIVERSITY_COLUMNS], axis=1)
        table[DIVERSITY] = _means(metrics.intra_list_diversity(ranked, codes) for ranked in rankings.values())
    return table


def _means(per_customer: Iterable[Float64]) -> list[float]:
    """The mean of each, those left out whose list is too short to tell (NaN)."""
    known = (values[~np.isnan(values)] for values in per_customer)
    return [float(values.mean()) if len(values) else float("nan") for values in known]


def _values(ranked: Int32, truth: Baskets) -> Float64:
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
