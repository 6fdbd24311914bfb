"""How popular every article is as of a day: counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Float32, Float64
from hm_utils.data.purchases import PurchaseLog

RECENT_DAYS = 7
# Days after which a sale counts half. Fashion turns over quickly even inside a week: to predict the sales of
# 18, 19 and 20 September 2020, 1 to 1.5 days were best; for eight weeks of the synthetic sample, 3.
HALF_LIFE = 2.0
# What the log popularity of the week counts in a logit while the towers are trained: the strength of a logit adjustment
# (Menon et al., ICLR 2021). At 1 the vectors need not know what sells, and new articles, of which nothing was counted
# yet, are held down; at 0 they remember what sold then.
LOGIT_ADJUSTMENT = 0.5


def recent_sales(
    log: PurchaseLog,
    as_of: int,
    days: int = RECENT_DAYS,
    half_life: float = HALF_LIFE,
    among: npt.NDArray[np.bool_] | None = None,
) -> Float64:
    """``[n_articles]`` sales of the last ``days``, each halved for every ``half_life`` days before ``as_of``.

    ``among`` (``[n_customers]``) says whose purchases count; None: everybody's.
    """
    rows = log.rows_between(as_of - days, as_of)
    if among is not None:
        rows = rows[among[log.customer[rows]]]
    weight = 0.5 ** ((as_of - log.day[rows].astype(np.float64)) / half_life)
    return np.bincount(log.article[rows], weights=weight, minlength=log.n_articles).astype(np.float64, copy=False)


def log_popularity(sales: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> Float32:
    """``[n_articles]`` log(1 + n_articles x share of the sales): 0 for what did not sell.

    A share of the sales over a uniform share, so that it does not depend on the size of the shop, plus
    one, so that an article without sales is unpopular rather than impossible.
    """
    return np.log1p(sales * (len(sales) / max(float(sales.sum()), 1e-12))).astype(np.float32)
