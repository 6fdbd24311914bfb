"""Kinds of customers, to look at one of each: counted from the log once, when first asked for."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Int32
from hm_utils.data.purchases import PurchaseLog

Segment = Literal["frequent", "dormant", "young", "never_bought", "any"]
SEGMENTS: tuple[Segment, ...] = get_args(Segment)

ACTIVE_DAYS = 30  # a customer who has not bought for so long is dormant, here and in the evaluation
FREQUENT_SHARE = 0.9  # of those who bought, so many bought less
YOUNG_BELOW = 25  # years


def customers_by_segment(log: PurchaseLog, ages: npt.NDArray[np.floating]) -> dict[Segment, Int32]:
    """Rows of the customers of each kind, ascending; a customer may be of several.

    Args:
        log: every purchase, as of the day after its last.
        ages: ``[n_customers]``, NaN where unknown.
    """
    sizes = np.diff(log.offsets)
    bought = sizes > 0
    last = np.full(len(sizes), np.iinfo(np.int32).min)
    last[bought] = log.day[log.offsets[1:][bought] - 1]
    active = last >= log.last_day + 1 - ACTIVE_DAYS
    many = np.quantile(sizes[bought], FREQUENT_SHARE) if bought.any() else 0
    masks: dict[Segment, npt.NDArray[np.bool_]] = {
        "frequent": active & (sizes >= many),
        "dormant": bought & ~active,
        "young": bought & (ages < YOUNG_BELOW),
        "never_bought": ~bought,
        "any": np.ones(len(sizes), dtype=bool),
    }
    return {kind: np.flatnonzero(mask).astype(np.int32) for kind, mask in masks.items()}
