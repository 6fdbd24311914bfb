"""Slices of the test: a part of the customers, or a part of their purchases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hm_utils.arrays import Bool, Float64, Int32
from hm_utils.data.histories import history_rows
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.data.segments import ACTIVE_DAYS, AGE_BANDS, age_bands, new_in_shop
from hm_utils.evaluation import metrics

EVERYONE = "everyone"


@dataclass(frozen=True)
class Slice:
    """A part of the customers, and their scores under every ranking.

    Attributes:
        customers: ``[n]`` whether a customer is in the slice.
        scores: ``[n, rankings, metrics]`` in the order of :data:`metrics.METRICS`; only the slice's rows are read.
    """

    customers: Bool
    scores: Float64


def make_slices(
    rankings: Mapping[str, Int32], truth: Baskets, log: PurchaseLog, as_of: int, ages: pd.Series | None
) -> dict[str, Slice]:
    """The slices by name; the first is :data:`EVERYONE`. The other arguments are those of ``comparison.evaluate``.

    Slices of customers, by their purchases before the test days: "bought before" consists of "active" (also in
    the last :data:`ACTIVE_DAYS`) and "dormant" (not in these); the rest has "never bought". If ``ages`` is given,
    each of :data:`AGE_BANDS` is a slice, and so is "age unknown".

    Slices of purchases keep the rankings and count a part of the purchases, over the customers with such a
    purchase. "bought again" counts articles that the customer had bought before the test days, "new to the
    customer" counts the others. "new in the shop" counts the articles of :func:`new_in_shop`.
    """
    everyone = _of_purchases(rankings, truth)
    again = bought_before(truth, log, as_of)
    of_customers = _of_customers(truth.customers, log, as_of, ages)
    return {
        EVERYONE: everyone,
        **{name: Slice(keep, everyone.scores) for name, keep in of_customers.items()},
        "bought again": _of_purchases(rankings, _only(truth, again)),
        "new to the customer": _of_purchases(rankings, _only(truth, ~again)),
        "new in the shop": _of_purchases(rankings, _only(truth, new_in_shop(log, as_of)[truth.articles])),
    }


def bought_before(truth: Baskets, log: PurchaseLog, as_of: int) -> Bool:
    """``[m]`` whether the customer of each of ``truth.articles`` had already bought it before ``as_of``."""
    owner, rows = history_rows(log, truth.customers, as_of)
    before = owner * log.n_articles + log.article[rows]
    row = truth.owner
    return np.isin(row * log.n_articles + truth.articles, before, kind="sort")


def _of_customers(customers: Int32, log: PurchaseLog, as_of: int, ages: pd.Series | None) -> dict[str, Bool]:
    """``[n]`` for each slice of customers, whether a customer is in it."""
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


def _of_purchases(rankings: Mapping[str, Int32], truth: Baskets) -> Slice:
    """The customers with any purchase in ``truth``, and their scores; NaN for the others."""
    some = truth.sizes > 0
    bought = truth.select(some)
    scores = np.full((len(truth), len(rankings), len(metrics.METRICS)), np.nan)
    for i, ranked in enumerate(rankings.values()):
        scores[some, i] = metrics.all_metrics(ranked[some], bought)
    return Slice(some, scores)


def _only(truth: Baskets, counts: Bool) -> Baskets:
    """The truth with only the purchases where ``counts`` (``[m]``) is true; some baskets become empty."""
    row = truth.owner
    sizes = np.bincount(row[counts], minlength=len(truth))
    return Baskets(truth.customers, np.concatenate([[0], np.cumsum(sizes)]), truth.articles[counts])
