"""The margins of the sample: customers, visits, baskets, repurchases, groups and prices, beside the real data's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.sample import Sample
from hm_utils.sample.seasons import MONTHS

WEEK, RECENT = 7, 28
TURNOVER_WEEKS = 10  # best-sellers are compared from week to week over so many
CUSTOMERS = 140_000  # about so many are measured, where the figures do not need all of them
TRANSACTION_FIELDS = ("customer", "day", "article", "price", "channel")

# Figure -> (value in the real data, lowest, highest value that passes). A tolerance is a few standard errors of the
# sample plus an allowed error of the model. The real figures of baskets, groups and prices are those of the last week.
# A week of the sample has a fiftieth of its baskets, so they are measured on the last four weeks ("recent").
MARGINS: dict[str, tuple[float, float, float]] = {
    # customers
    "age empty": (0.012, 0.009, 0.015),
    "age mean": (36.4, 35.4, 37.4),
    "age 10 %": (21, 20, 22),
    "age 25 %": (25, 24, 26),
    "age 50 %": (32.5, 31, 34),
    "age 75 %": (48, 47, 50),
    "age 90 %": (57, 55, 59),
    "FN set": (0.351, 0.336, 0.366),
    "Active set": (0.344, 0.329, 0.359),
    "club ACTIVE": (0.927, 0.917, 0.937),
    "club empty": (0.005, 0.002, 0.008),
    "news Regularly": (0.352, 0.337, 0.367),
    "news empty": (0.011, 0.008, 0.014),
    "never buy": (0.007, 0.005, 0.011),
    # visits and transactions per customer, over the whole log
    "transactions mean": (23.2, 21, 26),
    "transactions sd": (39.5, 33, 47),
    "transactions 10 %": (1, 1, 2),
    "transactions 25 %": (3, 2, 4),
    "transactions 50 %": (9, 7, 11),
    "transactions 75 %": (26, 23, 30),
    "transactions 90 %": (60, 53, 68),
    "transactions 99 %": (204, 170, 235),
    "visits mean": (6.5, 6.0, 7.1),
    "visits 50 %": (3, 3, 3),
    "visits 75 %": (8, 7, 9),
    "one week only": (0.341, 0.29, 0.38),
    "gap 10 %": (2, 2, 4),
    "gap 25 %": (7, 5, 10),
    "gap 50 %": (23, 18, 28),
    "gap 75 %": (57, 48, 68),
    "gap 90 %": (119, 102, 142),
    "gap mean": (48.8, 42, 56),
    # baskets in the last week
    "week buyers share": (0.0503, 0.046, 0.058),
    "week rows a customer": (3.48, 3.1, 3.9),
    "basket rows": (3.12, 2.85, 3.4),
    "basket of 1": (0.332, 0.29, 0.38),
    "basket of 2": (0.247, 0.21, 0.28),
    "basket of 3": (0.142, 0.11, 0.17),
    "basket of 4": (0.090, 0.065, 0.12),
    "quantity above one": (0.092, 0.075, 0.115),
    "online": (0.69, 0.64, 0.74),
    "never bought before": (0.081, 0.055, 0.11),
    # attributes shared by two articles of a basket
    "share product_code": (0.041, 0.030, 0.052),
    "share product_type_no": (0.208, 0.175, 0.24),
    "share department_name": (0.179, 0.145, 0.21),
    "share section_no": (0.295, 0.26, 0.33),
    "share garment_group_no": (0.282, 0.24, 0.32),
    "share product_group_name": (0.450, 0.39, 0.49),
    "share index_group_no": (0.642, 0.60, 0.68),
    "share colour_group_code": (0.213, 0.165, 0.25),
    # repurchases
    "repurchase article": (0.046, 0.038, 0.056),
    "repurchase product": (0.081, 0.065, 0.108),
    "repurchase gap 25 %": (3, 2, 7),
    "repurchase gap 50 %": (8, 6, 24),
    "repurchase gap 75 %": (49, 30, 80),
    # days, groups and prices
    "busiest day": (4.59, 3.5, 5.5),
    "month correlation": (1.0, 0.93, 1.0),
    "recent Ladieswear": (0.626, 0.57, 0.68),
    "recent Divided": (0.243, 0.20, 0.29),
    "recent Menswear": (0.057, 0.025, 0.085),
    "recent Sport": (0.055, 0.03, 0.085),
    "recent Baby/Children": (0.020, 0.010, 0.035),
    "recent Upper body": (0.480, 0.41, 0.55),
    "recent Lower body": (0.227, 0.16, 0.29),
    "price 10 %": (0.0135, 0.0115, 0.0155),
    "price 25 %": (0.0186, 0.016, 0.0225),
    "price 50 %": (0.0339, 0.025, 0.0365),
    "price 75 %": (0.0424, 0.038, 0.050),
    "price 90 %": (0.0593, 0.053, 0.075),
    "log price mean": (0.0278, 0.025, 0.034),
    "articles a product": (2.23, 2.0, 2.5),
    "detail_desc empty": (0.004, 0.001, 0.009),
}
# Popularity at the real size. A smaller shop has flatter best-sellers (hm_utils/sample/constants.py), so these figures
# hold for the size "full" alone.
POPULARITY: dict[str, tuple[float, float, float]] = {
    "gini": (0.759, 0.69, 0.80),
    "sales of the top 100": (0.046, 0.03, 0.06),
    "sales of the top 1,000": (0.182, 0.14, 0.22),
    "sales of the top 10,000": (0.596, 0.54, 0.65),
    "median / mean sales": (0.214, 0.15, 0.34),
    "articles never sold": (0.0094, 0.0, 0.08),  # an article has a third of its sales in the real data
    "week articles sold": (0.170, 0.10, 0.22),
    "week, top 100": (0.134, 0.11, 0.16),
    "week, top 1,000": (0.502, 0.43, 0.57),
    "week, top 5,000": (0.856, 0.79, 0.92),
    "top 100 kept after a week": (0.56, 0.49, 0.62),
    "top 100 kept after four weeks": (0.26, 0.19, 0.33),
}


def margins(sample: Sample) -> dict[str, float]:
    """Every figure of :data:`MARGINS` and :data:`POPULARITY`."""
    everybody = pd.DataFrame({name: getattr(sample, name) for name in TRANSACTION_FIELDS})
    step = max(1, len(sample.customers) // CUSTOMERS)
    log = everybody[everybody["customer"] % step == 0].astype({"day": int})
    recent = log[log["day"] >= sample.truth.days - RECENT]
    customers = len(range(0, len(sample.customers), step))
    return {
        **_customers(sample),
        **_visits(log, sample, customers),
        **_baskets(log, recent, sample, customers),
        **_coherence(recent, sample),
        **_repurchases(log, sample),
        **_popularity(sample),
        **_groups_and_prices(log, recent, sample),
    }


def _quantiles(name: str, values: npt.ArrayLike, per_cent: tuple[int, ...]) -> dict[str, float]:
    return {f"{name} {q} %": float(np.nanpercentile(np.asarray(values, dtype=float), q)) for q in per_cent}


def _customers(sample: Sample) -> dict[str, float]:
    table = sample.customers
    return {
        "age empty": table["age"].isna().mean(),
        "age mean": table["age"].mean(),
        **_quantiles("age", table["age"], (10, 25, 50, 75, 90)),
        "FN set": table["FN"].eq(1.0).mean(),
        "Active set": table["Active"].eq(1.0).mean(),
        "club ACTIVE": table["club_member_status"].eq("ACTIVE").mean(),
        "club empty": table["club_member_status"].isna().mean(),
        "news Regularly": table["fashion_news_frequency"].eq("Regularly").mean(),
        "news empty": table["fashion_news_frequency"].isna().mean(),
    }


def _visits(log: pd.DataFrame, sample: Sample, customers: int) -> dict[str, float]:
    rows = log["customer"].value_counts()
    visits = log[["customer", "day"]].drop_duplicates()
    gaps = visits.groupby("customer")["day"].diff().dropna()
    weeks = (visits["day"] + 7 * 105 - sample.truth.days) // 7
    return {
        "never buy": 1 - len(rows) / customers,
        "transactions mean": rows.mean(),
        "transactions sd": rows.std(),
        **_quantiles("transactions", rows, (10, 25, 50, 75, 90, 99)),
        "visits mean": len(visits) / len(rows),
        **_quantiles("visits", visits["customer"].value_counts(), (50, 75)),
        "one week only": weeks.groupby(visits["customer"]).nunique().eq(1).mean(),
        "gap mean": gaps.mean(),
        **_quantiles("gap", gaps, (10, 25, 50, 75, 90)),
    }


def _baskets(log: pd.DataFrame, recent: pd.DataFrame, sample: Sample, customers: int) -> dict[str, float]:
    sizes = recent.groupby(["customer", "day"]).size()
    lines = recent.groupby(["customer", "day", "channel", "article"]).size()
    in_week = log["day"] >= sample.truth.days - WEEK
    buyers = log.loc[in_week, "customer"].unique()
    return {
        "week buyers share": len(buyers) / customers,
        "week rows a customer": in_week.sum() / len(buyers),
        "basket rows": sizes.mean(),
        **{f"basket of {n}": sizes.eq(n).mean() for n in (1, 2, 3, 4)},
        "quantity above one": lines.gt(1).mean(),
        "online": recent["channel"].eq(2).mean(),
        "never bought before": (~np.isin(buyers, log.loc[~in_week, "customer"].unique())).mean(),
    }


def _coherence(recent: pd.DataFrame, sample: Sample) -> dict[str, float]:
    """Share of the pairs of different articles in a basket that have the same value."""
    lines = recent.drop_duplicates(["customer", "day", "article"])
    basket = lines.groupby(["customer", "day"]).ngroup()
    size = basket.value_counts()
    pairs = (size * (size - 1) / 2).sum()
    shares = {}
    for name in MARGINS:
        if name.startswith("share "):
            value = sample.articles[name.removeprefix("share ")].to_numpy()[lines["article"]]
            same = pd.DataFrame({"basket": basket, "value": value}).value_counts()
            shares[name] = (same * (same - 1) / 2).sum() / pairs
    return shares


def _repurchases(log: pd.DataFrame, sample: Sample) -> dict[str, float]:
    lines = log.drop_duplicates(["customer", "day", "article"])
    product = sample.articles["product_code"].to_numpy()[lines["article"]]
    earlier = lines["day"] > lines.groupby(["customer", "article"])["day"].transform("min")
    first_of_product = lines.groupby(["customer", product])["day"].transform("min")
    ends = lines.groupby(["customer", "article"])["day"].agg(["min", "max"])
    span = ends["max"] - ends["min"]
    return {
        "repurchase article": earlier.mean(),
        "repurchase product": (lines["day"] > first_of_product).mean(),
        **_quantiles("repurchase gap", span[span > 0], (25, 50, 75)),
    }


def _popularity(sample: Sample) -> dict[str, float]:
    weeks = np.asarray(sample.truth.days - 1 - sample.day, dtype=np.int64) // WEEK  # 0: the last
    sales = _sales(sample, weeks >= 0)
    recent = [_sales(sample, weeks == week) for week in range(TURNOVER_WEEKS + 4)]
    best = [np.argsort(-of_week, kind="stable")[:100] for of_week in recent]
    sold = np.sort(sales[sales > 0])
    rank = np.arange(len(sold), 0, -1)

    def kept(after: int) -> float:
        return float(np.mean([np.isin(best[w + after], best[w]).mean() for w in range(TURNOVER_WEEKS)]))

    return {
        "gini": 1 - 2 * float((sold * (rank - 0.5)).sum() / (len(sold) * sold.sum())),
        "sales of the top 100": _top(sales, 100),
        "sales of the top 1,000": _top(sales, 1_000),
        "sales of the top 10,000": _top(sales, 10_000),
        "median / mean sales": float(np.median(sold) / sold.mean()),
        "articles never sold": 1 - len(sold) / len(sales),
        "week articles sold": float((recent[0] > 0).mean()),
        "week, top 100": _top(recent[0], 100),
        "week, top 1,000": _top(recent[0], 1_000),
        "week, top 5,000": _top(recent[0], 5_000),
        "top 100 kept after a week": kept(1),
        "top 100 kept after four weeks": kept(4),
    }


def _sales(sample: Sample, rows: npt.NDArray) -> npt.NDArray:
    return np.bincount(sample.article[rows], minlength=len(sample.articles))


def _top(sales: npt.NDArray, most: int) -> float:
    """The share of the ``most`` best-sellers in all sales."""
    return float(np.sort(sales)[::-1][:most].sum() / sales.sum())


def _groups_and_prices(log: pd.DataFrame, recent: pd.DataFrame, sample: Sample) -> dict[str, float]:
    per_day = np.bincount(log["day"], minlength=sample.truth.days)
    month = (sample.truth.first_date + log["day"].to_numpy()).astype("datetime64[M]").astype(int)
    months = np.bincount(month - month.min())
    bought = sample.articles.iloc[recent["article"]]
    groups = bought["index_group_name"].value_counts(normalize=True)
    product_groups = bought["product_group_name"].value_counts(normalize=True)
    return {
        "busiest day": per_day.max() / per_day.mean(),
        "month correlation": float(np.corrcoef(months, MONTHS)[0, 1]) if len(months) == len(MONTHS) else np.nan,
        **{f"recent {name}": groups.get(name, 0.0) for name in groups.index},
        "recent Upper body": product_groups["Garment Upper body"],
        "recent Lower body": product_groups["Garment Lower body"],
        **_quantiles("price", recent["price"], (10, 25, 50, 75, 90)),
        "log price mean": log["price"].mean(),
        "articles a product": len(sample.articles) / sample.articles["product_code"].nunique(),
        "detail_desc empty": sample.articles["detail_desc"].isna().mean(),
    }
