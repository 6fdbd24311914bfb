"""When customers come, how much they take, and what they pay.

A customer comes a heavy-tailed number of times (customers.py). The gaps between their visits are heavy-tailed too, and
pass faster in busy seasons (seasons.py). Baskets are log-normal in size, larger online, for a customer with a larger
budget, and on a busy day; a line of a basket is repeated (a quantity above one) with a fixed probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Int64
from hm_utils.sample import seasons
from hm_utils.sample.assortment import week_of
from hm_utils.sample.catalogue import Catalogue, smallness
from hm_utils.sample.customers import Customers

GAP_SPREAD, COLD_START = 1.45, 0.75  # of the logarithm of a gap; below 1: more of the customers came late
BASKET_MEAN, BASKET_SPREAD, BASKET_MAX = 0.49, 0.85, 60  # of the logarithm of the lines of a basket; most lines
ONLINE_BASKET = 0.45  # how much larger an online basket is (logarithm)
# Chance of a line being two, three of the article. In a small catalogue two lines of a basket often are the same
# article by chance: there it takes only this share of the repeats.
QUANTITY, SMALL_SHOP = (0.06, 0.012), 0.05
OFFERS, OFFER_SHARES = (0.0, 0.02, 0.1, 0.2, 0.25), (0.84, 0.04, 0.06, 0.03, 0.03)


@dataclass(frozen=True)
class Visits:
    """Visits sorted by customer, then day, and the lines of their baskets (v visits, l lines).

    Attributes:
        customer: ``[v]`` customer row.
        day: ``[v]`` day; a customer comes at most once a day.
        online: ``[v]``.
        lines: ``[v + 1]`` visit i has the lines ``lines[i]:lines[i + 1]``.
        quantity: ``[l]`` pieces of each line.
    """

    customer: npt.NDArray[np.int32]
    day: npt.NDArray[np.int16]
    online: npt.NDArray[np.bool_]
    lines: Int64
    quantity: npt.NDArray[np.int8]

    def line_visit(self) -> npt.NDArray[np.int32]:
        """``[l]`` the visit of each line."""
        return np.repeat(np.arange(len(self.customer), dtype=np.int32), np.diff(self.lines))


def spans(starts: Int64, lengths: Int64) -> Int64:
    """The numbers ``starts[0], starts[0] + 1, ...`` of every span, one after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def make_visits(customers: Customers, n_articles: int, days: int, rng: np.random.Generator) -> Visits:
    """Draw when each customer comes, and how many lines and pieces they take."""
    busy = seasons.intensity(days)
    counts = customers.visits.astype(np.int64)
    customer = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    # As many gaps as visits, laid around a circle as long as the log, from a random point on: so that a visit is as
    # likely at the ends of the log as in its middle.
    clock = np.cumsum(np.exp(GAP_SPREAD * rng.standard_normal(len(customer))))
    ends = np.cumsum(counts)[counts > 0]
    before = np.concatenate([[0.0], clock[ends - 1]])
    some = counts[counts > 0]
    when = (clock - np.repeat(before[:-1], some)) / np.repeat(np.diff(before), some)
    # Rather later than sooner, because the number of customers grows: what matters for those who come once.
    when = (when + np.repeat(rng.random(len(some)) ** COLD_START, some)) % 1.0
    pace = np.cumsum(busy**seasons.VISITS_SHARE)
    day = np.searchsorted(pace / pace[-1], when, side="right").clip(0, days - 1)
    key = np.sort(customer.astype(np.int64) * days + day)
    key = key[np.diff(key, prepend=-1) > 0]  # two visits on one day are one
    customer, day = (key // days).astype(np.int32), (key % days).astype(np.int16)

    online = rng.random(len(key)) < customers.online[customer]
    size = BASKET_MEAN + customers.budget[customer] + np.where(online, ONLINE_BASKET / 2, -ONLINE_BASKET / 2)
    size += seasons.BASKET_SHARE * np.log(busy)[day] + BASKET_SPREAD * rng.standard_normal(len(key))
    lines = np.concatenate([[0], np.cumsum(np.ceil(np.exp(size)).clip(1, BASKET_MAX).astype(np.int64))])
    draw = rng.random(lines[-1], dtype=np.float32)
    draw /= 1 - (1 - SMALL_SHOP) * smallness(n_articles)
    quantity = (1 + (draw < sum(QUANTITY)) + (draw < QUANTITY[1])).astype(np.int8)
    return Visits(customer, day, online, lines, quantity)


def paid_prices(
    article: npt.NDArray[np.int32], day: npt.NDArray, catalogue: Catalogue, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """``[n]`` what was paid for each line: the week's price of the article, less a personal offer now and then."""
    paid = np.empty(len(article), dtype=np.float32)
    for start in range(0, len(article), 2_000_000):  # the full size would need gigabytes at once
        part = slice(start, start + 2_000_000)
        full = catalogue.price[article[part]]
        off = catalogue.markdown[week_of(day[part], catalogue.days), article[part]]
        offer = rng.choice(OFFERS, size=len(full), p=OFFER_SHARES)
        paid[part] = np.maximum(np.rint(full * (1 - off) * (1 - offer) * 59_000), 1) / 59_000
    return paid
