"""Hits and misses of rankings: by length of the ranking, by customer, by article, and the reasons for misses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Bool, Int32, Int64
from hm_utils.data.histories import history_rows
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.data.segments import ACTIVE_DAYS, NEW_IN_SHOP_DAYS, new_in_shop
from hm_utils.evaluation import metrics

HISTORY_EDGES = (1, 5, 20, 50)  # first number of purchases of each band of recall_by_history
AGE_EDGES = (0, 7, 28, 91)  # first number of days since the first sale of each band of recall_by_article_age
BEST_SELLERS = 0.1  # share of the articles sold in the last week that are its best-sellers


def recall_by_depth(rankings: Mapping[str, Int32], truth: Baskets) -> pd.DataFrame:
    """Mean recall@k over customers: index k = 1 … 100, a column a ranking."""
    curves = {}
    for name, ranked in rankings.items():
        found = np.cumsum(metrics.hit_matrix(ranked, truth), axis=1)
        curves[name] = (found / truth.sizes[:, None]).mean(axis=0)
    return pd.DataFrame(curves, index=pd.RangeIndex(1, ranked.shape[1] + 1, name="k"))


def recall_by_history(rankings: Mapping[str, Int32], truth: Baskets, log: PurchaseLog, as_of: int) -> pd.DataFrame:
    """Mean recall@100 by the number of the customer's earlier purchases: a row a band, with ``customers``."""
    before = log.history_ends(truth.customers, as_of) - log.offsets[truth.customers]
    band = np.searchsorted(HISTORY_EDGES, before, side="right")
    recalls = {
        name: metrics.recall(metrics.hit_matrix(ranked, truth), truth.sizes, 100) for name, ranked in rankings.items()
    }
    return _by_band(band, ["none", *_labels(HISTORY_EDGES)], recalls, "customers")


def recall_by_article_age(rankings: Mapping[str, Int32], truth: Baskets, log: PurchaseLog, as_of: int) -> pd.DataFrame:
    """Share of purchases in the first 100 by the age of the article: a row a band, with ``purchases``.

    The age is in days from the first sale to the first test day. "not yet sold" are articles without an earlier sale.
    """
    age = as_of - np.minimum(log.first_sale_day, as_of)[truth.articles]
    band = np.where(age == 0, 0, np.searchsorted(AGE_EDGES, age, side="right"))
    shares = {name: found(ranked, truth).astype(float) for name, ranked in rankings.items()}
    return _by_band(band, ["not yet sold", *_labels((1, *AGE_EDGES[1:]))], shares, "purchases")


def found(ranked: Int32, truth: Baskets, k: int = 100) -> Bool:
    """``[m]`` whether each of ``truth.articles`` is among the first k for its customer."""
    width = int(max(ranked.max(), truth.articles.max())) + 1
    row = np.arange(len(ranked), dtype=np.int64)
    top = np.where(ranked[:, :k] >= 0, ranked[:, :k] + row[:, None] * width, -1)
    return np.isin(truth.owner * width + truth.articles, top)


@dataclass(frozen=True)
class Reasons:
    """Reasons why purchases are hard to predict.

    Attributes:
        truth: the m purchases of n customers.
        found: ``[m]`` whether the ranking has the article.
        true: ``[m]`` rows, a column a reason: whether it is true of the purchase.
    """

    truth: Baskets
    found: Bool
    true: pd.DataFrame

    def shares(self) -> pd.DataFrame:
        """The share of missed and of found purchases of which each reason is true, sorted by the difference."""
        parts = {"missed": self.true[~self.found], "found": self.true[self.found]}
        table = pd.DataFrame({name: part.mean() for name, part in parts.items()})
        return table.loc[(table["missed"] - table["found"].fillna(0)).sort_values().index]

    def worst(self, customers: pd.DataFrame, log: PurchaseLog, as_of: int, most: int = 5) -> pd.DataFrame:
        """The customers with the most purchases and no hit, with the reasons that are true of over half of these."""
        owner = self.truth.owner
        hits = np.bincount(owner[self.found], minlength=len(self.truth))
        order = np.argsort(-np.where(hits == 0, self.truth.sizes, 0), kind="stable")[:most]
        table = {}
        for place in order[hits[order] == 0]:
            row = self.truth.customers[place]
            counts = self.true[owner == place].sum()
            size = int(self.truth.sizes[place])
            common = counts[counts * 2 > size].sort_values(ascending=False, kind="stable")
            end = int(log.history_ends(np.array([row]), as_of)[0])
            last = f"{as_of - log.day[end - 1]:,}" if end > log.offsets[row] else "–"
            table[str(customers["customer_id"][row])[:8]] = {
                "bought in the test": size,
                "bought before": end - int(log.offsets[row]),
                "days since": last,
                "holds for": "; ".join(f"{count} of {size}: {name}" for name, count in common.items())
                or "none of these",
            }
        return pd.DataFrame.from_dict(table, orient="index").rename_axis("customer")


def reasons(ranked: Int32, truth: Baskets, log: PurchaseLog, articles: pd.DataFrame, as_of: int) -> Reasons:
    """The reasons that are true of each purchase of the test days, found or missed."""
    past = log.sales_between(0, as_of)
    week = log.sales_between(as_of - 7, as_of)
    sold = np.sort(week[week > 0])[::-1]
    enough = sold[int(len(sold) * BEST_SELLERS)] if len(sold) else 1
    ends = log.history_ends(truth.customers, as_of)
    new = ends == log.offsets[truth.customers]
    last = np.where(new, as_of, as_of - log.day[np.maximum(ends - 1, 0)])
    owner, bought = truth.owner, truth.articles
    true = {
        "not yet sold": past[bought] == 0,
        f"first sold in the last {NEW_IN_SHOP_DAYS} days": new_in_shop(log, as_of)[bought] & (past[bought] > 0),
        "not sold in the last week": (week[bought] == 0) & (past[bought] > 0),
        f"not a best-seller (first {BEST_SELLERS:.0%} of the week)": week[bought] < enough,
        "customer never bought before": new[owner],
        f"customer's last visit over {ACTIVE_DAYS} days ago": (last > ACTIVE_DAYS)[owner],
    }
    for column, words in {"department_no": "department", "index_group_no": "part of the shop"}.items():
        strange = _new_to_customer(truth, log, as_of, pd.factorize(articles[column])[0], owner)
        true[f"a {words} new to the customer"] = strange & ~new[owner]
    return Reasons(truth, found(ranked, truth), pd.DataFrame(true))


def _new_to_customer(truth: Baskets, log: PurchaseLog, as_of: int, codes: Int64, owner: Int64) -> Bool:
    """``[m]`` whether no earlier purchase of the customer has the article's code (``codes``, ``[n_articles]``)."""
    size = int(codes.max()) + 2
    of_past, rows = history_rows(log, truth.customers, as_of)
    known = of_past * size + codes[log.article[rows]] + 1
    return ~np.isin(owner * size + codes[truth.articles] + 1, known)


def _labels(edges: tuple[int, ...]) -> list[str]:
    between = [str(low) if high == low + 1 else f"{low}–{high - 1}" for low, high in pairwise(edges)]
    return [*between, f"{edges[-1]}+"]


def _by_band(band: Int64, labels: list[str], values: dict[str, npt.NDArray[np.float64]], what: str) -> pd.DataFrame:
    """Means of the values (``[n]`` each) by band, and their number in column ``what``; empty bands are excluded."""
    frame = pd.DataFrame(values).groupby(band).agg("mean")
    frame.insert(0, what, np.bincount(band, minlength=len(labels))[frame.index])
    frame.index = pd.Index([labels[place] for place in frame.index])
    return frame
