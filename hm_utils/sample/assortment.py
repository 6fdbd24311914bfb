"""When articles are on sale, and how their appeal changes from week to week.

    log appeal = base appeal + season + freshness + a slow random trend        (minus infinity when not on sale)

Articles are launched in every week. Seasonal ones come some weeks ahead of their season. Most stay on sale for a few
months and are marked down at the end. The assortment changes once a week, so that the log ends with a whole week.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Float32, Float64, Int64
from hm_utils.sample.constants import EVERGREEN_SHARE, LIFE_SPREAD, TREND_KEPT, Constants

LAST_DATE = np.datetime64("2020-09-22")


def week_of(day: npt.ArrayLike, days: int) -> Int64:
    """The week of each day in a log of ``days`` days. The last week is whole, the first may be shorter."""
    weeks = -(-days // 7)
    return (np.asarray(day, dtype=np.int64) + 7 * weeks - days) // 7


def season_of(week: npt.ArrayLike, weeks: int) -> Float64:
    """The season of each week in a log of ``weeks`` weeks: 1 at the end of June, -1 at the end of December."""
    dates = LAST_DATE - 7 * (weeks - 1 - np.asarray(week)) - 3
    day_of_year = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(int)
    return np.cos(2 * np.pi * (day_of_year - 175) / 365.25)


def lifetimes(
    product: npt.NDArray,
    variant: npt.NDArray,
    season: Float64,
    weeks: int,
    constants: Constants,
    rng: np.random.Generator,
) -> tuple[Int64, Int64, Bool]:
    """``(launch, end, evergreen)`` of each article: on sale in ``launch <= week < end``; the evergreen ones never end.

    Some are launched before the log.
    """
    n_products = int(product.max()) + 1
    evergreen = rng.random(n_products) < EVERGREEN_SHARE
    earliest = -round(constants.weeks_before)
    first = np.zeros(n_products, dtype=np.int64)
    last = np.full(n_products, -1, dtype=np.int64)
    todo = np.arange(n_products)
    while len(todo):  # rejection: draws that end before the log, or are launched out of season, are repeated
        start = rng.integers(earliest, weeks, size=len(todo))
        life = np.maximum(2, np.rint(constants.life_weeks * np.exp(rng.normal(0, LIFE_SPREAD, len(todo)))).astype(int))
        start = np.where(evergreen[todo], earliest + (start - earliest) // 2, start)
        life = np.where(evergreen[todo], 3 * weeks + 80, life)
        ahead = season_of(start + 6, weeks) * season[todo]  # a launch aims at the season six weeks later
        good = (start + life > 0) & (np.log(rng.random(len(todo))) < ahead - np.abs(season[todo]))
        first[todo[good]], last[todo[good]] = start[good], (start + life)[good]
        todo = todo[~good]
    # A fifth of the further colours are launched some weeks after the first.
    late = (variant > 0) & (rng.random(len(product)) < 0.2)
    launch = first[product] + np.where(late, rng.integers(1, 12, len(product)), 0)
    launch = np.minimum(launch, np.minimum(last[product], weeks) - 1)
    return launch, last[product], evergreen[product]


def weekly(
    base: Float64,
    season: Float64,
    launch: npt.NDArray,
    end: npt.NDArray,
    product: npt.NDArray,
    weeks: int,
    constants: Constants,
    rng: np.random.Generator,
) -> tuple[Float32, Float32]:
    """``(log_appeal, markdown)``, each ``[weeks, a]``."""
    n = len(base)
    summer = season_of(np.arange(weeks), weeks)
    log_appeal = np.full((weeks, n), -np.inf, dtype=np.float32)
    markdown = np.zeros((weeks, n), dtype=np.float32)
    life = end - launch
    cut_at_end = rng.random(n) < 0.45
    cut = rng.choice([0.2, 0.3, 0.4, 0.5, 0.6], size=n).astype(np.float32)
    spread, kept = constants.spread * constants.trend, TREND_KEPT
    trend = rng.normal(0, spread, int(product.max()) + 1)
    for week in range(weeks):
        on_sale = (launch <= week) & (week < end)
        age = np.maximum(week - launch, 0)
        # Appeal is low in the first week, has its maximum in the third, and then declines with age.
        fresh = np.log(constants.launch) * np.maximum(1 - age / 2, 0)
        fresh -= constants.decline * np.minimum(age / np.minimum(life, 60), 1.5)
        log_appeal[week] = np.where(on_sale, base + season * summer[week] + fresh + trend[product], -np.inf)
        # Markdowns come late in the life of an article, and in the summer and winter sales.
        late = cut_at_end & (age > 0.7 * life)
        sale = (np.abs(summer[week]) > 0.6) & (age > 4)
        markdown[week] = np.where(late | sale, cut, 0)
        trend = kept * trend + rng.normal(0, spread * np.sqrt(1 - kept**2), len(trend))
    return log_appeal, markdown
