"""Days of visits, sizes of baskets, and prices paid.

The number of visits of a customer is heavy-tailed (customers.py). So are the gaps between visits, which are shorter in
busy seasons (seasons.py). Basket sizes are log-normal: larger online, for customers with a larger budget, and on busy
days. A line of a basket has a quantity above one with a fixed probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Float32, Int32, Int64
from hm_utils.sample import seasons
from hm_utils.sample.assortment import week_of
from hm_utils.sample.catalogue import Catalogue
from hm_utils.sample.constants import (
    BASKET_MAX,
    BASKET_MEAN,
    BASKET_SPREAD,
    COLD_START,
    GAP_SPREAD,
    ONLINE_BASKET,
    QUANTITY,
    SMALL_SHOP,
    smallness,
)
from hm_utils.sample.customers import Customers

OFFERS, OFFER_SHARES = (0.0, 0.02, 0.1, 0.2, 0.25), (0.84, 0.04, 0.06, 0.03, 0.03)


@dataclass(frozen=True)
class Visits:
    """Visits sorted by customer, then day, and the lines of their baskets (v visits, l lines).

    Attributes:
        customer: ``[v]`` customer row.
        day: ``[v]`` days since the start of the log; at most one visit per customer and day.
        online: ``[v]`` whether the visit is online.
        lines: ``[v + 1]`` offsets: visit i has the lines ``lines[i]:lines[i + 1]``.
        quantity: ``[l]`` pieces of each line.
    """

    customer: Int32
    day: npt.NDArray[np.int16]
    online: Bool
    lines: Int64
    quantity: npt.NDArray[np.int8]


def spans(starts: Int64, lengths: Int64) -> Int64:
    """The concatenated ranges ``starts[i], ..., starts[i] + lengths[i] - 1``."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def make_visits(customers: Customers, n_articles: int, days: int, rng: np.random.Generator) -> Visits:
    """Draw the days of each customer's visits, and the lines and pieces of their baskets."""
    busy = seasons.intensity(days)
    counts = customers.visits.astype(np.int64)
    customer = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    # A customer's gaps, one per visit, fill a circle as long as the log. The start on the circle is random, so that a
    # visit is as likely at the ends of the log as in its middle.
    clock = np.cumsum(np.exp(GAP_SPREAD * rng.standard_normal(len(customer))))
    ends = np.cumsum(counts)[counts > 0]
    before = np.concatenate([[0.0], clock[ends - 1]])
    some = counts[counts > 0]
    when = (clock - np.repeat(before[:-1], some)) / np.repeat(np.diff(before), some)
    # Starts are later on average, because the number of customers grows. This matters for customers with one visit.
    when = (when + np.repeat(rng.random(len(some)) ** COLD_START, some)) % 1.0
    pace = np.cumsum(busy**seasons.VISITS_SHARE)
    day = np.searchsorted(pace / pace[-1], when, side="right").clip(0, days - 1)
    key = np.sort(customer.astype(np.int64) * days + day)
    key = key[np.diff(key, prepend=-1) > 0]  # visits on the same day are merged
    customer, day = (key // days).astype(np.int32), (key % days).astype(np.int16)

    online = rng.random(len(key)) < customers.online[customer]
    size = BASKET_MEAN + customers.budget[customer] + np.where(online, ONLINE_BASKET / 2, -ONLINE_BASKET / 2)
    size += seasons.BASKET_SHARE * np.log(busy)[day] + BASKET_SPREAD * rng.standard_normal(len(key))
    lines = np.concatenate([[0], np.cumsum(np.ceil(np.exp(size)).clip(1, BASKET_MAX).astype(np.int64))])
    draw = rng.random(lines[-1], dtype=np.float32)
    draw /= 1 - (1 - SMALL_SHOP) * smallness(n_articles)
    quantity = (1 + (draw < sum(QUANTITY)) + (draw < QUANTITY[1])).astype(np.int8)
    return Visits(customer, day, online, lines, quantity)


def paid_prices(article: Int32, day: npt.NDArray, catalogue: Catalogue, rng: np.random.Generator) -> Float32:
    """``[n]`` price paid for each line: the article's price in that week, sometimes reduced by a personal offer."""
    paid = np.empty(len(article), dtype=np.float32)
    for start in range(0, len(article), 2_000_000):  # the full size at once would need gigabytes
        part = slice(start, start + 2_000_000)
        full = catalogue.price[article[part]]
        off = catalogue.markdown[week_of(day[part], catalogue.days), article[part]]
        offer = rng.choice(OFFERS, size=len(full), p=OFFER_SHARES)
        paid[part] = np.maximum(np.rint(full * (1 - off) * (1 - offer) * 59_000), 1) / 59_000
    return paid
