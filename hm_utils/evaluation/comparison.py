"""The comparison of rankings: tables with intervals, slices and paired differences.

Every ranking ranks the whole catalogue, and every customer who bought in the test days counts. A short or empty
ranking scores 0 where it misses. A ranking is an array of articles, whether of a model, a baseline or an oracle.

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
import pandas as pd

from hm_utils.arrays import Float64, Int32
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.evaluation import metrics
from hm_utils.evaluation.bootstrap import MIN_CUSTOMERS, interval, resampled_means
from hm_utils.evaluation.metrics import METRICS
from hm_utils.evaluation.slices import EVERYONE, Slice, make_slices

COVERAGE, NOVELTY, DIVERSITY = BEYOND_ACCURACY = ("coverage@12", "novelty@12", "diversity@12")
# Attributes that two articles may share, for diversity: the type, the pattern, the colour, the section.
DIVERSITY_COLUMNS = ("product_type_no", "graphical_appearance_no", "colour_group_code", "section_no")
NOVELTY_DAYS = 28  # before the test days: an article is well known if many customers bought it in these


@dataclass(frozen=True)
class Evaluation:
    """The scores of every customer under every ranking.

    Intervals are bootstraps over the customers of a slice. Every ranking and metric uses the same draws, so
    differences are paired. Coverage, novelty and diversity describe rankings, not their accuracy, and have no interval.

    Attributes:
        rankings: names, in the order of the tables.
        parts: the slices by name (:func:`hm_utils.evaluation.slices.make_slices`); the first is :data:`EVERYONE`.
        beyond_accuracy: a row a ranking, columns :data:`BEYOND_ACCURACY`: share of the catalogue in the first 12 of any
            customer, and the means over customers of :func:`metrics.novelty` and :func:`metrics.intra_list_diversity`.
        seed: seeds the bootstrap.
    """

    rankings: tuple[str, ...]
    parts: Mapping[str, Slice]
    beyond_accuracy: pd.DataFrame
    seed: int

    def __len__(self) -> int:
        return len(self.per_customer)

    @property
    def per_customer(self) -> Float64:
        """``[n, rankings, metrics]`` in the order of :data:`METRICS`."""
        return self.parts[EVERYONE].scores

    def mean(self, ranking: str, metric: str = "MAP@12", slice: str = EVERYONE) -> float:
        """One cell of the table, for a check such as "better than popularity"."""
        return float(self._mean(slice)[self._position(ranking), METRICS.index(metric)])

    def table(self) -> pd.DataFrame:
        """A row a ranking, columns ``(metric, "mean" | "low" | "high")``; :data:`BEYOND_ACCURACY` has only means."""
        table = self._frame(self._mean(EVERYONE), self._resampled(EVERYONE), self.rankings)
        for name in self.beyond_accuracy:
            table[(name, "mean")] = self.beyond_accuracy[name]
        return table

    def against(self, reference: str, slice: str = EVERYONE) -> pd.DataFrame:
        """Every other ranking minus the reference, paired by customer; columns as in :meth:`table`.

        If an interval excludes 0, another draw of customers would show the difference too.

        Args:
            slice: a name in ``parts``; only its customers and purchases count.
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
        """Every ranking's mean divided by the reference's, paired by customer; columns as in :meth:`table`.

        Of an oracle, 1 is the upper bound. NaN where the reference itself has 0.
        """
        position = self._position(reference)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean, resampled = (values / values[..., [position], :] for values in (self._mean(), self._resampled()))
        unknown = ~np.isfinite(resampled).all(axis=0)
        return self._frame(np.where(unknown, np.nan, mean), np.where(unknown, np.nan, resampled), self.rankings)

    def slices(self) -> pd.DataFrame:
        """The table for each slice but everyone, index ``(slice, ranking)``, with the number of customers.

        A slice without customers has NaN throughout, one with fewer than :data:`MIN_CUSTOMERS` no interval.
        """
        frames = {}
        for name, part in self.parts.items():
            if name != EVERYONE:
                frames[name] = self._frame(self._mean(name), self._resampled(name), self.rankings)
                frames[name].insert(0, ("customers", "n"), int(part.customers.sum()))
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
        """All tables as plain numbers for a JSON file, None instead of NaN."""
        return {
            "customers": len(self),
            "rankings": _nested(self.table()),
            "slices": {
                str(name): {
                    "customers": int(part[("customers", "n")].iloc[0]),
                    "rankings": _nested(part.droplevel("slice").drop(columns="customers", level=0)),
                }
                for name, part in self.slices().groupby(level="slice", sort=False)
            },
        }

    def _mean(self, slice: str = EVERYONE) -> Float64:
        """``[rankings, metrics]``"""
        scores = self._scores(slice)
        return scores.mean(axis=0) if len(scores) else np.full(scores.shape[1:], np.nan)

    def _resampled(self, slice: str = EVERYONE) -> Float64:
        """``[times, rankings, metrics]``; for a slice that is too small, ``times`` is 1 and the values are NaN."""
        if slice not in self._resamples:  # several tables read them
            scores = self._scores(slice)
            enough = slice == EVERYONE or len(scores) >= MIN_CUSTOMERS
            nothing = np.full((1, *scores.shape[1:]), np.nan)
            self._resamples[slice] = resampled_means(scores, self.seed) if enough else nothing
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
    def _frame(mean: Float64, resampled: Float64, names: Sequence[str]) -> pd.DataFrame:
        """``mean`` (``[rankings, metrics]``) with the interval of ``resampled`` (``[times, rankings, metrics]``)."""
        columns = pd.MultiIndex.from_product([METRICS, ["mean", "low", "high"]], names=["metric", None])
        numbers = np.stack([mean, *interval(resampled)], axis=-1).reshape(len(names), -1)
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
        rankings: by name, ``[n, 100]`` articles, best first, -1 where a ranking is short; row i is for
            ``truth.customers[i]``.
        truth: the purchases of the test days, ``log.baskets_between(as_of, as_of + test_days)``.
        log: the source of the purchases before ``as_of`` and of the catalogue's size.
        as_of: first test day.
        seed: seeds the bootstrap.
        ages: ``[all customers]`` by customer row, NaN where unknown; without it no slice is by age.
        articles: the catalogue by article row, with :data:`DIVERSITY_COLUMNS`; without their values diversity is NaN.

    Raises:
        ValueError: if nobody bought anything, ``rankings`` is empty, or a ranking has a wrong shape, an article
            outside the catalogue, or an article twice for one customer.
    """
    if not len(truth):
        raise ValueError(f"nobody bought anything from {log.date(as_of)} on: there is nothing to evaluate")
    if not rankings:
        raise ValueError("there is no ranking to evaluate")
    for name, ranked in rankings.items():
        _check(name, ranked, len(truth), log.n_articles)
    parts = make_slices(rankings, truth, log, as_of, ages)
    return Evaluation(tuple(rankings), parts, _beyond_accuracy(rankings, log, as_of, articles), seed)


def formatted(table: pd.DataFrame, digits: int = 4, signed: bool = False) -> pd.DataFrame:
    """A table of :class:`Evaluation` as text: a column a metric, cells such as ``0.0348 [0.0331, 0.0365]``."""
    number = f"{'+' if signed else ''}.{digits}f"

    def cell(numbers: pd.Series) -> str:
        if "n" in numbers:
            return f"{int(numbers['n']):,}"
        if np.isnan(numbers["mean"]):
            return "–"
        mean = f"{numbers['mean']:{number}}"
        if "low" not in numbers or np.isnan(numbers["low"]):
            return mean
        # In a narrow column, the no-break space wraps the interval as a whole.
        return f"{mean} [{numbers['low']:{number}},\N{NO-BREAK SPACE}{numbers['high']:{number}}]"

    names = table.columns.get_level_values(0).unique()
    return pd.DataFrame({name: table[name].apply(cell, axis=1) for name in names}, index=table.index)


def side_by_side(slices: pd.DataFrame, metric: str, rankings: Sequence[str]) -> pd.DataFrame:
    """One metric of :meth:`Evaluation.slices` as text: a row a slice, with its customers and a column a ranking."""
    cells = formatted(slices[["customers", metric]])
    columns = {name: cells[metric].xs(name, level="ranking") for name in rankings}
    return pd.DataFrame({"customers": cells["customers"].xs(rankings[0], level="ranking"), **columns})


def _beyond_accuracy(
    rankings: Mapping[str, Int32], log: PurchaseLog, as_of: int, articles: pd.DataFrame | None
) -> pd.DataFrame:
    """A row a ranking, columns :data:`BEYOND_ACCURACY`."""
    recent = log.baskets_between(as_of - NOVELTY_DAYS, as_of)
    information = metrics.self_information(np.bincount(recent.articles, minlength=log.n_articles), len(recent))
    table = pd.DataFrame(np.nan, index=list(rankings), columns=list(BEYOND_ACCURACY))
    table[COVERAGE] = [metrics.coverage(ranked, log.n_articles) for ranked in rankings.values()]
    table[NOVELTY] = _means(metrics.novelty(ranked, information) for ranked in rankings.values())
    described = [] if articles is None else [name for name in DIVERSITY_COLUMNS if articles[name].notna().any()]
    if articles is not None and described:
        # A missing value is a value of its own (-1).
        codes = np.stack([pd.factorize(articles[column])[0] for column in described], axis=1)
        table[DIVERSITY] = _means(metrics.intra_list_diversity(ranked, codes) for ranked in rankings.values())
    return table


def _means(per_customer: Iterable[Float64]) -> list[float]:
    """The mean of each array without its NaN (rankings that are too short)."""
    known = (values[~np.isnan(values)] for values in per_customer)
    return [float(values.mean()) if len(values) else float("nan") for values in known]


def _check(name: str, ranked: Int32, n: int, n_articles: int) -> None:
    if ranked.ndim != 2 or ranked.shape[0] != n or ranked.shape[1] < 100:
        raise ValueError(f"ranking {name!r} has shape {ranked.shape}: it needs {n:,} rows of 100 articles, -1 if short")
    if ranked.min() < -1 or ranked.max() >= n_articles:
        raise ValueError(f"ranking {name!r} has articles outside the catalogue of {n_articles:,}")
    articles = np.sort(ranked, axis=1)
    twice = ((articles[:, 1:] == articles[:, :-1]) & (articles[:, 1:] >= 0)).any(axis=1)
    if twice.any():
        raise ValueError(f"ranking {name!r} has an article twice for {twice.sum():,} customers")


def _nested(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """``{ranking: {metric: {"mean": ..., "low": ..., "high": ...}}}``"""
    return {
        str(ranking): {
            metric: {key: None if np.isnan(x) else float(x) for key, x in row[metric].items()}
            for metric in row.index.get_level_values(0).unique()
        }
        for ranking, row in table.iterrows()
    }
