"""Sales per day of the log, from the months, weekdays and sales events of the real data."""

from __future__ import annotations

import numpy as np

from hm_utils.arrays import Float64
from hm_utils.sample.assortment import LAST_DATE

_FIRST_MONTH = np.datetime64("2018-09")
# Transactions per month of 1,000 real customers, 2018-09 to 2020-09. The log covers the first and last month in part.
MONTHS = (424, 1134, 873, 1005, 1017, 892, 914, 1080, 1335, 1306, 1296, 883, 792, 776, 801, 770, 873, 681, 881, 869,
          1045, 1141, 978, 899, 534)  # fmt: skip
_PART_MONTHS = {0: 11, 24: 22}  # month: its days in the log
WEEKDAYS = (0.94, 0.96, 0.79, 1.19, 1.15, 1.07, 0.92)  # from Monday
# Sales events, and a week of low sales: first day, days, factor.
_EVENTS = (("2019-06-19", 7, 2.0), ("2020-06-17", 7, 1.75), ("2019-09-28", 1, 6.0), ("2019-11-29", 1, 1.8),
           ("2018-11-23", 1, 1.8), ("2020-03-11", 7, 0.75))  # fmt: skip

# Exponents: a busy day has both more visits and larger baskets.
VISITS_SHARE, BASKET_SHARE = 0.35, 0.7


def intensity(days: int) -> Float64:
    """``[days]`` expected transactions on each day of a log that ends on ``LAST_DATE``, with mean 1.

    In a log longer than the real one, earlier days have the figures of the same month a year later.
    """
    dates = LAST_DATE - np.arange(days - 1, -1, -1)
    month = (dates.astype("datetime64[M]") - _FIRST_MONTH).astype(int)
    month = np.where(month < 1, month + 12 * ((12 - month) // 12), month)  # before the real log: a later year's
    weekday = (dates.astype(int) + 3) % 7  # day 0 of the epoch was a Thursday
    busy = np.array(WEEKDAYS)[weekday]
    for first, length, factor in _EVENTS:
        since = (dates - np.datetime64(first)).astype(int)
        busy = np.where((since >= 0) & (since < length), busy * factor, busy)
    level = np.array(MONTHS) / [_PART_MONTHS.get(i, 30.4) for i in range(len(MONTHS))]
    own = dates.astype("datetime64[M]").astype(int)
    inverse = own - own.min()
    mean = np.bincount(inverse, busy) / np.bincount(inverse)
    busy = busy / mean[inverse] * level[month]  # events shift sales within their month
    return busy / busy.mean()
