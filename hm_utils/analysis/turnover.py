"""Changes over time (notebook 01): best-sellers, the age of articles sold, seasons, and prices.

Weeks are counted back from the last day of the log, so that the last week is whole. A log of less than four weeks is
analysed by days.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.analysis.data_tables import filled
from hm_utils.analysis.eda import PRICE_QUANTILES, launches
from hm_utils.arrays import Int32
from hm_utils.data.purchases import PurchaseLog

SHORT_LOG = 28  # days; a shorter log is analysed by days
AGE_EDGES = (1, 5, 13, 27)  # periods since the first sale at which the classes of age_of_sales begin
SEASON_MONTHS = 6  # a log with fewer whole months shows no season
SEASON_SHARE = 0.01  # a smaller share of all purchases excludes a group
PRICED_ROWS = 2_000_000  # purchases drawn for quantiles of prices: more do not change them


@dataclass(frozen=True)
class Periods:
    """The log cut into periods of equal length.

    Attributes:
        unit: "week" or "day".
        of_day: ``[days]`` the period of every day of the log, -1 before the first whole period.
        count: number of whole periods.
    """

    unit: str
    of_day: Int32
    count: int

    @classmethod
    def of(cls, log: PurchaseLog) -> Periods:
        days = log.last_day + 1
        unit, length = ("week", 7) if days >= SHORT_LOG else ("day", 1)
        count = days // length
        of_day = (np.arange(days) - (days - count * length)) // length
        return cls(unit, np.maximum(of_day, -1).astype(np.int32), count)

    def days(self, period: int) -> tuple[int, int]:
        """The first day of a period, and the day after its last."""
        days = np.flatnonzero(self.of_day == period)
        return int(days[0]), int(days[-1]) + 1

    def words(self, number: int) -> str:
        """A number of periods in words, such as "4 weeks"."""
        return f"{number:,} {self.unit}{'s' * (number != 1)}"


def best_sellers(log: PurchaseLog, periods: Periods, top: int) -> npt.NDArray[np.bool_]:
    """``[periods, n_articles]`` whether an article is among the ``top`` best-sellers of each period."""
    among = np.zeros((periods.count, log.n_articles), dtype=bool)
    for period in range(periods.count):
        sales = log.sales_between(*periods.days(period))
        best = np.argsort(-sales, kind="stable")[:top]
        among[period, best[sales[best] > 0]] = True
    return among


def best_seller_overlap(log: PurchaseLog, periods: Periods, top: int = 100) -> pd.DataFrame:
    """The share of a period's best-sellers that are still best-sellers a number of periods later.

    Returns:
        Index ``later`` (1 to 60 periods). Columns ``mean``, ``low``, ``high``: the mean share over all pairs of
        periods at that distance, and the bounds of their middle 80 %. Attribute ``top`` is the number of
        best-sellers, at most a fifth of the articles sold.
    """
    top = max(1, min(top, int(np.count_nonzero(log.sales_between(0, log.last_day + 1))) // 5))
    among = best_sellers(log, periods, top)
    kept = among[:, among.any(axis=0)].astype(np.float32)
    shared = kept @ kept.T / np.maximum(kept.sum(axis=1), 1)[:, None]
    rows = {}
    for later in range(1, min(periods.count - 1, 60) + 1):
        pairs = np.diagonal(shared, later)
        rows[later] = {"mean": pairs.mean(), "low": np.quantile(pairs, 0.1), "high": np.quantile(pairs, 0.9)}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"]).rename_axis("later")
    frame.attrs["top"] = top
    return frame


def age_of_sales(log: PurchaseLog, periods: Periods) -> pd.DataFrame:
    """Each period's purchases by the age of the article, in periods since its first sale.

    Returns:
        One row per period (index: its first date), one column per class of age; the shares of a row add up to 1. Early
        periods are excluded, as long as the log is too young for an article of the oldest class.
    """
    edges = [edge for edge in AGE_EDGES if edge <= max(1, periods.count // 2)]
    names = [f"first sold that {periods.unit}"]
    names += [
        f"{low} to {high - 1} {periods.unit}s" if high - low > 1 else periods.words(low)
        for low, high in pairwise(edges)
    ]
    names.append(f"{periods.words(edges[-1])} or more" if edges[-1] > 1 else "sold before")
    first = np.minimum(log.first_sale_day, log.last_day)
    # An article sold before the first whole period is one period older.
    born = periods.of_day[first]
    period = periods.of_day[log.day]
    rows = np.flatnonzero(period >= edges[-1])
    of_class = np.searchsorted(edges, np.arange(periods.count + 2), side="right")
    age = of_class[period[rows] - born[log.article[rows]]]
    width = len(names)
    counts = np.bincount(period[rows] * np.int64(width) + age, minlength=periods.count * width).reshape(-1, width)
    starts = [log.first_date + np.timedelta64(periods.days(place)[0], "D") for place in range(periods.count)]
    frame = pd.DataFrame(counts, index=pd.DatetimeIndex(starts), columns=names).iloc[edges[-1] :]
    return frame.div(frame.sum(axis=1).clip(lower=1), axis=0)


def season_shares(log: PurchaseLog, groups: pd.Series, most: int = 5) -> pd.DataFrame:
    """The most seasonal groups' share of each month's purchases.

    Args:
        groups: ``[n_articles]`` the group of every article, such as its product type.
        most: number of groups. Groups rank by the ratio of their best month to their mean month; groups with less
            than 1 % of all purchases are excluded.

    Returns:
        One row per whole month (index: its first day), one column per group; empty below six whole months.
    """
    days = pd.date_range(str(log.first_date), periods=log.last_day + 1)
    month = (days.year * 12 + days.month).to_numpy() - (days.year[0] * 12 + days.month[0])
    length = np.bincount(month)
    begins = days[np.flatnonzero(np.diff(month, prepend=-1))]
    whole = length >= begins.days_in_month.to_numpy()
    if whole.sum() < SEASON_MONTHS:
        return pd.DataFrame()
    codes, names = pd.factorize(filled(groups))
    size = len(names)
    code = codes[log.article]
    cell = month[log.day] * np.int64(size) + code
    counts = np.bincount(cell, minlength=len(length) * size).reshape(-1, size)[whole]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    large = np.flatnonzero(counts.sum(axis=0) >= SEASON_SHARE * counts.sum())
    swing = share[:, large].max(axis=0) / share[:, large].mean(axis=0)
    chosen = large[np.argsort(-swing, kind="stable")[:most]]
    starts = begins.to_period("M").to_timestamp()[whole]
    return pd.DataFrame(share[:, chosen], index=starts, columns=names[chosen])


def price_over_life(log: PurchaseLog, weeks: int = 26, seed: int = 0) -> pd.DataFrame:
    """The price paid, relative to the mean of the article's first week, by weeks since its first sale.

    Only articles launched within the log count (:func:`eda.launches`).

    Returns:
        Index ``week`` (0, 1, …), columns :data:`eda.PRICE_QUANTILES` and ``reduced``, the share of purchases at least
        20 % below the first price. Weeks with fewer than 100 purchases are excluded.
    """
    launched = launches(log)
    first = np.full(log.n_articles, -1, dtype=np.int64)
    first[launched.index] = launched
    rows = np.flatnonzero(first[log.article] >= 0)
    age = log.day[rows] - first[log.article[rows]]
    early = rows[age < 7]
    sold = np.bincount(log.article[early], minlength=log.n_articles)
    paid = np.bincount(log.article[early], weights=log.price[early], minlength=log.n_articles)
    rows = rows[age < 7 * weeks]
    rows = rows if len(rows) <= PRICED_ROWS else np.random.default_rng(seed).choice(rows, PRICED_ROWS, replace=False)
    article = log.article[rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = log.price[rows] / (paid[article] / sold[article])
    by_week = pd.Series(relative).groupby((log.day[rows] - first[article]) // 7)
    frame = pd.DataFrame({name: by_week.quantile(q) for name, q in PRICE_QUANTILES.items()}).rename_axis("week")
    frame["reduced"] = by_week.agg(lambda values: float((values <= 0.8).mean()))
    return frame[by_week.size() >= 100]
