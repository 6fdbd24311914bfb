"""Sizes of samples, the tables in memory, and ``generate``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Float32, Int32
from hm_utils.data.purchases import PurchaseLog
from hm_utils.sample.assortment import LAST_DATE
from hm_utils.sample.behaviour import choose_articles
from hm_utils.sample.catalogue import make_catalogue
from hm_utils.sample.constants import Constants, constants_for
from hm_utils.sample.customers import make_customers
from hm_utils.sample.preferences import make_preferences
from hm_utils.sample.truth import Truth
from hm_utils.sample.visits import make_visits, paid_prices

DEFAULT_SEED = 20200922


@dataclass(frozen=True)
class SampleSize:
    """The size of a sample. The log ends on 2020-09-22. Purchases per customer do not depend on ``days``."""

    customers: int
    articles: int
    days: int

    def __post_init__(self) -> None:
        smallest = {"customers": 50, "articles": 50, "days": 28}
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise ValueError(f"a sample needs at least {least} {name}, got {getattr(self, name)}")


SIZES = {
    "tiny": SampleSize(customers=800, articles=300, days=200),
    "sample": SampleSize(customers=21_000, articles=10_000, days=734),
    "full": SampleSize(customers=1_371_980, articles=105_542, days=734),
}


@dataclass(frozen=True)
class Sample:
    """A generated sample.

    Attributes:
        articles: ``articles.csv``, sorted by ``article_id``.
        customers: ``customers.csv``, sorted by ``customer_id``.
        customer, article: ``[n]`` row of each transaction in those tables; sorted by customer, then day.
        day: ``[n]`` days since the first date of the log.
        price: ``[n]`` price paid, in the unit of the real data.
        channel: ``[n]`` 1 store, 2 online.
        truth: the probabilities that generated it.
    """

    articles: pd.DataFrame
    customers: pd.DataFrame
    customer: Int32
    article: Int32
    day: npt.NDArray[np.int16]
    price: Float32
    channel: npt.NDArray[np.int8]
    truth: Truth

    def log(self) -> PurchaseLog:
        """The transactions as a purchase log."""
        table = pd.DataFrame(
            {
                "t_dat": (self.truth.first_date + self.day.astype(int)).astype("datetime64[s]"),
                "customer": self.customer,
                "article": self.article,
                "price": self.price,
                "sales_channel_id": self.channel,
            }
        )
        return PurchaseLog.from_transactions(table, len(self.customers), len(self.articles))


def generate(
    size: str | SampleSize = "sample",
    seed: int = DEFAULT_SEED,
    progress: bool = False,
    constants: Constants | None = None,
) -> Sample:
    """Generate a sample. The same size and seed give the same sample.

    Args:
        size: a name in ``SIZES``, or a custom size.
        seed: any whole number from 0.
        progress: show progress bars.
        constants: other constants than those of the size.

    Raises:
        ValueError: if the name is not in ``SIZES``.
    """
    if isinstance(size, str):
        if size not in SIZES:
            raise ValueError(f"unknown sample size {size!r}: use one of {', '.join(SIZES)}, or a SampleSize")
        size = SIZES[size]
    constants = constants or constants_for(size.articles)
    # One stream of random numbers per part, so that a change in one part does not change the draws of the others.
    streams = [np.random.default_rng([seed, part]) for part in range(6)]
    catalogue = make_catalogue(size.articles, size.days, constants, streams[0])
    customers = make_customers(size.customers, streams[1])
    preferences, offset = make_preferences(catalogue, customers.traits, constants, streams[2])
    catalogue = replace(catalogue, log_appeal=constants.steepness * (catalogue.log_appeal + offset))
    visits = make_visits(customers, size.articles, size.days, streams[3])
    lines = choose_articles(visits, catalogue, preferences, customers, constants, streams[4], progress)

    pieces = visits.quantity
    line_visit = np.repeat(np.arange(len(visits.customer), dtype=np.int32), np.diff(visits.lines))
    visit = np.repeat(line_visit, pieces)
    paid = paid_prices(lines, visits.day[line_visit], catalogue, streams[5])
    return Sample(
        articles=catalogue.table,
        customers=customers.table,
        customer=visits.customer[visit],
        article=np.repeat(lines, pieces),
        day=visits.day[visit],
        price=np.repeat(paid, pieces),
        channel=np.where(visits.online, 2, 1).astype(np.int8)[visit],
        truth=Truth(
            traits=customers.traits,
            attraction=preferences.attraction,
            bias=preferences.bias,
            liking=preferences.liking,
            log_appeal=catalogue.log_appeal,
            product=catalogue.product,
            staple_days=catalogue.staple_days,
            repeat_rate=catalogue.repeat_rate,
            loyalty=customers.loyalty,
            constants=constants,
            first_date=LAST_DATE - (size.days - 1),
            days=size.days,
        ),
    )
