"""Counts and shares of the raw tables and the purchase log (notebook 01).

Every function returns plain pandas or numpy, ready for :mod:`hm_utils.plotting.eda_figures`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.analysis.data_tables import filled
from hm_utils.arrays import Int64
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw import RawTables
from hm_utils.data.segments import AGE_BANDS, age_bands

# Attributes that two articles of one basket may share: {column of articles: label}.
COHERENCE_COLUMNS = {
    "product_code": "the product",
    "product_type_no": "the product type",
    "colour_group_code": "the colour",
    "department_no": "the department",
    "garment_group_no": "the garment group",
    "index_group_no": "the index group",
}
CUSTOMER_ATTRIBUTES = ("FN", "Active", "club_member_status", "fashion_news_frequency")
PRICE_QUANTILES = {"low": 0.1, "median": 0.5, "high": 0.9}
# An article first seen this soon after the log starts may have been on sale long before.
LAUNCH_MARGIN = 28


def missing_share(tables: RawTables) -> pd.Series:
    """Share of empty values in the columns that have any, largest first; the index is ``table.column``."""
    shares = [
        frame.isna().mean().rename(lambda column, name=name: f"{name}.{column}")  # type: ignore[misc]
        for name, frame in (("articles", tables.articles), ("customers", tables.customers))
    ]
    share = pd.concat(shares)
    return share[share > 0].sort_values(ascending=False, kind="stable")


def daily_sales(log: PurchaseLog) -> pd.Series:
    """Purchases on every day of the log, 0 on days without any; the index is the date."""
    counts = np.bincount(log.day, minlength=log.last_day + 1)
    return pd.Series(counts, index=pd.date_range(str(log.first_date), periods=len(counts)), name="purchases")


def cumulative_share(log: PurchaseLog) -> pd.Series:
    """The k best-selling articles' share of all purchases, for k = 1 to the number of articles sold."""
    sales = np.sort(log.sales_between(0, log.last_day + 1))[::-1]
    sales = sales[sales > 0]
    share = np.cumsum(sales) / sales.sum()
    return pd.Series(share, index=pd.RangeIndex(1, len(share) + 1, name="articles"), name="share of purchases")


def basket_starts(log: PurchaseLog) -> Int64:
    """Where each basket (one customer, one day) starts in the log, which is sorted by both."""
    new = np.ones(len(log), dtype=bool)
    new[1:] = (np.diff(log.customer) != 0) | (np.diff(log.day) != 0)
    return np.flatnonzero(new)


def basket_sizes(log: PurchaseLog) -> Int64:
    """``[baskets]`` purchases in each basket; an article bought twice counts twice."""
    return np.diff(basket_starts(log), append=len(log))


def basket_coherence(log: PurchaseLog, articles: pd.DataFrame, pairs: int = 200_000, seed: int = 0) -> pd.DataFrame:
    """How often two different articles share an attribute, in one basket and in any two purchases.

    Returns:
        Columns ``one basket`` and ``any two purchases`` (shares; NaN if no basket has two articles), one row per
        label of :data:`COHERENCE_COLUMNS` whose column has values.
    """
    rng = np.random.default_rng(seed)
    starts = basket_starts(log)
    sizes = np.diff(starts, append=len(log))
    basket = np.repeat(np.arange(len(starts)), sizes)
    rows = np.flatnonzero(sizes[basket] > 1)
    first = rng.choice(rows, pairs) if len(rows) else rows
    second = starts[basket[first]] + (rng.random(len(first)) * sizes[basket[first]]).astype(np.int64)
    same_basket = log.article[first], log.article[second]
    any_two = log.article[rng.integers(len(log), size=pairs)], log.article[rng.integers(len(log), size=pairs)]
    codes = {
        label: pd.factorize(articles[column])[0]
        for column, label in COHERENCE_COLUMNS.items()
        if articles[column].notna().any()
    }
    shares = {}
    for name, (one, other) in {"one basket": same_basket, "any two purchases": any_two}.items():
        different = one != other
        shares[name] = {label: _mean((code[one] == code[other])[different]) for label, code in codes.items()}
    return pd.DataFrame(shares, columns=["one basket", "any two purchases"])


def products(articles: pd.DataFrame) -> Int64:
    """``[n_articles]`` a code of each article's product; an article without one is a product of its own."""
    codes = pd.factorize(articles["product_code"])[0]
    return np.where(codes >= 0, codes, codes.max(initial=-1) + 1 + np.arange(len(codes)))


@dataclass(frozen=True)
class Repurchases:
    """Purchases of an article (or a product) that the same customer had bought on an earlier day.

    Attributes:
        share: their share of all distinct (customer, article, day).
        gaps: ``[n]`` days since the customer's previous purchase of the article, for each repurchase.
    """

    share: float
    gaps: Int64


def repurchases(log: PurchaseLog, groups: npt.ArrayLike | None = None) -> Repurchases:
    """Repurchases of articles, or of the groups of articles in ``groups`` (``[n_articles]`` codes from 0)."""
    codes = np.arange(log.n_articles) if groups is None else np.asarray(groups)
    n_days = log.last_day + 1
    key = log.customer.astype(np.int64) * (int(codes.max()) + 1) + codes[log.article]
    visit = np.sort(key * n_days + log.day)  # np.unique takes 50 times longer on 30 million rows
    visit = visit[np.diff(visit, prepend=-1) > 0]
    key, day = np.divmod(visit, n_days)
    again = np.diff(key) == 0
    return Repurchases(share=float(again.sum() / len(visit)), gaps=np.diff(day)[again])


def purchases_per_customer(log: PurchaseLog) -> Int64:
    """``[customers who bought]`` purchases of each customer."""
    counts = np.diff(log.offsets)
    return counts[counts > 0]


def attribute_shares(customers: pd.DataFrame) -> pd.DataFrame:
    """The share of each value of the customer attributes, empty values included.

    Returns:
        Columns ``attribute``, ``value`` ("empty" if missing), ``share``; largest first within an attribute.
    """
    parts = []
    for name in CUSTOMER_ATTRIBUTES:
        value = filled(customers[name].astype("str").str.removesuffix(".0"))
        share = value.value_counts(normalize=True)
        parts.append(pd.DataFrame({"attribute": name, "value": share.index, "share": share.to_numpy()}))
    return pd.concat(parts, ignore_index=True)


def catalogue_shares(log: PurchaseLog, articles: pd.DataFrame, column: str) -> pd.DataFrame:
    """Each value's share of the catalogue and of purchases (columns ``articles``, ``purchases``), most bought first."""
    sales = log.sales_between(0, log.last_day + 1)
    by_value = pd.DataFrame({"articles": 1, "purchases": sales}).groupby(filled(articles[column]).to_numpy()).sum()
    return (by_value / by_value.sum()).sort_values("purchases", ascending=False, kind="stable")


def groups_by_age(log: PurchaseLog, groups: pd.Series, ages: pd.Series) -> pd.DataFrame:
    """The share of each group of articles in the purchases of each age band.

    Args:
        groups: ``[n_articles]`` the group of every article.
        ages: ``[n_customers]`` in years; customers of unknown age (NaN) are excluded.

    Returns:
        One row per band with purchases, youngest first; one column per group, the best-selling first.
    """
    codes, names = pd.factorize(filled(groups))
    band, code = age_bands(ages)[log.customer], codes[log.article]
    known = band >= 0
    cell = band[known].astype(np.int64) * len(names) + code[known]
    counts = np.bincount(cell, minlength=len(AGE_BANDS) * len(names)).reshape(len(AGE_BANDS), -1)
    frame = pd.DataFrame(counts, index=list(AGE_BANDS), columns=names)[names[np.argsort(-counts.sum(axis=0))]]
    frame = frame[frame.sum(axis=1) > 0]
    return frame.div(frame.sum(axis=1), axis=0)


def best_sellers_by_age(log: PurchaseLog, ages: pd.Series, days: int = 28, top: int = 100) -> pd.Series:
    """The share of each age band's ``top`` best-sellers that are also in everybody's top, in the last ``days``."""
    rows = log.rows_between(log.last_day + 1 - days, log.last_day + 1)
    band, article = age_bands(ages)[log.customer[rows]], log.article[rows]
    everyone = np.bincount(article, minlength=log.n_articles)
    top = max(1, min(top, int(np.count_nonzero(everyone)) // 5))
    shares = {}
    for place, name in enumerate(AGE_BANDS):
        sales = np.bincount(article[band == place], minlength=log.n_articles)
        if np.count_nonzero(sales) >= top:
            shares[name] = _top_overlap(sales, everyone, top)
    return pd.Series(shares, dtype=float, name="share of the top")


def _top_overlap(sales: Int64, other: Int64, top: int) -> float:
    one, two = (np.argsort(-counts, kind="stable")[:top] for counts in (sales, other))
    return float(np.isin(one, two).mean())


def price_quantiles(log: PurchaseLog, articles: pd.DataFrame, column: str) -> pd.DataFrame:
    """Quantiles of the price paid for each value (columns :data:`PRICE_QUANTILES`), lowest median first."""
    codes, values = pd.factorize(filled(articles[column]))
    by_value = pd.Series(log.price).groupby(codes[log.article])
    quantiles = pd.DataFrame({name: by_value.quantile(q) for name, q in PRICE_QUANTILES.items()})
    quantiles.index = values[quantiles.index]
    return quantiles.sort_values("median", kind="stable")


def launches(log: PurchaseLog) -> pd.Series:
    """The day of the first sale of the articles launched within the log; the index is the article's row.

    A log of three months or more excludes articles that sold in its first four weeks, because their launch may lie
    before the log.
    """
    first = pd.Series(log.first_sale_day)
    margin = LAUNCH_MARGIN if log.last_day >= 3 * LAUNCH_MARGIN else 0
    return first[(first >= margin) & (first <= log.last_day)]


def sales_by_age(log: PurchaseLog) -> pd.Series:
    """The launched articles' purchases by days since the first sale (index 0, 1, …), as shares."""
    first = launches(log).reindex(range(log.n_articles), fill_value=-1).to_numpy()[log.article]
    age = (log.day - first)[first >= 0]
    share = np.bincount(age) / max(len(age), 1)
    return pd.Series(share, index=pd.RangeIndex(len(share), name="days"), name="share of purchases")


def median_day(share: pd.Series) -> int:
    """The first place at which the cumulative share reaches one half."""
    return int(np.searchsorted(np.cumsum(share.to_numpy()), 0.5 - 1e-12))


def _mean(values: npt.NDArray) -> float:
    return float(values.mean()) if len(values) else float("nan")
