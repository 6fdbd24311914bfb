"""Popularity of every article as of a day."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Float32, Float64
from hm_utils.data.purchases import PurchaseLog

RECENT_DAYS = 7
# Days after which a sale counts half. Fashion changes even within a week: half-lives of 1 to 1.5 days predicted the
# sales of 18 to 20 September 2020 best, and 3 days those of eight weeks of the synthetic sample.
HALF_LIFE = 2.0
DEBUT_WEEKS = 4  # the last weeks, in which the sales of articles that had never sold are counted
# Weight of the week's log popularity in the logits while the towers are trained (logit adjustment: Menon et al., ICLR
# 2021). At 1 the vectors need not know what sells, which holds down new articles without sales; at 0 they remember what
# sold then.
LOGIT_ADJUSTMENT = 0.5


def recent_sales(
    log: PurchaseLog,
    as_of: int,
    days: int = RECENT_DAYS,
    half_life: float = HALF_LIFE,
    among: Bool | None = None,
) -> Float64:
    """``[n_articles]`` sales of the last ``days``, each halved for every ``half_life`` days before ``as_of``.

    ``among`` (``[n_customers]``) selects the customers whose purchases count; None selects all.
    """
    rows = log.rows_between(as_of - days, as_of)
    if among is not None:
        rows = rows[among[log.customer[rows]]]
    weight = 0.5 ** ((as_of - log.day[rows].astype(np.float64)) / half_life)
    return np.bincount(log.article[rows], weights=weight, minlength=log.n_articles).astype(np.float64, copy=False)


def log_popularity(sales: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> Float32:
    """``[n_articles]`` log(1 + n_articles x share of the sales): 0 without sales.

    The share is relative to a uniform share, so it does not depend on the size of the shop. The 1 keeps articles
    without sales possible.
    """
    return np.log1p(sales * (len(sales) / max(float(sales.sum()), 1e-12))).astype(np.float32)


def popularity_as_of(log: PurchaseLog, as_of: int, sales: Float64) -> Float32:
    """``[n_articles]`` :func:`log_popularity` of the recent ``sales``; one that never sold has :func:`debut_share`."""
    unsold = log.first_sale_day >= as_of
    return log_popularity(np.where(unsold, debut_share(log, as_of) * sales.sum(), sales))


def debut_share(log: PurchaseLog, as_of: int) -> float:
    """The share of a week's sales that an article without any sale before the week can expect.

    It is the mean of the last :data:`DEBUT_WEEKS`: the sales of such articles in the week, for each of them in the
    catalogue. 0 if the log is shorter than a week.
    """
    starts = [start for week in range(1, DEBUT_WEEKS + 1) if (start := as_of - 7 * week) > 0]
    shares = []
    for start in starts:
        unsold = log.first_sale_day >= start
        sales = log.sales_between(start, start + 7)
        shares.append(sales[unsold].sum() / max(1, sales.sum()) / max(1, unsold.sum()))
    return float(np.mean(shares)) if shares else 0.0
