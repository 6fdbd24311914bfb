"""Segments of customers and new articles, as of a day."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Bool, Int32, Int64
from hm_utils.data.purchases import PurchaseLog

Segment = Literal["frequent", "dormant", "young", "never_bought", "any"]

ACTIVE_DAYS = 30  # a customer without a purchase in these last days is dormant
FREQUENT_SHARE = 0.9  # frequent customers bought at least this quantile of all buyers' purchases
YOUNG_BELOW = 25  # years
NEW_IN_SHOP_DAYS = 14  # an article is new for this long after its first sale

AGE_EDGES = (25, 35, 45, 55)  # first age of each band but the youngest; each has at least 12 % of H&M's customers
AGE_BANDS = ("under 25", "25–34", "35–44", "45–54", "55 and over")


def customers_by_segment(log: PurchaseLog, ages: npt.NDArray[np.floating]) -> dict[Segment, Int32]:
    """Rows of the customers in each segment, ascending, as of the day after the log's last. Segments may overlap.

    ``ages`` is ``[n_customers]``, NaN where unknown.
    """
    sizes = np.diff(log.offsets)
    bought = sizes > 0
    last = np.full(len(sizes), np.iinfo(np.int32).min)
    last[bought] = log.day[log.offsets[1:][bought] - 1]
    active = last >= log.last_day + 1 - ACTIVE_DAYS
    many = np.quantile(sizes[bought], FREQUENT_SHARE) if bought.any() else 0
    masks: dict[Segment, Bool] = {
        "frequent": active & (sizes >= many),
        "dormant": bought & ~active,
        "young": bought & (ages < YOUNG_BELOW),
        "never_bought": ~bought,
        "any": np.ones(len(sizes), dtype=bool),
    }
    return {segment: np.flatnonzero(mask).astype(np.int32) for segment, mask in masks.items()}


def new_in_shop(log: PurchaseLog, as_of: int) -> Bool:
    """``[n_articles]`` whether an article did not sell until ``NEW_IN_SHOP_DAYS`` before ``as_of``.

    Articles not sold yet are included. All are false if the log begins less than twice that long before ``as_of``,
    because then most articles would look new.
    """
    since = as_of - NEW_IN_SHOP_DAYS
    return log.first_sale_day >= since if since >= NEW_IN_SHOP_DAYS else np.zeros(log.n_articles, dtype=bool)


def age_bands(ages: pd.Series) -> Int64:
    """``[n]`` index in :data:`AGE_BANDS` of each age; -1 where it is unknown (NaN)."""
    years = ages.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(years), -1, np.searchsorted(AGE_EDGES, years, side="right"))
